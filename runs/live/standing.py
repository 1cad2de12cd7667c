"""What people may do, read at once for many, so that equals can share what is rendered.

Nothing here decides: the rules stay in `queries` and `policies`, asked about a peer.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from django.conf import settings
from django.contrib.auth.models import User

SHARING_BACKENDS = ["django.contrib.auth.backends.ModelBackend"]
"""It derives rights from groups, permissions and flags alone; another may not."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where somebody's rights come from, and which they are.

    People of one standing see the same of all that is not about themselves.
    """

    is_superuser: bool
    is_staff: bool
    groups: frozenset[int]
    given: frozenset[int]
    """Permissions given to the person and not to a group."""
    rights: frozenset[str]
    alone: int | None
    """The person, where a backend may tell people of the same groups apart."""
    peer: User = field(compare=False, repr=False)
    """Somebody of this standing whose permissions are loaded: asking costs no query."""


def standings(people: Collection[User]) -> dict[int, Standing]:
    """Return the standing of each of `people` by id.

    It takes two queries, and two more for each different set of groups and permissions.
    """
    groups = _held(User.groups.through.objects, "group_id", people)
    given = _held(User.user_permissions.through.objects, "permission_id", people)
    shares = settings.AUTHENTICATION_BACKENDS == SHARING_BACKENDS
    known: dict[tuple[object, ...], Standing] = {}
    found: dict[int, Standing] = {}
    for person in people:
        sources = (
            person.is_superuser,
            person.is_staff,
            groups[person.pk],
            given[person.pk],
        )
        key = (*sources, None if shares else person.pk)
        if key not in known:
            rights = frozenset(person.get_all_permissions())
            alone = None if shares else person.pk
            known[key] = Standing(*sources, rights, alone, person)
        found[person.pk] = known[key]
    return found


def _held(
    rows: object, name: str, people: Iterable[User]
) -> defaultdict[int, frozenset[int]]:
    ids = [person.pk for person in people]
    pairs = rows.filter(user_id__in=ids).values_list("user_id", name)  # type: ignore[attr-defined]  # a manager of rows that join
    held: defaultdict[int, set[int]] = defaultdict(set)
    for user_id, other in pairs:
        held[user_id].add(other)
    return defaultdict(frozenset, {pk: frozenset(ids) for pk, ids in held.items()})

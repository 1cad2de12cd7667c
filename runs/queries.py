"""What is seen of conversations and runs, and by whom."""

from __future__ import annotations

from typing import Any, TypeAlias
from uuid import UUID

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser, User
from django.db.models import Q, QuerySet

from . import search
from .forms import begin_of, end_of
from .keyset import Place, Slice, newest
from .models import Conversation, Run

PAGE_SIZE = 50
RUNS_SHOWN = 10
TITLES_SEARCHED = 10_000
NOT_LISTED = (
    "metadata",
    "current_run__head",
    "current_run__definition",
    "current_run__pending_input",
    "current_run__final_output",
)
"""Long texts that a list does not show."""

Viewer: TypeAlias = AbstractBaseUser | AnonymousUser


def may_follow(user: Viewer) -> bool:
    """Say whether `user` sees every conversation and run."""
    return isinstance(user, User) and user.has_perm("runs.follow_run")


def may_start(user: Viewer) -> bool:
    """Say whether `user` may start, message, stop and resume runs."""
    return isinstance(user, User) and user.has_perm("runs.start_run")


def visible_conversations(user: Viewer) -> QuerySet[Conversation]:
    """Return what `user` may see: all with the right to follow, else their own."""
    found = Conversation.objects.select_related("owner", "current_run__requester")
    if may_follow(user):
        return found
    return found.filter(owner_id=user.pk) if user.pk else found.none()


def visible_runs(user: Viewer) -> QuerySet[Run]:
    """Return what `user` may see: all with the right to follow, else their own."""
    found = Run.objects.select_related("conversation__owner", "requester")
    if may_follow(user):
        return found
    if not user.pk:
        return found.none()
    return found.filter(Q(requester_id=user.pk) | Q(conversation__owner_id=user.pk))


def forks_of(user: Viewer, run: Run, most: int) -> list[Run]:
    """Return the first `most` runs that were forked from this one and `user` sees."""
    return list(visible_runs(user).filter(parent=run).order_by("pk")[:most])


def conversations_page(
    user: Viewer, by: dict[str, Any], *, after: Place | None
) -> Slice[Conversation]:
    """Return a page of what `user` sees and the data of a `ConversationsForm` asks for.

    Newest first, in one query.
    """
    found = _chosen(visible_conversations(user), by)
    if text := by.get("q"):
        found = found.filter(_saying(text, user))
    found = found.defer(*NOT_LISTED)
    return newest(found, "updated_at", after=after, size=PAGE_SIZE)


def _chosen(
    found: QuerySet[Conversation], by: dict[str, Any]
) -> QuerySet[Conversation]:
    wanted: dict[str, Any] = {
        "agent_key": by.get("agent"),
        "current_run__status": by.get("status"),
        "current_run__trigger": by.get("trigger"),
        "owner__username": by.get("owner"),
        "updated_at__gte": begin_of(by.get("since")),
        "updated_at__lt": end_of(by.get("until")),
    }
    return found.filter(**{name: value for name, value in wanted.items() if value})


def _saying(text: str, user: Viewer) -> Q:
    """Return the condition that somebody said `text`, or that it is in the title.

    One without any word is in nothing. Titles are looked at in the newest
    TITLES_SEARCHED conversations alone: no index can find a part of one.
    """
    asked = search.words(text)[: search.MOST_WORDS]
    if not asked:
        return Q(pk__in=[])
    own = None if may_follow(user) else user.pk
    newest_first = Conversation.objects.order_by("-updated_at", "-pk")
    if own is not None:
        newest_first = newest_first.filter(owner_id=own)
    titled = Q()
    for word in text.split()[: search.MOST_WORDS]:
        titled &= Q(title__icontains=word)
    recent = newest_first.values("pk")[:TITLES_SEARCHED]
    by_title = Conversation.objects.filter(titled, pk__in=recent).values("pk")
    said = search.conversations_saying(asked, owner_id=own)
    return Q(pk__in=said) | Q(pk__in=by_title)


def latest_runs(
    conversation: Conversation, *, before: UUID | None = None
) -> tuple[list[Run], bool]:
    """Return the last runs, oldest first, and whether there are earlier ones."""
    found = conversation.runs.select_related("requester", "conversation__owner")
    if before is not None:
        found = found.filter(pk__lt=before)
    rows = list(found.order_by("-pk")[: RUNS_SHOWN + 1])
    return rows[:RUNS_SHOWN][::-1], len(rows) > RUNS_SHOWN

"""What is seen of conversations and runs, and by whom."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias
from uuid import UUID

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser, User
from django.db.models import Q, QuerySet

from .models import Conversation, Run

PAGE_SIZE = 50
RUNS_SHOWN = 10

Viewer: TypeAlias = AbstractBaseUser | AnonymousUser


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Conversations of one page, newest first."""

    conversations: list[Conversation]
    older: UUID | None
    """Ask for the page after this conversation; None on the last page."""


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


def conversations_page(user: Viewer, *, after: Conversation | None) -> Page:
    """Return the conversations that follow `after`, or the newest, in one query."""
    found = visible_conversations(user)
    if after is not None:
        found = found.filter(
            Q(updated_at__lt=after.updated_at)
            | Q(updated_at=after.updated_at, pk__lt=after.pk)
        )
    rows = list(found.order_by("-updated_at", "-pk")[: PAGE_SIZE + 1])
    shown = rows[:PAGE_SIZE]
    more = len(rows) > PAGE_SIZE
    return Page(conversations=shown, older=shown[-1].pk if more else None)


def latest_runs(
    conversation: Conversation, *, before: UUID | None = None
) -> tuple[list[Run], bool]:
    """Return the last runs, oldest first, and whether there are earlier ones."""
    found = conversation.runs.select_related("requester", "conversation__owner")
    if before is not None:
        found = found.filter(pk__lt=before)
    rows = list(found.order_by("-pk")[: RUNS_SHOWN + 1])
    return rows[:RUNS_SHOWN][::-1], len(rows) > RUNS_SHOWN

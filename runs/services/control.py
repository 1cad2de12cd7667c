"""What people do to a run from outside: stop it, resume it, take it from its worker."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib.auth.models import User
from django.db import IntegrityError
from django.db.models import F
from django.utils import timezone

from .. import dispatch
from ..errors import ConversationBusy, NotOpen, NotResumable
from ..gate import gate
from ..models import OPEN_STATUSES, Conversation, Run, RunStatus
from ..transactions import attempt, write
from . import log
from .lease import end

USUAL_EXTRA_TURNS = 10


@write
def stop_run(run_id: UUID, *, by: User | None) -> Run:
    """Stop the run for good: after this commit it claims no call and asks no model.

    A run that somebody works on is *stopping* until its started calls have ended.
    Raises NotOpen when it has ended, Run.DoesNotExist.
    """
    now = timezone.now()
    log.lock(run_id)
    stopped = Run.objects.filter(
        pk=run_id, status__in=OPEN_STATUSES, stop_requested_at=None
    ).update(stop_requested_at=now, updated_at=now)
    run = Run.objects.get(pk=run_id)
    if not run.is_open:
        raise NotOpen(f"The run has ended already: it is {run.status}.")
    if stopped and run.status == RunStatus.RUNNING:
        log.record_status(run.pk, RunStatus.RUNNING, by=_name(by))
        _look_at(run.pk)
    elif stopped:
        end(run, RunStatus.CANCELLED, by=_name(by))
    if stopped:
        _note(run.pk, by, "stop", turn=run.turn)
    run.refresh_from_db()
    return run


@write
def resume_run(
    run_id: UUID, *, by: User | None, extra_turns: int = USUAL_EXTRA_TURNS
) -> Run:
    """Queue a failed run to go on from its state, with `extra_turns` more turns.

    Raises NotResumable when it did not fail or its state was cleaned up, and
    ConversationBusy when the conversation has gone on since.
    """
    now = timezone.now()
    run = log.lock(run_id)
    if run.status != RunStatus.FAILED or run.state_inactive_at:
        raise NotResumable(
            "Only a failed run whose state is still stored can be resumed; "
            f"this one is {run.status}."
        )
    if run.conversation.current_run_id != run.pk:
        raise ConversationBusy(
            "The conversation has gone on since; send it a new message instead."
        )
    _requeue(run, max_turns=run.turn + extra_turns, finished_at=None)
    Conversation.objects.filter(pk=run.conversation_id).update(updated_at=now)
    log.record_status(run.pk, RunStatus.QUEUED, by=_name(by))
    _note(run.pk, by, "resume", turn=run.turn, extra_turns=extra_turns)
    _look_at(run.pk)
    run.refresh_from_db()
    return run


@write
def requeue_run(run_id: UUID, *, by: User | None) -> Run:
    """Take a stuck run from its worker and queue it; what that writes is refused.

    Raises NotOpen when the run has ended, Run.DoesNotExist.
    """
    run = log.lock(run_id)
    if not run.is_open:
        raise NotOpen(f"The run has ended already: it is {run.status}.")
    _requeue(run, lease_epoch=F("lease_epoch") + 1)
    log.record_status(run.pk, RunStatus.QUEUED, by=_name(by))
    _look_at(run.pk)
    run.refresh_from_db()
    return run


def _requeue(run: Run, **changes: object) -> None:
    try:
        with attempt():
            Run.objects.filter(pk=run.pk).update(
                status=RunStatus.QUEUED,
                lease_owner="",
                lease_expires_at=None,
                error="",
                updated_at=timezone.now(),
                **changes,
            )
    except IntegrityError as error:
        raise ConversationBusy(
            "The conversation has another unfinished run; wait for it, or stop it."
        ) from error


def _look_at(run_id: UUID) -> None:
    Run.objects.filter(pk=run_id).update(wakes=F("wakes") + 1)
    dispatch.wake(run_id)


def _note(run_id: UUID, by: User | None, action: str, **said: Any) -> None:
    gate().note(run_id, by=_name(by) or "Placet", action=action, said=said)


def _name(user: User | None) -> str:
    return user.get_username() if user else ""

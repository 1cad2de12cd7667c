"""Starting a run, and saying something more to a conversation."""

from __future__ import annotations

from uuid import UUID

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.utils import timezone

from .. import codec, dispatch, registry
from ..engine import RunContextWrapper, RunState
from ..errors import ConversationBusy, EmptyInput, MessageRefused
from ..models import OPEN_STATUSES, Conversation, Run, RunStatus
from . import log

TITLE_LENGTH = 80


def start_run(
    agent_key: str,
    text: str,
    *,
    trigger: str,
    requester: User | None = None,
    conversation: Conversation | None = None,
    title: str = "",
) -> Run:
    """Queue a run of the agent on `text` and have it looked at on commit.

    Without a conversation a new one is opened. Raises UnknownAgent, EmptyInput, and
    ConversationBusy when the conversation has an unfinished run.
    """
    agent = registry.get(agent_key).agent
    text = _some(text)
    with transaction.atomic():
        now = timezone.now()
        if conversation is None:
            conversation = Conversation.objects.create(
                agent_key=agent_key,
                title=codec.storable(title or _title(text)),
                owner=requester,
                created_at=now,
                updated_at=now,
            )
        previous = conversation.runs.order_by("-id").first()
        run = Run(
            conversation=conversation,
            agent_key=agent_key,
            agent_digest=agent.definition_digest(),
            trigger=trigger,
            requester=requester,
            previous=previous,
            created_at=now,
            updated_at=now,
        )
        state = RunState(
            RunContextWrapper(context=None), text, agent, run_id=str(run.pk)
        )
        run.head = codec.dumps(state.head())
        _insert(run)
        log.append(run.pk, [state.entry(item) for item in state.all_items], now)
        log.record_status(run.pk, RunStatus.QUEUED)
        Conversation.objects.filter(pk=conversation.pk).update(
            current_run=run, updated_at=now
        )
        dispatch.wake(run.pk)
    run.refresh_from_db()
    return run


def send_message(conversation_id: UUID, text: str, *, by: User | None) -> Run:
    """Say `text` to the conversation's agent: in its unfinished run, else in a new one.

    An unfinished run reads it after the outputs of its open calls. Raises EmptyInput,
    MessageRefused while the run is stopping, Conversation.DoesNotExist.
    """
    text = _some(text)
    with transaction.atomic():
        conversation = Conversation.objects.get(pk=conversation_id)
        run = conversation.runs.filter(status__in=OPEN_STATUSES).first()
        if run is None:
            return start_run(
                conversation.agent_key,
                text,
                trigger=Run.Trigger.MESSAGE,
                requester=by,
                conversation=conversation,
            )
        if run.stop_requested_at:
            raise MessageRefused(
                "The run is being stopped; send the message once it has ended."
            )
        _add_pending(run, text, by)
    run.refresh_from_db()
    return run


def _add_pending(run: Run, text: str, by: User | None) -> None:
    # The update locks the row before it is read, so no message overwrites another.
    now = timezone.now()
    Run.objects.filter(pk=run.pk).update(updated_at=now)
    run.refresh_from_db(fields=["pending_input"])
    messages = codec.loads(run.pending_input)
    messages.append({"text": text, "by": by.get_username() if by else ""})
    Run.objects.filter(pk=run.pk).update(pending_input=codec.dumps(messages))
    log.record_status(run.pk, RunStatus(run.status))


def _insert(run: Run) -> None:
    try:
        with transaction.atomic():
            run.save(force_insert=True)
    except IntegrityError as error:
        raise ConversationBusy(
            "This conversation has an unfinished run; wait for it, or stop it."
        ) from error


def _some(text: str) -> str:
    text = text.strip()
    if not text:
        raise EmptyInput("There is nothing to send; write what the agent should do.")
    return text


def _title(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= TITLE_LENGTH else f"{line[: TITLE_LENGTH - 1]}…"

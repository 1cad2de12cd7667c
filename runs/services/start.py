"""Starting a run, and saying something more to a conversation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict
from uuid import UUID

from django.contrib.auth.models import User
from django.db import IntegrityError
from django.utils import timezone

from .. import codec, dispatch, registry
from ..engine import Agent, RunContextWrapper, RunState
from ..engine.state.definition import definition_of
from ..errors import ConversationBusy, EmptyInput, MessageRefused
from ..models import OPEN_STATUSES, Conversation, Run, RunStatus
from ..transactions import attempt, write
from . import limits, log

TITLE_LENGTH = 80


class Message(TypedDict):
    """Something said to a run that its model has not read yet."""

    text: str
    author: int | None
    """Key of the user; None for a system."""


@write
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

    Without a conversation a new one is opened. Raises UnknownAgent, EmptyInput,
    QueueFull, and ConversationBusy when the conversation has an unfinished run.
    """
    limits.check_queue()
    return queue_run(
        agent_key,
        text,
        trigger=trigger,
        requester=requester,
        conversation=conversation,
        title=title,
    )


def queue_run(
    agent_key: str,
    text: str,
    *,
    trigger: str,
    requester: User | None = None,
    conversation: Conversation | None = None,
    title: str = "",
) -> Run:
    """Do as `start_run` inside the caller's transaction, however full the queue is."""
    agent = registry.get(agent_key).agent
    text = _some(text)
    now = timezone.now()
    if conversation is None:
        conversation = Conversation.objects.create(
            agent_key=agent_key,
            title=codec.storable(title or _title(text)),
            owner=requester,
            created_at=now,
            updated_at=now,
        )
    previous = latest_run(conversation)
    unread = take_unread(previous) if previous else []
    run = Run(
        conversation=conversation,
        agent_key=agent_key,
        agent_digest=agent.definition_digest(),
        definition=codec.dumps(definition_of(agent)),
        trigger=trigger,
        requester=requester,
        previous=previous,
        created_at=now,
        updated_at=now,
    )
    texts = [*(message["text"] for message in unread), text]
    begin(run, first_state(run, agent, texts), {*authors(unread), *_key(requester)})
    return run


def first_state(run: Run, agent: Agent[Any], texts: Sequence[str]) -> RunState[Any]:
    """Return the state in which `run` begins, with `texts` for its input."""
    return RunState(
        RunContextWrapper(context=None),
        [{"role": "user", "content": said} for said in texts],
        agent,
        run_id=str(run.pk),
    )


def begin(run: Run, state: RunState[Any], speakers: set[int]) -> None:
    """Store a run that is new as queued, inside the caller's transaction."""
    run.head = codec.dumps(state.head())
    _insert(run)
    run.speakers.set(speakers)
    entries = [state.entry(item) for item in state.all_items]
    log.append(run.pk, entries, run.created_at)
    log.record_status(run.pk, RunStatus.QUEUED)
    Conversation.objects.filter(pk=run.conversation_id).update(
        current_run=run, updated_at=run.created_at
    )
    dispatch.wake(run.pk)
    run.refresh_from_db()


def _key(user: User | None) -> list[int]:
    return [user.pk] if user else []


@write
def send_message(conversation_id: UUID, text: str, *, by: User | None) -> Run:
    """Say `text` to the conversation's agent: in its unfinished run, else in a new one.

    An unfinished run reads it after the outputs of its open calls. Raises EmptyInput,
    QueueFull where a new run is needed, MessageRefused while the run is stopping,
    Conversation.DoesNotExist.
    """
    text = _some(text)
    conversation = Conversation.objects.get(pk=conversation_id)
    run = _open_run(conversation)
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


def take_unread(run: Run) -> list[Message]:
    """Return the messages nobody has read in a run that ended, and take them away.

    A stopped run's are gone with it. The caller's next run is to begin with them.
    """
    messages: list[Message] = codec.loads(run.pending_input)
    if not messages or run.status == RunStatus.CANCELLED:
        return []
    Run.objects.filter(pk=run.pk).update(pending_input="[]")
    return messages


def authors(messages: Sequence[Message]) -> list[int]:
    """Return the keys of those who wrote `messages`."""
    return [message["author"] for message in messages if message["author"]]


def latest_run(conversation: Conversation) -> Run | None:
    """Return the conversation's newest run, locked: none comes after it meanwhile."""
    run: Run | None = None
    while (newest := conversation.runs.order_by("-id").first()) != run:
        # One that came while we waited for the lock is the newest now.
        run = log.lock(newest.pk) if newest else None
    return run


def _open_run(conversation: Conversation) -> Run | None:
    """Return the unfinished run, locked, so that it cannot end meanwhile."""
    run = conversation.runs.filter(status__in=OPEN_STATUSES).first()
    locked = log.lock(run.pk) if run else None
    return locked if locked and locked.is_open else None


def _add_pending(run: Run, text: str, by: User | None) -> None:
    messages = codec.loads(run.pending_input)
    author = by.pk if by else None
    messages.append({"text": text, "author": author})
    Run.objects.filter(pk=run.pk).update(
        pending_input=codec.dumps(messages), updated_at=timezone.now()
    )
    if by:
        run.speakers.add(by)
    log.record_status(run.pk, RunStatus(run.status))


def _insert(run: Run) -> None:
    try:
        with attempt():
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

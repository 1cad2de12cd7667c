"""A verified delivery starts one run, however often it is sent.

Senders deliver at least once. The unique row (source, webhook id) is written in the
transaction that starts the run, so a delivery and its run exist together or not at all.
"""

from __future__ import annotations

from typing import Any

from django.utils import timezone

from .. import codec, services
from ..models import Conversation, Run, WebhookDelivery, WebhookSource
from ..transactions import write
from . import mapping

MAX_ID_CHARS = 200
MAX_KEY_CHARS = 200


def earlier_run(source: WebhookSource, webhook_id: str) -> Run | None:
    """Return the run that this delivery started before, if it did."""
    return Run.objects.filter(
        deliveries__source=source, deliveries__webhook_id=webhook_id
    ).first()


@write
def accept(source: WebhookSource, webhook_id: str, body: bytes) -> Run:
    """Return the run of a delivery, starting it unless it was delivered before.

    Raises MappingError when `body` gives no input, and what `services` raises when the
    run cannot start; nothing is stored then.
    """
    if run := earlier_run(source, webhook_id):
        return run
    text, key = read(source, webhook_id, body)
    # Deliveries of one source wait for each other here (on SQLite every transaction
    # does), so that none is taken twice and no conversation is opened twice.
    WebhookSource.objects.select_for_update().get(pk=source.pk)
    if run := earlier_run(source, webhook_id):
        return run
    run = start(source, text, key)
    WebhookDelivery.objects.create(
        source=source, webhook_id=webhook_id, run=run, received_at=timezone.now()
    )
    return run


def read(source: WebhookSource, webhook_id: str, body: bytes) -> tuple[str, str]:
    """Return the input and the name of the conversation; "" names a new one."""
    if len(webhook_id) > MAX_ID_CHARS:
        raise mapping.MappingError(
            f"webhook-id is longer than {MAX_ID_CHARS} characters."
        )
    data = mapping.parse_body(body)
    text = mapping.fill(source.template, data)
    if not text:
        raise mapping.MappingError("The source's template gives no text for this body.")
    key = mapping.fill(source.conversation_template, data)
    if len(key) > MAX_KEY_CHARS:
        raise mapping.MappingError(
            f"The conversation's name is longer than {MAX_KEY_CHARS} characters."
        )
    return text, key


def start(source: WebhookSource, text: str, key: str) -> Run:
    """Give `text` to the conversation named `key`, or to a new one."""
    metadata = codec.dumps(_metadata(source, key))
    conversation = _conversation(source, metadata) if key else None
    if conversation and conversation.current_run and conversation.current_run.is_open:
        return services.send_message(conversation.pk, text, by=None)
    run = services.start_run(
        source.agent_key,
        text,
        trigger=Run.Trigger.WEBHOOK,
        requester=None,
        conversation=conversation,
    )
    if conversation is None:
        Conversation.objects.filter(pk=run.conversation_id).update(metadata=metadata)
    return run


def _metadata(source: WebhookSource, key: str) -> dict[str, Any]:
    return {"webhook": source.slug, "key": key} if key else {"webhook": source.slug}


def _conversation(source: WebhookSource, metadata: str) -> Conversation | None:
    return (
        Conversation.objects.select_related("current_run")
        .filter(agent_key=source.agent_key, metadata=metadata)
        .first()
    )

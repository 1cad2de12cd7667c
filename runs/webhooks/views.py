"""`POST /webhooks/<slug>/`: who sent it and how much, then what it says."""

from __future__ import annotations

import logging

from django.conf import settings
from django.http import HttpRequest, JsonResponse
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt

from .. import services
from ..models import WebhookSource
from . import sources
from .mapping import MappingError
from .receive import accept
from .signature import SignatureRefused, verify

logger = logging.getLogger(__name__)


@csrf_exempt  # a signature instead
def receive(request: HttpRequest, slug: str) -> JsonResponse:
    """Answer 202 with the run of the delivery; every error says what to do."""
    if request.method != "POST":
        return _error(405, "Send deliveries with POST.", headers={"Allow": "POST"})
    source = WebhookSource.objects.filter(slug=slug, is_active=True).first()
    if source is None:
        return _error(404, "No active webhook source has this address.")
    body = _limited_body(request)
    if body is None:
        return _error(
            413, f"A body has at most {settings.PLACET_WEBHOOK_MAX_BYTES} bytes."
        )
    try:
        webhook_id = verify(
            body,
            request.headers,
            secrets=sources.valid_secrets(source),
            now=timezone.now(),
        )
    except SignatureRefused as error:
        return _error(401, str(error))
    return _start(source, webhook_id, body)


def _start(source: WebhookSource, webhook_id: str, body: bytes) -> JsonResponse:
    try:
        run = accept(source, webhook_id, body)
    except (MappingError, services.EmptyInput) as error:
        return _error(422, str(error))
    except (services.ConversationBusy, services.MessageRefused) as error:
        return _error(409, f"{error} Send the delivery again later.")
    except services.QueueFull as error:
        later = {"Retry-After": str(error.RETRY_AFTER_S)}
        return _error(503, str(error), headers=later)
    except services.UnknownAgent as error:
        logger.error(
            "A webhook source names an agent that is not registered.",
            extra={"source": source.slug, "agent": source.agent_key},
        )
        return _error(503, f"{error} Send the delivery again later.")
    return JsonResponse(
        {"run": str(run.pk), "conversation": str(run.conversation_id)}, status=202
    )


def _limited_body(request: HttpRequest) -> bytes | None:
    """Return the body, or None when it is too large.

    Read by hand: `request.body` has a limit of its own and answers 400 beyond it.
    """
    limit: int = settings.PLACET_WEBHOOK_MAX_BYTES
    length = request.headers.get("Content-Length") or "0"
    if not (length.isdecimal() and len(length) < 12 and int(length) <= limit):
        return None
    body = request.read(limit + 1)
    return body if len(body) <= limit else None


def _error(
    status: int, message: str, headers: dict[str, str] | None = None
) -> JsonResponse:
    return JsonResponse({"error": message}, status=status, headers=headers)

"""Sends the mails that are due, on a thread of its own: a slow server holds up nobody.

Guarantee: at most once, by `services.notices.take`. Who dies, or loses the connection,
after the server was handed a mail does not send it again.
"""

from __future__ import annotations

import logging
import smtplib
import threading
from datetime import datetime

from django.conf import settings
from django.core.mail import EmailMessage, get_connection
from django.db import DatabaseError, connections
from django.template.loader import render_to_string
from django.utils import timezone

from runs import inert

from . import notices
from .models import ApprovalRequest, Notice
from .services.notices import Letter, give_back, take, to_be_mailed

logger = logging.getLogger(__name__)

ARGUMENT_CHARS = 2_000
_at_work = threading.Lock()


class NotSent(Exception):
    """The mail server did not take the mail: it may be sent again."""


def send_soon(now: datetime) -> threading.Thread | None:
    """Send what is due beside the caller; None when nothing is, or it is being sent."""
    if not to_be_mailed(now) or not _at_work.acquire(blocking=False):
        return None
    thread = threading.Thread(target=_work, args=[now], name="postman", daemon=True)
    thread.start()
    return thread


def send_due(now: datetime) -> int:
    """Send each person what is due for them by now; return how many mails went out."""
    return sum(_try_to_send(person_id, now) for person_id in to_be_mailed(now))


def _work(now: datetime) -> None:
    try:
        send_due(now)
    except DatabaseError:
        logger.exception("Mails could not be looked for; it is tried again")
    finally:
        _at_work.release()
        connections.close_all()


def _try_to_send(person_id: int, now: datetime) -> bool:
    try:
        return _send_to(person_id, now)
    except DatabaseError:
        extra = {"person": person_id}
        logger.exception("A mail was not taken; it is tried again", extra=extra)
        return False


def _send_to(person_id: int, now: datetime) -> bool:
    letter = take(person_id, now=now)
    if letter is None:
        return False
    extra = {"person": person_id}
    try:
        _hand_over(message(letter))
    except NotSent:
        logger.exception("A mail was not sent; it is tried again later", extra=extra)
        give_back(letter, now=now)
        return False
    except Exception:
        logger.exception("A mail is lost: it may have been sent", extra=extra)
        return False
    return True


def _hand_over(mail: EmailMessage) -> None:
    """Give the mail to the server. Raises NotSent when it has certainly not taken it.

    Any other error, as of a connection that ends in the middle, leaves that open.
    """
    connection = get_connection()
    try:
        connection.open()
    except Exception as error:
        raise NotSent(str(error)) from error
    try:
        connection.send_messages([mail])
    except (smtplib.SMTPResponseException, smtplib.SMTPRecipientsRefused) as error:
        raise NotSent(str(error)) from error
    finally:
        connection.close()


# Writing


def message(letter: Letter) -> EmailMessage:
    """Return the mail: text only, and nothing in it that an agent could shape."""
    person = letter.person
    context = {
        "name": person.get_username(),
        "site": settings.PLACET_SITE,
        "entries": [_entry(one, kind) for one, kind in letter.requests],
    }
    with timezone.override(person.preferences.zone):
        text = render_to_string("approvals/mail/waiting.txt", context)
    return EmailMessage(
        subject=subject(letter),
        body=text,
        from_email=settings.PLACET_MAIL_FROM,
        to=[person.email],
        headers={"Auto-Submitted": "auto-generated"},
    )


def subject(letter: Letter) -> str:
    """Return the subject: one line, whatever a tool is called."""
    requests = [request for request, _ in letter.requests]
    if len(requests) > 1:
        return f"Placet: {len(requests)} calls wait for you"
    return f"Placet: {notices.line(requests[0])} waits for you"


def _entry(request: ApprovalRequest, kind: Notice.Kind) -> dict[str, object]:
    run = request.run
    shown = settings.PLACET_MAIL_ARGUMENTS and bool(request.tool)
    return {
        "request": request,
        "line": notices.line(request),
        "kind": kind,
        "requester": run.requester.get_username() if run.requester else run.trigger,
        "arguments": inert.excerpt(request.arguments, ARGUMENT_CHARS) if shown else "",
        "link": f"{settings.PLACET_SITE}{request.get_absolute_url()}",
    }

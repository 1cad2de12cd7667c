"""A mail server that refuses the first mail of a story, and tells of the others."""

from __future__ import annotations

import re
import smtplib
from collections.abc import Sequence
from datetime import timedelta

from django.conf import settings
from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend

from . import journal

REFUSED = "mail refused"
LINK = re.compile(r"/requests/([0-9a-f-]+)/")


class Server(BaseEmailBackend):
    def send_messages(self, messages: Sequence[EmailMessage]) -> int:
        if not journal.has_sign(REFUSED):
            journal.set_sign(REFUSED)
            raise smtplib.SMTPDataError(451, b"later")
        for message in messages:
            about = LINK.findall(str(message.body))
            journal.tell("mails", to=message.to, about=about)
        return len(messages)


def switch_on() -> None:
    """Have this process send mail as soon as something waits."""
    settings.PLACET_MAIL_FROM = "placet@example.com"
    settings.EMAIL_HOST = "mail.example.com"
    settings.EMAIL_BACKEND = f"{__name__}.Server"
    settings.PLACET_MAIL_AFTER = timedelta(seconds=0.05)

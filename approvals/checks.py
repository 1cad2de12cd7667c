"""What is unsafe, or only half set, in how Placet sends mail."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning
from django.core.exceptions import ValidationError
from django.core.mail.message import sanitize_address
from django.core.validators import validate_email

SECURITIES = ("starttls", "tls", "none")
LOCAL = ("localhost", "127.0.0.1", "::1")


def check_mail(**_: Any) -> list[CheckMessage]:
    """Return what stands in the way of mail, or makes it unsafe."""
    if settings.PLACET_MAIL_AFTER.total_seconds() < 0:
        return [
            Error(
                "PLACET_MAIL_AFTER_MIN is negative; use minutes from 0 up.",
                id="approvals.E001",
            )
        ]
    if not settings.PLACET_MAIL_FROM and not settings.EMAIL_HOST:
        return []
    return [*_half_set(), *_unsafe()]


def _half_set() -> Iterator[CheckMessage]:
    if not settings.PLACET_MAIL_FROM or not settings.EMAIL_HOST:
        yield Error(
            "Mail is half set, and none is sent: PLACET_MAIL_FROM and "
            "PLACET_MAIL_HOST go together.",
            id="approvals.E002",
        )
    elif not _is_address(settings.PLACET_MAIL_FROM):
        yield Error(
            "PLACET_MAIL_FROM is no address; use as “Placet <placet@example.com>”.",
            id="approvals.E003",
        )
    if settings.PLACET_MAIL_SECURITY not in SECURITIES:
        yield Error(
            f"PLACET_MAIL_SECURITY={settings.PLACET_MAIL_SECURITY!r} is unknown; use "
            f"one of {', '.join(SECURITIES)}.",
            id="approvals.E004",
        )
    if bool(settings.EMAIL_HOST_USER) != bool(settings.EMAIL_HOST_PASSWORD):
        yield Error(
            "PLACET_MAIL_USER and PLACET_MAIL_PASSWORD go together.",
            id="approvals.E005",
        )
    site = urlsplit(settings.PLACET_SITE)
    if site.scheme not in ("http", "https") or not site.hostname:
        yield Error(
            f"PLACET_SITE={settings.PLACET_SITE!r} is no address of a site; use as "
            "https://placet.example.com.",
            id="approvals.E006",
        )
    elif site.hostname in LOCAL and settings.HTTPS:
        yield Warning(
            "Links in mails lead to this machine; set PLACET_SITE, or PLACET_ORIGINS.",
            id="approvals.W001",
        )


def _unsafe() -> Iterator[CheckMessage]:
    plain = settings.PLACET_MAIL_SECURITY == "none"
    if plain and settings.EMAIL_HOST not in LOCAL:
        yield Warning(
            "Mail, and its password, goes over the network in the clear; set "
            "PLACET_MAIL_SECURITY to starttls or tls.",
            id="approvals.W002",
        )
    if settings.PLACET_MAIL_ARGUMENTS:
        yield Warning(
            "Mails hold what tools are to be called with; whoever reads the mail reads "
            "that. Leave PLACET_MAIL_ARGUMENTS out if that is not meant.",
            id="approvals.W003",
        )


def _is_address(written: str) -> bool:
    """Say whether it is one address, with or without a name before it."""
    try:
        made = sanitize_address(written, "utf-8")
        validate_email(made.rpartition("<")[2].rstrip(">"))
    except (ValueError, ValidationError):
        return False
    return True

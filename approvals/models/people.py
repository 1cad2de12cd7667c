"""What people have chosen for themselves, and what they are to be told by mail."""

from __future__ import annotations

import zoneinfo

from django.conf import settings
from django.db import models
from django.db.models import Q

from .requests import ApprovalRequest

DIGEST_HOUR = 8


class Preferences(models.Model):
    """A person's own settings; who has saved none has the defaults."""

    class Theme(models.TextChoices):
        SYSTEM = "system", "as the system has it"
        LIGHT = "light", "light"
        DARK = "dark", "dark"

    person = models.OneToOneField(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        primary_key=True,
        related_name="preferences",
    )
    keys = models.BooleanField(default=True, help_text="Whether single keys act.")
    theme = models.CharField(max_length=10, choices=Theme.choices, default=Theme.SYSTEM)
    time_zone = models.CharField(
        max_length=64, blank=True, help_text="An IANA name; empty: the site's own."
    )
    browser = models.BooleanField(
        default=False, help_text="Whether open pages tell of what arrives."
    )
    email = models.BooleanField(
        default=False, help_text="Whether mail tells of what waits."
    )
    digest = models.BooleanField(
        default=False, help_text="Whether a daily mail tells of what is overdue."
    )
    digest_hour = models.PositiveSmallIntegerField(default=DIGEST_HOUR)
    digest_at = models.DateTimeField(
        null=True, blank=True, help_text="When the next digest is due."
    )
    mailed_at = models.DateTimeField(
        null=True, blank=True, help_text="When the last mail was taken to be sent."
    )

    class Meta:
        verbose_name_plural = "preferences"
        indexes = (
            models.Index(
                fields=("digest_at",),
                name="digest_due",
                condition=Q(digest_at__isnull=False),
            ),
        )
        constraints = (
            models.CheckConstraint(
                condition=Q(digest_hour__lte=23), name="digest_hour_is_of_a_day"
            ),
        )

    def __str__(self) -> str:
        return f"Preferences of {self.person_id}"

    @property
    def zone(self) -> zoneinfo.ZoneInfo:
        """The person's time zone; the site's for who chose none, or one that went."""
        try:
            return zoneinfo.ZoneInfo(self.time_zone or settings.TIME_ZONE)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError):
            return zoneinfo.ZoneInfo(settings.TIME_ZONE)


class Notice(models.Model):
    """What one person is to be told by mail about one request, at most once."""

    class Kind(models.TextChoices):
        DIGEST = "digest", "overdue"
        WAITING = "waiting", "waits for a decision"
        REMINDER = "reminder", "half of its time is over"
        ESCALATED = "escalated", "nobody had decided it"

    request = models.ForeignKey(
        ApprovalRequest, on_delete=models.CASCADE, related_name="notices"
    )
    person = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="notices"
    )
    kind = models.CharField(max_length=20, choices=Kind.choices)
    due = models.DateTimeField()
    sent_at = models.DateTimeField(
        null=True, blank=True, help_text="When it was taken to be sent, once."
    )
    attempts = models.PositiveSmallIntegerField(
        default=0, help_text="How often the mail server has refused it."
    )

    class Meta:
        ordering = ("due", "id")
        indexes = (
            models.Index(
                fields=("due",), name="notice_due", condition=Q(sent_at__isnull=True)
            ),
        )
        constraints = (
            models.UniqueConstraint(
                fields=("request", "person", "kind"), name="one_notice_of_a_kind"
            ),
        )

    def __str__(self) -> str:
        return f"{self.person_id} about {self.request_id}: {self.kind}"

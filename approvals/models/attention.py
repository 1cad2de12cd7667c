"""Who has a request in hand, who put it off, and who looks at it now.

None of it decides anything: a claim is a courtesy. It is kept beside the request, so
that looking never touches the rows that runs and verdicts lock.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from django.conf import settings
from django.db import models

from .requests import ApprovalRequest

CLAIM = timedelta(minutes=5)
DUE_SOON = timedelta(hours=1)
"""What was put off comes back when it ends within this, whatever was said."""
LOOK = timedelta(seconds=30)
"""Somebody whose page was last heard of so long ago looks no more."""


class Attention(models.Model):
    """Whose a request is: claimed for some minutes, or assigned until it ends."""

    request = models.OneToOneField(
        ApprovalRequest,
        on_delete=models.CASCADE,
        primary_key=True,
        related_name="attention",
    )
    claimed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="claims",
    )
    claimed_until = models.DateTimeField(null=True, blank=True)
    assigned_to = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="assignments",
    )
    assigned_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
    )
    changed_at = models.DateTimeField()

    class Meta:
        verbose_name_plural = "attention"
        indexes = (models.Index(fields=("changed_at",), name="attention_changed"),)

    def __str__(self) -> str:
        return f"{self.request_id}: {self.claimed_by or self.assigned_to or 'free'}"

    def is_claimed(self, now: datetime) -> bool:
        return self.claimed_until is not None and self.claimed_until > now

    def people(self, now: datetime) -> set[int]:
        """Return the ids of those whose it is."""
        claimer = self.claimed_by_id if self.is_claimed(now) else None
        return {pk for pk in (claimer, self.assigned_to_id) if pk is not None}


class Snooze(models.Model):
    """A request that one person has put off, for that person only."""

    request = models.ForeignKey(
        ApprovalRequest, on_delete=models.CASCADE, related_name="snoozes"
    )
    person = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="snoozes"
    )
    until = models.DateTimeField()

    class Meta:
        indexes = (models.Index(fields=("person", "until"), name="snooze_until"),)
        constraints = (
            models.UniqueConstraint(
                fields=("request", "person"), name="one_snooze_per_person"
            ),
        )

    def __str__(self) -> str:
        return f"{self.person}: until {self.until}"

    @property
    def wakes_at(self) -> datetime:
        soon: datetime = self.request.due_at - DUE_SOON
        return min(self.until, soon)


class Look(models.Model):
    """A person who has a request open on a screen."""

    request = models.ForeignKey(
        ApprovalRequest, on_delete=models.CASCADE, related_name="looks"
    )
    person = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="looks"
    )
    seen_at = models.DateTimeField()

    class Meta:
        indexes = (models.Index(fields=("seen_at",), name="look_seen"),)
        constraints = (
            models.UniqueConstraint(
                fields=("request", "person"), name="one_look_per_person"
            ),
        )

    def __str__(self) -> str:
        return f"{self.person} at {self.seen_at}"

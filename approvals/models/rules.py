"""Standing Rules: what *always* means."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from runs import inert
from runs.ids import new_id

from .verdicts import Verdict


class Rule(models.Model):
    """A standing verdict: what *always* means, and how long."""

    class Scope(models.TextChoices):
        RUN = "run", "this run"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    scope = models.CharField(max_length=20, choices=Scope.choices)
    run = models.ForeignKey(
        "runs.Run",
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="rules",
    )
    agent_path = models.CharField(max_length=500)
    tool = models.CharField(max_length=200)
    schema_hash = models.CharField(max_length=64)
    verdict = models.CharField(max_length=20, choices=Verdict.choices)
    reason = models.TextField(blank=True)
    uses = models.PositiveIntegerField(default=0)
    use_cap = models.PositiveIntegerField(null=True, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    creator = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="rules"
    )
    made_with = models.ForeignKey(
        "Decision",
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="made_rules",
        help_text="The decision that said always; undone, it takes the Rule with it.",
    )
    created_at = models.DateTimeField()

    class Meta:
        ordering = ("-id",)

    def __str__(self) -> str:
        tool = inert.excerpt(self.tool, 80)
        return f"Always {self.verdict} {tool} in {self.get_scope_display()}"

    @property
    def owner_name(self) -> str:
        return f"{self.creator.get_username()}'s rule"

"""Standing Rules: what *always* means."""

from __future__ import annotations

from datetime import datetime

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.urls import reverse

from runs import inert
from runs.ids import new_id

from .verdicts import Verdict

ANY_ARGUMENTS = '{"match":"any","of":[]}'


class RuleState(models.TextChoices):
    """How a Rule stands now; computed, never stored."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    EXPIRED = "expired"
    EXHAUSTED = "exhausted", "used up"
    REVOKED = "revoked"


class Rule(models.Model):
    """A standing verdict: what *always* means, and how long."""

    class Scope(models.TextChoices):
        RUN = "run", "this run"
        CONVERSATION = "conversation", "this conversation"
        AGENT = "agent", "this agent and tool"
        EVERYWHERE = "everywhere"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    scope = models.CharField(max_length=20, choices=Scope.choices)
    run = models.ForeignKey(
        "runs.Run",
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="rules",
    )
    conversation = models.ForeignKey(
        "runs.Conversation",
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="rules",
    )
    agent_key = models.CharField(
        max_length=100, blank=True, help_text="Of the runs it was made for."
    )
    agent_path = models.CharField(max_length=500)
    tool = models.CharField(max_length=200)
    schema_hash = models.CharField(max_length=64)
    conditions = models.TextField(
        default=ANY_ARGUMENTS, help_text="What the arguments must be, JSON."
    )
    verdict = models.CharField(max_length=20, choices=Verdict.choices)
    reason = models.TextField(blank=True)
    uses = models.PositiveIntegerField(default=0)
    use_cap = models.PositiveIntegerField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    idle = models.DurationField(
        null=True, blank=True, help_text="It ends when it was not used for so long."
    )
    idle_at = models.DateTimeField(
        null=True, blank=True, help_text="When that is, unless it is used before."
    )
    suspended_at = models.DateTimeField(
        null=True, blank=True, help_text="When its tool was first seen changed."
    )
    revoked_at = models.DateTimeField(null=True, blank=True)
    revoked_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="revoked_rules",
        help_text="Empty: it ended with its run.",
    )
    revoke_reason = models.TextField(blank=True)
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
        permissions = (("add_global_rule", "Can make Rules for every agent"),)
        indexes = (
            models.Index(
                fields=("tool", "scope", "conversation"),
                name="rule_in_force",
                condition=Q(revoked_at=None),
            ),
            models.Index(
                fields=("tool", "run"),
                name="rule_in_force_in_run",
                condition=Q(revoked_at=None, scope="run"),
            ),
        )
        constraints = (
            models.CheckConstraint(
                condition=Q(scope__in=("run", "conversation", "agent", "everywhere")),
                name="rule_scope_is_known",
            ),
            models.CheckConstraint(
                condition=Q(verdict__in=("approve", "reject")),
                name="rule_approves_or_rejects",
            ),
            models.CheckConstraint(
                condition=Q(scope="run", run__isnull=False)
                | (~Q(scope="run") & Q(run=None)),
                name="rule_names_a_run_if_for_one",
            ),
            models.CheckConstraint(
                condition=Q(scope="conversation", conversation__isnull=False)
                | (~Q(scope="conversation") & Q(conversation=None)),
                name="rule_names_a_conversation_if_for_one",
            ),
            models.CheckConstraint(
                condition=~Q(scope="agent") | ~Q(agent_key=""),
                name="rule_of_an_agent_names_it",
            ),
            models.CheckConstraint(
                condition=Q(scope="run")
                | Q(expires_at__isnull=False)
                | Q(scope="conversation", idle__isnull=False),
                name="rule_that_outlives_its_run_ends",
            ),
            models.CheckConstraint(
                condition=~Q(scope="agent") | Q(use_cap__isnull=False),
                name="rule_of_an_agent_has_a_use_cap",
            ),
            models.CheckConstraint(
                condition=Q(idle=None, idle_at=None)
                | Q(idle__isnull=False, idle_at__isnull=False),
                name="rule_that_may_idle_says_until_when",
            ),
            models.CheckConstraint(
                condition=Q(use_cap=None) | Q(uses__lte=F("use_cap"), use_cap__gte=1),
                name="rule_is_not_used_beyond_its_cap",
            ),
            models.CheckConstraint(
                condition=Q(revoked_by=None) | Q(revoked_at__isnull=False),
                name="rule_revoked_by_someone_is_revoked",
            ),
        )

    def __str__(self) -> str:
        tool = inert.excerpt(self.tool, 80)
        return f"Always {self.verdict} {tool}, {self.get_scope_display()}"

    def get_absolute_url(self) -> str:
        return reverse("approvals:rule", args=[self.pk])

    @property
    def owner_name(self) -> str:
        return f"{self.creator.get_username()}'s rule"

    @property
    def ends_at(self) -> datetime | None:
        """When it ends if it is not used; None without such a time."""
        times = [at for at in (self.expires_at, self.idle_at) if at is not None]
        return min(times, default=None)

    @property
    def ended_with_its_run(self) -> bool:
        by_itself = self.revoked_at is not None and self.revoked_by_id is None
        return by_itself and self.scope == self.Scope.RUN

    def state(self, now: datetime) -> RuleState:
        if self.revoked_at is not None:
            over = self.ended_with_its_run
            return RuleState.EXPIRED if over else RuleState.REVOKED
        if self.ends_at is not None and self.ends_at <= now:
            return RuleState.EXPIRED
        if self.use_cap is not None and self.uses >= self.use_cap:
            return RuleState.EXHAUSTED
        return RuleState.SUSPENDED if self.suspended_at else RuleState.ACTIVE

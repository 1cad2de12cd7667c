"""What is asked of people, and what they say to it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import Case, Q, Value, When
from django.db.models.functions import Coalesce
from django.urls import reverse

from runs import codec
from runs.ids import new_id

from .rules import Rule
from .verdicts import Verdict


class RequestStatus(models.TextChoices):
    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"
    ANSWERED = "answered"
    SUPERSEDED = "superseded"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    UNDONE = "undone"


STATUS_AFTER = {
    Verdict.APPROVE: RequestStatus.APPROVED,
    Verdict.REJECT: RequestStatus.REJECTED,
    Verdict.ANSWER: RequestStatus.ANSWERED,
}
DECIDED_STATUSES = tuple(STATUS_AFTER.values())
"""What a verdict of a person or Rule has led to."""


NEVER = datetime(3000, 1, 1, tzinfo=UTC)
"""Where a request without a deadline stands among those that have one."""
RISK_RANKS = {"critical": 0, "high": 1, "medium": 2, "low": 3}
HIGH_RANK = 1
"""This rank and those before it are high risk."""
QUEUE_ORDER = ("due_at", "risk_rank", "id")
"""By deadline, then risk, then age. What counts the queue goes by it too: SQLite would
else take the whole of an index that happens to hold the status."""


class ApprovalRequest(models.Model):
    """One tool call put to people, exactly as it would run."""

    class Kind(models.TextChoices):
        APPROVAL = "approval", "may this call run?"
        RECONCILE = "reconcile", "did this call happen?"
        UPGRADE = "upgrade", "may the run go on under changed code?"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    run = models.ForeignKey(
        "runs.Run", on_delete=models.PROTECT, related_name="requests"
    )
    kind = models.CharField(max_length=20, choices=Kind.choices, default=Kind.APPROVAL)
    call_key = models.CharField(max_length=500)
    revision = models.PositiveIntegerField(default=1)
    tool = models.CharField(max_length=200)
    agent_path = models.CharField(max_length=500)
    path = models.TextField(
        default="[]", help_text="Agents and tools by turns, to the tool called, JSON."
    )
    call = models.TextField(help_text="The call exactly as it would run, JSON.")
    arguments = models.TextField(help_text="Its arguments, for search.")
    schema_hash = models.CharField(max_length=64)
    digest = models.CharField(max_length=64)
    parameters = models.TextField(
        blank=True,
        default="",
        help_text="JSON schema of its arguments; empty: nobody can change them.",
    )
    summary_form = models.TextField(
        blank=True, default="", help_text="What the tool makes its summary of."
    )
    edited_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="edited_requests",
        help_text="Who put other arguments in the place of the model's.",
    )
    edit_reason = models.TextField(blank=True, default="")
    written = models.TextField(
        blank=True,
        default="",
        help_text="Of an edited call: what the model wrote, and its digest, JSON.",
    )
    status = models.CharField(
        max_length=20, choices=RequestStatus.choices, default=RequestStatus.PENDING
    )
    risk = models.CharField(max_length=20, default="medium")
    summary = models.CharField(max_length=300)
    why = models.CharField(max_length=500, help_text="Why a person is asked.")
    reviewers = models.CharField(
        max_length=150, blank=True, help_text="The group that decides; empty: any."
    )
    votes_needed = models.PositiveIntegerField(default=1)
    votes = models.PositiveIntegerField(default=0)
    warnings = models.PositiveIntegerField(
        default=0, help_text="Display warnings about its text."
    )
    evidence = models.TextField(
        blank=True, help_text="What is known of a call in doubt, JSON."
    )
    expires_at = models.DateTimeField(null=True, blank=True)
    escalate_to = models.CharField(
        max_length=150, blank=True, help_text="The group that may decide it as well."
    )
    escalate_at = models.DateTimeField(
        null=True, blank=True, help_text="When it goes to that group; then empty."
    )
    escalated_at = models.DateTimeField(null=True, blank=True)
    tell_at = models.DateTimeField(
        null=True, blank=True, help_text="When people are next to be told of it."
    )
    hold = models.DurationField(
        default=timedelta(0), help_text="How long a verdict on it can be undone."
    )
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()
    decided_at = models.DateTimeField(null=True, blank=True)
    # Kept by the database, so that no write can leave a request out of its place.
    due_at = models.GeneratedField(
        expression=Coalesce("expires_at", Value(NEVER)),
        output_field=models.DateTimeField(),
        db_persist=True,
    )
    risk_rank = models.GeneratedField(
        expression=Case(
            *(When(risk=risk, then=Value(rank)) for risk, rank in RISK_RANKS.items()),
            default=Value(RISK_RANKS["medium"]),
        ),
        output_field=models.SmallIntegerField(),
        db_persist=True,
    )

    class Meta:
        ordering = ("-id",)
        permissions = (("decide_request", "Can decide approval requests"),)
        indexes = (
            models.Index(
                fields=("id",), name="request_pending", condition=Q(status="pending")
            ),
            models.Index(
                fields=QUEUE_ORDER,
                name="request_queue",
                condition=Q(status="pending"),
            ),
            models.Index(
                fields=QUEUE_ORDER,
                name="request_queue_high",
                condition=Q(status="pending", risk_rank__lte=HIGH_RANK),
            ),
            models.Index(
                fields=("kind", "risk", "created_at"),
                name="request_pending_kind",
                condition=Q(status="pending"),
            ),
            models.Index(
                fields=("reviewers", "created_at"),
                name="request_pending_group",
                condition=Q(status="pending"),
            ),
            models.Index(fields=("updated_at", "id"), name="request_changed"),
            models.Index(
                fields=("updated_at", "id"),
                name="request_decided",
                condition=~Q(status="pending"),
            ),
            models.Index(
                fields=("tool", "schema_hash", "kind", "id"),
                name="request_alike_pending",
                condition=Q(status="pending"),
            ),
            models.Index(
                fields=("tool", "schema_hash", "kind", "decided_at", "id"),
                name="request_alike_decided",
                condition=Q(status__in=DECIDED_STATUSES),
            ),
            models.Index(
                fields=("expires_at",),
                name="request_due",
                condition=Q(status="pending", expires_at__isnull=False),
            ),
            models.Index(
                fields=("escalate_at",),
                name="request_to_escalate",
                condition=Q(status="pending", escalate_at__isnull=False),
            ),
            models.Index(
                fields=("escalated_at",),
                name="request_escalated",
                condition=Q(status="pending", escalated_at__isnull=False),
            ),
            models.Index(
                fields=("tell_at",),
                name="request_to_tell",
                condition=Q(status="pending", tell_at__isnull=False),
            ),
        )
        constraints = (
            models.UniqueConstraint(
                fields=("run", "call_key"),
                condition=Q(status="pending"),
                name="one_open_request_per_call",
            ),
            models.UniqueConstraint(
                fields=("run", "call_key", "revision"),
                name="request_revision_is_unique",
            ),
            models.CheckConstraint(
                condition=Q(edited_by=None, written="")
                | Q(edited_by__isnull=False) & ~Q(written=""),
                name="edited_request_says_by_whom_and_of_what",
            ),
        )

    def __str__(self) -> str:
        return f"{self.summary} ({self.status})"

    def get_absolute_url(self) -> str:
        return reverse("approvals:request", args=[self.pk])

    @property
    def is_pending(self) -> bool:
        return self.status == RequestStatus.PENDING

    def is_held(self, now: datetime) -> bool:
        """Say whether its verdict may still be undone, and so does not count yet."""
        decided = self.status in DECIDED_STATUSES
        return decided and self.decision.release_at > now

    @property
    def groups(self) -> list[str]:
        """The groups whose members decide it by now; [] when any reviewer may."""
        if not self.reviewers:
            return []
        also = [self.escalate_to] if self.escalated_at else []
        return [self.reviewers, *also]

    @property
    def steps(self) -> list[str]:
        """Agents and tools by turns, from the run's own agent to the tool called."""
        steps: list[str] = codec.loads(self.path)
        return steps or [self.agent_path, self.tool]

    @property
    def acting_agent(self) -> str:
        """Name of the agent whose call it is."""
        return self.steps[-2]

    @property
    def asking_agent(self) -> str:
        """Name of the agent that uses the acting one as a tool; empty without one."""
        return self.steps[-4] if len(self.steps) > 3 else ""

    @property
    def call_data(self) -> dict[str, Any]:
        data: dict[str, Any] = codec.loads(self.call)
        return data

    @property
    def call_arguments(self) -> str:
        """The exact text of the arguments that would run."""
        return str(self.call_data.get("arguments", self.arguments))

    @property
    def is_edited(self) -> bool:
        return bool(self.written)

    @property
    def written_arguments(self) -> str:
        """The exact text of the arguments as the model wrote them."""
        text: str = codec.loads(self.written)["arguments"] if self.written else ""
        return text if self.written else self.call_arguments

    @property
    def call_digest(self) -> str:
        """The digest of the call as the model wrote it, whatever is to run."""
        digest: str = codec.loads(self.written)["digest"] if self.written else ""
        return digest or self.digest

    def keep_edit_of(self, other: ApprovalRequest) -> None:
        """Be about what `other`, a request about the same call, would have run."""
        if other.call_digest == self.digest and other.is_edited:
            self.call, self.digest, self.written = (
                other.call,
                other.digest,
                other.written,
            )
            self.edited_by_id, self.edit_reason = other.edited_by_id, other.edit_reason


class Vote(models.Model):
    """What one person said about one request."""

    request = models.ForeignKey(
        ApprovalRequest, on_delete=models.CASCADE, related_name="vote_set"
    )
    voter = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="votes"
    )
    verdict = models.CharField(max_length=20, choices=Verdict.choices)
    reason = models.TextField(blank=True)
    digest_seen = models.CharField(max_length=64)
    created_at = models.DateTimeField()

    class Meta:
        ordering = ("id",)
        constraints = (
            models.UniqueConstraint(
                fields=("request", "voter"), name="one_vote_per_person"
            ),
        )

    def __str__(self) -> str:
        return f"{self.voter}: {self.verdict}"


class Decision(models.Model):
    """How a request ended. The only truth about what may run."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    request = models.OneToOneField(
        ApprovalRequest, on_delete=models.CASCADE, related_name="decision"
    )
    verdict = models.CharField(max_length=20, choices=Verdict.choices)
    tool = models.CharField(
        max_length=200,
        default="",
        db_default="",
        editable=False,
        help_text="The request's, so that an index on it is in the order of time.",
    )
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="decisions",
    )
    rule = models.ForeignKey(
        Rule, on_delete=models.PROTECT, null=True, blank=True, related_name="decisions"
    )
    reason = models.TextField(blank=True)
    output = models.TextField(blank=True, help_text="A person's answer for the model.")
    stops_run = models.BooleanField(
        default=False, help_text="A rejection that ended the run with it."
    )
    digest = models.CharField(max_length=64)
    release_at = models.DateTimeField(help_text="The call may start from here on.")
    created_at = models.DateTimeField()

    class Meta:
        ordering = ("-id",)
        indexes = (
            models.Index(fields=("created_at", "id"), name="decision_when"),
            models.Index(
                fields=("verdict", "created_at", "id"), name="decision_verdict"
            ),
            models.Index(fields=("actor", "created_at", "id"), name="decision_actor"),
            models.Index(fields=("rule", "created_at", "id"), name="decision_rule"),
            models.Index(fields=("tool", "created_at", "id"), name="decision_tool"),
        )
        constraints = (
            models.CheckConstraint(
                condition=Q(verdict__in=[v.value for v in Verdict]),
                name="decision_verdict_is_known",
            ),
        )

    def __str__(self) -> str:
        return f"{self.get_verdict_display()} by {self.actor_name}"

    def save(self, *args: Any, **options: Any) -> None:
        self.tool = self.tool or self.request.tool
        super().save(*args, **options)

    @property
    def actor_name(self) -> str:
        """Who decided, as a person reads it."""
        if self.rule is not None:
            return self.rule.owner_name
        return self.actor.get_username() if self.actor else "Placet"

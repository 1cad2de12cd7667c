"""What is stored about conversations and runs.

The log (RunEvent) is append-only and holds each item once; a run's head is small and
holds the rest of its RunState. Writes go through `runs.services`.
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.urls import reverse

from . import codec, inert
from .ids import new_id

SHOWN = 80
"""Characters of a name from outside that the admin shows, made inert."""


class Conversation(models.Model):
    """Runs of one agent that follow each other; one of them at most is unfinished."""

    class Status(models.TextChoices):
        ACTIVE = "active"
        ARCHIVED = "archived"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    agent_key = models.CharField(max_length=100)
    title = models.CharField(max_length=200, blank=True)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="conversations",
        help_text="Who opened it; empty for a system.",
    )
    status = models.CharField(
        max_length=20, choices=Status.choices, default=Status.ACTIVE
    )
    metadata = models.TextField(default="{}", help_text="JSON of the opener's own.")
    current_run = models.ForeignKey(
        "Run", on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()

    class Meta:
        ordering = ("-updated_at", "-id")
        indexes = (
            models.Index(fields=("-updated_at", "-id"), name="conv_latest"),
            models.Index(
                fields=("metadata",), name="conv_metadata", condition=~Q(metadata="{}")
            ),
        )

    def __str__(self) -> str:
        return inert.excerpt(self.title, SHOWN) or f"Conversation {self.pk}"

    def get_absolute_url(self) -> str:
        return reverse("runs:conversation", args=[self.pk])


class RunStatus(models.TextChoices):
    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


OPEN_STATUSES = (RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.WAITING)
TERMINAL_STATUSES = (RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED)


class Run(models.Model):
    """One piece of work of an agent, from an input to an end."""

    class Trigger(models.TextChoices):
        PAGE = "page"
        COMMAND = "command"
        WEBHOOK = "webhook"
        MESSAGE = "message"
        FORK = "fork"
        SESSION = "session", "session (recorded, not run here)"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    conversation = models.ForeignKey(
        Conversation, on_delete=models.CASCADE, related_name="runs"
    )
    status = models.CharField(
        max_length=20, choices=RunStatus.choices, default=RunStatus.QUEUED
    )
    trigger = models.CharField(max_length=20, choices=Trigger.choices)
    requester = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="runs",
        help_text="Who asked for it; may not decide its requests. Empty for a system.",
    )
    speakers = models.ManyToManyField(
        settings.AUTH_USER_MODEL,
        related_name="+",
        blank=True,
        help_text="Who has said something in it: none of them decides its requests.",
    )
    agent_key = models.CharField(max_length=100)
    agent_digest = models.CharField(
        max_length=64, blank=True, help_text="Of the agent's definition at the start."
    )
    definition = models.TextField(
        default="",
        db_default="",
        help_text="Agents, tools and schemas it was last driven with, JSON.",
    )
    previous = models.ForeignKey(
        "self",
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="next_runs",
        help_text="The run whose items this one's view begins with.",
    )
    parent = models.ForeignKey(
        "self",
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="forks",
        help_text="The run this one was forked from.",
    )
    fork_seq = models.PositiveIntegerField(
        null=True,
        blank=True,
        help_text="The last row of its parent's log that a fork's history holds.",
    )

    head = models.TextField(default="", help_text="RunState without its items, JSON.")
    pending_input = models.TextField(
        default="[]", help_text="Messages the model has not read yet, JSON."
    )
    last_seq = models.PositiveIntegerField(default=0)
    turn = models.PositiveIntegerField(default=0)
    max_turns = models.PositiveIntegerField(default=10)
    usage = models.TextField(default="{}", help_text="Token sums, JSON.")

    lease_owner = models.CharField(max_length=100, blank=True)
    lease_epoch = models.PositiveIntegerField(default=0)
    lease_expires_at = models.DateTimeField(null=True, blank=True)
    wakes = models.PositiveIntegerField(default=0)
    wake_at = models.DateTimeField(
        null=True, blank=True, help_text="When a waiting run is to be looked at again."
    )
    stop_requested_at = models.DateTimeField(null=True, blank=True)

    error = models.TextField(blank=True)
    final_output = models.TextField(blank=True)
    state_inactive_at = models.DateTimeField(
        null=True, blank=True, help_text="When clean-up took its state out of use."
    )
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-id",)
        permissions = (
            ("start_run", "Can start, message, stop and resume runs"),
            ("follow_run", "Can see every conversation and run"),
        )
        indexes = (
            models.Index(
                fields=("status", "lease_expires_at"),
                name="run_open",
                condition=Q(status__in=[s.value for s in OPEN_STATUSES]),
            ),
            models.Index(
                fields=("updated_at",), name="run_queued", condition=Q(status="queued")
            ),
            models.Index(
                fields=("agent_key", "updated_at"),
                name="run_queued_of_agent",
                condition=Q(status="queued"),
            ),
            models.Index(
                fields=("agent_key",), name="run_working", condition=Q(status="running")
            ),
            models.Index(
                fields=("finished_at",), name="run_failed", condition=Q(status="failed")
            ),
            models.Index(
                fields=("wake_at",),
                name="run_due",
                condition=Q(status="waiting", wake_at__isnull=False),
            ),
        )
        constraints = (
            models.UniqueConstraint(
                fields=("conversation",),
                condition=Q(status__in=[s.value for s in OPEN_STATUSES]),
                name="one_open_run_per_conversation",
            ),
        )

    def __str__(self) -> str:
        return f"Run {self.pk} ({self.status})"

    def get_absolute_url(self) -> str:
        return reverse("runs:run", args=[self.pk])

    @property
    def is_open(self) -> bool:
        return self.status in OPEN_STATUSES

    @property
    def is_stopping(self) -> bool:
        return self.is_open and self.stop_requested_at is not None

    @property
    def pending_messages(self) -> list[str]:
        """Texts the model has not read yet, oldest first."""
        return [message["text"] for message in codec.loads(self.pending_input)]

    @property
    def usage_totals(self) -> dict[str, Any]:
        totals: dict[str, Any] = codec.loads(self.usage)
        return totals


class EventKind(models.TextChoices):
    ITEM = "item", "an item of the conversation"
    RESPONSE = "response", "a model's answer is complete"
    RETRY = "retry", "a model's answer was withdrawn and is asked for again"
    ORDER = "order", "outputs are read in the order of their calls"
    VIEW = "view", "the model reads something else from here on"
    GUARDRAIL = "guardrail", "a guardrail said something"
    SPAN = "span", "a stretch of work and how long it took"
    EXECUTION = "execution", "a tool call changed its state"
    REQUEST = "request", "an approval request changed"
    STATUS = "status", "the run changed its status"


class RunEvent(models.Model):
    """One row of a run's log; never changed, `seq` without gaps from 1."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="events")
    seq = models.PositiveIntegerField()
    kind = models.CharField(max_length=20, choices=EventKind.choices)
    frame = models.CharField(
        max_length=500, blank=True, help_text="Call key of the agent's frame."
    )
    call_key = models.CharField(
        max_length=500, blank=True, help_text="The tool call it is about, if any."
    )
    payload = models.TextField(help_text="JSON; its shape depends on `kind`.")
    search = models.TextField(
        default="", db_default="", help_text="The words of an item, for search."
    )
    created_at = models.DateTimeField()

    class Meta:
        ordering = ("run", "seq")
        constraints = (
            models.UniqueConstraint(fields=("run", "seq"), name="event_seq_is_unique"),
        )
        indexes = (
            models.Index(
                fields=("run", "call_key"),
                name="event_of_call",
                condition=~Q(call_key=""),
            ),
        )

    def __str__(self) -> str:
        return f"{self.kind} {self.seq} of {self.run_id}"

    @property
    def data(self) -> dict[str, Any]:
        data: dict[str, Any] = codec.loads(self.payload)
        return data


class ToolExecution(models.Model):
    """The one effect of one tool call: claimed before it starts, recorded after."""

    class Status(models.TextChoices):
        STARTED = "started"
        SUCCEEDED = "succeeded"
        FAILED = "failed"
        UNKNOWN = "unknown"

    FINISHED = (Status.SUCCEEDED, Status.FAILED)

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="executions")
    call_key = models.CharField(max_length=500)
    tool = models.CharField(max_length=200)
    digest = models.CharField(max_length=64)
    epoch = models.PositiveIntegerField()
    attempt = models.PositiveIntegerField(default=1)
    status = models.CharField(
        max_length=20, choices=Status.choices, default=Status.STARTED
    )
    permitted_by = models.UUIDField(
        null=True, blank=True, help_text="The Decision that let this attempt start."
    )
    outcome = models.TextField(blank=True, help_text="What the model is told, JSON.")
    evidence = models.TextField(
        blank=True, help_text="An outcome that came after the lease was lost, JSON."
    )
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-started_at",)
        indexes = (
            models.Index(
                fields=("status", "permitted_by"),
                name="execution_gone_wrong",
                condition=Q(status__in=["failed", "unknown"]),
            ),
        )
        constraints = (
            models.UniqueConstraint(
                fields=("run", "call_key"), name="one_execution_per_call"
            ),
        )

    def __str__(self) -> str:
        return f"{inert.excerpt(self.tool, SHOWN)} ({self.status})"


class SavedView(models.Model):
    """A search of the conversations that somebody has put by under a name."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="saved_views"
    )
    name = models.CharField(max_length=60)
    query = models.CharField(max_length=1000, help_text="What stands behind the ?.")
    created_at = models.DateTimeField()

    class Meta:
        ordering = ("name",)
        constraints = (
            models.UniqueConstraint(
                fields=("owner", "name"), name="saved_view_name_is_unique"
            ),
        )

    def __str__(self) -> str:
        return inert.excerpt(self.name, SHOWN)


class Worker(models.Model):
    """A process that drives runs, as it last told of itself."""

    name = models.CharField(
        primary_key=True, max_length=100, help_text="What its leases are held under."
    )
    host = models.CharField(max_length=200)
    pid = models.PositiveIntegerField()
    concurrency = models.PositiveIntegerField()
    started_at = models.DateTimeField()
    seen_at = models.DateTimeField()
    left_at = models.DateTimeField(
        null=True, blank=True, help_text="When it left in order; empty while it works."
    )

    class Meta:
        ordering = ("-started_at",)

    def __str__(self) -> str:
        return f"{self.host} {self.pid}"


class SavedState(models.Model):
    """A RunState that a program of its own has put by; one is active for each key."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    key = models.CharField(max_length=200, help_text="The id of the session.")
    agent = models.CharField(max_length=200, help_text="Name of the root agent.")
    state = models.TextField(help_text="JSON, or a text encrypted for this row.")
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()

    class Meta:
        ordering = ("-updated_at", "-id")
        indexes = (models.Index(fields=("updated_at",), name="saved_state_age"),)
        constraints = (
            models.UniqueConstraint(
                fields=("key",),
                condition=Q(is_active=True),
                name="one_active_state_per_key",
            ),
        )

    def __str__(self) -> str:
        return inert.excerpt(self.key, SHOWN)


class WebhookSource(models.Model):
    """A system that starts runs by signed webhooks."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    slug = models.SlugField(unique=True, help_text="In the address: /webhooks/<slug>/")
    name = models.CharField(max_length=100)
    agent_key = models.CharField("agent", max_length=100)
    template = models.TextField(
        default="{{ body }}",
        help_text=(
            "Makes the agent's input from the JSON body, as {{ body.order.id }} "
            "(Django template language)."
        ),
    )
    conversation_template = models.CharField(
        max_length=500,
        blank=True,
        help_text=(
            "Names the conversation deliveries go on in, as order-{{ body.order.id }}; "
            "empty opens a new one for each."
        ),
    )
    secret = models.CharField(max_length=200, editable=False)
    previous_secret = models.CharField(
        max_length=200,
        blank=True,
        editable=False,
        help_text="Still accepted after a rotation, until it is cleared.",
    )
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField()

    class Meta:
        ordering = ("slug",)

    def __str__(self) -> str:
        return self.name


class WebhookDelivery(models.Model):
    """A delivery that was accepted; the same `webhook_id` again is the same run."""

    source = models.ForeignKey(
        WebhookSource, on_delete=models.CASCADE, related_name="deliveries"
    )
    webhook_id = models.CharField(max_length=200)
    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="deliveries")
    received_at = models.DateTimeField()

    class Meta:
        ordering = ("-received_at",)
        verbose_name_plural = "webhook deliveries"
        indexes = (models.Index(fields=("received_at",), name="delivery_when"),)
        constraints = (
            models.UniqueConstraint(
                fields=("source", "webhook_id"), name="one_run_per_webhook_id"
            ),
        )

    def __str__(self) -> str:
        return inert.excerpt(self.webhook_id, SHOWN)

"""Fills the queue with very many requests, and signs a reviewer in.

The first run, whose requests have been waiting the longest, may be given a long log.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib.auth.models import Group, User
from django.core.management.base import BaseCommand, CommandParser
from django.db import connection, transaction
from django.test import Client
from django.utils import timezone

from approvals.models import ApprovalRequest, Decision, RequestStatus, Verdict
from bench_app.bulk import hurry, id_of, multiply, time_of
from runs import codec
from runs.models import Conversation, EventKind, Run, RunEvent, RunStatus

REQUESTS_OF_A_RUN = 10
NO_ID = UUID(int=0)


class Command(BaseCommand):
    help = "Fills the queue with requests, and prints a reviewer's session key."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("requests", type=int)
        parser.add_argument(
            "--pending", type=float, default=1, help="The share that waits: the newest."
        )

        parser.add_argument(
            "--events", type=int, default=0, help="The outputs of 1 kB in one run."
        )

    def handle(
        self, *, requests: int, pending: float, events: int, **options: Any
    ) -> None:
        reviewer = User.objects.create_user("ada")
        reviewer.groups.add(Group.objects.get(name="reviewers"))
        hurry()
        with transaction.atomic():
            _runs(requests // REQUESTS_OF_A_RUN, reviewer)
            _requests(requests, round(requests * (1 - pending)), reviewer)
            _events(events)
        if connection.vendor == "postgresql":  # as autovacuum does in time
            with connection.cursor() as cursor:
                cursor.execute("ANALYZE")
        client = Client()
        client.force_login(reviewer)
        self.stdout.write(client.cookies["sessionid"].value)


def _runs(count: int, requester: User) -> None:
    now = timezone.now()
    conversation = Conversation(
        agent_key="working", title="Settle a case", created_at=now, updated_at=now
    )
    multiply(conversation, count, id=id_of("i"))
    run = Run(
        status=RunStatus.WAITING,
        trigger=Run.Trigger.COMMAND,
        conversation_id=NO_ID,
        agent_key="working",
        head="{" + " " * 500 + "}",
        created_at=now,
        updated_at=now,
    )
    multiply(run, count, id=id_of("i"), conversation_id=id_of("i"))


def _requests(count: int, decided: int, reviewer: User) -> None:
    """The oldest `decided` are approved; ten wait for each run, far from each other."""
    now = timezone.now()
    request = ApprovalRequest(
        run_id=NO_ID,
        tool="refund",
        agent_path="Front desk/Support",
        call='{"name":"refund","arguments":"{\\"order_id\\":\\"1042\\"}"}',
        arguments='{"order_id":"1042","amount_eur":99.5}',
        schema_hash="0" * 64,
        digest="0" * 64,
        summary="Refund 99.5 EUR for order 1042",
        why="The tool asks for approval.",
        created_at=now,
        updated_at=now,
    )
    approved, pending = RequestStatus.APPROVED.value, RequestStatus.PENDING.value
    multiply(
        request,
        count,
        id=id_of("i"),
        run_id=id_of(f"1 + i %% {count // REQUESTS_OF_A_RUN}"),
        call_key="'call_' || i",
        status=f"CASE WHEN i <= {decided} THEN '{approved}' ELSE '{pending}' END",
        created_at=time_of(count),
        updated_at=time_of(count),
        decided_at=f"CASE WHEN i <= {decided} THEN {time_of(count)} END",
    )
    decision = Decision(
        request_id=NO_ID,
        verdict=Verdict.APPROVE,
        actor=reviewer,
        digest="0" * 64,
        release_at=now,
        created_at=now,
    )
    if decided:
        multiply(decision, decided, id=id_of("i"), request_id=id_of("i"))


def _events(count: int) -> None:
    """Give the first run a log of tool outputs, each of 1 kB."""
    if not count:
        return
    run = Run.objects.earliest("pk")
    raw = {"type": "function_call_output", "call_id": "c", "output": "A line. " * 125}
    output = RunEvent(
        run=run,
        seq=0,
        kind=EventKind.ITEM,
        payload=codec.dumps({"type": "tool_output", "raw": raw}),
        created_at=timezone.now(),
    )
    multiply(output, count, seq="i")

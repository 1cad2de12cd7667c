from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from django.utils import timezone

from approvals.gate import DatabaseGate
from approvals.models import ApprovalRequest
from runs.engine import Call, Review, call_digest
from runs.models import Conversation, Run, RunStatus
from tests.factories import start


def make_request(
    run: Run, *, key: str = "call_1", tool: str = "refund", **arguments: Any
) -> ApprovalRequest:
    """Return an open request for a call in `run`, as the gate opens it."""
    text = json.dumps(arguments or {"order_id": "1042", "amount_eur": 480})
    digest = call_digest(tool=tool, schema_hash="s", agent_path="Shop", arguments=text)
    call = Call(
        key=key,
        call_id=key,
        tool=tool,
        schema_hash="s",
        agent_path="Shop",
        arguments=text,
        digest=digest,
        gated=True,
        why="It moves money.",
        review=Review(risk="high"),
    )
    DatabaseGate().propose(run, [call])
    return ApprovalRequest.objects.get(run=run, call_key=key)


def make_ended_run(
    *, age: timedelta, text: str = "Hello", requester: User | None = None
) -> Run:
    """Return a completed run that nothing has touched for `age`."""
    run = start(text, requester=requester)
    return end(run, age=age)


def end(run: Run, *, age: timedelta, status: RunStatus = RunStatus.COMPLETED) -> Run:
    then = timezone.now() - age
    Run.objects.filter(pk=run.pk).update(
        status=status, created_at=then, updated_at=then, finished_at=then
    )
    Conversation.objects.filter(pk=run.conversation_id).update(updated_at=then)
    run.refresh_from_db()
    return run

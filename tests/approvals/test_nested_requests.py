"""Requests of calls that an agent used as a tool makes: what a reviewer is shown."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from approvals import queries
from approvals.models import ApprovalRequest
from runs.engine import LogEntry
from runs.models import Run
from runs.services import steps
from tests.factories import ada, bob, pending, start
from tests.runs.test_steps import head_of, make_call, take

pytestmark = pytest.mark.django_db

TASK = "Refund order 1, the customer is <b>angry</b>."


def item(kind: str, agent: str, raw: Any, key: str = "", frame: str = "") -> LogEntry:
    payload = {"type": kind, "agent": agent, "raw": raw}
    return LogEntry(kind="item", payload=payload, call_key=key, frame=frame)


def called(agent: str, tool: str, key: str) -> LogEntry:
    frame, _, call_id = key.rpartition("/")
    raw = {"type": "function_call", "name": tool, "call_id": call_id, "arguments": "{}"}
    return item("tool_call", agent, raw, key, frame)


def nested(run: Run) -> list[ApprovalRequest]:
    """Put a call of a clerk's, whom a manager uses as a tool, to people."""
    entries = [
        called("Manager", "delegate", "d1"),
        item("input", "Clerk", {"role": "user", "content": TASK}, frame="d1"),
        called("Clerk", "refund", "d1/r1"),
    ]
    call = make_call(key="d1/r1", call_id="r1", agent_path="Manager / Clerk")
    steps.append_step(take(run), entries, head_of(run), gated=[call])
    return pending(run)


def page(path: str, user: User) -> str:
    client = Client()
    client.force_login(user)
    return client.get(path).content.decode()


def trail(html: str) -> str:
    start_at = html.index('<ol class="trail"')
    return html[start_at : html.index("</ol>", start_at)]


def test_the_page_names_every_agent_and_tool_on_the_way() -> None:
    [request] = nested(start(requester=bob()))

    html = page(f"/requests/{request.pk}/", ada())

    assert request.steps == ["Manager", "delegate", "Clerk", "refund"]
    steps_shown = "<li>Manager</li><li><code>delegate</code></li><li>Clerk</li>"
    assert f"{steps_shown}<li><code>refund</code></li>" in trail(html)
    assert request.acting_agent == "Clerk"


def test_the_card_inside_a_run_names_them_too() -> None:
    run = start(requester=bob())
    nested(run)

    html = page(f"/runs/{run.pk}/", ada())

    assert "<li>Clerk</li>" in trail(html)


def test_a_call_of_the_runs_own_agent_has_no_way_to_show() -> None:
    run = start(requester=bob())
    steps.append_step(
        take(run), [called("Shop", "refund", "c1")], head_of(run), gated=[make_call()]
    )
    [request] = pending(run)

    assert request.steps == ["Shop", "refund"]
    assert "trail" not in page(f"/requests/{request.pk}/", ada())


def test_a_request_from_before_paths_were_kept_is_still_shown() -> None:
    [request] = nested(start(requester=bob()))
    ApprovalRequest.objects.update(path="[]")

    html = page(f"/requests/{request.pk}/", ada())

    assert "Manager / Clerk" in html


def test_the_page_shows_what_the_agent_was_given_to_do() -> None:
    run = start("Help the customer.", requester=bob())
    [request] = nested(run)

    html = page(f"/requests/{request.pk}/", ada())

    assert queries.task_of(request) == TASK
    assert "What Manager gave Clerk to do" in html
    assert "&lt;b&gt;angry" in html
    assert "<b>angry" not in html


def test_what_an_agent_wrote_is_not_shown_as_a_persons_words() -> None:
    run = start("Help the customer.", requester=bob())
    nested(run)

    assert queries.last_user_message(run) == "Help the customer."
    assert "Task for Clerk" in page(f"/runs/{run.pk}/", ada())


def test_the_way_to_a_nested_call_costs_a_page_no_query(
    django_assert_num_queries: Any,
) -> None:
    asker, reviewer = bob(), ada()
    plain, inside = start(requester=asker), start(requester=asker)
    called_here = called("Shop", "refund", "c1")
    steps.append_step(take(plain), [called_here], head_of(plain), gated=[make_call()])
    nested(inside)
    with CaptureQueriesContext(connection) as few:
        page(f"/runs/{plain.pk}/", reviewer)

    with django_assert_num_queries(len(few)):
        html = page(f"/runs/{inside.pk}/", reviewer)

    assert "trail" in html

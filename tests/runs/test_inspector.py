"""The state inspector: what a run is made of, bounded and inert."""

from __future__ import annotations

import json
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from runs import inspector
from runs.engine import LogEntry
from runs.executor import Executor
from runs.inspector import inspect
from runs.models import EventKind, Run
from runs.services import log
from tests.factories import bob, eve, make_user, start
from tests.shop import agents as shop

from .test_executor import END, refund, ship
from .test_nested import begin as begin_nested
from .test_nested import cast, delegate, until_waiting

pytestmark = pytest.mark.django_db
HOSTILE = "<script>alert(1)</script>\u202ereversed"


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def put(run: Run, kind: EventKind, payload: dict[str, Any], **more: str) -> None:
    log.append(run.pk, [LogEntry(kind=kind, payload=payload, **more)], run.created_at)


def item(run: Run, text: str, **more: str) -> None:
    raw = {"role": "assistant", "content": text}
    put(run, EventKind.ITEM, {"type": "message", "agent": "Shop", "raw": raw}, **more)


@pytest.mark.django_db(transaction=True)
async def test_a_waiting_run_is_shown_frame_by_frame(
    executor: Executor, effects: shop.Effects
) -> None:
    cast(manager=[[delegate("refund order 1")], END], clerk=[[ship(), refund()]])
    run = await until_waiting(await begin_nested())

    seen = await sync_to_async(inspect)(run)
    inside = await sync_to_async(inspect)(run, frame="d1")

    assert [(frame.key, frame.items > 0) for frame in seen.frames] == [
        ("", True),
        ("d1", True),
    ]
    assert [(call.key, call.is_frame) for call in seen.open] == [
        ("d1", True),
        ("d1/r1", False),
    ]
    assert seen.open[1].gated
    assert {row.frame for row in inside.items} == {"d1"}
    assert ("Clerk", "ship", 1) in seen.tools
    assert seen.counts["response"] == len(seen.responses) == 2
    assert seen.head["current_agent"] == "Manager"


def test_it_is_for_those_who_may_follow_every_run() -> None:
    owner = eve()
    run = start(requester=owner)
    paths = (f"/runs/{run.pk}/state/", f"/runs/{run.pk}/state.json")

    for path in paths:
        assert signed_in(owner).get(path).status_code == 404
        assert Client().get(path).status_code == 302
    follower = signed_in(bob())
    for path in paths:
        assert follower.get(path).status_code == 200


def test_text_that_would_act_is_inert_and_the_file_is_whole() -> None:
    run = start(HOSTILE)
    item(run, HOSTILE * 200)
    put(run, EventKind.GUARDRAIL, {"kind": "input", "name": HOSTILE, "info": HOSTILE})
    put(run, EventKind.RESPONSE, {"turn": HOSTILE, "response_id": HOSTILE, "usage": 1})
    Run.objects.filter(pk=run.pk).update(
        head=json.dumps({"open": [{"tool": HOSTILE, "gated": True, "why": HOSTILE}]})
    )
    client = signed_in(bob())

    page = client.get(f"/runs/{run.pk}/state/").content.decode()
    assert "<script>alert" not in page
    assert "\u202e" not in page
    assert "Cut here" in page
    answer: Any = client.get(f"/runs/{run.pk}/state.json")
    whole = json.loads(b"".join(answer.streaming_content))
    texts = [row["payload"].get("raw", {}).get("content") for row in whole["log"]]
    assert HOSTILE * 200 in texts
    assert [row["seq"] for row in whole["log"]] == list(range(1, len(texts) + 1))


@pytest.mark.parametrize("head", ["", "{", "[1]", "null", '{"open": {"a": 1}}', "NaN"])
def test_a_head_that_cannot_be_read_is_shown_all_the_same(head: str) -> None:
    run = start()
    Run.objects.filter(pk=run.pk).update(head=head)

    answer = signed_in(bob()).get(f"/runs/{run.pk}/state/")

    assert answer.status_code == 200
    assert answer.context["state"].open == []


@pytest.mark.parametrize("frame", ["nowhere", "%00", "x" * 5000, "' OR 1=1"])
def test_a_frame_that_is_none_shows_nothing_or_is_not_found(frame: str) -> None:
    run = start()

    answer = signed_in(bob()).get(f"/runs/{run.pk}/state/?frame={frame}")

    assert answer.status_code in (200, 404)
    if answer.status_code == 200:
        assert answer.context["state"].items == []


def test_its_size_and_its_queries_do_not_grow_with_the_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(inspector, "ITEMS_SHOWN", 10)
    run, client = start(), signed_in(make_user("olga", "operators"))
    client.get(f"/runs/{run.pk}/state/")
    counts, shown = [], []
    for more in (1, 30, 60):
        for number in range(more):
            item(run, f"{number}", frame=f"f{number}")
        run.refresh_from_db()
        with CaptureQueriesContext(connection) as asked:
            answer = client.get(f"/runs/{run.pk}/state/")
        counts.append(len(asked))
        shown.append(len(answer.context["state"].items))

    assert counts[0] == counts[1] == counts[2]
    assert shown == [2, 10, 10]
    assert len(answer.context["state"].frames) <= inspector.FRAMES_SHOWN

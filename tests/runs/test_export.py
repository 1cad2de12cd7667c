"""Exports: a conversation or run as one file that holds all there is."""

from __future__ import annotations

import json
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.test import AsyncClient, Client

from approvals import audit, export
from approvals.models import AuditEntry
from runs import inspector
from runs.executor import Executor
from runs.models import Run
from tests.factories import bob, eve, make_user, start
from tests.shop import agents as shop

from .test_executor import END, begin, decide_all, refund, script, ship
from .test_nested import until_completed, until_waiting

pytestmark = pytest.mark.django_db


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def file_of(client: Client, path: str) -> Any:
    answer: Any = client.get(path)
    assert answer.status_code == 200
    assert answer.headers["Content-Disposition"].startswith("attachment")
    return json.loads(b"".join(answer.streaming_content))


@pytest.mark.django_db(transaction=True)
async def test_a_run_s_file_holds_all_that_was_said_asked_decided_and_done(
    executor: Executor, effects: shop.Effects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "BATCH", 2)
    monkeypatch.setattr(inspector, "BATCH", 2)
    script([ship(), refund()], END)
    run = await until_waiting(await begin())
    await decide_all(run, reason="fine")
    run = await until_completed(run)
    client = await sync_to_async(signed_in)(await sync_to_async(bob)())

    whole = await sync_to_async(file_of)(client, f"/runs/{run.pk}/export.json")

    assert whole["format"] == "placet-export/1"
    [part] = whole["runs"]
    assert part["run"]["id"] == str(run.pk)
    assert [row["seq"] for row in part["log"]] == list(range(1, run.last_seq + 1))
    [request] = part["requests"]
    assert request["decision"]["verdict"] == "approve"
    assert [vote["reason"] for vote in request["votes_cast"]] == ["fine"]
    assert request["digest"] == request["decision"]["digest"]
    assert {row["call_key"] for row in part["executions"]} == {"s1", "r1"}
    assert part["audit"]["holds"] is True
    actions = [entry["action"] for entry in part["audit"]["entries"]]
    assert actions == ["request", "vote", "decide"]


@pytest.mark.django_db(transaction=True)
async def test_it_is_served_under_asgi_piece_by_piece() -> None:
    run = await sync_to_async(start)()
    client = AsyncClient()
    await sync_to_async(client.force_login)(await sync_to_async(bob)())

    answer: Any = await client.get(f"/conversations/{run.conversation_id}/export.json")
    whole = json.loads(b"".join([piece async for piece in answer.streaming_content]))

    assert whole["conversation"]["id"] == str(run.conversation_id)
    assert [part["run"]["id"] for part in whole["runs"]] == [str(run.pk)]


def test_a_trail_that_was_tampered_with_is_said_to_be_broken() -> None:
    run = start()
    for number in range(3):
        audit.append(
            run.pk, actor="ada", action="x", about=run.pk, payload={"n": number}
        )
    AuditEntry.objects.filter(chain=f"run:{run.pk}", seq=2).update(actor="eve")

    [part] = file_of(signed_in(bob()), f"/runs/{run.pk}/export.json")["runs"]

    assert part["audit"]["holds"] is False
    assert part["audit"]["first_broken"] == 2


def test_who_may_see_a_run_may_take_it_along_and_nobody_else() -> None:
    owner = eve()
    run = start(requester=owner)
    paths = [
        f"/runs/{run.pk}/export.json",
        f"/conversations/{run.conversation_id}/export.json",
    ]

    for path in paths:
        assert file_of(signed_in(owner), path)["runs"]
        assert file_of(signed_in(User.objects.get(username="eve")), path)
        stranger = User.objects.filter(username="mallory").first()
        stranger = stranger or make_user("mallory")
        assert signed_in(stranger).get(path).status_code == 404
        assert Client().get(path).status_code == 302


def test_text_that_no_encoding_has_is_in_the_file_as_an_escape() -> None:
    run = start("a\x00b")
    Run.objects.filter(pk=run.pk).update(final_output="é\u2028")

    client = signed_in(make_user("olga", "operators"))
    [part] = file_of(client, f"/runs/{run.pk}/export.json")["runs"]

    assert part["run"]["final_output"] == "é\u2028"
    assert part["log"][0]["payload"]["raw"]["content"] == "a\x00b"

"""The history: every decision, found again, page by page and as a file."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.db import connection
from django.test import AsyncClient, Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from approvals import history
from approvals.history import Outcome
from approvals.models import ApprovalRequest, Decision, Rule
from runs.ids import new_id
from runs.models import Run, ToolExecution
from tests.factories import ada, bob, eve, make_user, start

pytestmark = pytest.mark.django_db

PAGE = "/history/"
FILE = "/history/decisions.csv"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def decided(
    run: Run,
    *,
    verdict: str = "approve",
    by: User | None = None,
    rule: Rule | None = None,
    tool: str = "refund",
    at: datetime | None = None,
    status: str = "",
    **fields: Any,
) -> Decision:
    at = at or timezone.now()
    key = new_id().hex
    after = {"approve": "approved", "reject": "rejected", "answer": "answered"}
    request = ApprovalRequest.objects.create(
        run=run,
        call_key=key,
        tool=tool,
        agent_path="Shop",
        call="{}",
        arguments=fields.pop("arguments", '{"order_id": "1"}'),
        schema_hash="",
        digest="d" * 64,
        status=status or after[verdict],
        summary=fields.pop("summary", f"{tool} {key[-4:]}"),
        why="",
        created_at=at - timedelta(seconds=90),
        updated_at=at,
        decided_at=at,
    )
    return Decision.objects.create(
        request=request,
        verdict=verdict,
        actor=by,
        rule=rule,
        digest=request.digest,
        release_at=fields.pop("release_at", at),
        created_at=at,
        **fields,
    )


def executed(decision: Decision, status: str) -> None:
    ToolExecution.objects.create(
        run=decision.request.run,
        call_key=decision.request.call_key,
        tool=decision.tool,
        digest=decision.digest,
        epoch=1,
        status=status,
        permitted_by=decision.pk,
        started_at=timezone.now(),
    )


def rule_of(user: User, run: Run) -> Rule:
    return Rule.objects.create(
        scope=Rule.Scope.RUN,
        run=run,
        agent_path="Shop",
        tool="refund",
        schema_hash="",
        verdict="approve",
        creator=user,
        created_at=timezone.now(),
    )


def shown(client: Client, **asked: Any) -> list[str]:
    """Return the summaries on the page, in their order."""
    answer = client.get(PAGE, asked)
    assert answer.status_code == 200, answer.status_code
    return [line.request.summary for line in answer.context["page"].rows]


def lines_of(client: Client, **asked: Any) -> list[dict[str, str]]:
    answer = client.get(FILE, asked)
    pieces: Any = answer.streaming_content  # type: ignore[attr-defined]
    text = b"".join(pieces).decode()
    assert text.startswith("\ufeff")
    return list(csv.DictReader(StringIO(text.removeprefix("\ufeff"))))


# Who sees what


def test_others_see_the_decisions_of_their_own_runs_alone() -> None:
    owner, stranger = eve(), make_user("mallory")
    mine, others = start(requester=owner), start(requester=bob())
    decided(mine, summary="of eve")
    decided(others, summary="of bob")

    assert shown(signed_in(ada())) == ["of bob", "of eve"]
    assert shown(signed_in(make_user("olga", "operators"))) == ["of bob", "of eve"]
    assert shown(signed_in(owner)) == ["of eve"]
    assert shown(signed_in(stranger)) == []
    assert [line["tool"] for line in lines_of(signed_in(owner))] == ["refund"]
    assert lines_of(signed_in(stranger)) == []


def test_nobody_sees_it_without_signing_in() -> None:
    for path in (PAGE, FILE):
        assert Client().get(path).status_code == 302


# What is asked for


@pytest.fixture
def cast() -> dict[str, Any]:
    """One decision of each sort, each a day after the other."""
    run, reviewer, other = start(), ada(), make_user("rosa", "reviewers")
    rule = rule_of(reviewer, run)
    days: Iterator[datetime] = (NOON + timedelta(days=day) for day in range(20))
    rows = {
        "ran": decided(run, by=reviewer, summary="ran", at=next(days)),
        "failed": decided(run, by=other, summary="failed", at=next(days)),
        "unknown": decided(run, rule=rule, summary="unknown", at=next(days)),
        "rejected": decided(
            run,
            verdict="reject",
            by=other,
            tool="ship",
            summary="rejected",
            at=next(days),
        ),
        "undone": decided(
            run, by=reviewer, status="undone", summary="undone", at=next(days)
        ),
        "answered": decided(
            run, verdict="answer", by=reviewer, summary="answered", at=next(days)
        ),
    }
    executed(rows["ran"], "succeeded")
    executed(rows["failed"], "failed")
    executed(rows["unknown"], "unknown")
    return {"rule": rule, **rows}


def test_each_filter_shows_what_fits_and_nothing_else(cast: dict[str, Any]) -> None:
    client = signed_in(User.objects.get(username="ada"))

    assert shown(client) == [
        "answered", "undone", "rejected", "unknown", "failed", "ran",
    ]  # fmt: skip
    assert shown(client, verb="reject") == ["rejected"]
    assert shown(client, verb="answer") == ["answered"]
    assert shown(client, person="rosa") == ["rejected", "failed"]
    assert shown(client, tool="ship") == ["rejected"]
    assert shown(client, rule=str(cast["rule"].pk)) == ["unknown"]
    assert shown(client, rule=str(new_id())) == []
    assert shown(client, outcome="succeeded") == ["ran"]
    assert shown(client, outcome="failed") == ["failed"]
    assert shown(client, outcome="unknown") == ["unknown"]
    assert shown(client, outcome="undone") == ["undone"]
    assert shown(client, outcome="not_run") == ["rejected"]
    assert shown(client, since="2026-03-05") == ["answered", "undone"]
    assert shown(client, until="2026-03-02") == ["failed", "ran"]
    assert shown(client, since="2026-03-02", until="2026-03-02") == ["failed"]
    assert shown(client, verb="approve", person="rosa", outcome="failed") == ["failed"]
    assert [line["outcome"] for line in lines_of(client, person="rosa")] == [
        "not_run",
        "failed",
    ]


def test_each_line_says_what_became_of_the_call(cast: dict[str, Any]) -> None:
    run = start()
    later = timezone.now() + timedelta(hours=1)
    decided(run, summary="held", release_at=later)
    decided(run, summary="waits")

    page = history.page(history.visible_decisions(ada_again()), after=None)
    outcomes = {line.request.summary: line.outcome for line in page.rows}

    assert outcomes == {
        "waits": Outcome.WAITS,
        "held": Outcome.HELD,
        "answered": Outcome.ANSWERED,
        "undone": Outcome.UNDONE,
        "rejected": Outcome.NOT_RUN,
        "unknown": Outcome.UNKNOWN,
        "failed": Outcome.FAILED,
        "ran": Outcome.SUCCEEDED,
    }
    assert {line.took_s for line in page.rows} == {90.0}


def ada_again() -> User:
    return User.objects.get(username="ada")


@pytest.mark.parametrize(
    "asked",
    [
        {"since": "yesterday"},
        {"since": "0001-01-01"},
        {"until": "9999-12-31"},
        {"verb": "maybe"},
        {"outcome": "held"},
        {"rule": "1 OR 1=1"},
        {"person": "a\x00b"},
        {"tool": "x" * 500},
    ],
)
def test_what_nobody_can_ask_is_a_422_that_keeps_what_was_typed(
    asked: dict[str, str],
) -> None:
    client = signed_in(ada())
    decided(start(), summary="not to be seen")

    answer = client.get(PAGE, asked)

    assert answer.status_code == client.get(FILE, asked).status_code == 422
    [[name, value]] = asked.items()
    assert answer.context["form"][name].value() == value
    assert "not to be seen" not in answer.content.decode()


@pytest.mark.parametrize(
    "place",
    ["x", "1", "-1-" + "0" * 32, "9" * 40 + "-" + "0" * 32, "²-" + "0" * 32, "\x00"],
)
def test_a_place_that_is_none_is_not_found(place: str) -> None:
    assert signed_in(ada()).get(PAGE, {"after": place}).status_code == 404


def test_text_that_would_act_is_inert() -> None:
    run = start()
    decided(run, summary="<script>alert(1)</script>\u202e", tool="<b>x</b>")

    page = signed_in(ada()).get(PAGE, {"person": '"><script>'}).content.decode()
    assert "<script>alert" not in page
    page = signed_in(ada_again()).get(PAGE).content.decode()
    assert "<script>alert" not in page
    assert "<b>x" not in page
    assert "\u202e" not in page


# Pages


def test_pages_have_no_gap_and_no_double_when_rows_come_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(history, "PAGE_SIZE", 3)
    run, client = start(), signed_in(ada())
    # Several at the same moment: the key tells them apart.
    for number in range(8):
        at = NOON + timedelta(minutes=number // 3)
        decided(run, summary=f"{number}", at=at)
    seen, address = [], PAGE
    while address:
        page = client.get(address).context["page"]
        seen += [line.request.summary for line in page.rows]
        decided(run, summary="new", at=NOON + timedelta(days=1))
        address = f"{PAGE}?after={page.older}" if page.older else ""

    assert seen == ["7", "6", "5", "4", "3", "2", "1", "0"]


def test_the_page_asks_as_much_for_one_row_as_for_many() -> None:
    run, client = start(), signed_in(ada())
    executed(decided(run, by=ada_again()), "succeeded")
    client.get(PAGE)
    counts = []
    for more in (0, 2, 5):
        for _ in range(more):
            decision = decided(start(), by=ada_again(), rule=rule_of(ada_again(), run))
            executed(decision, "succeeded")
        with CaptureQueriesContext(connection) as seen:
            client.get(PAGE)
        counts.append(len(seen))

    assert counts[0] == counts[1] == counts[2]


# The file


def test_the_file_never_begins_a_formula_and_keeps_every_row(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(history, "BATCH", 2)
    run = start()
    hostile = ["=1+1", "+1", "-1", "@SUM(A1)", " =1", "\t=1", "\r=1", "＝1"]  # noqa: RUF001
    for text in hostile:
        decided(run, reason=text, arguments=text, by=None, at=NOON)
    decided(run, reason='plain, "quoted"\nand on two lines', at=NOON)

    lines = lines_of(signed_in(ada()))

    assert len(lines) == len(hostile) + 1
    for line in lines:
        for value in line.values():
            assert not value.lstrip(" ").startswith(
                ("=", "+", "-", "@", "\t", "\r", "＝")  # noqa: RUF001
            )
    assert {'plain, "quoted"\nand on two lines'} < {line["reason"] for line in lines}
    assert {line["seconds_to_decision"] for line in lines} == {"90.000"}


def test_the_file_is_written_while_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "BATCH", 2)
    run = start()
    for _ in range(5):
        decided(run)
    user = ada()

    lines = history.all_lines(history.visible_decisions(user))
    with CaptureQueriesContext(connection) as first:
        next(lines)
    with CaptureQueriesContext(connection) as others:
        list(lines)

    assert (len(first), len(others)) == (2, 4)  # one batch, then two more


@pytest.mark.django_db(transaction=True)
async def test_the_file_is_served_under_asgi() -> None:
    client = AsyncClient()
    await sync_to_async(client.force_login)(await sync_to_async(ada)())
    await sync_to_async(lambda: decided(start()))()

    answer: Any = await client.get(reverse("approvals:history_csv"))
    text = b"".join([piece async for piece in answer.streaming_content]).decode()

    assert text.count("\r\n") == 2
    assert answer.headers["Content-Disposition"].startswith("attachment")

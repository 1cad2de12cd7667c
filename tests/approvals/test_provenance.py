"""Where the values of a call came from."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext

from approvals import numbers, provenance
from approvals.models import ApprovalRequest
from approvals.provenance import Source
from runs import codec, services
from runs.models import EventKind, Run, RunEvent
from runs.services import record_event
from tests.factories import ada, bob, start
from tests.test_pages import make_request, signed_in


def told(run: Run, kind: str, raw: dict[str, Any], key: str = "") -> int:
    item = {"type": kind, "agent": "Shop", "raw": raw}
    return record_event(run.pk, EventKind.ITEM, item, call_key=key)


def looked_up(run: Run, output: str, key: str = "look") -> int:
    raw = {"type": "function_call", "name": "look_up", "arguments": "{}"}
    seq = told(run, "tool_call", raw, key)
    told(run, "tool_output", {"output": output}, key)
    return seq


def said_by_model(run: Run, text: str) -> None:
    told(run, "message", {"content": [{"type": "output_text", "text": text}]})


def origin_of(run: Run, **arguments: Any) -> provenance.Origin:
    text = json.dumps(arguments)
    [found] = provenance.origins(make_request(run, arguments=text), text)
    assert found is not None
    return found


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ("Refund €480 please", 480),
        ("Refund 480.00 please", 480),
        ("Refund 480 please", 480.00),
        ("Refund 1,200.50 EUR", 1200.5),
        ("Refund 1.200,50 EUR", 1200.5),
        ("Refund 1 200 EUR.", 1200),
        ("Refund 1\u202f200,00 EUR", "€1,200"),
        ("Order 1042, now.", "1042"),
        ("Write to Jane@Example.com.", "jane@example.com"),
        ("Delete /srv/data/old!", "/srv/data/old"),
        ("See https://example.com/x now", "https://example.com/x"),
        ("The ship leaves.", "ship"),
        (
            "He said:\nplease call me back tomorrow at noon",
            "call me back tomorrow at noon",
        ),
    ],
)
def test_what_a_person_typed_is_theirs_however_it_is_spelled(
    typed: str, value: object
) -> None:
    run = start(typed, requester=bob())

    found = origin_of(run, amount=value)

    assert (found.source, found.words) == (Source.PERSON, "typed by bob")
    assert not found.is_flagged
    assert found.url == f"/runs/{run.pk}/#block-{run.pk}-1"


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ("Refund 4800", 480),
        ("Refund 1480", 480),
        ("Refund 480.5", 480),
        ("Order A480", 480),
        ("Write to xjane@example.com", "jane@example.com"),
        ("Write to jane@example.com.evil.example", "jane@example.com"),
        ("See example.company", "example.com"),
        ("See not-example.com", "example.com"),
        ("Delete /srv/data/old", "/srv/data"),
        ("Delete /mnt/srv/data", "/srv/data"),
        ("The shipping", "ship"),
        ("", "x@example.com"),
    ],
)
def test_what_only_looks_like_it_was_not_typed(typed: str, value: object) -> None:
    found = origin_of(start(f"Hello. {typed}", requester=bob()), amount=value)

    assert (found.source, found.words) == (Source.NOWHERE, "made up by the model")
    assert found.is_flagged


@pytest.mark.django_db
def test_what_a_tool_told_names_the_tool_and_leads_to_its_call() -> None:
    run = start("Refund it", requester=bob())
    seq = looked_up(run, '{"total": 480.00, "note": "ok"}')

    found = origin_of(run, amount_eur=480)

    assert (found.source, found.words) == (Source.TOOL, "from look_up")
    assert found.url == f"/runs/{run.pk}/#block-{run.pk}-{seq}"
    assert found.is_flagged


@pytest.mark.django_db
def test_the_first_place_counts_and_a_person_who_says_it_later_too() -> None:
    run = start("Refund it", requester=bob())
    said_by_model(run, "Shall I refund 480?")
    told(run, "input", {"role": "user", "content": "Yes, 480."})

    found = origin_of(run, amount_eur=480)

    assert found.source is Source.MODEL
    assert found.words == "earlier model text, then typed by bob"
    assert not found.is_flagged


@pytest.mark.django_db
def test_a_webhook_is_no_person() -> None:
    run = services.start_run("shop", "Pay 480", trigger=Run.Trigger.WEBHOOK)

    found = origin_of(run, amount_eur=480)

    assert (found.source, found.words) == (Source.SYSTEM, "from a webhook")
    assert found.is_flagged


@pytest.mark.django_db
def test_what_was_said_after_the_call_is_not_where_it_came_from() -> None:
    run = start("Refund it", requester=bob())
    card = make_request(run, arguments='{"amount_eur": 480}')
    looked_up(run, "480")

    [found] = provenance.origins(card, '{"amount_eur": 480}')

    assert found
    assert found.source is Source.NOWHERE


@pytest.mark.django_db
def test_what_is_not_sensitive_is_not_flagged() -> None:
    found = origin_of(start("Hello", requester=bob()), greeting="Good day to you")

    assert not found.is_flagged


@pytest.mark.django_db
def test_a_task_an_agent_gave_another_is_model_text() -> None:
    run = start("Hello", requester=bob())
    raw = {"type": "input", "agent": "Clerk", "raw": {"content": "Refund 480"}}
    RunEvent.objects.create(
        run=run,
        seq=50,
        kind=EventKind.ITEM,
        frame="c0",
        payload=codec.dumps(raw),
        created_at=run.created_at,
    )
    text = '{"amount_eur": 480}'
    card = ApprovalRequest(run=run, call_key="c0/c1", tool="refund")

    [found] = provenance.origins(card, text)

    assert found
    assert found.source is Source.MODEL


def long_run(items: int) -> Run:
    person = User.objects.filter(username="bob").first() or bob()
    run = start("Refund 480 to order 1042", requester=person)
    payload = {"type": "message", "agent": "Shop", "raw": {"content": "17 " * 60}}
    written = codec.dumps(payload)
    RunEvent.objects.bulk_create(
        RunEvent(
            run=run,
            seq=seq,
            kind=EventKind.ITEM,
            payload=written,
            created_at=run.created_at,
        )
        for seq in range(100, 100 + items)
    )
    Run.objects.filter(pk=run.pk).update(last_seq=100 + items)
    return run


@pytest.mark.django_db
def test_a_long_run_and_large_arguments_are_looked_at_within_bounds() -> None:
    run = long_run(10_000)
    text = json.dumps(
        {"amount_eur": 480, "to": "x@example.com", "list": ["word" * 300] * 1000}
    )
    card = make_request(run, arguments=text)
    provenance.origins(card, text)

    start_s = time.process_time()
    found = provenance.origins(card, text)
    took_s = time.process_time() - start_s

    assert len(text) > 1_000_000
    assert len(found) == provenance.VALUES
    assert found[0]
    assert found[0].words == "typed by bob"
    assert found[1]
    assert found[1].words == "not in the steps looked at"
    assert found[1].is_flagged
    assert took_s < 0.15  # under 50 ms on a machine that does nothing else


@pytest.mark.django_db
def test_the_page_asks_the_database_as_often_for_a_long_run() -> None:
    client = signed_in(ada())
    counts = set()
    for items in (1, 3, 390):
        card = make_request(long_run(items), arguments='{"amount_eur": 480}')
        client.get(card.get_absolute_url())
        with CaptureQueriesContext(connection) as asked:
            client.get(card.get_absolute_url())
        counts.add(len(asked))

    assert len(counts) == 1


@pytest.mark.django_db
def test_the_page_says_where_values_came_from() -> None:
    run = start("Refund order 1042", requester=bob())
    card = make_request(run, arguments='{"order_id": "1042", "amount_eur": 480}')

    page = signed_in(ada()).get(card.get_absolute_url()).content.decode()

    assert "Came from" in page
    assert ">typed by bob</a>" in page
    assert "made up by the model" in page
    assert page.count("never typed") == 1
    assert "display warning" not in page


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("480", {"480"}),
        ("480.00", {"480"}),
        ("€480", {"480"}),
        ("480 EUR", {"480"}),
        ("1,200", {"1200", "1.2"}),
        ("1.200.000", {"1200000"}),
        ("1'200.50", {"1200.5"}),
        ("-5", {"5"}),
        ("word", set()),
        ("1" * 100, set()),
    ],
)
def test_a_number_has_one_value_for_each_way_to_read_it(
    text: str, values: set[str]
) -> None:
    assert numbers.readings(text) == values


@pytest.mark.parametrize("text", ["1e-900000", "-1e900000"])
def test_a_number_written_out_is_not_long(text: str) -> None:
    assert all(len(value) < 100 for value in numbers.readings(text))

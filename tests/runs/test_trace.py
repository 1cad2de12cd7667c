"""Spans, from the engine to the page."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from runs.engine import LogEntry
from runs.executor import Executor
from runs.models import EventKind, Run
from runs.services import log
from runs.templatetags.runs_tags import took
from runs.trace import MAX_DEPTH, ROWS_SHOWN, trace_of
from tests.factories import bob, start
from tests.shop import agents as shop

from .test_executor import decide_all, refund
from .test_nested import begin, cast, delegate, restarted, until_completed, words
from .test_nested import until_waiting as until_waits

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def span(name: str, parent: str | None = None, **data: Any) -> dict[str, Any]:
    """A record as the engine's recorder makes it; its name is its id."""
    after = timedelta(seconds=len(name))
    return {
        "id": name,
        "trace_id": "trace_1",
        "parent_id": parent,
        "started_at": (NOON + after).isoformat(),
        "ended_at": (NOON + 2 * after).isoformat(),
        "span_data": {"type": "function", "name": name, **data},
        "error": None,
    }


def store(run: Run, *spans: dict[str, Any]) -> None:
    entry = LogEntry(kind=EventKind.SPAN, payload={"spans": list(spans)})
    log.append(run.pk, [entry], timezone.now())


def shown(run: Run, **options: Any) -> list[tuple[int, str]]:
    return [(line.depth, line.name) for line in trace_of(run, **options).lines]


def page(run: Run, user: User, query: str = "") -> str:
    client = Client()
    client.force_login(user)
    return client.get(f"/runs/{run.pk}/{query}").content.decode()


@sync_to_async
def lines(run: Run) -> list[str]:
    found = trace_of(Run.objects.get(pk=run.pk)).lines
    return [f"{'  ' * line.depth}{line.words} {line.name}".rstrip() for line in found]


@sync_to_async
def spans_of(run: Run) -> list[dict[str, Any]]:
    rows = run.events.filter(kind=EventKind.SPAN).order_by("seq")
    return [record for row in rows for record in row.data["spans"]]


@pytest.mark.django_db(transaction=True)
async def test_the_steps_of_a_nested_run_are_stored_and_nested(
    executor: Executor, effects: shop.Effects
) -> None:
    cast(
        manager=[[delegate("everything")], words("end")],
        clerk=[[refund()], words("refunded")],
    )
    run = await until_waits(await begin())
    await decide_all(run)
    await until_completed(run)

    assert await lines(run) == [
        "Stretch",
        "  Agent Manager",
        "    Turn 1",
        "      Model ChosenModel",
        "      Tool delegate",
        "        Agent Clerk",
        "          Turn 1",
        "            Model ChosenModel",
        "Stretch",
        "  Agent Manager",
        "    Tool delegate",
        "      Agent Clerk",
        "        Tool refund",
        "        Turn 2",
        "          Model ChosenModel",
        "    Turn 2",
        "      Model ChosenModel",
    ]


@pytest.mark.django_db(transaction=True)
async def test_a_resumed_run_stays_in_its_trace_after_a_restart(
    executor: Executor, effects: shop.Effects
) -> None:
    cast(manager=[[refund()], words("end")])
    run = await until_waits(await begin())
    other = await restarted(executor)
    await decide_all(run)
    await until_completed(run)
    await other.stop()

    spans = await spans_of(run)

    assert len({record["trace_id"] for record in spans}) == 1
    assert len({record["id"] for record in spans}) == len(spans)
    assert [record["parent_id"] for record in spans].count(None) == 2


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("content", [False, True])
async def test_spans_hold_what_was_said_only_where_settings_say_so(
    executor: Executor, effects: shop.Effects, settings: Any, content: bool
) -> None:
    settings.PLACET_TRACE_CONTENT = content
    cast(manager=[[refund("4711")], words("end")])
    run = await until_waits(await begin())
    await decide_all(run)
    await until_completed(run)

    assert ("4711" in str(await spans_of(run))) is content


@pytest.mark.django_db(transaction=True)
async def test_a_turn_adds_one_row_however_many_spans_it_has(
    executor: Executor, effects: shop.Effects
) -> None:
    from .test_executor import ship

    cast(manager=[[delegate()], words("end")], clerk=[[ship()], words("shipped")])
    run = await until_completed(await begin())

    rows = await run.events.filter(kind=EventKind.SPAN).acount()

    # Two answers and an output inside, two answers and an output outside, the end.
    assert rows <= 7


@pytest.mark.django_db
def test_a_span_stands_inside_its_parent_in_the_order_they_began() -> None:
    run = start()
    store(run, span("ccc", "a"), span("bb", "a"), span("dddd", "ccc"))
    store(run, span("a"))

    assert shown(run) == [(0, "a"), (1, "bb"), (1, "ccc"), (2, "dddd")]


@pytest.mark.django_db
def test_a_span_whose_parent_never_ended_stands_at_the_top() -> None:
    run = start()
    store(run, span("a", "gone"), span("bb", "a"))

    assert shown(run) == [(0, "a"), (1, "bb")]


@pytest.mark.django_db
def test_spans_nested_without_end_are_shown_all_the_same() -> None:
    run = start()
    names = [f"{index:05}" for index in range(2000)]
    parents = [None, *names[:-1]]
    store(run, *map(span, names, parents))

    depths = [depth for depth, _ in shown(run)]

    assert len(depths) == 2000
    assert max(depths) == MAX_DEPTH


@pytest.mark.django_db
def test_the_page_shows_the_newest_steps_and_all_when_asked() -> None:
    run = start()
    for index in range(ROWS_SHOWN + 5):
        store(run, span(f"step-{index:04}"))

    assert len(shown(run)) == ROWS_SHOWN
    assert shown(run)[-1] == (0, f"step-{ROWS_SHOWN + 4:04}")
    assert trace_of(run).is_cut
    assert len(shown(run, whole=True)) == ROWS_SHOWN + 5
    assert not trace_of(run, whole=True).is_cut


@pytest.mark.django_db
def test_a_trace_costs_one_query_whatever_it_holds(
    django_assert_num_queries: Any,
) -> None:
    run = start()
    for count in (1, 3):
        for index in range(count):
            store(run, span(f"step-{count}-{index}"))
        with django_assert_num_queries(1):
            trace_of(run)


@pytest.mark.django_db
def test_the_page_shows_durations_failures_and_inert_names() -> None:
    operator = bob()
    run = start(requester=operator)
    failed = span("<b>\u202eodd</b>")
    failed["error"] = {"message": "Error running tool", "data": {"error": "KeyError"}}
    store(run, failed)

    html = page(run, operator)

    assert "Error running tool: KeyError" in html
    assert "<b>\u202e" not in html
    assert "&lt;b&gt;" in html
    assert "trace_1" in html


@pytest.mark.django_db
def test_the_page_of_a_run_without_spans_says_what_will_be_there() -> None:
    operator = bob()

    assert "Nothing is recorded yet" in page(start(requester=operator), operator)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0004, "0 ms"),
        (0.25, "250 ms"),
        (1.44, "1.4 s"),
        (185, "3 min 5 s"),
        (7805, "2 h 10 min"),
    ],
)
def test_a_duration_is_said_as_people_say_it(seconds: float, words: str) -> None:
    assert took(seconds) == words

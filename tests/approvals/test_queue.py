"""The queue: who finds what in which view, in which order, and what it costs."""

from __future__ import annotations

import re
import time
from datetime import timedelta
from itertools import product
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from approvals import queue, services
from approvals.live import asked_by
from approvals.models import ApprovalRequest
from approvals.models.requests import QUEUE_ORDER
from approvals.queue import Arrival, Asked, View
from tests import servers
from tests.factories import ada, bob, eve, make_user, start
from tests.test_pages import make_request, signed_in

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)


def shown(user: User, **asked: str) -> list[str]:
    """Return the summaries that a page of the queue shows as waiting, in order."""
    html = signed_in(user).get("/", asked).content.decode()
    waiting = html.split('id="queue"')[1].split("</ol>")[0]
    return re.findall(r'class="summary"[^>]*>([^<]*)</a>', waiting)


def counted(user: User) -> dict[str, str]:
    html = signed_in(user).get("/queue/views/").content.decode()
    return dict(re.findall(r'id="view-(\w+)".*?<span class="num[^>]*>(\d+\+?)<', html))


# Order and pages


def test_the_order_is_deadline_then_risk_then_age() -> None:
    now = timezone.now()
    for name, risk, expires in (
        ("old low", "low", None),
        ("old high", "high", None),
        ("new high", "high", None),
        ("later", "low", now + 3 * HOUR),
        ("sooner", "low", now + 2 * HOUR),
        ("sooner and critical", "critical", now + 2 * HOUR),
        ("of a risk nobody knows", "odd", None),
    ):
        make_request(start(), summary=name, risk=risk, expires_at=expires)

    assert shown(ada()) == [
        "sooner and critical",
        "sooner",
        "later",
        "old high",
        "new high",
        "of a risk nobody knows",
        "old low",
    ]


@pytest.mark.parametrize("size", [1, 2, 3])
def test_pages_hold_everything_once(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr("approvals.queue.PAGE_SIZE", size)
    now, reviewer = timezone.now(), ada()
    deadlines, risks = (None, now + HOUR, now + 2 * HOUR), ("low", "high")
    for expires, risk in product(deadlines, risks):
        make_request(start(), expires_at=expires, risk=risk)
        make_request(start(), expires_at=expires, risk=risk)

    found, after = [], None
    for _ in range(20):  # one that goes back would never end
        asked = Asked(view=View.ALL, after=after)
        page = queue.page(reviewer, asked, now)
        found += page.pending
        if page.further is None:
            break
        after = page.further

    every = ApprovalRequest.objects.order_by("due_at", "risk_rank", "pk")
    assert found == list(every)


def test_a_page_goes_on_although_its_last_row_was_decided(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("approvals.queue.PAGE_SIZE", 1)
    reviewer = ada()
    first, second = (make_request(start(), summary=name) for name in ("one", "two"))
    services.decide(first.pk, verdict="reject", by=reviewer, digest_seen=first.digest)

    assert shown(reviewer, view="all", after=str(first.pk)) == [second.summary]


# Views


def test_each_view_shows_and_counts_what_is_its_own() -> None:
    reviewer, now = ada(), timezone.now()
    money = make_user("mia", "reviewers", "money")
    make_request(start(), summary="plain")
    make_request(start(), summary="money", reviewers="money")
    make_request(start(requester=reviewer), summary="own")
    make_request(start(), summary="due", expires_at=now + HOUR / 2)
    make_request(start(), summary="critical", risk="critical")
    put_off = make_request(start(), summary="put off", risk="high")
    services.snooze(put_off.pk, until=now + HOUR, by=reviewer)
    mine = make_request(start(), summary="assigned")
    services.assign(mine.pk, to=reviewer, by=money)

    views = {view: sorted(shown(reviewer, view=view)) for view in View}

    assert views == {
        View.MINE: ["assigned"],
        View.GROUPS: ["assigned", "critical", "due", "plain"],
        View.DUE: ["due"],
        View.HIGH: ["critical"],
        View.SNOOZED: ["put off"],
        View.ALL: sorted(ApprovalRequest.objects.values_list("summary", flat=True)),
    }
    told = {view.value: str(len(names)) for view, names in views.items()}
    assert counted(reviewer) == told
    assert "money" in shown(money)


def test_what_is_voted_on_is_not_offered_again() -> None:
    reviewer = ada()
    card = make_request(start(), votes_needed=2)
    services.decide(card.pk, verdict="approve", by=reviewer, digest_seen=card.digest)

    assert shown(reviewer) == []
    assert shown(make_user("dan", "reviewers")) == [card.summary]


def test_who_decides_nothing_begins_with_all() -> None:
    make_request(start(), summary="plain")

    html = signed_in(bob()).get("/").content.decode()

    assert 'id="view-all" href="/?view=all" aria-current="page"' in html
    assert 'name="pick"' not in html
    assert "plain" in html


def test_strangers_see_no_view_no_count_and_no_bulk() -> None:
    make_request(start(), summary="plain")
    client = signed_in(eve())

    assert client.get("/queue/views/").status_code == 404
    assert client.get("/queue/bulk/").status_code == 404
    assert "plain" not in client.get("/?view=all").content.decode()


@pytest.mark.parametrize("view", View)
def test_each_empty_view_says_what_will_appear(view: View) -> None:
    html = signed_in(ada()).get("/", {"view": view}).content.decode()

    assert queue.EMPTY[view] in html


def test_what_is_new_in_a_view_is_what_the_view_would_show() -> None:
    """Sockets are told from memory; the page asks the database."""
    now = timezone.now()
    people = [ada(), bob(), make_user("mia", "reviewers", "money")]
    spoke = start()
    spoke.speakers.add(people[0])
    options = product(
        (start(), start(requester=people[0]), spoke),
        ("", "money", "nobody"),
        ("low", "critical"),
        (None, now + HOUR / 2, now + 2 * HOUR),
    )
    for number, (run, reviewers, risk, expires) in enumerate(options):
        make_request(
            run, key=str(number), reviewers=reviewers, risk=risk, expires_at=expires
        )
    some = list(ApprovalRequest.objects.order_by("pk"))
    services.claim(some[0].pk, by=people[2])
    services.assign(some[1].pk, to=people[2], by=people[2])
    cards = queue.changed_since(people[0], now - HOUR, timezone.now())
    assert len(cards) == len(some)

    for person, view in product(people, set(View) - {View.SNOOZED}):
        asked, at = Asked(view=view), timezone.now()
        reader = queue.reader_of(person)
        new = {
            card.pk
            for card in cards
            if Arrival.of_request(card, at).is_for(reader, asked, at)
        }
        waiting = queue.waiting(person, asked, at)
        assert new == set(waiting.values_list("pk", flat=True)), (person, view)


# Search


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("REFUND", ["Refund order 1042"]),
        ("send_", ["A letter"]),
        ("ann@b.example", ["A letter"]),
        ("100%", []),
        ("_", ["A letter", "Refund order 1042"]),
        ("beyond", []),
    ],
)
def test_search_finds_plain_words_where_they_are_looked_for(
    words: str, found: list[str]
) -> None:
    far = "x" * queue.SEARCHED_CHARS + "beyond"
    make_request(start(), arguments='{"order_id": "1042"}')
    letter = {"tool": "send_email", "summary": "A letter"}
    make_request(
        start(), arguments=f'{{"to": "ann@b.example", "b": "{far}"}}', **letter
    )

    assert sorted(shown(ada(), q=words)) == found


def test_a_search_for_what_no_database_can_hold_finds_the_rest() -> None:
    make_request(start(), summary="Refund order 1042")

    page = signed_in(ada()).get("/?view=all&q=Refund%00+order")

    assert "Refund order 1042" in page.content.decode()


def test_a_search_ends_after_so_many_requests(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("approvals.queue.SEARCHED_ROWS", 2)
    for name in ("Refund one", "Refund two", "Refund three"):
        make_request(start(), summary=name)
    make_request(start(), summary="Refund first", risk="high")

    assert shown(ada(), q="refund") == ["Refund first", "Refund one"]


def test_a_search_keeps_to_its_view_and_is_said_again() -> None:
    make_request(start(), summary="Refund one", risk="high")
    make_request(start(), summary="Refund two")
    client = signed_in(ada())

    html = client.get("/?view=high&q=refund").content.decode()

    assert "Refund one" in html
    assert "Refund two" not in html
    assert 'name="q" value="refund"' in html
    assert "holds these words" in client.get("/?q=nowhere").content.decode()


# Cost


@pytest.mark.parametrize("view", View)
def test_a_page_costs_the_same_queries_with_more_rows(
    view: View, django_assert_num_queries: Any
) -> None:
    reviewer, asker, now = ada(), bob(), timezone.now()
    other = make_user("dan", "reviewers")
    client = signed_in(reviewer)

    def more() -> None:
        card = make_request(
            start(requester=asker), risk="high", expires_at=now + HOUR / 2
        )
        services.look(card.pk, by=other)
        services.assign(card.pk, to=reviewer, by=other)
        services.claim(card.pk, by=reviewer)
        late = make_request(start(requester=asker))
        services.snooze(late.pk, until=now + HOUR, by=reviewer)

    more()
    with CaptureQueriesContext(connection) as one:
        client.get("/", {"view": view})
    for _ in range(3):
        more()

    with django_assert_num_queries(len(one)):
        html = client.get("/", {"view": view}).content.decode()

    assert len(re.findall('<li id="request-', html)) >= 4


def many_requests(count: int) -> None:
    """Make requests of all risks, half of them with deadlines, in one statement."""
    first = make_request(start(), key="first")
    own = [field for field in first._meta.concrete_fields if not field.generated]
    columns = {str(field.column): str(field.column) for field in own}
    columns |= {
        "id": "lower(hex(randomblob(16)))",
        "call_key": "'call ' || i",
        "risk": "CASE i % 4 WHEN 0 THEN 'high' WHEN 1 THEN 'low' ELSE 'medium' END",
        "expires_at": "CASE i % 2 WHEN 0 THEN updated_at END",
    }
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO approvals_approvalrequest "  # noqa: S608  all our own
            f"({', '.join(columns)}) WITH RECURSIVE numbers(i) AS (SELECT 1 UNION ALL "
            f"SELECT i + 1 FROM numbers WHERE i < {count}) "
            f"SELECT {', '.join(columns.values())} "
            "FROM approvals_approvalrequest, numbers"
        )


@pytest.mark.skipif(
    servers.ON_POSTGRESQL, reason="another process does the work, beside others"
)
def test_ten_thousand_pending_requests_leave_the_page_fast() -> None:
    client = signed_in(ada())
    many_requests(10_000)
    paths = ("/", "/?view=high", "/?q=1042", "/?q=nowhere")
    client.get("/")  # compiles the templates

    taken = {path: min(seconds(client, path) for _ in range(3)) for path in paths}

    print({path: f"{took * 1000:.0f} ms" for path, took in taken.items()})
    # 0.2 s is the aim; the rest is for a machine that does other things meanwhile.
    assert max(taken.values()) < 0.8


def seconds(client: Client, path: str) -> float:
    begin = time.process_time()
    assert client.get(path).status_code == 200
    return time.process_time() - begin


@pytest.mark.skipif(
    servers.ON_POSTGRESQL, reason="it chooses no index for a table without rows"
)
def test_pages_begin_at_their_place_in_the_index() -> None:
    reviewer, now = ada(), timezone.now()
    card = make_request(start())
    asked = Asked(view=View.ALL, after=card.pk)

    found = queue.waiting(reviewer, asked, now).filter(queue._behind(card.pk))
    plan = found.order_by(*QUEUE_ORDER)[:5].explain()

    assert "USING INDEX request_queue (due_at>?" in plan
    assert "TEMP B-TREE" not in plan


def test_counting_stops_at_a_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("approvals.queue.COUNT_CAP", 2)
    monkeypatch.setattr("approvals.templatetags.queue_tags.COUNT_CAP", 2)
    for _ in range(3):
        make_request(start())

    assert counted(ada())["groups"] == "2+"


# Rows


def test_a_row_says_all_that_is_needed_to_choose_it() -> None:
    other = make_user("dan", "reviewers")
    card = make_request(
        start(requester=bob()),
        risk="high",
        warnings=2,
        votes_needed=2,
        votes=1,
        expires_at=timezone.now() + HOUR,
    )
    services.claim(card.pk, by=other)
    services.look(card.pk, by=other)

    html = signed_in(ada()).get("/").content.decode()
    row = html.split(f'id="request-{card.pk}"')[1].split("</li>")[0]
    text = " ".join(re.sub(r"<[^>]+>", " ", row).split())

    for said in (
        "high risk",
        "Refund order 1042",
        "expires in 59 min",
        "2 display warning",
        "1/2 votes",
        "claimed by dan",
        "open at dan",
        "refund",
        "Shop ← asked by bob",
        "just now",
    ):
        assert said in text


def test_keys_are_listed_on_a_page_of_their_own() -> None:
    html = signed_in(eve()).get("/keys/").content.decode()

    assert "<kbd>J</kbd>" in html


@pytest.mark.parametrize("after", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"])
def test_a_socket_asks_from_no_time_at_the_end_of_the_calendar(after: str) -> None:
    assert asked_by({"after": [after]})[1] is None

"""The list of conversations: searched, filtered, page by page; views that are saved."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from approvals.models import AuditEntry
from runs import queries, search, services
from runs.engine import LogEntry
from runs.models import Conversation, EventKind, Run, RunEvent, RunStatus, SavedView
from runs.services import log
from tests.factories import ada, bob, eve, make_user, start

pytestmark = pytest.mark.django_db

PAGE = "/conversations/"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def say(run: Run, **raw: Any) -> None:
    """Put an item into the run's log, as a step does."""
    payload = {"type": "message", "agent": "Shop", "raw": raw}
    entry = LogEntry(kind=EventKind.ITEM, payload=payload)
    log.append(run.pk, [entry], run.created_at)


def titled(title: str, *, owner: User | None = None, agent: str = "shop") -> Run:
    run = start(title, requester=owner, agent=agent)
    return run


def at(run: Run, moment: datetime) -> None:
    Conversation.objects.filter(pk=run.conversation_id).update(updated_at=moment)


def shown(client: Client, **asked: Any) -> list[str]:
    answer = client.get(PAGE, asked)
    assert answer.status_code == 200
    return [row.title for row in answer.context["page"].rows]


@pytest.fixture
def olga() -> Client:
    return signed_in(make_user("olga", "operators"))


# Search


def test_search_finds_what_was_said_called_and_answered(olga: Client) -> None:
    run = titled("first")
    say(run, type="message", content=[{"type": "output_text", "text": "Café, résumé"}])
    say(
        run,
        type="function_call",
        call_id="c-secret",
        name="refund_order",
        arguments='{"order_id": "A-1042", "note": "line\\nbreak"}',
    )
    say(run, type="function_call_output", call_id="c1", output="Paid 480.00 EUR")
    titled("second")

    for text in ("cafe", "CAFÉ", "resu", "1042", "refund", "order a", "break"):
        assert shown(olga, q=text) == ["first"], text
    for text in ("480 paid", "seco"):
        assert len(shown(olga, q=text)) == 1, text
    for text in ("secret", "c1", "output_text", "480 cafe", "nowhere"):
        assert shown(olga, q=text) == [], text


def test_search_finds_titles_and_what_a_run_began_with(olga: Client) -> None:
    run = titled("Refund order 7")
    Conversation.objects.filter(pk=run.conversation_id).update(title="Zebra crossing")

    assert shown(olga, q="order 7") == ["Zebra crossing"]
    assert shown(olga, q="bra cro") == ["Zebra crossing"]


@pytest.mark.parametrize(
    "text",
    [
        *('"', "*", "a* OR b", "NEAR(a b)", "' | !x", ":*", "a'b", "%", "\\", "-- ;"),
        *("x" * 199, "ﬀ", "\u202e", "😀", "a\u0300", "search:x", "^a"),
    ],
)
def test_no_text_is_a_question_in_the_database_s_own_language(
    olga: Client, text: str
) -> None:
    titled("quite more")

    assert shown(olga, q=text) == []


def test_search_looks_at_one_s_own_conversations_before_it_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What others have said does not use up the newest rows that are looked at."""
    monkeypatch.setattr(search, "_SQLITE", search._SQLITE.replace("5000", "1"))
    monkeypatch.setattr(search, "_POSTGRESQL", search._POSTGRESQL.replace("5000", "1"))
    owner = eve()
    titled("needle of eve", owner=owner)
    titled("needle of bob", owner=bob())
    Conversation.objects.update(title="no word of it")

    assert shown(signed_in(owner), q="needle") == ["no word of it"]


def test_what_is_deleted_is_found_no_more(olga: Client) -> None:
    run = titled("to be forgotten")
    Conversation.objects.filter(pk=run.conversation_id).update(title="empty")
    RunEvent.objects.filter(run=run).delete()

    assert shown(olga, q="forgotten") == []


def test_only_the_beginning_of_a_long_text_is_searched(olga: Client) -> None:
    run = titled("long")
    said = "early " + "x" * search.SEARCHED_CHARS + " late"
    say(run, role="assistant", content=said)

    assert shown(olga, q="early") == ["long"]
    assert shown(olga, q="late") == []


def test_words_are_made_of_hostile_items_in_bounded_time() -> None:
    deep: Any = "bottom"
    for _ in range(900):
        deep = [deep, "\ud800\x00"]
    words = search.words_of_item(
        {"raw": {"content": deep, "arguments": "\x00a\ud800b"}}
    )

    assert "a" in words.split()
    words.encode()
    assert "\x00" not in words


# Filters


def test_each_filter_shows_what_fits_and_nothing_else(olga: Client) -> None:
    owner = bob()
    shop, other = titled("shop", owner=owner), titled("manager", agent="manager")
    at(shop, NOON)
    at(other, NOON + timedelta(days=1))
    services.stop_run(other.pk, by=None)
    at(other, NOON + timedelta(days=1))

    assert shown(olga) == ["manager", "shop"]
    assert shown(olga, agent="shop") == ["shop"]
    assert shown(olga, status="cancelled") == ["manager"]
    assert shown(olga, status="queued") == ["shop"]
    assert shown(olga, owner="bob") == ["shop"]
    assert shown(olga, owner="b") == []
    assert shown(olga, trigger="page") == ["manager", "shop"]
    assert shown(olga, trigger="fork") == []
    assert shown(olga, since="2026-03-02") == ["manager"]
    assert shown(olga, until="2026-03-01") == ["shop"]
    assert shown(olga, q="shop", status="cancelled") == []


@pytest.mark.parametrize(
    "asked",
    [
        {"since": "2026-13-01"},
        {"until": "9999-12-31"},
        {"status": "lost"},
        {"agent": "nobody"},
        {"q": "a\x00b"},
        {"q": "x" * 1000},
        {"owner": "\x00"},
    ],
)
def test_what_nobody_can_ask_is_a_422_that_keeps_what_was_typed(
    olga: Client, asked: dict[str, str]
) -> None:
    titled("not to be seen")

    answer = olga.get(PAGE, asked)

    assert answer.status_code == 422
    [[name, value]] = asked.items()
    assert answer.context["form"][name].value() == value
    assert "not to be seen" not in answer.content.decode()


def test_only_who_follows_sees_conversations_of_others() -> None:
    owner = eve()
    titled("of eve", owner=owner)
    titled("of bob", owner=bob())

    assert shown(signed_in(owner)) == ["of eve"]
    assert shown(signed_in(owner), q="of") == ["of eve"]
    assert shown(signed_in(make_user("mallory")), q="eve") == []
    assert shown(signed_in(make_user("o", "operators")), q="of") == ["of bob", "of eve"]
    assert Client().get(PAGE).status_code == 302


# Pages


def test_pages_have_no_gap_and_no_double_when_rows_come_meanwhile(
    olga: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "PAGE_SIZE", 2)
    for number in range(5):
        at(titled(f"{number}"), NOON + timedelta(minutes=number // 2))
    seen, place = [], ""
    while True:
        page = olga.get(PAGE, {"after": place}).context["page"]
        seen += [row.title for row in page.rows]
        titled("new")
        if page.older is None:
            break
        # The row that the page ended with moves up: its place stays what it was.
        Conversation.objects.filter(pk=page.rows[-1].pk).update(
            updated_at=NOON.replace(year=2027)
        )
        place = str(page.older)

    assert seen == ["4", "3", "2", "1", "0"]


def test_the_page_asks_as_much_for_one_row_as_for_many(olga: Client) -> None:
    user = User.objects.get(username="olga")
    titled("x", owner=user)
    olga.get(PAGE)
    counts = []
    for more in (0, 2, 5):
        for number in range(more):
            titled("x", owner=make_user(f"{more}-{number}"))
            services.save_view(user, f"{more}-{number}", "q=x")
        with CaptureQueriesContext(connection) as asked:
            olga.get(PAGE, {"q": "x", "status": "queued"})
        counts.append(len(asked))

    assert counts[0] == counts[1] == counts[2]


# Saved views


def test_a_search_is_saved_found_renamed_and_deleted(olga: Client) -> None:
    query = "q=refund&status=failed"
    answer = olga.post(f"{PAGE}views/", {"name": "Failed", "query": query})
    assert answer.headers["Location"] == f"{PAGE}?{query}"
    view = SavedView.objects.get()
    assert (view.name, view.query) == ("Failed", query)
    assert (
        olga.get(PAGE, {"q": "refund", "status": "failed"}).context["current"] == view
    )

    olga.post(f"{PAGE}views/{view.pk}/rename/", {"name": "Broken"})
    assert SavedView.objects.get().name == "Broken"
    olga.post(f"{PAGE}views/{view.pk}/delete/")
    assert not SavedView.objects.exists()


def test_a_view_has_a_name_of_its_own_and_there_are_fifty_at_most(olga: Client) -> None:
    user = User.objects.get(username="olga")
    for number in range(50):
        services.save_view(user, f"{number}", "q=a")
    url = f"{PAGE}views/"

    refused = olga.post(url, {"name": "one more", "query": "q=a"})
    assert refused.status_code == 409
    assert "50 saved views" in refused.content.decode()
    SavedView.objects.filter(name="49").delete()
    assert olga.post(url, {"name": "1", "query": "q=a"}).status_code == 409
    assert olga.post(url, {"name": "", "query": "q=a"}).status_code == 422
    assert olga.post(url, {"name": "x" * 61, "query": "q=a"}).status_code == 422
    assert olga.post(url, {"name": "x", "query": "since=never"}).status_code == 422
    first, second = SavedView.objects.order_by("created_at")[:2]
    rename = f"{url}{first.pk}/rename/"
    taken = olga.post(rename, {"name": second.name})
    assert taken.status_code == 409
    assert f'value="{second.name}"' in taken.content.decode()
    assert SavedView.objects.count() == 49


def test_a_view_is_its_owner_s_alone(olga: Client) -> None:
    view = services.save_view(bob(), "mine", "q=a")

    assert "mine" not in olga.get(PAGE).content.decode()
    for verb in ("rename", "delete"):
        answer = olga.post(f"{PAGE}views/{view.pk}/{verb}/", {"name": "yours"})
        assert answer.status_code == 404
    assert SavedView.objects.get().name == "mine"


def test_a_view_s_address_leads_nowhere_else(olga: Client) -> None:
    query = "q=<script>&next=//evil&after=1&q2=x"
    answer = olga.post(f"{PAGE}views/", {"name": "<b>x</b>", "query": query})

    assert answer.headers["Location"] == f"{PAGE}?q=%3Cscript%3E"
    page = olga.get(PAGE).content.decode()
    assert "<b>x" not in page
    assert "<script>&" not in page


# Letting a failed run go on


def failed(owner: User) -> Run:
    run = titled("fails", owner=owner)
    services.lock(run.pk)
    services.end(run, RunStatus.FAILED, error="Max turns (10) exceeded")
    Run.objects.filter(pk=run.pk).update(turn=10)
    run.refresh_from_db()
    return run


def test_a_failed_run_goes_on_with_as_many_turns_as_asked_and_it_is_put_down() -> None:
    owner = bob()
    run = failed(owner)
    client = signed_in(owner)

    client.post(f"/runs/{run.pk}/resume/", {"extra_turns": "25"})

    run.refresh_from_db()
    assert (run.status, run.max_turns) == ("queued", 35)
    entry = AuditEntry.objects.get(chain=f"run:{run.pk}", action="resume")
    assert entry.actor == "bob"
    assert json.loads(entry.payload) == {"turn": 10, "extra_turns": 25}


@pytest.mark.parametrize("turns", ["", "0", "-1", "101", "1e3", "x"])
def test_a_number_of_turns_that_is_none_is_a_422(turns: str) -> None:
    owner = bob()
    run = failed(owner)
    headers = {"HX-Request": "true"}

    answer = signed_in(owner).post(
        f"/runs/{run.pk}/resume/", {"extra_turns": turns}, headers=headers
    )

    assert answer.status_code == 422
    run.refresh_from_db()
    assert run.status == "failed"


def test_a_stranger_neither_resumes_nor_forks_and_a_reader_may_not() -> None:
    run = failed(bob())
    stranger, watcher = signed_in(make_user("mallory", "operators2")), signed_in(ada())
    owner = eve()
    own = failed(owner)
    for path in ("resume/", "fork/?at=1", "state/", "state.json", "export.json"):
        assert stranger.get(f"/runs/{run.pk}/{path}").status_code in (404, 405)
    assert stranger.post(f"/runs/{run.pk}/fork/", {"at": 1}).status_code == 404
    assert signed_in(owner).post(f"/runs/{own.pk}/fork/", {"at": 1}).status_code == 403
    assert signed_in(owner).get(f"/runs/{own.pk}/state/").status_code == 404
    assert watcher.post(f"/runs/{run.pk}/fork/", {"at": 1}).status_code in (403, 404)


def test_a_run_names_its_forks_to_those_who_may_see_them() -> None:
    owner, operator = eve(), bob()
    run = failed(owner)
    assert "Forked into" not in page(operator, run)

    fork = services.fork_run(run.pk, 1, by=operator, text="Once more")

    link = f'<a href="/runs/{fork.pk}/">'
    assert f"Forked into {link}" in page(operator, run)
    assert link not in page(owner, run)
    assert f'href="/runs/{run.pk}/">another run</a>' in page(operator, fork)


def page(user: User, run: Run) -> str:
    return signed_in(user).get(f"/runs/{run.pk}/").content.decode()

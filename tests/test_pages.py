"""The pages over HTTP: who sees what, what a form does, what a template may hold."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from uuid import uuid4

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from approvals.models import ApprovalRequest, Decision, RequestStatus, Rule
from approvals.services import decide
from runs import codec
from runs.models import EventKind, Run, RunStatus
from runs.services import record_event
from runs.timeline import changes, render_block, render_header, timeline
from tests.factories import ada, bob, eve, make_user, pending, start

pytestmark = pytest.mark.django_db

TEMPLATES = sorted(Path(settings.BASE_DIR, "templates").rglob("*.html"))
HTMX = {"hx-request": "true"}


def make_request(
    run: Run, *, arguments: str = '{"order_id": "1042"}', key: str = "c1", **more: Any
) -> ApprovalRequest:
    """A pending request with its call in the run's log."""
    now = timezone.now()
    raw = {"type": "function_call", "name": "refund", "arguments": arguments}
    values = {
        "run": run,
        "call_key": key,
        "tool": "refund",
        "agent_path": "Shop",
        "call": codec.dumps(raw),
        "arguments": codec.storable(arguments),
        "schema_hash": "0" * 64,
        "digest": "d" * 64,
        "summary": "Refund order 1042",
        "why": "The tool always asks.",
        "created_at": now,
        "updated_at": now,
    }
    card = ApprovalRequest.objects.create(**values | more)
    item = {"type": "tool_call", "agent": "Shop", "raw": raw}
    record_event(run.pk, EventKind.ITEM, item, call_key=key)
    told = {"request": str(card.pk), "status": card.status, "by": ""}
    record_event(run.pk, EventKind.REQUEST, told, call_key=key)
    return card


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def verdict(card: ApprovalRequest, **fields: str) -> dict[str, str]:
    return {"verdict": "approve", "digest": card.digest, **fields}


def decide_url(card: ApprovalRequest) -> str:
    return f"/requests/{card.pk}/decide/"


def is_pending(card: ApprovalRequest) -> bool:
    card.refresh_from_db()
    return card.status == RequestStatus.PENDING and not Decision.objects.exists()


# Who sees what


def test_strangers_are_sent_to_sign_in(client: Client) -> None:
    pk = uuid4()
    paths = ["/", "/conversations/", "/conversations/new/", f"/runs/{pk}/"]

    for path in [*paths, f"/conversations/{pk}/", f"/requests/{pk}/"]:
        assert client.get(path)["Location"] == f"/sign-in/?next={path}"
    decide_path = f"/requests/{pk}/decide/"
    assert client.post(decide_path)["Location"] == f"/sign-in/?next={decide_path}"


def test_a_lost_session_leads_htmx_to_sign_in(client: Client) -> None:
    card = make_request(start())

    response = client.post(
        decide_url(card),
        verdict(card),
        headers={"hx-request": "true", "hx-current-url": "http://testserver/?a=1"},
    )

    assert response["HX-Redirect"] == "/sign-in/?next=/"
    assert is_pending(card)


def test_who_is_in_no_group_finds_nothing_of_others() -> None:
    card = make_request(start(requester=bob()))
    client = signed_in(eve())

    codes = [
        client.get(path).status_code
        for path in (
            f"/requests/{card.pk}/",
            f"/runs/{card.run_id}/",
            f"/conversations/{card.run.conversation_id}/",
            f"/requests/{card.pk}/?full=1",
        )
    ]
    queue = client.get("/").content.decode()

    assert codes == [404] * 4
    assert client.post(decide_url(card), verdict(card)).status_code == 404
    assert client.post(f"/runs/{card.run_id}/stop/").status_code == 404
    assert "Refund order 1042" not in queue
    assert "You see no queue yet" in queue
    assert 'id="pending-count" class="count">1' not in queue
    assert "Refund" not in client.get("/conversations/").content.decode()
    assert is_pending(card)


def test_who_owns_a_run_sees_it_and_its_request() -> None:
    owner = eve()
    card = make_request(start(requester=owner))
    client = signed_in(owner)

    page = client.get(f"/requests/{card.pk}/").content.decode()

    assert client.get(f"/runs/{card.run_id}/").status_code == 200
    assert "You started this run; someone else must decide." in page
    assert not re.search(r'name="verdict" value="approve"(?![^>]* disabled)', page)


def test_reviewers_see_runs_but_no_way_to_stop_them() -> None:
    run = start(requester=bob())
    client = signed_in(ada())

    page = client.get(f"/runs/{run.pk}/").content.decode()

    assert "/stop/" not in page
    assert client.post(f"/runs/{run.pk}/stop/").status_code == 403
    run.refresh_from_db()
    assert run.stop_requested_at is None


ACTIONS = (
    "/runs/{run}/stop/",
    "/runs/{run}/resume/",
    "/conversations/{chat}/messages/",
)


@pytest.mark.parametrize("action", ACTIONS)
def test_only_who_may_start_runs_changes_one(action: str) -> None:
    run = start(requester=bob())
    path = action.format(run=run.pk, chat=run.conversation_id)
    before = Run.objects.values().get(pk=run.pk)
    stranger, reviewer, operator = (
        signed_in(eve()),
        signed_in(ada()),
        signed_in(User.objects.get(username="bob")),
    )

    told = {"text": "Go on"}
    assert stranger.post(path, told).status_code == 404
    assert reviewer.post(path, told).status_code == 403
    assert operator.get(path, told).status_code == 405
    assert Client().post(path, told)["Location"].startswith("/sign-in/")
    assert Run.objects.values().get(pk=run.pk) == before


@pytest.mark.parametrize("action", ACTIONS[:2])
@pytest.mark.parametrize("htmx", [True, False])
def test_what_comes_too_late_for_a_run_says_so(action: str, htmx: bool) -> None:
    run = start(requester=bob())
    Run.objects.update(status=RunStatus.COMPLETED)
    client = signed_in(User.objects.get(username="bob"))

    response = client.post(
        action.format(run=run.pk), headers=HTMX if htmx else {}, follow=True
    )

    assert response.status_code == (409 if htmx else 200)
    assert "completed" in response.content.decode()
    run.refresh_from_db()
    assert run.status == RunStatus.COMPLETED


def test_nobody_starts_a_run_without_the_right() -> None:
    fields = {"agent": "shop", "text": "Refund 1042"}

    assert signed_in(ada()).post("/conversations/new/", fields).status_code == 403
    assert not Run.objects.exists()


def test_who_may_not_start_is_told_so() -> None:
    client = signed_in(ada())

    response = client.get("/conversations/new/")

    assert response.status_code == 403
    assert "Ask an admin" in response.content.decode()
    assert "New conversation" not in client.get("/").content.decode()


# The queue


@pytest.mark.parametrize("path", ["/", "/conversations/"])
def test_lists_cost_the_same_with_more_rows(
    path: str, django_assert_num_queries: Any
) -> None:
    asker, client = bob(), signed_in(ada())
    make_request(start(requester=asker))
    with CaptureQueriesContext(connection) as one:
        client.get(path)
    for _ in range(2):
        make_request(start(requester=asker))

    with django_assert_num_queries(len(one)):
        page = client.get(path).content.decode()

    assert len(re.findall(r'<li[^>]* class="row\b', page.replace("\n", " "))) == 3


def test_the_queue_pages_by_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("approvals.queue.PAGE_SIZE", 2)
    client = signed_in(ada())
    cards = [make_request(start(), summary=f"Call {n}") for n in range(3)]

    first = client.get("/").content.decode()
    link = re.search(r'href="(\?view=groups&amp;after=([0-9a-f-]+))"', first)
    assert link
    second = client.get(f"/{link[1].replace('&amp;', '&')}").content.decode()

    assert [f"Call {n}" in first for n in range(3)] == [True, True, False]
    assert [f"Call {n}" in second for n in range(3)] == [False, False, True]
    assert link[2] == str(cards[1].pk)
    assert client.get("/?after=nonsense").status_code == 404
    assert client.get(f"/?after={uuid4()}").status_code == 404
    assert client.get("/?view=nonsense").status_code == 404


def test_decided_requests_stay_below_with_who_and_when() -> None:
    reviewer = ada()
    card = make_request(start())
    decide(card.pk, verdict="approve", by=reviewer, digest_seen=card.digest)

    page = signed_in(reviewer).get("/").content.decode()

    assert "Nothing waits for you" in page
    assert "Approved by ada" in page
    assert '<span id="pending-count" class="count" hidden>0' in page


# A request


def test_agent_text_is_inert_everywhere() -> None:
    hostile = "<script>alert(1)</script>\u202e"
    run = start(hostile, requester=bob())
    card = make_request(
        run,
        arguments=codec.dumps({hostile: hostile}),
        tool=hostile,
        agent_path=hostile,
        summary=hostile,
        why=hostile,
        evidence=hostile,
    )
    client = signed_in(ada())

    for path in (
        "/",
        f"/requests/{card.pk}/",
        f"/requests/{card.pk}/?full=1",
        f"/runs/{run.pk}/",
        f"/conversations/{run.conversation_id}/",
        "/conversations/",
    ):
        page = client.get(path).content.decode()
        assert "right-to-left override" in page
        assert "\u202e" not in page
        assert "<script>alert" not in page


def test_a_megabyte_of_arguments_is_cut_with_a_way_to_all_of_it() -> None:
    card = make_request(start(), arguments=codec.dumps({"body": "x" * 1_000_000}))
    client = signed_in(ada())

    page = client.get(f"/requests/{card.pk}/")
    whole = client.get(f"/requests/{card.pk}/?full=1")

    assert len(page.content) < 60_000
    assert "Show all 1\u202f000\u202f011 characters" in page.content.decode()
    assert "x" * 1_000_000 in whole.content.decode()


def test_malformed_arguments_are_shown_as_they_are() -> None:
    card = make_request(start(), arguments='{"a": 1, "a": 2}')

    page = signed_in(ada()).get(f"/requests/{card.pk}/").content.decode()

    assert "name a key twice" in page
    assert "Approving will not run it" in page
    assert "{&quot;a&quot;: 1, &quot;a&quot;: 2}" in page


def test_the_requester_sees_why_they_may_not_decide() -> None:
    both = make_user("both", "reviewers", "operators")
    card = make_request(start(requester=both))
    client = signed_in(both)

    page = client.get(f"/requests/{card.pk}/").content.decode()
    response = client.post(decide_url(card), verdict(card))

    assert "You started this run; someone else must decide." in page
    assert not re.search(r'name="verdict" value="\w+"(?![^>]* disabled)', page)
    assert response.status_code == 403
    assert "someone else must decide" in response.content.decode()
    assert is_pending(card)


def test_approve_has_no_focus_by_default() -> None:
    card = make_request(start())

    page = signed_in(ada()).get(f"/requests/{card.pk}/").content.decode()

    assert "autofocus" not in page


# Deciding


@pytest.mark.parametrize("sent", ["", "null", "yes", "APPROVE", "true", "1", None])
@pytest.mark.parametrize("htmx", [True, False])
def test_what_names_no_verdict_decides_nothing(sent: str | None, htmx: bool) -> None:
    card = make_request(start())
    fields = verdict(card) if sent is None else verdict(card, verdict=sent)
    if sent is None:
        del fields["verdict"]

    response = signed_in(ada()).post(
        decide_url(card), fields, headers=HTMX if htmx else {}
    )

    assert response.status_code == 422
    assert f'id="card-{card.pk}"' in response.content.decode()
    assert "still pending" in response.content.decode()
    assert is_pending(card)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"digest": ""}, "digest of the call is missing"),
        ({"always": "on"}, "every call is asked about"),
        ({"verdict": "answer", "output": " "}, "Write the output"),
    ],
)
def test_what_a_request_cannot_take_decides_nothing(
    fields: dict[str, str], told: str
) -> None:
    card = make_request(start(), risk="critical")

    response = signed_in(ada()).post(decide_url(card), verdict(card, **fields))

    assert response.status_code == 422
    assert told in response.content.decode()
    assert is_pending(card)


def test_a_decision_by_get_is_refused() -> None:
    card = make_request(start())

    response = signed_in(ada()).get(decide_url(card), verdict(card))

    assert response.status_code == 405
    assert is_pending(card)


def test_a_decision_without_csrf_token_is_refused() -> None:
    card = make_request(start())
    client = Client(enforce_csrf_checks=True)
    client.force_login(ada())

    response = client.post(decide_url(card), verdict(card))

    assert response.status_code == 403
    assert "Nothing was done" in response.content.decode()
    assert is_pending(card)


def test_an_approval_returns_the_card_and_says_so() -> None:
    card = make_request(start())

    response = signed_in(ada()).post(decide_url(card), verdict(card), headers=HTMX)

    page = response.content.decode()
    assert response.status_code == 200
    assert "Approved by ada" in page
    assert unquote(response["Placet-Announce"]) == "Approved. The run goes on."
    assert response["Placet-Pending"] == "0"
    assert "<html" not in page
    assert Decision.objects.get().verdict == "approve"


@pytest.mark.parametrize(
    ("asked", "led"),
    [
        ("", "/requests/{pk}/"),
        ("/conversations/", "/conversations/"),
        ("//evil.example/", "/requests/{pk}/"),
        ("https://evil.example/", "/requests/{pk}/"),
        ("/\\evil.example", "/requests/{pk}/"),
        ("javascript:alert(1)", "/requests/{pk}/"),
        ("conversations/", "/requests/{pk}/"),
    ],
)
def test_a_plain_decision_leads_back_inside_the_site(asked: str, led: str) -> None:
    card = make_request(start())

    response = signed_in(ada()).post(decide_url(card), verdict(card, next=asked))

    assert response.status_code == 302
    assert response["Location"] == led.format(pk=card.pk)


def test_a_rejection_keeps_its_reason_on_the_page() -> None:
    card = make_request(start())
    client = signed_in(ada())

    fields = verdict(card, verdict="reject", reason="Wrong <b>order</b>")
    page = client.post(decide_url(card), fields, follow=True).content.decode()

    assert "Rejected. The model is told" in page
    assert "Wrong &lt;b&gt;order&lt;/b&gt;" in page


def test_always_makes_a_rule_only_when_it_says_on() -> None:
    client = signed_in(ada())
    card, other = make_request(start()), make_request(start())

    bad = client.post(decide_url(card), verdict(card, always="true"))
    client.post(decide_url(other), verdict(other, always="on"))

    assert bad.status_code == 422
    assert [rule.run_id for rule in Rule.objects.all()] == [other.run_id]


@pytest.mark.parametrize("htmx", [True, False])
def test_an_old_digest_gets_the_current_card(htmx: bool) -> None:
    card = make_request(start())

    response = signed_in(ada()).post(
        decide_url(card), verdict(card, digest="e" * 64), headers=HTMX if htmx else {}
    )

    assert response.status_code == 409
    assert f'value="{card.digest}"' in response.content.decode()
    assert is_pending(card)


@pytest.mark.parametrize("htmx", [True, False])
def test_who_comes_second_sees_who_was_first(htmx: bool) -> None:
    card = make_request(start())
    decide(card.pk, verdict="reject", by=ada(), digest_seen=card.digest)
    client = signed_in(make_user("amy", "reviewers"))

    response = client.post(
        decide_url(card), verdict(card), headers=HTMX if htmx else {}
    )

    assert response.status_code == 409
    assert "Rejected by ada" in response.content.decode()
    assert Decision.objects.get().verdict == "reject"


def test_display_warnings_must_be_acknowledged_before_approving() -> None:
    card = make_request(start(), warnings=2)
    client = signed_in(ada())

    unseen = client.post(decide_url(card), verdict(card))
    untouched = is_pending(card)
    client.post(decide_url(card), verdict(card, ack="on"))

    assert unseen.status_code == 422
    assert "seen the 2 display warnings" in unseen.content.decode()
    assert untouched
    card.refresh_from_db()
    assert card.status == RequestStatus.APPROVED


def test_a_call_in_doubt_offers_its_three_verbs() -> None:
    run = start()
    evidence = {"attempt": 1, "started_at": run.created_at.isoformat()}
    card = make_request(run, kind="reconcile", evidence=codec.dumps(evidence))
    run.executions.create(
        call_key=card.call_key,
        tool="refund",
        digest=card.digest,
        epoch=1,
        evidence=codec.dumps({"kind": "succeeded", "output": "late outcome"}),
        started_at=run.created_at,
    )
    client = signed_in(ada())

    page = client.get(f"/requests/{card.pk}/").content.decode()
    empty = client.post(decide_url(card), verdict(card, verdict="answer", output=""))
    client.post(decide_url(card), verdict(card, verdict="answer", output="It went out"))

    for words in ("Run it again", "It happened, with this output", "Skip this call"):
        assert words in page
    assert "late outcome" in page
    assert empty.status_code == 422
    assert Decision.objects.get().output == "It went out"


# Conversations and runs


def test_a_conversation_starts_from_the_page() -> None:
    operator = bob()
    client = signed_in(operator)

    response = client.post(
        "/conversations/new/", {"agent": "shop", "text": "Refund 1042"}
    )

    run = Run.objects.get()
    assert response["Location"] == f"/conversations/{run.conversation_id}/"
    assert (run.requester, run.trigger) == (operator, Run.Trigger.PAGE)
    assert "Refund 1042" in client.get(response["Location"]).content.decode()


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"agent": "shop", "text": "  "}, "Write what the agent shall do."),
        ({"agent": "nobody", "text": "Keep me"}, "There is no such agent"),
        ({"text": "Keep me"}, "Choose an agent."),
    ],
)
def test_a_bad_start_keeps_what_was_typed(fields: dict[str, str], told: str) -> None:
    response = signed_in(bob()).post("/conversations/new/", fields)

    page = response.content.decode()
    assert response.status_code == 422
    assert told in page
    assert fields["text"].strip() in page
    assert not Run.objects.exists()


def test_a_message_to_an_open_run_is_shown_as_not_read_yet() -> None:
    run = start(requester=bob())
    client = signed_in(User.objects.get(username="bob"))
    address = f"/conversations/{run.conversation_id}/"

    fragment = client.post(f"{address}messages/", {"text": "And now?"}, headers=HTMX)
    page = client.get(address).content.decode()

    assert fragment.status_code == 200
    assert f'id="unread-{run.pk}"' in fragment.content.decode()
    assert "And now?" in page
    assert "not read by the agent yet" in page


def test_an_empty_message_gets_the_form_back() -> None:
    run = start(requester=bob())
    client = signed_in(User.objects.get(username="bob"))
    address = f"/conversations/{run.conversation_id}/messages/"

    assert client.post(address, {"text": " "}).status_code == 422
    fragment = client.post(address, {"text": " "}, headers=HTMX)
    assert fragment.status_code == 422
    assert "<html" not in fragment.content.decode()


def test_a_message_while_stopping_is_refused_and_kept() -> None:
    run = start(requester=bob())
    client = signed_in(User.objects.get(username="bob"))
    Run.objects.filter(pk=run.pk).update(
        status=RunStatus.RUNNING, stop_requested_at=timezone.now()
    )

    response = client.post(
        f"/conversations/{run.conversation_id}/messages/", {"text": "One more thing"}
    )

    assert response.status_code == 409
    assert "One more thing</textarea>" in response.content.decode()


def test_stop_asks_first_and_then_stops() -> None:
    run = start(requester=bob())
    client = signed_in(User.objects.get(username="bob"))

    page = client.get(f"/runs/{run.pk}/").content.decode()
    response = client.post(f"/runs/{run.pk}/stop/", headers=HTMX)

    assert "Stop is final" in page
    assert f'<header id="run-header-{run.pk}"' in response.content.decode()
    run.refresh_from_db()
    assert run.stop_requested_at or run.status == RunStatus.CANCELLED


def test_a_failed_run_says_why_and_can_be_resumed() -> None:
    run = start(requester=bob())
    Run.objects.filter(pk=run.pk).update(
        status=RunStatus.FAILED, error="429 four times", finished_at=timezone.now()
    )
    client = signed_in(User.objects.get(username="bob"))

    page = client.get(f"/runs/{run.pk}/").content.decode()

    assert "429 four times" in page
    assert f'action="/runs/{run.pk}/resume/"' in page


def test_a_run_shows_one_block_a_call_and_the_whole_of_a_long_output() -> None:
    run = start()
    card = make_request(run)
    decide(card.pk, verdict="approve", by=ada(), digest_seen=card.digest)
    record_event(run.pk, EventKind.EXECUTION, {"status": "started"}, call_key="c1")
    record_event(
        run.pk,
        EventKind.ITEM,
        {
            "type": "tool_output",
            "outcome": "succeeded",
            "raw": {"output": "y" * 9_000},
        },
        call_key="c1",
    )
    client = signed_in(make_user("amy", "reviewers"))

    blocks = [block for block in timeline(run) if block.call]
    page = client.get(f"/runs/{run.pk}/").content.decode()
    whole = client.get(f"/runs/{run.pk}/?full={blocks[0].seq}").content.decode()

    assert [block.call.state for block in blocks if block.call] == ["succeeded"]
    assert "approved by ada" in page
    assert "Show all 9\u202f000 characters" in page
    assert "y" * 9_000 in whole
    assert client.get(f"/runs/{run.pk}/?full=999").status_code == 404


def test_changes_bring_touched_blocks_whole() -> None:
    run = start()
    card = make_request(run)
    run.refresh_from_db()
    seen = run.last_seq
    decide(card.pk, verdict="approve", by=ada(), digest_seen=card.digest)

    news = changes(run.pk, after=seen)

    [block] = news.blocks
    assert block.seq < seen < block.last_seq == news.last_seq
    assert block.call
    assert (block.call.tool, block.call.state) == ("refund", "approved")
    assert changes(run.pk, after=news.last_seq).blocks == []
    assert [b for b in timeline(run) if b.call] == [block]


def test_a_block_for_a_socket_shows_no_card_to_who_may_not_see_it() -> None:
    run = start(requester=bob())
    make_request(run)
    [block] = [block for block in timeline(run) if block.call]

    assert 'name="verdict"' not in render_block(block, user=eve())


def test_a_block_for_a_socket_shows_what_its_reader_may_do() -> None:
    reviewer, operator = ada(), bob()
    run = start(requester=operator)
    make_request(run)
    [block] = [block for block in timeline(run) if block.call]

    for_ada = render_block(block, user=reviewer, oob="outerHTML")
    for_bob = render_block(block, user=operator)

    assert 'hx-swap-oob="outerHTML"' in for_ada
    assert re.search(r'name="verdict" value="approve"(?![^>]* disabled)', for_ada)
    assert not re.search(r'name="verdict" value="approve"(?![^>]* disabled)', for_bob)
    assert "csrfmiddlewaretoken" not in for_ada
    assert f'id="unread-{run.pk}"' in render_header(run, user=reviewer, oob="outerHTML")


def test_pages_for_what_went_wrong_say_what_to_do(client: Client) -> None:
    client.force_login(bob())
    client.raise_request_exception = False

    assert "Back to the queue" in client.get("/nowhere/").content.decode()


# What a template may hold


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_templates_hold_nothing_inline(template: Path) -> None:
    text = template.read_text()

    assert not re.search(r"<script(?![^>]*\bsrc=)", text)
    assert not re.search(r"<style|\sstyle=", text)
    assert not re.search(r"\son\w+\s*=", text)
    assert not re.search(r"hx-on|js:|javascript:", text)
    assert not re.search(r"""hx-trigger=["'][^"']*\[""", text)
    assert not re.search(r"\|safe\b|autoescape", text)


def test_styles_and_scripts_stay_small() -> None:
    static = Path(settings.BASE_DIR, "static")
    own = [*static.rglob("*.css"), *static.rglob("*.js")]

    assert sum(path.stat().st_size for path in own) <= 60_000


# Undo


def held_request(hold: timedelta = timedelta(minutes=5)) -> ApprovalRequest:
    """A request of bob's that ada has approved, and that can still be undone."""
    card = make_request(start(requester=bob()), hold=hold)
    decide(card.pk, verdict="approve", by=ada(), digest_seen=card.digest)
    card.refresh_from_db()
    return card


def undo_url(card: ApprovalRequest) -> str:
    return f"/requests/{card.pk}/undo/"


@pytest.mark.parametrize("htmx", [True, False])
def test_a_held_verdict_says_when_it_counts_and_is_undone_by_a_form(htmx: bool) -> None:
    card = held_request()
    client = signed_in(User.objects.get(username="ada"))
    page = client.get(card.get_absolute_url()).content.decode()
    assert f'action="{undo_url(card)}"' in page
    assert re.search(r"It counts in <time [^>]*data-left>[45] min</time>", page)

    answer = client.post(undo_url(card), headers=HTMX if htmx else {})

    again = pending(card.run)[0]
    if htmx:
        assert f'id="card-{again.pk}"' in answer.content.decode()
        assert "Undone" in unquote(answer["Placet-Announce"])
    else:
        assert answer.headers["location"] == again.get_absolute_url()
    old = client.get(card.get_absolute_url()).content.decode()
    assert "ada took the verdict back" in old
    assert again.get_absolute_url() in old


@pytest.mark.parametrize("htmx", [True, False])
def test_an_undo_that_comes_too_late_gets_the_card_as_it_stands(htmx: bool) -> None:
    card = held_request()
    Decision.objects.update(release_at=timezone.now())
    client = signed_in(User.objects.get(username="ada"))

    answer = client.post(undo_url(card), headers=HTMX if htmx else {})

    assert answer.status_code == 409
    page = answer.content.decode()
    assert "too late" in page
    assert "Approved by ada" in page
    assert undo_url(card) not in page
    card.refresh_from_db()
    assert card.status == RequestStatus.APPROVED


def test_who_may_not_undo_sees_why_and_is_refused() -> None:
    card = held_request()
    client = signed_in(User.objects.get(username="bob"))

    page = client.get(card.get_absolute_url()).content.decode()
    answer = client.post(undo_url(card))

    assert f'disabled aria-describedby="why-undo-{card.pk}"' in page
    assert answer.status_code == 403
    assert "You started this run" in answer.content.decode()


def test_an_undo_needs_a_post_and_a_csrf_token() -> None:
    card = held_request()
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.get(username="ada"))

    assert client.get(undo_url(card)).status_code == 405
    assert client.post(undo_url(card)).status_code == 403

    card.refresh_from_db()
    assert card.status == RequestStatus.APPROVED


def test_a_held_call_can_be_undone_where_its_run_is_watched() -> None:
    card = held_request()
    client = signed_in(User.objects.get(username="ada"))

    page = client.get(card.run.get_absolute_url()).content.decode()
    Decision.objects.update(release_at=timezone.now())
    later = client.get(card.run.get_absolute_url()).content.decode()

    assert undo_url(card) in page
    assert undo_url(card) not in later


def test_an_expired_request_says_that_nobody_decided() -> None:
    card = make_request(start(), expires_at=timezone.now() - timedelta(seconds=1))
    decide(card.pk, verdict="reject", by=None, digest_seen=card.digest)

    page = signed_in(ada()).get(card.get_absolute_url()).content.decode()

    assert "Expired" in page
    assert "Nobody decided it in time" in page
    assert "Expired by" not in page

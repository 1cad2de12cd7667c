"""The always-dialog, the list of Rules and their chips, over HTTP."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any
from urllib.parse import unquote

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from approvals.conditions import parse
from approvals.models import ApprovalRequest, Rule
from approvals.terms import Terms
from runs.models import Run
from tests.factories import ada, bob, eve, make_user, pending, say
from tests.runs.test_steps import append, make_call, proposed
from tests.test_pages import HTMX, signed_in

pytestmark = pytest.mark.django_db

REFUND = '{"order_id": "1042", "amount_eur": 48.5}'


def asked(arguments: str = REFUND) -> ApprovalRequest:
    return proposed(make_call(arguments))[2]


def address(card: ApprovalRequest) -> str:
    return f"/requests/{card.pk}/always/"


def terms(card: ApprovalRequest, **more: str) -> dict[str, str]:
    """What the dialog posts as it opens, with changes."""
    return {
        "verdict": "approve",
        "digest": card.digest,
        "scope": "run",
        "match": "all",
        "op-0": "equals",
        "value-0": "1042",
        "op-1": "between",
        "low-1": "0",
        "value-1": "48.5",
    } | more


def make_rules(count: int, maker: User, **changes: Any) -> list[Rule]:
    values = {
        "scope": Rule.Scope.AGENT,
        "agent_key": "shop",
        "agent_path": "Shop",
        "tool": "refund",
        "schema_hash": "s",
        "verdict": "approve",
        "use_cap": 5,
        "expires_at": timezone.now() + timedelta(days=1),
        "creator": maker,
        "created_at": timezone.now(),
    }
    return [Rule.objects.create(**values | changes) for _ in range(count)]


# The dialog


def test_the_dialog_opens_on_this_call_and_this_run() -> None:
    card = asked()

    page = signed_in(ada()).get(address(card)).content.decode()

    assert 'value="run" checked' in page
    assert "order_id = “1042” and 0 ≤ amount_eur ≤ 48.5" in page
    assert "until the run ends" in page


def test_the_dialog_makes_the_rule_it_names() -> None:
    card = asked()
    client = signed_in(ada())

    response = client.post(
        address(card),
        terms(card, **{"scope": "conversation", "op-0": "any", "value-1": "50"}),
        follow=True,
    )

    rule = Rule.objects.get()
    assert (rule.scope, rule.conversation) == ("conversation", card.run.conversation)
    assert parse(rule.conditions).model_dump(mode="json")["of"] == [
        {"op": "any", "path": ["order_id"]},
        {"op": "between", "path": ["amount_eur"], "low": "0", "high": "50"},
    ]
    page = response.content.decode()
    assert "a Rule is made" in page
    assert "where any order_id and 0 ≤ amount_eur ≤ 50" in page
    card.refresh_from_db()
    assert card.status == "approved"


def test_checking_tells_what_the_rule_would_do_and_does_nothing() -> None:
    reviewer = ada()
    say("reject", asked('{"order_id": "1042", "amount_eur": 30.5}'), reviewer)
    say("approve", asked('{"order_id": "1042", "amount_eur": 90.5}'), reviewer)
    run, lease, card = proposed(make_call(REFUND))
    append(run, lease, [make_call('{"order_id": "1042", "amount_eur": 2}', key="c2")])
    client = signed_in(reviewer)

    fields = terms(card, check="on")
    part = client.post(address(card), fields, headers=HTMX).content.decode()

    assert "<html" not in part
    assert "<b>1 of the last 2</b>" in part
    assert "1 of those was rejected" in part
    assert "It decides 1 open request of this run now" in part
    assert str(pending(run)[1].pk) in part
    assert not Rule.objects.exists()
    assert len(pending(run)) == 2


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"value-1": "lots"}, "amount_eur: write a number"),
        ({"low-1": "60"}, "amount_eur: the lowest number is above the highest"),
        ({"op-0": "starts with", "value-0": ""}, "order_id: write a value"),
        ({"op-0": "regex"}, "regex is not one of"),
        ({"use_cap": "0"}, "greater than or equal to 1"),
        ({"scope": "world"}, "world is not one of"),
        ({"match": ""}, "required"),
        ({"scope": "everywhere"}, "need the permission"),
    ],
)
def test_a_bad_form_keeps_what_was_typed(wrong: dict[str, str], told: str) -> None:
    card = asked()

    fields = terms(card, reason="My <b>own</b> words") | wrong
    response = signed_in(ada()).post(address(card), fields)

    page = response.content.decode()
    assert response.status_code == 422
    assert told in page
    assert "My &lt;b&gt;own&lt;/b&gt; words" in page
    assert not Rule.objects.exists()
    card.refresh_from_db()
    assert card.is_pending


def test_what_htmx_refuses_takes_the_place_of_the_dialog() -> None:
    card = asked()

    fields = terms(card) | {"value-1": "lots"}
    response = signed_in(ada()).post(address(card), fields, headers=HTMX)

    assert response.status_code == 422
    assert response["HX-Retarget"] == f"#dialog-{card.pk}"
    assert "lots" in response.content.decode()


def test_a_lost_race_shows_the_card_as_it_is() -> None:
    card, client = asked(), signed_in(ada())
    say("reject", card, make_user("carl", "reviewers"))

    response = client.post(address(card), terms(card), headers=HTMX)

    assert response.status_code == 409
    assert "already rejected" in response.content.decode()
    assert not Rule.objects.exists()


def test_a_changed_call_is_not_decided() -> None:
    card = asked()

    response = signed_in(ada()).post(address(card), terms(card, digest="0" * 64))

    assert response.status_code == 409
    assert not Rule.objects.exists()


def test_a_decision_over_htmx_answers_with_the_card() -> None:
    card = asked()

    response = signed_in(ada()).post(address(card), terms(card), headers=HTMX)

    assert response.status_code == 200
    assert f'id="card-{card.pk}"' in response.content.decode()
    assert "a Rule is made" in unquote(response["Placet-Announce"])


def test_who_may_not_decide_is_told_why_and_strangers_nothing() -> None:
    card = asked()

    shown = signed_in(bob()).get(address(card))
    stranger = signed_in(eve())

    assert "not a reviewer" in shown.content.decode()
    assert '<form class="stack"' not in shown.content.decode()
    assert (
        signed_in(User.objects.get(username="bob"))
        .post(address(card), terms(card))
        .status_code
        == 403
    )
    assert stranger.get(address(card)).status_code == 404
    assert stranger.post(address(card), terms(card)).status_code == 404
    assert Client().get(address(card)).status_code == 302
    assert not Rule.objects.exists()


def test_line_ends_of_the_call_are_not_those_of_the_browser() -> None:
    card = asked(json.dumps({"body": "one\ntwo\r\nthree"}))

    fields = terms(card) | {"value-0": "one\r\ntwo\r\nthree"}
    signed_in(ada()).post(address(card), fields)

    [condition] = parse(Rule.objects.get().conditions).model_dump()["of"]
    assert condition["value"] == {"text": "one\ntwo\r\nthree"}


def test_a_call_without_arguments_offers_to_stay_without() -> None:
    card = asked("{}")

    page = signed_in(ada()).get(address(card)).content.decode()

    assert 'value="none" checked' in page
    assert "without arguments" in page


# The list, a Rule's page, revoking


@pytest.mark.parametrize("count", [1, 3, 20])
def test_the_list_costs_the_same_whatever_it_holds(count: int) -> None:
    reviewer = ada()
    make_rules(count, reviewer)
    client = signed_in(reviewer)
    client.get("/rules/")

    with CaptureQueriesContext(connection) as queries:
        page = client.get("/rules/").content.decode()

    assert page.count('class="row is-active"') == count
    assert len(queries) <= 8
    found = [query["sql"] for query in queries if "approvals_rule" in query["sql"]]
    assert len(found) == 1


def test_the_list_finds_by_words_tool_scope_and_state() -> None:
    reviewer = ada()
    make_rules(1, reviewer)
    make_rules(1, reviewer, tool="pay_out", uses=5)
    make_rules(1, reviewer, tool="mail", expires_at=timezone.now())
    make_rules(1, reviewer, tool="call", suspended_at=timezone.now())
    make_rules(1, reviewer, tool="ring", revoked_at=timezone.now(), revoked_by=reviewer)
    client = signed_in(reviewer)

    def listed(query: str) -> list[str]:
        page = client.get(f"/rules/?{query}").context["page"]
        return sorted(rule.tool for rule in page.rules)

    assert len(listed("")) == 5
    assert listed("state=active") == ["refund"]
    assert listed("state=exhausted") == ["pay_out"]
    assert listed("state=expired") == ["mail"]
    assert listed("state=suspended") == ["call"]
    assert listed("state=revoked") == ["ring"]
    assert listed("q=pay+ada") == ["pay_out"]
    assert listed("tool=mail") == ["mail"]
    assert listed("scope=run") == []
    assert len(listed("state=nonsense")) == 5


def test_the_list_goes_on_by_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("approvals.rule_queries.PAGE_SIZE", 2)
    reviewer = ada()
    rules = make_rules(3, reviewer)
    client = signed_in(reviewer)

    first = client.get("/rules/?q=refund").context["page"]
    rest = client.get(f"/rules/?q=refund&before={first.older}").context["page"]

    assert [rule.pk for rule in first.rules] == [rules[2].pk, rules[1].pk]
    assert [rule.pk for rule in rest.rules] == [rules[0].pk]
    assert client.get("/rules/?before=x").status_code == 404


def test_strangers_see_no_rules() -> None:
    [rule] = make_rules(1, ada())
    client = signed_in(eve())

    assert client.get("/rules/").status_code == 404
    assert client.get(f"/rules/{rule.pk}/").status_code == 404
    assert client.post(f"/rules/{rule.pk}/revoke/").status_code == 404
    assert 'href="/rules/"' not in client.get("/").content.decode()


def test_a_rules_page_lists_its_uses_and_who_ended_it() -> None:
    run, lease, card = proposed(make_call(REFUND))
    reviewer = ada()
    say("approve", card, reviewer, always=Terms())
    append(run, lease, [make_call(key="c2", call_id="c2")])
    rule = Rule.objects.get()
    client = signed_in(reviewer)
    used = run.requests.get(call_key="c2")

    page = client.get(f"/rules/{rule.pk}/").content.decode()
    bad = client.post(f"/rules/{rule.pk}/revoke/", {"reason": " "})
    done = client.post(f"/rules/{rule.pk}/revoke/", {"reason": "Too wide"}, follow=True)
    again = client.post(f"/rules/{rule.pk}/revoke/", {"reason": "Again"})

    assert used.get_absolute_url() in page
    assert (bad.status_code, again.status_code) == (422, 409)
    assert "Revoked by ada" in done.content.decode()
    assert "Too wide" in done.content.decode()


def test_who_only_watches_may_not_revoke() -> None:
    [rule] = make_rules(1, ada())
    client = signed_in(bob())

    response = client.post(f"/rules/{rule.pk}/revoke/", {"reason": "Mine"})

    assert response.status_code == 403
    assert "Only its maker" in response.content.decode()
    rule.refresh_from_db()
    assert rule.revoked_at is None


# Chips


def in_conversation() -> tuple[Run, Rule]:
    run, _, card = proposed(make_call(REFUND))
    say("approve", card, ada(), always=Terms(scope=Rule.Scope.CONVERSATION))
    return run, Rule.objects.get()


@pytest.mark.parametrize("page", ["/runs/{run.pk}/", "/conversations/{talk}/"])
def test_a_rule_in_force_is_a_chip_that_can_be_revoked_there(page: str) -> None:
    run, rule = in_conversation()
    client = signed_in(User.objects.get(username="ada"))
    where = page.format(run=run, talk=run.conversation_id)
    revoke = f"/rules/{rule.pk}/revoke/"

    shown = client.get(where).content.decode()
    fields = {"reason": "Enough", "next": where}
    over = client.post(revoke, fields)
    after = client.get(where).content.decode()

    assert "in this conversation" in shown
    assert f'action="{revoke}"' in shown
    assert over["Location"] == where
    assert "in this conversation" not in after


def test_the_card_of_a_call_a_rule_decided_names_the_rule() -> None:
    run, lease, card = proposed(make_call(REFUND))
    reviewer = ada()
    say("approve", card, reviewer, always=Terms())
    append(run, lease, [make_call(key="c2", call_id="c2")])
    rule = Rule.objects.get()
    client = signed_in(reviewer)

    page = client.get(f"/requests/{run.requests.get(call_key='c2').pk}/")

    assert rule.get_absolute_url() in page.content.decode()


def test_a_chip_that_could_not_be_revoked_says_why_in_its_place() -> None:
    _, rule = in_conversation()
    client = signed_in(User.objects.get(username="ada"))

    response = client.post(f"/rules/{rule.pk}/revoke/", {}, headers=HTMX)

    assert response.status_code == 422
    assert response.content.decode().startswith('<p class="problem"')


# The admin


def test_an_admin_revokes_rules_and_changes_none() -> None:
    first, second = make_rules(2, ada())
    admin = signed_in(make_user("root", is_staff=True, is_superuser=True))
    listed = "/admin/approvals/rule/"

    shown = admin.get(f"{listed}{first.pk}/change/").content.decode()
    admin.post(listed, {"action": "revoke_rules", "_selected_action": [str(first.pk)]})

    assert 'name="_save"' not in shown
    first.refresh_from_db()
    second.refresh_from_db()
    assert first.revoked_by is not None
    assert first.revoked_by.username == "root"
    assert second.revoked_at is None


def test_a_watching_admin_revokes_nothing() -> None:
    [rule] = make_rules(1, ada())
    watcher = make_user("wim", is_staff=True)
    watcher.user_permissions.add(Permission.objects.get(codename="view_rule"))

    signed_in(watcher).post(
        "/admin/approvals/rule/",
        {"action": "revoke_rules", "_selected_action": [str(rule.pk)]},
    )

    rule.refresh_from_db()
    assert rule.revoked_at is None

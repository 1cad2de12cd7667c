from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from approvals.models import ApprovalRequest, Decision, RequestStatus
from runs import codec, services
from runs.models import Run, RunEvent, RunStatus, WebhookSource
from runs.services import saved_states
from runs.webhooks.signature import is_secret
from tests.factories import ada, bob, make_user, say, start
from tests.webhooks.factories import deliver, make_source

from .factories import make_ended_run, make_request

pytestmark = pytest.mark.django_db
HISTORY = [
    ("runs", "conversation"),
    ("runs", "run"),
    ("runs", "runevent"),
    ("runs", "toolexecution"),
    ("runs", "savedstate"),
    ("runs", "webhookdelivery"),
    ("approvals", "approvalrequest"),
    ("approvals", "vote"),
    ("approvals", "decision"),
    ("approvals", "rule"),
    ("approvals", "auditentry"),
]
EVIL = "</textarea><script>alert(1)</script>\u202e\u200b"


@pytest.fixture
def boss(client: Client) -> Client:
    """A superuser's browser."""
    client.force_login(User.objects.create_superuser("admin", password="admin"))
    return client


@pytest.fixture
def history() -> Run:
    """A run with a row of every kind of history."""
    run = start(f"Refund 1042 {EVIL}", requester=bob())
    reviewer = ada()
    say("approve", make_request(run), reviewer, always=True, reason=EVIL)
    make_request(run, key="call_2", order_id=EVIL)
    run.executions.create(
        call_key=f"call_1 {EVIL}",
        tool=f"refund {EVIL}",
        digest="d",
        epoch=1,
        outcome=codec.dumps({"output": EVIL}),
        started_at=run.created_at,
    )
    Run.objects.filter(pk=run.pk).update(error=EVIL, final_output=EVIL)
    run.conversation.metadata = codec.dumps({"key": EVIL})
    run.conversation.save()
    saved_states.save(f"s1 {EVIL}", f"A {EVIL}", lambda place: f'{{"said": "{EVIL}"}}')
    deliver(Client(), make_source(agent_key="shop"), {"order": {"id": 1}})
    return run


def url(app: str, model: str, page: str, *args: Any) -> str:
    return reverse(f"admin:{app}_{model}_{page}", args=args)


def newest(app: str, model: str) -> Any:
    return apps.get_model(app, model)._default_manager.order_by("pk").last()


def staff_with(*codenames: str) -> Client:
    person = make_user("carol", is_staff=True)
    person.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    client = Client()
    client.force_login(person)
    return client


@pytest.mark.parametrize(("app", "model"), HISTORY)
def test_history_is_listed_and_shown(
    boss: Client, history: Run, app: str, model: str
) -> None:
    row = newest(app, model)

    listed = boss.get(url(app, model, "changelist"))
    shown = boss.get(url(app, model, "change", row.pk))

    assert (listed.status_code, shown.status_code) == (200, 200)
    assert url(app, model, "change", row.pk) in listed.content.decode()
    assert '<input type="submit"' not in shown.content.decode()


@pytest.mark.parametrize(("app", "model"), HISTORY)
def test_history_is_never_changed(
    boss: Client, history: Run, app: str, model: str
) -> None:
    row = newest(app, model)
    before = apps.get_model(app, model)._default_manager.values().get(pk=row.pk)

    answers = [
        boss.get(url(app, model, "add")),
        boss.post(url(app, model, "add"), {"reason": "x"}),
        boss.post(url(app, model, "change", row.pk), {"reason": "x", "verdict": "x"}),
        boss.post(url(app, model, "delete", row.pk), {"post": "yes"}),
    ]
    boss.post(
        url(app, model, "changelist"),
        {"action": "delete_selected", "_selected_action": [row.pk], "post": "yes"},
    )

    assert [answer.status_code for answer in answers] == [403] * 4
    after = apps.get_model(app, model)._default_manager.values().get(pk=row.pk)
    assert after == before


def test_every_model_of_ours_is_in_the_admin() -> None:
    ours = {
        (model._meta.app_label, model._meta.model_name)
        for model in admin.site._registry
        if model._meta.app_label in ("runs", "approvals")
    }

    assert ours == {*HISTORY, ("runs", "webhooksource")}


@pytest.mark.parametrize(("app", "model"), HISTORY)
def test_agent_text_is_inert(boss: Client, history: Run, app: str, model: str) -> None:
    row = newest(app, model)

    pages = [
        boss.get(url(app, model, "changelist")).content.decode(),
        boss.get(url(app, model, "change", row.pk)).content.decode(),
    ]

    for page in pages:
        assert "<script>alert" not in page
        assert "\u202e" not in page
        assert "\u200b" not in page


def test_a_request_shows_its_arguments_with_hidden_characters_named(
    boss: Client, history: Run
) -> None:
    request = ApprovalRequest.objects.get(call_key="call_2")

    page = boss.get(url("approvals", "approvalrequest", "change", request.pk))

    assert "&lt;/textarea&gt;&lt;script&gt;" in page.content.decode()
    assert "⟦right-to-left override⟧" in page.content.decode()


@pytest.mark.parametrize(("app", "model"), HISTORY)
@pytest.mark.parametrize("words", ["1042", str(uuid4()), "'\"%_ x", "0"])
def test_search_takes_words_and_ids(
    boss: Client, history: Run, app: str, model: str, words: str
) -> None:
    answer = boss.get(url(app, model, "changelist"), {"q": words})

    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("app", "model", "field"),
    [
        ("runs", "run", "pk"),
        ("runs", "run", "conversation_id"),
        ("runs", "conversation", "pk"),
        ("runs", "runevent", "run_id"),
        ("approvals", "approvalrequest", "run_id"),
        ("approvals", "decision", "request_id"),
        ("approvals", "auditentry", "object_id"),
    ],
)
def test_search_finds_by_id(
    boss: Client, history: Run, app: str, model: str, field: str
) -> None:
    sought, other = newest(app, model), start("Another").pk
    found = boss.get(
        url(app, model, "changelist"), {"q": str(getattr(sought, field))}
    ).content.decode()

    assert url(app, model, "change", sought.pk) in found
    assert str(other) not in found


@pytest.mark.parametrize(("app", "model"), HISTORY)
def test_lists_ask_a_fixed_number_of_queries(
    boss: Client,
    history: Run,
    app: str,
    model: str,
    django_assert_max_num_queries: Callable[..., Any],
) -> None:
    for number in range(3):
        make_request(start(f"Another {number}"), key=f"call_{number}")

    with django_assert_max_num_queries(9):
        boss.get(url(app, model, "changelist"))


def test_staff_sees_only_what_it_may(history: Run) -> None:
    client = staff_with("view_run")

    assert client.get(url("runs", "run", "changelist")).status_code == 200
    assert client.get(url("approvals", "decision", "changelist")).status_code == 403


def test_a_run_shows_its_head_and_log(boss: Client, history: Run) -> None:
    page = boss.get(url("runs", "run", "change", history.pk)).content.decode()

    assert "Refund 1042" in page
    assert "$schemaVersion" in page
    assert f"?run={history.pk}" in page


def test_a_saved_states_content_is_not_shown(boss: Client) -> None:
    saved_states.save("s1", "Agent", lambda place: '{"said": "hunter2"}')
    row = newest("runs", "savedstate")

    pages = [
        boss.get(url("runs", "savedstate", "changelist")).content.decode(),
        boss.get(url("runs", "savedstate", "change", row.pk)).content.decode(),
    ]

    for page in pages:
        assert "hunter2" not in page
        assert "19" in page  # characters


def test_a_damaged_head_can_be_looked_at(boss: Client, history: Run) -> None:
    Run.objects.filter(pk=history.pk).update(head='{"cut')

    page = boss.get(url("runs", "run", "change", history.pk)).content.decode()

    assert "{&quot;cut" in page


# Clean-up


def test_clean_up_shows_the_count_before_it_deletes(boss: Client) -> None:
    make_ended_run(age=timedelta(days=31))
    make_ended_run(age=timedelta(days=5))
    address = reverse("admin:runs_run_clean_up")

    asked = boss.get(address).content.decode()
    counted = boss.get(address, {"days": 30}).content.decode()

    assert "Count them first" in asked
    assert "Delete 1 state" in counted
    assert Run.objects.filter(head="").count() == 0

    done = boss.post(address, {"days": 30}, follow=True)

    assert "1 states deleted." in done.content.decode()
    assert Run.objects.filter(head="").count() == 1
    assert RunEvent.objects.filter(kind="item").count() == 1


@pytest.mark.parametrize("days", ["", "0", "-1", "many", "99999999999"])
def test_clean_up_refuses_what_is_no_age(boss: Client, days: str) -> None:
    make_ended_run(age=timedelta(days=31))

    answer = boss.post(reverse("admin:runs_run_clean_up"), {"days": days})

    assert answer.status_code == 200
    assert "errorlist" in answer.content.decode()
    assert Run.objects.filter(head="").count() == 0


@pytest.mark.parametrize("permission", ["view_run", "change_run"])
def test_clean_up_needs_the_right_to_delete(permission: str) -> None:
    make_ended_run(age=timedelta(days=31))
    client = staff_with(permission)

    assert (
        client.post(reverse("admin:runs_run_clean_up"), {"days": 1}).status_code == 403
    )
    assert (
        "clean-up" not in client.get(url("runs", "run", "changelist")).content.decode()
    )
    assert Run.objects.filter(head="").count() == 0


def test_clean_up_is_one_click_away(boss: Client) -> None:
    page = boss.get(url("runs", "run", "changelist")).content.decode()

    assert reverse("admin:runs_run_clean_up") in page


# Actions


def act(client: Client, app: str, model: str, action: str, *rows: Any) -> str:
    answer = client.post(
        url(app, model, "changelist"),
        {"action": action, "_selected_action": [row.pk for row in rows]},
        follow=True,
    )
    return answer.content.decode()


def test_requeue_takes_a_stuck_run_from_its_worker(boss: Client) -> None:
    stuck, ended = start(), make_ended_run(age=timedelta(0))
    Run.objects.filter(pk=stuck.pk).update(
        status=RunStatus.RUNNING, lease_owner="dead", lease_epoch=3
    )

    page = act(boss, "runs", "run", "requeue", stuck, ended)

    stuck.refresh_from_db()
    assert (stuck.status, stuck.lease_owner) == (RunStatus.QUEUED, "")
    assert stuck.lease_epoch > 3
    assert "1 runs re-queued." in page
    assert "ended already" in page


def test_requeue_needs_the_right_to_change() -> None:
    run = start()
    Run.objects.update(status=RunStatus.RUNNING, lease_epoch=3)

    act(staff_with("view_run"), "runs", "run", "requeue", run)

    assert Run.objects.get().lease_epoch == 3


def test_denying_orphans_leaves_the_conversation_usable(boss: Client) -> None:
    run = start(requester=bob())
    request = make_request(run)
    Run.objects.update(status=RunStatus.WAITING)

    page = act(boss, "approvals", "approvalrequest", "deny_orphaned", request)

    request.refresh_from_db()
    assert request.status == RequestStatus.REJECTED
    assert Decision.objects.get().actor == User.objects.get(username="admin")
    assert Run.objects.get().status == RunStatus.QUEUED
    assert "1 of 1 requests denied" in page
    assert services.send_message(run.conversation_id, "Go on", by=None) == run


def test_denying_orphans_needs_the_right_to_change() -> None:
    request = make_request(start())
    client = staff_with("view_approvalrequest", "decide_request")

    page = act(client, "approvals", "approvalrequest", "deny_orphaned", request)

    assert "deny_orphaned" not in page
    request.refresh_from_db()
    assert request.status == RequestStatus.PENDING


def test_requests_that_wait_for_long_are_found(boss: Client) -> None:
    old, new = make_request(start()), make_request(start())
    ApprovalRequest.objects.filter(pk=old.pk).update(
        created_at=old.created_at - timedelta(days=2)
    )

    page = boss.get(
        url("approvals", "approvalrequest", "changelist"), {"waiting": "day"}
    ).content.decode()

    assert str(old.pk) in page
    assert str(new.pk) not in page


# Webhook sources

SOURCE = {
    "slug": "shop",
    "name": "Shop",
    "agent_key": "shop",
    "template": "Order {{ body.order.id }}",
    "conversation_template": "",
    "is_active": "on",
}


def test_a_source_is_made_and_its_secret_shown_once(boss: Client) -> None:
    first = boss.post(url("runs", "webhooksource", "add"), SOURCE, follow=True)
    source = WebhookSource.objects.get()
    pages = [
        boss.get(url("runs", "webhooksource", "changelist")),
        boss.get(url("runs", "webhooksource", "change", source.pk)),
        boss.get(url("runs", "webhooksource", "history", source.pk)),
    ]

    assert is_secret(source.secret)
    assert first.content.decode().count(source.secret) == 1
    assert all(source.secret not in page.content.decode() for page in pages)
    assert deliver(Client(), source, {"order": {"id": 7}})[0] == 202


def test_changing_a_source_keeps_its_secret_and_address(boss: Client) -> None:
    source = make_source(agent_key="shop")

    page = boss.post(
        url("runs", "webhooksource", "change", source.pk),
        SOURCE | {"slug": "other", "name": "Renamed", "secret": "whsec_x"},
        follow=True,
    )

    changed = WebhookSource.objects.get()
    assert (changed.name, changed.slug) == ("Renamed", "shop")
    assert changed.secret == source.secret
    assert source.secret not in page.content.decode()


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("template", "{% if %}", "The template is wrong"),
        ("template", "{% load static %}", "The template is wrong"),
        ("conversation_template", "{{ body|nothing }}", "The template is wrong"),
        ("agent_key", "nobody", "not one of the available choices"),
        ("slug", "a/b", "valid"),
    ],
)
def test_a_wrong_source_is_not_made(
    boss: Client, field: str, value: str, message: str
) -> None:
    answer = boss.post(url("runs", "webhooksource", "add"), SOURCE | {field: value})

    assert message in answer.content.decode()
    assert not WebhookSource.objects.exists()


def test_a_source_of_an_agent_that_is_gone_can_be_looked_at(boss: Client) -> None:
    source = make_source(agent_key="gone")
    address = url("runs", "webhooksource", "change", source.pk)

    assert "gone (not registered)" in boss.get(address).content.decode()
    kept = boss.post(address, SOURCE | {"agent_key": "gone"}).content.decode()
    assert "There is no agent" in kept


def test_rotating_shows_the_fresh_secret_once_and_keeps_the_old_valid(
    boss: Client,
) -> None:
    source = make_source(agent_key="shop")
    old = source.secret

    page = act(boss, "runs", "webhooksource", "rotate_secret", source)

    source.refresh_from_db()
    assert page.count(source.secret) == 1
    assert source.previous_secret == old
    assert "still valid" in page
    again = boss.get(url("runs", "webhooksource", "changelist")).content.decode()
    assert source.secret not in again


def test_clearing_ends_the_old_secret(boss: Client) -> None:
    source = make_source(agent_key="shop", previous_secret="whsec_old")

    act(boss, "runs", "webhooksource", "clear_previous_secret", source)

    source.refresh_from_db()
    assert source.previous_secret == ""


def test_a_source_with_deliveries_cannot_be_deleted(boss: Client) -> None:
    source = make_source(agent_key="shop")
    deliver(Client(), source, {"order": {"id": 7}})

    boss.post(url("runs", "webhooksource", "delete", source.pk), {"post": "yes"})

    assert WebhookSource.objects.exists()

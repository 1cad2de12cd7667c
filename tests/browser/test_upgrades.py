"""A run whose code changed while it waited, as a reviewer meets it."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from tests.fake_openai import text

from .conftest import Model, SignIn
from .site import Site
from .test_accessibility import EVERYWHERE, assert_accessible_everywhere
from .test_main_job import refund, start

TITLE = "May the run of Support go on under changed code?"
# Deploys without a deploy: the waiting run remembers other code than there is.
AGED = """
import json
from runs import services
from runs.models import Run
# The newest: other tests leave runs that wait, of other agents too.
for run in Run.objects.filter(status="waiting").order_by("-id")[:1]:
    held = json.loads(run.definition)
    tools = held["agents"]["Support"]["tools"]
    mail = tools.pop("send_email")
    tools["send_letter"] = mail
    tools["lookup_order"]["asks"] = "always"
    refund = tools["refund"]
    refund["schema_hash"] = "0" * 64
    properties = refund["parameters"]["properties"]
    properties["order_id"] = {"type": "integer"}
    properties["note"] = {"type": "string"}
    held["agents"]["Support"]["instructions"] = "another"
    run.definition = json.dumps(held)
    run.save(update_fields=["definition"])
    services.wake(run.pk)
"""


def wait_under_changed_code(site: Site, model: Model, bob: Page, order: str) -> None:
    """Leave a run of bob's that waits for a go-ahead."""
    model.answers([refund(order), text("Done.")])
    start(bob, f"Refund order {order}.")
    expect(bob.locator(".timeline")).to_contain_text("You started this run")
    site.manage("shell", "-v0", "-c", AGED)
    expect(bob.locator(".timeline")).to_contain_text(TITLE)


def changes(page: Page) -> list[list[str]]:
    """Return the rows of the table, as they are read."""
    rows = page.locator(".changes tbody tr").all()
    return [row.locator("th, td").all_inner_texts() for row in rows]


def test_a_reviewer_reads_what_changed_and_lets_the_run_go_on(
    site: Site, model: Model, sign_in: SignIn
) -> None:
    ada, bob = sign_in("ada", **EVERYWHERE), sign_in("bob", **EVERYWHERE)
    wait_under_changed_code(site, model, bob, "code-1")
    assert_accessible_everywhere(bob)
    ada.goto("/")
    assert_accessible_everywhere(ada)

    ada.locator("#queue").get_by_role("link", name=TITLE).first.click()
    expect(ada.get_by_role("heading", level=1)).to_have_text(TITLE)
    table = ada.locator(".changes")
    expect(table).to_contain_text("order_id was integer and is string")
    expect(table).to_contain_text("asks less")
    assert len(changes(ada)) == 5
    assert_accessible_everywhere(ada)
    ada.get_by_text("End the run…").click()
    assert_accessible_everywhere(ada)
    ada.get_by_text("End the run…").click()

    ada.get_by_role("button", name="Go on").click()
    expect(ada.locator(".card")).to_contain_text("Let go on by ada")
    assert_accessible_everywhere(ada)
    expect(bob.locator(".timeline")).to_contain_text("Let go on under changed code")
    expect(bob.locator(".timeline")).to_contain_text("You started this run")
    assert_accessible_everywhere(bob)


def test_a_run_is_ended_without_javascript(
    site: Site, model: Model, sign_in: SignIn
) -> None:
    bob, ada = sign_in("bob"), sign_in("ada", java_script_enabled=False)
    wait_under_changed_code(site, model, bob, "code-plain")

    ada.goto("/")
    ada.locator("#queue").get_by_role("link", name=TITLE).first.click()
    ada.get_by_text("End the run…").click()
    ada.get_by_label("Reason").fill("Start it anew.")
    ada.get_by_role("button", name="End the run").click()

    expect(ada.locator(".card")).to_contain_text("Run ended by ada")
    expect(bob.locator(".run-header")).to_contain_text("Reason: Start it anew.")

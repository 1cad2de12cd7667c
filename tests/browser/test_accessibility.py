"""axe finds nothing to mend, on every page, in light and in dark."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.fake_openai import calls, text

from .conftest import Model, SignIn, arrives
from .site import Site
from .test_main_job import open_request, refund, start

Scheme = Literal["light", "dark"]
HOSTILE = (
    "<img src=x onerror=alert(1)> \u202ereversed\u202c zero\u200bwidth "
    "\u0440\u0430\u0443\u0440\u0430l"  # paypal, in Cyrillic letters but for one
)


def assert_accessible(page: Page) -> None:
    found: dict[str, Any] = Axe().run(page).response
    told = [
        (rule["id"], node["html"][:200], node["failureSummary"])
        for rule in found["violations"]
        for node in rule["nodes"]
    ]
    assert told == [], page.url


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_axe_finds_no_violation(
    site: Site, model: Model, sign_in: SignIn, scheme: Scheme, width: int
) -> None:
    screen = {
        "color_scheme": scheme,
        "viewport": {"width": width, "height": 800},
        "bypass_csp": True,  # for axe's own script, not for the page's
    }
    order = f"{scheme}-{width}"
    model.answers(
        [
            calls(("lookup_order", {"order_id": order}, "call_0")),
            refund(order),
            text("Done."),
        ]
    )
    ada, bob = sign_in("ada", **screen), sign_in("bob", **screen)
    ada.goto("/")
    assert_accessible(ada)
    start(bob, f"Refund order {order}.")
    expect(bob.locator(".timeline")).to_contain_text("You started this run")
    assert_accessible(bob)
    bob.goto("/conversations/")
    assert_accessible(bob)
    bob.goto("/conversations/new/")
    assert_accessible(bob)
    bob.goto("/conversations/0/")
    assert_accessible(bob)

    open_request(ada, order)
    assert_accessible(ada)
    ada.get_by_text("Reject…").click()
    assert_accessible(ada)
    ada.get_by_role("button", name="Approve", exact=True).click()
    expect(ada.locator(".card")).to_contain_text("Approved by ada")
    assert_accessible(ada)
    ada.get_by_role("link", name="Watch the run").click()
    expect(ada.locator(".timeline")).to_contain_text("Done.")
    assert_accessible(ada)
    ada.goto("/")
    assert_accessible(ada)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_axe_finds_no_violation_where_agents_use_agents(
    site: Site, model: Model, sign_in: SignIn, scheme: Scheme, width: int
) -> None:
    screen = {
        "color_scheme": scheme,
        "viewport": {"width": width, "height": 800},
        "bypass_csp": True,
    }
    order = f"nested-{scheme}-{width}"
    model.answers(
        [
            calls(("settle_case", {"input": f"Refund order {order}."}, "call_0")),
            calls(("lookup_order", {"order_id": order}, "call_1")),
            refund(order, "call_3"),
            text("Refunded."),
            calls(("transfer_to_ops", {}, "call_2")),
            text("Nothing is stuck."),
        ]
    )
    ada, bob = sign_in("ada", **screen), sign_in("bob", **screen)
    ada.goto("/")
    start(bob, f"Settle {order}, then look at the workers.", agent="desk")
    expect(bob.locator(".timeline")).to_contain_text("Task for Support")
    expect(bob.locator(".timeline .trail")).to_contain_text("settle_case")
    assert_accessible(bob)

    open_request(ada, order)
    expect(ada.locator(".trail li")).to_have_text(
        ["Front desk", "settle_case", "Support", "refund"]
    )
    assert_accessible(ada)
    ada.get_by_role("button", name="Approve", exact=True).click()
    ada.get_by_role("link", name="Watch the run").click()
    expect(ada.locator(".timeline")).to_contain_text("Handed over to Ops")
    expect(ada.locator(".timeline")).to_contain_text("Nothing is stuck.")
    ada.reload()
    ada.get_by_text("Trace", exact=True).click()
    expect(ada.locator(".spans")).to_contain_text("settle_case")
    assert_accessible(ada)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_axe_finds_no_violation_on_the_ops_page(
    site: Site, model: Model, sign_in: SignIn, scheme: Scheme, width: int
) -> None:
    order = f"ops-{scheme}-{width}"
    model.answers([refund(order), text("Done.")])
    bob = sign_in(
        "bob",
        color_scheme=scheme,
        viewport={"width": width, "height": 800},
        bypass_csp=True,
    )
    start(bob, f"Refund order {order}.")
    expect(bob.locator(".timeline")).to_contain_text("You started this run")

    bob.goto("/ops/")
    expect(bob.locator("#board")).to_contain_text("Working")
    expect(bob.locator("#board")).to_contain_text("under 5 min")
    assert_accessible(bob)
    with bob.expect_response("**/ops/") as renewed:
        pass
    assert renewed.value.status == 200
    assert_accessible(bob)
    assert bob.evaluate("document.documentElement.scrollWidth") == width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_violation_on_the_sign_in_page(
    site: Site, browsers: Any, scheme: Scheme
) -> None:
    context = browsers[0].new_context(
        base_url=site.url, color_scheme=scheme, bypass_csp=True
    )
    page = context.new_page()
    page.goto("/sign-in/")
    assert_accessible(page)

    page.fill("input[name=username]", "nobody")
    page.fill("input[name=password]", "wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_be_visible()
    assert_accessible(page)
    context.close()


def test_hostile_arguments_are_inert_and_flagged(
    site: Site, model: Model, sign_in: SignIn
) -> None:
    model.answers(
        [
            calls(
                (
                    "send_email",
                    {"to": "a@b.example", "subject": HOSTILE, "body": "x"},
                    "call_1",
                )
            ),
            text("Sent."),
        ]
    )
    ada, bob = sign_in("ada", bypass_csp=True), sign_in("bob")
    alerts: list[str] = []
    ada.on("dialog", lambda dialog: alerts.append(dialog.message))
    start(bob, "Write to a@b.example.")
    ada.goto("/")
    row = ada.locator("#queue > li", has_text="a@b.example").first
    arrives(ada, row)
    expect(row).to_contain_text("warning")
    row.get_by_role("link").first.click()

    expect(ada.locator(".card")).to_contain_text("<img src=x onerror=alert(1)>")
    assert ada.locator(".card img").count() == 0
    assert_accessible(ada)
    approve = ada.get_by_role("button", name="Approve", exact=True)
    approve.click()
    expect(ada.locator(".card")).not_to_contain_text("Approved by")
    ada.get_by_role("checkbox", name="display warning").check()
    approve.click()
    expect(ada.locator(".card")).to_contain_text("Approved by ada")
    assert alerts == []
    expect(bob.locator(".timeline")).to_contain_text("Sent.")


def test_a_megabyte_of_arguments_leaves_the_page_fast(
    site: Site, model: Model, sign_in: SignIn
) -> None:
    body = "All_work_and_no_play." * 50_000
    model.answers(
        [
            calls(
                (
                    "send_email",
                    {"to": "m@b.example", "subject": "Long", "body": body},
                    "c1",
                )
            ),
            text("Sent."),
        ]
    )
    ada, bob = sign_in("ada"), sign_in("bob")
    start(bob, "Write a long letter.")
    ada.goto("/")
    row = ada.locator("#queue > li", has_text="m@b.example").first
    arrives(ada, row)
    row.get_by_role("link").first.click()
    expect(ada.get_by_role("heading", level=1)).to_be_visible()

    size = len(ada.content())

    assert size < 200_000
    ada.get_by_role("link", name="Show all").first.click()
    expect(ada.locator("body")).to_contain_text("All_work_and_no_play.")

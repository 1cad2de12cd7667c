"""axe finds nothing to mend, on every page, in light and in dark."""

from __future__ import annotations

from typing import Any, Literal

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, ViewportSize, expect

from tests.fake_openai import calls, text

from .conftest import Model, SignIn, arrives
from .site import Site
from .test_main_job import open_request, refund, start

SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
MIDDLE: ViewportSize = {"width": 800, "height": 800}
EVERYWHERE: dict[str, Any] = {"viewport": MIDDLE, "bypass_csp": True}
"""A page that axe's own script may be put into."""
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


def assert_accessible_everywhere(page: Page) -> None:
    """Look with axe on a telephone and on a wide screen, in light and in dark.

    The page must have been made with `EVERYWHERE`, and is left with its size.
    """
    for width in (360, 1920):
        page.set_viewport_size({"width": width, "height": 800})
        for scheme in SCHEMES:
            page.emulate_media(color_scheme=scheme)
            assert_accessible(page)
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= width, f"{page.url} is {wide} px wide"
    page.set_viewport_size(MIDDLE)


def test_axe_finds_no_violation(site: Site, model: Model, sign_in: SignIn) -> None:
    model.answers(
        [
            calls(("lookup_order", {"order_id": "axe"}, "call_0")),
            refund("axe"),
            text("Done."),
        ]
    )
    ada, bob = sign_in("ada", **EVERYWHERE), sign_in("bob", **EVERYWHERE)
    start(bob, "Refund order axe.")
    expect(bob.locator(".timeline")).to_contain_text("You started this run")
    run = bob.url
    expect(bob.locator(".card")).to_be_visible()
    for page, path in ((bob, bob.url), (ada, "/")):
        page.goto(path)
        assert_accessible_everywhere(page)

    open_request(ada, "axe")
    request = ada.url
    assert_accessible_everywhere(ada)
    ada.get_by_text("Reject…").click()
    assert_accessible_everywhere(ada)
    for below in ("edit/", "always/", "similar/"):
        ada.goto(request + below)
        assert_accessible_everywhere(ada)
    pk = request.rstrip("/").rpartition("/")[2]
    ada.goto(f"/queue/bulk/?pick={pk}")
    assert_accessible_everywhere(ada)
    ada.goto(request)
    ada.get_by_role("link", name="Always…").click()
    expect(ada.get_by_role("button", name="Decide and make the Rule")).to_be_visible()
    assert_accessible_everywhere(ada)
    ada.get_by_role("button", name="Decide and make the Rule").click()
    expect(ada.locator(".card")).to_contain_text("Approved by ada")
    assert_accessible_everywhere(ada)
    ada.goto(run)
    expect(ada.locator(".timeline")).to_contain_text("Done.")
    assert_accessible_everywhere(ada)
    ada.goto("/rules/")
    assert_accessible_everywhere(ada)
    ada.locator(".rules a.summary").first.click()
    ada.wait_for_url("**/rules/*/")
    assert_accessible_everywhere(ada)
    for path in ("/", "/history/", "/settings/", "/settings/password/", "/keys/"):
        ada.goto(path)
        assert_accessible_everywhere(ada)


def test_axe_finds_no_violation_where_operators_are(
    site: Site, model: Model, sign_in: SignIn
) -> None:
    model.answers([refund("axe-ops"), text("Done.")])
    bob = sign_in("bob", **EVERYWHERE)
    start(bob, "Refund order axe-ops.")
    expect(bob.locator(".card")).to_be_visible()
    conversation = bob.url
    run = f"/runs/{bob.locator('[data-run]').first.get_attribute('data-run')}/"

    bob.goto("/ops/")
    expect(bob.locator("#board")).to_contain_text("under 5 min")
    assert_accessible_everywhere(bob)
    with bob.expect_response("**/ops/") as renewed:
        pass
    assert renewed.value.status == 200
    assert_accessible_everywhere(bob)
    for path in ("state/", "fork/?at=1"):
        answer = bob.goto(run + path)
        assert answer is not None
        assert answer.ok, path
        assert_accessible_everywhere(bob)
    for path in ("/conversations/", "/conversations/?q=refund", "/conversations/new/"):
        bob.goto(path)
        assert_accessible_everywhere(bob)
    bob.goto("/conversations/0/")
    assert_accessible_everywhere(bob)
    bob.goto(conversation)
    bob.locator("summary", has_text="Stop").first.click()
    assert_accessible_everywhere(bob)


def test_axe_finds_no_violation_where_agents_use_agents(
    site: Site, model: Model, sign_in: SignIn
) -> None:
    model.answers(
        [
            calls(("settle_case", {"input": "Refund order nested."}, "call_0")),
            calls(("lookup_order", {"order_id": "nested"}, "call_1")),
            refund("nested", "call_3"),
            text("Refunded."),
            calls(("transfer_to_ops", {}, "call_2")),
            text("Nothing is stuck."),
        ]
    )
    ada, bob = sign_in("ada", **EVERYWHERE), sign_in("bob", **EVERYWHERE)
    ada.goto("/")
    start(bob, "Settle nested, then look at the workers.", agent="desk")
    expect(bob.locator(".timeline")).to_contain_text("Task for Support")
    expect(bob.locator(".timeline .trail")).to_contain_text("settle_case")
    assert_accessible_everywhere(bob)

    open_request(ada, "nested")
    expect(ada.locator(".trail li")).to_have_text(
        ["Front desk", "settle_case", "Support", "refund"]
    )
    assert_accessible_everywhere(ada)
    ada.get_by_role("button", name="Approve", exact=True).click()
    ada.get_by_role("link", name="Watch the run").click()
    expect(ada.locator(".timeline")).to_contain_text("Handed over to Ops")
    expect(ada.locator(".timeline")).to_contain_text("Nothing is stuck.")
    ada.reload()
    ada.get_by_text("Trace", exact=True).click()
    expect(ada.locator(".spans")).to_contain_text("settle_case")
    assert_accessible_everywhere(ada)


def test_axe_finds_no_violation_on_the_sign_in_page(site: Site, browsers: Any) -> None:
    context = browsers[0].new_context(base_url=site.url, **EVERYWHERE)
    page = context.new_page()
    page.goto("/sign-in/")
    assert_accessible_everywhere(page)

    page.fill("input[name=username]", "nobody")
    page.fill("input[name=password]", "wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_be_visible()
    assert_accessible_everywhere(page)
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
    ada, bob = sign_in("ada", **EVERYWHERE), sign_in("bob")
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
    assert_accessible_everywhere(ada)
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

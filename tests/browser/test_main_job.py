"""The main job, as two people live it: real browsers, server, database and HTTP."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.fake_openai import Reply, calls, error, text

from .conftest import PATIENCE_MS, Model, SignIn, arrives
from .site import Site

expect.set_options(timeout=PATIENCE_MS)

REFUND = {"order_id": "1042", "amount_eur": 480}


def refund(order: str = "1042", call_id: str = "call_1", **more: Any) -> Reply:
    arguments = {**REFUND, "order_id": order, **more}
    return calls(("refund", arguments, call_id))


def start(page: Page, words: str, agent: str = "support") -> None:
    """Start a conversation with an agent, Support's by default; stay on its page."""
    page.goto("/conversations/new/")
    page.locator(f"input[name=agent][value={agent}]").check()
    page.fill("textarea[name=text]", words)
    page.get_by_role("button", name="Start").click()
    page.wait_for_url("**/conversations/0*/")


def mark(page: Page) -> None:
    """Leave something a reload would take away."""
    page.evaluate("window.unreloaded = true")


def assert_unreloaded(page: Page) -> None:
    assert page.evaluate("window.unreloaded === true")


def open_request(page: Page, order: str) -> None:
    """Wait until the queue shows the request, and open it."""
    row = page.locator("#queue").get_by_role("link", name=f"order {order}").first
    arrives(page, row)
    row.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(order)


def outputs(request: Any) -> list[str]:
    return [
        item["output"]
        for item in request.body["input"]
        if item.get("type") == "function_call_output"
    ]


def test_bob_asks_ada_approves_and_bob_sees_the_end(
    site: Site, model: Model, sign_in: SignIn
) -> None:
    model.answers([refund(), text("Your 480 euros are on their way.")])
    ada, bob = sign_in("ada"), sign_in("bob")
    ada.goto("/")
    mark(ada)

    start(bob, "Refund order 1042, please.")
    mark(bob)
    arrives(ada, ada.locator("#queue").get_by_role("link", name="order 1042").first)
    expect(bob.locator(".timeline")).to_contain_text("You started this run")
    expect(bob.get_by_role("button", name="Approve", exact=True)).to_be_disabled()
    assert_unreloaded(ada)

    open_request(ada, "1042")
    ada.get_by_role("button", name="Approve", exact=True).click()
    expect(ada.locator(".card")).to_contain_text("Approved by ada")

    expect(bob.locator(".timeline")).to_contain_text("Refunded")
    expect(bob.locator(".timeline")).to_contain_text("Your 480 euros are on their way.")
    expect(bob.locator(".run-header")).to_contain_text("Completed")
    assert_unreloaded(bob)


def test_a_rejections_reason_reaches_the_model(
    site: Site, model: Model, sign_in: SignIn
) -> None:
    model.answers([refund("1050"), text("I am sorry, that was refused.")])
    ada, bob = sign_in("ada"), sign_in("bob")
    ada.goto("/")
    start(bob, "Refund order 1050, please.")
    mark(bob)

    open_request(ada, "1050")
    ada.get_by_text("Reject…").click()
    ada.get_by_label("Reason").fill("This customer was paid back in May.")
    ada.get_by_role("button", name="Reject this call").click()
    expect(ada.locator(".card")).to_contain_text("Rejected by ada")

    expect(bob.locator(".timeline")).to_contain_text("I am sorry, that was refused.")
    expect(bob.locator(".timeline")).to_contain_text("paid back in May")
    assert_unreloaded(bob)
    [told] = outputs(model.server.requests[-1])
    assert "This customer was paid back in May." in told


def test_always_approve_lets_the_second_call_of_the_run_through(
    site: Site, model: Model, sign_in: SignIn
) -> None:
    model.answers(
        [refund("1051"), refund("1042", "call_2", amount_eur=60), text("Both done.")]
    )
    ada, bob = sign_in("ada"), sign_in("bob")
    ada.goto("/")
    start(bob, "Refund orders 1051 and 1042.")

    open_request(ada, "1051")
    ada.get_by_role("button", name="Always approve refund for this run").click()

    expect(bob.locator(".timeline")).to_contain_text("Both done.")
    expect(bob.locator(".timeline")).to_contain_text("ada's rule")
    assert len(outputs(model.server.requests[-1])) == 2


def test_a_server_killed_while_the_request_waits_goes_on_after_a_start(
    site: Site, model: Model, sign_in: SignIn
) -> None:
    model.answers([refund("1043"), text("Done after all.")])
    ada, bob = sign_in("ada"), sign_in("bob")
    ada.goto("/")
    start(bob, "Refund order 1043, please.")
    mark(bob)
    arrives(ada, ada.locator("#queue").get_by_role("link", name="order 1043").first)

    site.kill()
    expect(bob.locator(".reconnecting").first).to_contain_text("Reconnecting")
    site.start()
    ada.goto("/")
    open_request(ada, "1043")
    ada.get_by_role("button", name="Approve", exact=True).click()

    expect(bob.locator(".timeline")).to_contain_text("Done after all.")
    assert_unreloaded(bob)


def test_a_server_killed_while_the_model_answers_asks_it_again(
    site: Site, model: Model, sign_in: SignIn
) -> None:
    never = threading.Event()
    model.answers(
        [text("I begin to say …").held(never, after=4), text("Here is all of it.")]
    )
    bob = sign_in("bob")
    start(bob, "Hello?")
    model.server.wait_for_requests(1)

    site.kill()
    site.start()

    expect(bob.locator(".timeline")).to_contain_text("Here is all of it.")
    never.set()


def test_text_appears_while_the_model_writes_it(
    site: Site, model: Model, sign_in: SignIn
) -> None:
    more = threading.Event()
    model.answers([text("One two three four.").held(more, after=6)])
    bob = sign_in("bob")
    start(bob, "Count.")

    expect(bob.locator(".writing")).to_contain_text("One")
    expect(bob.locator(".timeline")).not_to_contain_text("One two three four.")
    more.set()

    expect(bob.locator(".timeline")).to_contain_text("One two three four.")
    expect(bob.locator(".writing")).to_be_empty()


def test_a_request_is_decided_inline_on_the_run_page(
    site: Site, model: Model, sign_in: SignIn
) -> None:
    model.answers([refund("1044"), text("Paid.")])
    ada, bob = sign_in("ada"), sign_in("bob")
    start(bob, "Refund order 1044.")
    ada.goto("/")
    open_request(ada, "1044")
    ada.get_by_role("link", name="Refund order 1044.").click()
    ada.wait_for_url("**/runs/*/")
    mark(ada)

    ada.get_by_role("button", name="Approve", exact=True).click()

    expect(ada.locator(".timeline")).to_contain_text("Paid.")
    assert_unreloaded(ada)


def test_a_decided_row_greys_out_on_another_screen(
    site: Site, model: Model, sign_in: SignIn
) -> None:
    model.answers([refund("1045"), text("Paid.")])
    watching, deciding, bob = sign_in("ada"), sign_in("ada"), sign_in("bob")
    watching.goto("/")
    mark(watching)
    start(bob, "Refund order 1045.")
    row = watching.locator("#queue > li", has_text="order 1045").first
    arrives(watching, row)

    deciding.goto("/")
    open_request(deciding, "1045")
    deciding.get_by_role("button", name="Approve", exact=True).click()

    expect(row).to_contain_text("Approved by ada")
    assert_unreloaded(watching)
    expect(bob.locator(".timeline")).to_contain_text("Paid.")


def test_a_run_whose_model_fails_says_why_and_can_be_resumed(
    site: Site, model: Model, sign_in: SignIn
) -> None:
    model.answers([error(400, "No such model."), text("Better now.")])
    bob = sign_in("bob")
    start(bob, "Hello.")

    expect(bob.locator(".run-header")).to_contain_text("No such model.")
    bob.get_by_role("button", name="Resume").click()

    expect(bob.locator(".timeline")).to_contain_text("Better now.")


@pytest.mark.parametrize(
    "broken",
    [
        calls(("look_up_nothing", {}, "call_x")),
        calls(("lookup_order", "{not json", "call_x")),
        text("half an ans").cut(5),
        error(429, headers={"Retry-After": "0"}),
        error(500),
    ],
    ids=["unknown tool", "broken arguments", "cut stream", "429", "500"],
)
def test_a_models_mistake_does_not_end_the_run(
    site: Site, model: Model, sign_in: SignIn, broken: Reply
) -> None:
    model.answers([broken, text("All is well.")])
    bob = sign_in("bob")
    start(bob, "Hello.")

    expect(bob.locator(".timeline")).to_contain_text("All is well.")
    expect(bob.locator(".run-header")).to_contain_text("Completed")


def test_stopping_a_run_cancels_its_request(
    site: Site, model: Model, sign_in: SignIn
) -> None:
    model.answers([refund("1046"), text("Never said.")])
    bob = sign_in("bob")
    start(bob, "Refund order 1046.")
    expect(bob.locator(".timeline")).to_contain_text("You started this run")

    bob.get_by_text("Stop…").click()
    bob.get_by_role("button", name="Stop this run").click()

    expect(bob.locator(".run-header")).to_contain_text("Stopped")
    assert len(model.server.requests) == 1


def test_a_second_message_goes_on_in_the_same_conversation(
    site: Site, model: Model, sign_in: SignIn
) -> None:
    model.answers([text("First answer."), text("Second answer.")])
    bob = sign_in("bob")
    start(bob, "One.")
    expect(bob.locator(".timeline").first).to_contain_text("First answer.")

    bob.get_by_role("textbox").fill("Two.")
    bob.get_by_role("button", name="Send").click()

    expect(bob.locator(".timeline").last).to_contain_text("Second answer.")
    told = json.dumps(model.server.requests[-1].body["input"])
    assert "First answer." in told


def test_everything_works_without_javascript(
    site: Site, model: Model, sign_in: SignIn
) -> None:
    model.answers([refund("1047"), text("Paid out.")])
    ada = sign_in("ada", java_script_enabled=False)
    bob = sign_in("bob", java_script_enabled=False)
    start(bob, "Refund order 1047.")

    open_when(ada, lambda: ada.goto("/"), "order 1047")
    open_request(ada, "1047")
    ada.get_by_role("button", name="Approve", exact=True).click()
    expect(ada.locator(".card")).to_contain_text("Approved by ada")

    open_when(bob, bob.reload, "Paid out.")


def open_when(page: Page, look: Callable[[], object], words: str) -> None:
    """Look again, as a person without JavaScript does, until the words are there."""
    for _ in range(100):
        look()
        if page.get_by_text(words).count():
            return
    raise AssertionError(f"{words!r} did not appear on {page.url}")

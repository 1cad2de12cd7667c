"""Saying always, by keyboard alone: the dialog, what it tells, and the chip after."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from tests.fake_openai import calls, text

from .conftest import Model, SignIn
from .site import Site
from .test_accessibility import assert_accessible
from .test_main_job import open_request, start


def test_a_rule_is_made_by_keyboard_and_decides_the_next_run(
    site: Site, model: Model, sign_in: SignIn
) -> None:
    first = {"order_id": "1071", "amount_eur": 60.5}
    second = {"order_id": "1071", "amount_eur": 55.25}
    model.answers([calls(("refund", first, "call_1")), text("First done.")])
    ada, bob = sign_in("ada", bypass_csp=True), sign_in("bob")
    ada.goto("/")
    start(bob, "Refund order 1071 in parts.")
    open_request(ada, "1071")

    ada.get_by_role("link", name="Always…").press("Enter")
    expect(ada.locator("input[name=verdict][value=approve]")).to_be_focused()
    ada.keyboard.press("Tab")
    expect(ada.locator("input[name=scope][value=run]")).to_be_focused()
    ada.keyboard.press("ArrowDown")
    told = ada.locator(".found .rule-label")
    expect(told).to_contain_text(
        re.compile("in this conversation.*0 ≤ amount_eur ≤ 60.5")
    )
    assert_accessible(ada)
    ada.get_by_label("amount_eur: value").focus()
    ada.keyboard.press("ControlOrMeta+a")
    ada.keyboard.type("70")
    ada.keyboard.press("Tab")
    expect(told).to_contain_text("0 ≤ amount_eur ≤ 70")
    ada.get_by_role("button", name="Decide and make the Rule").press("Enter")
    expect(ada.locator(".card")).to_contain_text("Approved by ada")
    expect(ada.locator(".rule-chip")).to_contain_text("amount_eur ≤ 70")

    expect(bob.locator(".timeline")).to_contain_text("First done.")
    model.answers([calls(("refund", second, "call_2")), text("Second done.")])
    bob.get_by_label("Next message").fill("And the rest.")
    bob.get_by_role("button", name="Send").click()
    expect(bob.locator(".timeline").last).to_contain_text("Second done.")
    expect(bob.locator(".timeline").last).to_contain_text("ada's rule")

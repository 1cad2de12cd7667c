"""The theme without a flash, and the title that counts what waits."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.fake_openai import text

from .conftest import Model, SignIn
from .site import Site
from .test_accessibility import assert_accessible
from .test_main_job import refund, start

GROUND = "getComputedStyle(document.body).backgroundColor"
DARK = "rgb(17, 18, 22)"


def test_settings_hold_on_every_page_and_the_title_counts(
    site: Site, model: Model, sign_in: SignIn
) -> None:
    model.answers([refund("title-1"), text("Done.")])
    ada = sign_in("ada", color_scheme="light", bypass_csp=True)
    bob = sign_in("bob")
    ada.goto("/settings/")
    expect(ada.get_by_text("has not been asked yet")).to_be_visible()
    ada.get_by_label("Dark").check()
    ada.get_by_label("In the browser").check()
    ada.get_by_role("button", name="Save").click()

    expect(ada.get_by_text("Saved.")).to_be_visible()
    assert ada.evaluate(GROUND) == DARK
    assert_accessible(ada)
    ada.goto("/conversations/")
    assert ada.evaluate(GROUND) == DARK

    ada.goto("about:blank")
    ada.add_init_script(LOOKS_ELSEWHERE)
    with ada.expect_response("**/settings/waiting/") as looked:
        ada.goto(site.url)
    before = looked.value.json()["count"]
    start(bob, "Refund order title-1.")
    counted = rf"^\({before + 1}\) Queue · Placet$"
    ada.wait_for_function(f"new RegExp(String.raw`{counted}`).test(document.title)")
    told = ada.evaluate("window.told")
    assert told == ["A call waits for you: refund (high risk)"]

    site.manage("shell", "-v0", "-c", FORGET)
    ada.goto("/")
    assert ada.evaluate(GROUND) != DARK


LOOKS_ELSEWHERE = """
window.told = [];
window.Notification = class {
  static permission = "granted";
  constructor(title, options) { window.told.push(title + ": " + options.body); }
};
document.hasFocus = () => false;
"""
FORGET = """
from approvals.models import Preferences
Preferences.objects.all().delete()
"""

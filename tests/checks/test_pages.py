"""What a browser shows, sends and survives: the keys, no script, a socket cut."""

from __future__ import annotations

import json
import re
from typing import Any
from uuid import UUID

import pytest
from playwright.sync_api import Locator, Page, WebSocketRoute, expect

from runs.live.feeds import KEPT_STEPS

from .conftest import OpenPage
from .house import Desk, RunSeen, until

WIDE = {"width": 1440, "height": 900}
QUIET = "Autofocus processing was blocked"
"""What a browser says to who had the focus already: not a fault."""
HOSTILE = (
    "<script>window.ran = 1</script><img src=x onerror='window.ran = 1'>"
    "{{ 7|add:7 }} javascript:window.ran=1 \u202e\u200b\U000e0041 pаypal"  # noqa: RUF001  Cyrillic, on purpose
)


def card_path(pk: str) -> str:
    return f"/requests/{UUID(pk)}/"


def test_check_06_hostile_arguments_are_flagged_and_inert(
    desk: Desk, open_page: OpenPage
) -> None:
    run = desk.start([desk.pay(1, note=HOSTILE)], "end")
    (request,) = run.pending()
    page = open_page(desk.ada, viewport=WIDE)
    faults: list[str] = []
    page.on("dialog", lambda dialog: faults.append(dialog.message))
    page.on("console", lambda told: faults.append(told.text))
    page.on("pageerror", lambda error: faults.append(str(error)))
    at = card_path(request["id"])

    bulk = f"/queue/bulk/?pick={UUID(request['id'])}"
    for path in (f"/?q={desk.to}", run.path, bulk, f"{at}edit/", f"{at}?full=1", at):
        page.goto(path)
        expect(page.locator("main")).to_be_visible()
        assert page.evaluate("window.ran") is None
        assert page.locator("main script, main img").count() == 0
    assert request["warnings"] > 0
    expect(page.get_by_text("display warning").first).to_be_visible()

    assert desk.ada.say("approve", request).status == 422
    assert desk.ada.say("approve", request, ack="yes").status == 422
    page.get_by_role("button", name="Approve", exact=True).click()
    assert run.decisions() == []
    page.get_by_label(re.compile("I have seen the")).check()
    page.get_by_role("button", name="Approve", exact=True).click()
    expect(page.locator(".card")).to_contain_text(f"Approved by {desk.ada.name}")

    until(lambda: desk.done, "the effect")
    assert desk.done == [("pay", {"eur": 1, "note": HOSTILE})]
    assert [told for told in faults if not told.startswith(QUIET)] == []


def blocks(page: Page) -> list[str]:
    """Return the ids of the steps that are shown, in their order."""
    found: list[str] = page.locator(".timeline > li").evaluate_all(
        "all => all.map(one => one.id)"
    )
    return found


def test_check_13_a_socket_that_was_gone_leaves_no_gap_and_no_double(
    desk: Desk, open_page: OpenPage
) -> None:
    """Cut, and back only after more steps than the server keeps for late sockets."""
    count = KEPT_STEPS + 16
    half = count // 2
    jots = [desk.call("jot", n=n) for n in range(count)]
    run = desk.start([desk.pay(1)], jots[:half], jots[half:], [desk.pay(2)], "end")
    (first,) = run.pending()
    page = open_page(desk.bob)
    sockets: list[WebSocketRoute] = []
    is_cut = False

    def connect(socket: WebSocketRoute) -> None:
        if is_cut:
            socket.close(code=4000)
            return
        sockets.append(socket)
        socket.connect_to_server()

    page.route_web_socket(re.compile("/ws/runs/"), connect)
    page.goto(run.path)
    expect(page.locator("[data-connection=open]")).to_be_attached()
    shown = blocks(page)
    page.evaluate("window.unreloaded = true")

    is_cut = True
    sockets[-1].close(code=4000)
    expect(page.get_by_text("Reconnecting…")).to_be_visible()
    assert desk.ada.say("approve", first).status == 302
    until(lambda: len(desk.done) == count + 1, "all that was done meanwhile")
    run.pending()
    assert len(blocks(page)) == len(shown)
    is_cut = False

    expect(page.locator(".timeline .card.is-pending")).to_contain_text("Pay 2")
    expect(page.get_by_text("Reconnecting…")).to_be_hidden()
    live = blocks(page)
    assert page.evaluate("window.unreloaded")
    assert len(live) == len(set(live)) == len(shown) + count + 1
    page.goto(run.path)
    hidden = len(live) - len(blocks(page))
    assert blocks(page) == live[hidden:]
    numbers = [int(one.rsplit("-", 1)[1]) for one in live]
    assert numbers == sorted(numbers)


# The verbs, one after the other, on calls of one run


class Calls:
    """A run with one call for each verb, told apart by their amounts."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        names = ("approve", "reject", "edit", "answer", "always", "later", "picked")
        turn = [desk.pay(eur) for eur in range(100, 100 + len(names))]
        turn += [desk.pay(107), desk.call("post")]
        self.run = desk.start(turn, "end")
        self.requests = self.run.pending(len(turn))

    def by(self, eur: int) -> Any:
        return next(r for r in self._now() if json.loads(r["arguments"])["eur"] == eur)

    def _now(self) -> list[Any]:
        found = [row for row in self.run.requests() if row["tool"] == "pay"]
        return sorted(found, key=lambda row: -row["revision"])

    def status(self, eur: int) -> str:
        """Return how a call stands; empty while there is none."""
        found = (row for row in self._now() if f'"eur": {eur},' in row["arguments"])
        return next((str(row["status"]) for row in found), "")

    def is_so(self, eur: int, status: str) -> None:
        until(lambda: self.status(eur) == status, f"{eur} {status}")

    def said(self, eur: int) -> Any:
        """Return the one decision on a call."""
        pk = self.by(eur)["id"]
        (found,) = [row for row in self.run.decisions() if row["request_id"] == pk]
        return found


class Keyboard:
    """Ada's hands: they never leave the keys."""

    def __init__(self, page: Page, to: str) -> None:
        self.page = page
        self.to = to
        self.pane = page.locator("#pane")

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def type(self, words: str) -> None:
        self.page.keyboard.type(words)

    def at(self, words: str) -> Locator:
        return self.page.locator("#queue .summary:focus", has_text=words)

    def walk_to(self, words: str) -> None:
        """Go to a row by J and K."""
        for key in ("k", "j"):
            for _ in range(14):
                if self.at(words).count():
                    return
                self.press(key)
        expect(self.at(words)).to_be_visible()

    def open(self, words: str) -> None:
        self.walk_to(words)
        self.press("Enter")
        expect(self.pane.get_by_role("heading", level=1)).to_contain_text(
            words, ignore_case=True
        )
        expect(self.pane).not_to_have_attribute("aria-busy", "true")
        self.settle()

    def settle(self) -> None:
        """Wait until htmx has taken up what it has put into the page."""
        expect(self.page.locator(".htmx-added, .htmx-settling")).to_have_count(0)

    def approve(self) -> None:
        """Press A, and again where the page asks for that."""
        self.press("a")
        if "press A again" in self.page.locator("#announcer").inner_text():
            self.press("a")

    def tab_to(self, words: str) -> None:
        """Go on with Tab until the button or link with these words has the focus."""
        for _ in range(60):
            at = self.page.locator("a:focus, button:focus", has_text=words)
            if at.count():
                return
            self.press("Tab")
        pytest.fail(f"Tab does not lead to “{words}”")

    def expect_outcome(self, words: str) -> None:
        expect(self.pane.locator(".outcome")).to_contain_text(words)


def test_check_19_everything_is_done_by_the_keyboard_alone(
    desk: Desk, open_page: OpenPage
) -> None:
    calls = Calls(desk)
    page = open_page(desk.ada, viewport=WIDE)
    page.goto("/?view=all")
    keys = Keyboard(page, desk.to)
    keys.press("/")
    keys.type(desk.to)
    keys.press("Enter")
    page.wait_for_url(f"**q={desk.to}*")
    expect(page.locator("#queue > li")).to_have_count(9)

    keys.open("Pay 100")
    keys.approve()
    keys.expect_outcome("Approved by")
    calls.is_so(100, "approved")

    keys.open("Pay 101")
    keys.press("r")
    expect(keys.pane.get_by_label("In your own words")).to_be_focused()
    keys.press("1")
    keys.type(" 2 of them.")
    keys.press("Control+Enter")
    keys.expect_outcome("Rejected by")
    assert calls.said(101)["verdict"] == "reject"
    assert calls.said(101)["reason"] == "Wrong recipient or target. 2 of them."

    keys.open("Pay 102")
    keys.press("e")
    field = keys.pane.get_by_label("eur")
    expect(keys.pane.locator(".edit [data-first]")).to_be_focused()
    keys.press("Tab")
    expect(field).to_be_focused()
    keys.press("ControlOrMeta+a")
    keys.type("99")
    while not keys.pane.locator("textarea[name=reason]:focus").count():
        keys.press("Tab")
    keys.type("Less.")
    keys.press("Control+Enter")
    expect(keys.pane.get_by_label("What changes").first).to_be_focused()
    keys.settle()
    keys.approve()
    calls.is_so(99, "approved")
    assert calls.status(102) == "superseded"

    page.wait_for_url("**/requests/*/")
    expect(page.locator(".outcome")).to_contain_text("Approved by")
    page.goto(f"/?view=all&q={desk.to}")
    keys.open("Pay 103")
    keys.press("t")
    keys.type("Done by hand.")
    keys.press("Control+Enter")
    keys.expect_outcome("Answered by")
    assert calls.said(103)["output"] == "Done by hand."

    keys.open("Pay 104")
    keys.press("w")
    keys.tab_to("Decide and make the Rule")
    keys.press("Enter")
    keys.expect_outcome("Approved by")
    rule = "SELECT * FROM approvals_rule WHERE run_id = ?"
    assert len(desk.house.rows(rule, calls.run.pk)) == 1

    keys.open("Pay 105")
    keys.press("m")
    expect(keys.pane.locator(".attention")).to_contain_text("You have claimed it")
    keys.settle()
    keys.press("l")
    expect(keys.pane.get_by_role("button", name="In 1 hour")).to_be_focused()
    keys.press("Enter")
    expect(page.locator("#queue .is-put-off")).to_contain_text("Pay 105")
    about = "SELECT * FROM {} WHERE request_id = ?"
    pk = calls.by(105)["id"]
    assert len(desk.house.rows(about.format("approvals_snooze"), pk)) == 1
    assert calls.status(105) == "pending"

    keys.open("Post")
    keys.approve()
    keys.expect_outcome("It counts in")
    keys.settle()
    keys.press("z")
    expect(keys.pane.locator(".card.is-pending")).to_be_visible()
    posts = [r["status"] for r in calls.run.requests() if r["tool"] == "post"]
    assert posts == ["undone", "pending"]

    keys.walk_to("Pay 106")
    keys.press("x")
    keys.walk_to("Pay 107")
    keys.press("Shift+X")
    expect(page.locator("#picked")).to_have_text("2 selected")
    while not page.get_by_role("button", name="Decide the selected").evaluate(
        "button => button === document.activeElement"
    ):
        keys.press("Shift+Tab")
    keys.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Decide 2 calls")
    keys.tab_to("Reject these")
    keys.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("2 done")
    assert [calls.status(eur) for eur in (106, 107)] == ["rejected"] * 2

    until(lambda: desk.paid == [99, 100, 104], "what was approved")
    stop_by_keys(desk, calls.run, open_page)
    assert desk.paid == [99, 100, 104]


def stop_by_keys(desk: Desk, run: RunSeen, open_page: OpenPage) -> None:
    """Stop the run, as only an operator may."""
    page = open_page(desk.bob, viewport=WIDE)
    page.goto(f"/?view=all&q={desk.to}")
    keys = Keyboard(page, desk.to)
    keys.open("Post")
    keys.press(".")
    expect(keys.pane.get_by_role("button", name="Stop the run")).to_be_focused()
    keys.press("Enter")
    page.wait_for_url("**/requests/*/")
    run.ended("cancelled")


def test_check_20_everything_is_done_without_javascript(
    desk: Desk, open_page: OpenPage
) -> None:
    calls = Calls(desk)
    page = open_page(desk.ada, java_script_enabled=False)
    queue = f"/?view=all&q={desk.to}"
    button = page.get_by_role
    outcome = page.locator(".outcome")

    def open_card(words: str) -> None:
        page.goto(queue)
        page.locator("#queue").get_by_role("link", name=words).click()
        expect(page.get_by_role("heading", level=1)).to_contain_text(
            words, ignore_case=True
        )

    open_card("Pay 100")
    button("button", name="Approve", exact=True).click()
    expect(outcome).to_contain_text("Approved by")

    open_card("Pay 101")
    page.locator("summary", has_text="Reject…").click()
    page.locator("input[name=preset]").first.check()
    button("button", name="Reject this call").click()
    expect(outcome).to_contain_text("Rejected by")
    assert calls.said(101)["reason"]

    open_card("Pay 102")
    button("link", name="Edit…").click()
    page.get_by_label("eur").fill("99")
    page.get_by_label("Why you change it").fill("Less.")
    button("button", name="Show what changes").click()
    button("button", name="Approve as changed").click()
    expect(outcome).to_contain_text("Approved by")
    assert (calls.status(102), calls.status(99)) == ("superseded", "approved")

    open_card("Pay 103")
    page.locator("summary", has_text="Answer…").click()
    page.get_by_label("Your answer").fill("Done by hand.")
    button("button", name="Send this answer").click()
    expect(outcome).to_contain_text("Answered by")
    assert calls.said(103)["output"] == "Done by hand."

    open_card("Pay 104")
    button("link", name="Always…").click()
    button("button", name="Decide and make the Rule").click()
    expect(outcome).to_contain_text("Approved by")
    rule = "SELECT * FROM approvals_rule WHERE run_id = ?"
    assert len(desk.house.rows(rule, calls.run.pk)) == 1

    open_card("Pay 105")
    button("button", name="Claim").click()
    expect(page.locator(".attention")).to_contain_text("You have claimed it")
    page.locator("summary", has_text="Later…").click()
    button("button", name="In 1 hour").click()
    expect(page.locator(".attention")).to_contain_text("You have put it off")
    assert calls.status(105) == "pending"

    open_card("Post")
    button("button", name="Approve", exact=True).click()
    expect(outcome).to_contain_text("It counts in")
    button("button", name="Undo").click()
    expect(page.locator(".card.is-pending")).to_be_visible()
    posts = [r["status"] for r in calls.run.requests() if r["tool"] == "post"]
    assert posts == ["undone", "pending"]

    page.goto(queue)
    for words in ("Pay 106", "Pay 107"):
        page.get_by_label(f"Select: {words}").check()
    button("button", name="Decide the selected").click()
    button("button", name="Reject these").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("2 done")

    until(lambda: desk.paid == [99, 100, 104], "what was approved")
    operator = open_page(desk.bob, java_script_enabled=False)
    operator.goto(calls.run.path)
    operator.locator("summary", has_text="Stop…").first.click()
    operator.get_by_role("button", name="Stop this run").click()
    calls.run.ended("cancelled")
    assert desk.paid == [99, 100, 104]

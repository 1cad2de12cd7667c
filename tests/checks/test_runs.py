"""What becomes of a run when someone cleans up, stops it, or deploys new code."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from uuid import UUID

from .house import Desk, House, Person, until


def test_check_10_cleaning_up_orphans_leaves_the_conversation_usable(
    desk: Desk, house: House
) -> None:
    run = desk.start([desk.call("haunt")], "Let it be.")
    (orphan,) = run.pending()
    assert desk.ada.say("approve", orphan).status == 403
    given = {"action": "deny_orphaned", "_selected_action": UUID(orphan["id"])}

    reply = Person(house, "boss").post("/admin/approvals/approvalrequest/", given)

    assert reply.status == 302
    run.ended()
    (decision,) = run.decisions()
    assert (decision["verdict"], decision["rule_id"]) == ("reject", None)
    assert desk.done == []
    assert "An administrator closed this request" in run.outputs()
    later = desk.go_on(run, [desk.pay(1)], "end")
    (request,) = later.pending()
    assert desk.ada.say("approve", request).status == 302
    later.ended()
    assert desk.paid == [1]


def test_check_11_stop_blocks_what_was_approved_and_has_not_started(
    desk: Desk,
) -> None:
    run = desk.start([desk.call("wire"), desk.pay(1)], "end")
    wire, _ = sorted(run.pending(2), key=lambda row: row["tool"], reverse=True)
    assert desk.ada.say("approve", wire).status == 302
    (decision,) = run.decisions()

    assert desk.bob.post(f"{run.path}stop/").status == 302
    run.ended("cancelled")

    release = datetime.fromisoformat(decision["release_at"]).replace(tzinfo=UTC)
    assert datetime.now(UTC) < release
    time.sleep(max(0, release.timestamp() + 0.5 - time.time()))
    assert desk.done == []
    assert run.executions() == []
    assert {row["status"] for row in run.requests()} <= {"superseded", "cancelled"}
    assert run.status == "cancelled"


def test_check_12_a_tool_of_another_schema_is_shown_and_never_just_run(
    desk: Desk, house: House
) -> None:
    run = desk.start([desk.call("save", eur=480)], "end", agent="saver")
    (old,) = run.pending()
    try:
        house.deploy("new")
        assert desk.ada.say("approve", old).status in (302, 409)
        question = until(
            lambda: next(
                (r for r in run.requests("pending") if r["kind"] == "upgrade"), None
            ),
            "the question",
        )
        page = desk.ada.get(f"/requests/{UUID(question['id'])}/").text
        assert "save" in page
        assert "fee" in page
        assert desk.done == []

        assert desk.ada.say("approve", question).status == 302
        new = until(
            lambda: next(
                (r for r in run.requests("pending") if r["tool"] == "save"), None
            ),
            "the call under its new schema",
        )
        assert new["digest"] != old["digest"]
        assert new["schema_hash"] != old["schema_hash"]
        assert desk.done == []
        assert desk.ada.say("approve", old).status == 409
        assert desk.ada.say("approve", new).status == 302
        run.ended()
        assert desk.done == [("save", {"eur": 480, "fee": 7})]
    finally:
        house.deploy("old")

"""Whose verdict counts, on what, and when it does not."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from threading import Barrier
from uuid import UUID

from .house import Desk, House, Person, Reply, Row, RunSeen, until


def path(request: Row, verb: str = "") -> str:
    return f"/requests/{UUID(request['id'])}/{verb}"


def again(desk: Desk, request: Row) -> Row:
    """Return the request as it is by now."""
    sql = "SELECT * FROM approvals_approvalrequest WHERE id = ?"
    return desk.house.rows(sql, request["id"])[0]


def untouched(desk: Desk, run: RunSeen, count: int = 1) -> None:
    """See that nobody decided anything of the run, and that nothing was done."""
    assert [row["status"] for row in run.requests()] == ["pending"] * count
    assert run.decisions() == []
    assert run.executions() == []
    votes = "SELECT v.* FROM approvals_vote v JOIN approvals_approvalrequest r"
    votes += " ON r.id = v.request_id WHERE r.run_id = ?"
    assert desk.house.rows(votes, run.pk) == []
    assert desk.done == []


def test_check_01_two_reviewers_at_once_are_one_decision(desk: Desk) -> None:
    run = desk.start([desk.pay(eur) for eur in range(6)], "end")
    requests = run.pending(6)
    ready = Barrier(2)

    def press(person: Person, verdict: str, request: Row) -> int:
        ready.wait(10)
        return person.say(verdict, request).status

    with ThreadPoolExecutor(2) as pool:
        for request in requests:
            a = pool.submit(press, desk.ada, "approve", request)
            r = pool.submit(press, desk.cyd, "reject", request)
            assert sorted([a.result(), r.result()]) == [302, 409]
    run.ended()

    decisions = run.decisions()
    assert len(decisions) == 6
    by_id = {row["id"]: row for row in run.requests()}
    assert {row["request_id"] for row in decisions} == set(by_id)
    said = {"approve": "approved", "reject": "rejected"}
    for row in decisions:
        assert by_id[row["request_id"]]["status"] == said[row["verdict"]]
    approved = sum(row["verdict"] == "approve" for row in decisions)
    assert len(desk.paid) == len(run.executions()) == approved


def test_check_02_an_old_digest_is_refused_and_the_difference_shown(
    desk: Desk,
) -> None:
    run = desk.start([desk.call("close", why="old")], "end")
    (old,) = run.pending()
    changed = desk.cyd.edit(old, **{"arg-why": "new"})
    assert changed.status == 302
    (new,) = run.requests("pending")

    late = desk.ada.say("approve", old)
    stale = desk.ada.post(
        path(new, "decide/"), {"verdict": "approve", "digest": old["digest"]}
    )

    assert (late.status, stale.status) == (409, 409)
    assert path(new) in late.text
    for shown in (stale.text, desk.ada.get(path(new)).text):
        assert "old</bdi></del>" in shown
        assert "new</bdi></ins>" in shown
    assert again(desk, old)["status"] == "superseded"
    assert (again(desk, new)["status"], again(desk, new)["votes"]) == ("pending", 1)
    assert run.decisions() == []
    assert desk.done == []


def test_check_03_an_edit_that_names_another_tool_is_refused(desk: Desk) -> None:
    run = desk.start([desk.pay(480)], "end")
    (request,) = run.pending()
    given = {"arg-eur": "1"}

    replies = [
        desk.ada.edit(request, **given, tool="wire"),
        desk.ada.edit(request, **given, step="send", tool="pay"),
        desk.ada.edit(request, **given, **{"arg-tool": "wire"}),
    ]

    assert [reply.status for reply in replies] == [422, 422, 422]
    assert "The tool of a call cannot be changed" in replies[0].text
    untouched(desk, run)


def test_check_04_what_names_no_verdict_decides_nothing(desk: Desk) -> None:
    run = desk.start([desk.pay(480)], "end")
    (request,) = run.pending()
    at, digest = path(request, "decide/"), request["digest"]

    for word in ("", " ", "null", "None", "false", "true", "0", "1", "on", "APPROVE"):
        assert desk.ada.say(word, request).status == 422, word
    assert desk.ada.post(at, {"digest": digest}).status == 422
    assert desk.ada.post(at, {"digest": digest, "approve": "approve"}).status == 422
    assert desk.ada.post(at).status == 422
    bodies: list[object] = [{"verdict": None}, {"verdict": "approve"}, None, [], ""]
    for body in bodies:
        headers = {"Content-Type": "application/json"}
        given = {json.dumps(body): ""}
        assert desk.ada.ask("POST", at, given, headers).status == 422
    bulk = {"pick": UUID(request["id"]), f"digest-{UUID(request['id'])}": digest}
    for more in ({}, {"verdict": ""}, {"verdict": "false"}, {"verdict": "answer"}):
        assert desk.ada.post("/queue/bulk/", bulk | more).status == 422

    untouched(desk, run)


def test_check_05_a_request_that_only_reads_never_decides(desk: Desk) -> None:
    run = desk.start([desk.pay(480)], "end")
    (request,) = run.pending()
    said = f"?verdict=approve&digest={request['digest']}&pick={UUID(request['id'])}"
    said += f"&step=send&edited={request['digest']}&scope=run&match=any&ack=on"
    forms = [path(request, verb) for verb in ("", "edit/", "always/")]
    posts = [path(request, f"{verb}/") for verb in ("decide", "undo", "claim", "later")]

    for headers in ({}, {"Purpose": "prefetch", "Sec-Purpose": "prefetch;prerender"}):
        for method in ("GET", "HEAD", "OPTIONS"):
            for at in [*posts, f"{run.path}stop/"]:
                assert desk.ada.ask(method, at + said, None, headers).status == 405
            for at in [*forms, "/queue/bulk/", "/"]:
                reply = desk.ada.ask(method, at + said, None, headers)
                assert reply.status in (200, 405)
    for method in ("PUT", "PATCH", "DELETE"):
        assert desk.ada.ask(method, posts[0] + said, {}).status == 405

    untouched(desk, run)
    rules = "SELECT * FROM approvals_rule WHERE run_id = ?"
    assert desk.house.rows(rules, run.pk) == []


def test_check_07_who_asked_or_edited_never_gives_the_last_vote(desk: Desk) -> None:
    # Here bob is a reviewer as well.
    run = desk.start([desk.call("close", why="old")], "end")
    (asked,) = run.pending()

    assert desk.bob.say("approve", asked).status == 403
    assert desk.bob.edit(asked, **{"arg-why": "mine"}).status == 403
    assert desk.ada.edit(asked, **{"arg-why": "new"}).status == 302
    (edited,) = run.requests("pending")
    for nobody in (desk.ada, desk.bob):
        assert nobody.say("approve", edited).status == 403
    assert again(desk, edited)["votes"] == 1
    assert desk.done == []

    assert desk.cyd.say("approve", edited).status == 302
    run.ended()
    assert desk.done == [("close", {"why": "new"})]
    votes = desk.house.rows(
        "SELECT u.username FROM approvals_vote v JOIN auth_user u ON u.id = v.voter_id"
        " WHERE v.request_id = ? ORDER BY v.id",
        edited["id"],
    )
    assert [row["username"] for row in votes] == ["ada07", "cyd07"]


def test_check_08_a_conversations_rule_lives_as_long_as_it_says(desk: Desk) -> None:
    first = desk.start([desk.pay(1)], "end")
    (request,) = first.pending()
    assert desk.ada.always(request, "conversation").status == 302
    first.ended()
    rule = "SELECT * FROM approvals_rule WHERE conversation_id = ?"
    (made,) = desk.house.rows(rule, first.conversation)

    second = desk.go_on(first, [desk.pay(2)], "end")
    second.ended()
    assert second.pk != first.pk
    assert [row["rule_id"] for row in second.decisions()] == [made["id"]]
    other = desk.start([desk.pay(3)], "end")
    other.pending()
    assert desk.paid == [1, 2]

    assert made["idle_at"] is not None
    ago = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}"
    end = "UPDATE approvals_rule SET idle_at = ? WHERE id = ?"
    desk.house.change(end, ago, made["id"])
    third = desk.go_on(second, [desk.pay(4)], "end")
    third.pending()
    assert third.decisions() == []
    assert desk.paid == [1, 2]


def test_check_09_an_older_rule_never_runs_what_was_denied(desk: Desk) -> None:
    denied = desk.start(
        [desk.pay(5)], [desk.pay(5)], [desk.pay(6)], [desk.pay(5)], "end"
    )
    (first,) = denied.pending()
    other = desk.start([desk.pay(1)], "end")
    (made_with,) = other.pending()
    terms = {"match": "all", "op-0": "equals", "value-0": desk.to}
    made = desk.ada.always(made_with, "agent", **terms)
    assert made.status == 302, made.text
    other.ended()

    assert desk.cyd.say("reject", first).status == 302
    (second,) = denied.pending()
    assert second["digest"] == first["digest"]
    assert desk.paid == [1]
    # What was not denied is the Rule's; a person's word is on exactly one call.
    assert desk.cyd.say("answer", second, output="Never mind.").status == 302
    (last,) = until(
        lambda: denied.requests("pending") if desk.paid == [1, 6] else None, "the last"
    )
    assert last["digest"] == first["digest"]
    said = [(row["verdict"], row["rule_id"] is None) for row in denied.decisions()]
    assert said == [("reject", True), ("answer", True), ("approve", False)]


def test_check_14_many_at_once_are_each_decided_once(desk: Desk) -> None:
    run = desk.start([desk.pay(n) for n in range(40)], "end")
    requests = run.pending(40)
    for early in requests[10:13]:
        assert desk.cyd.say("reject", early).status == 302
    given: dict[str, object] = {"verdict": "approve", "always": "on", "scope": "run"}
    given["pick"] = [UUID(row["id"]) for row in requests]
    given |= {f"digest-{UUID(row['id'])}": row["digest"] for row in requests}

    reply = desk.ada.post("/queue/bulk/", given)

    assert reply.status == 200
    assert "<h1>37 done, 3 were already decided</h1>" in reply.text
    assert reply.text.count("already rejected") == 3
    run.ended()
    decisions = run.decisions()
    assert len(decisions) == len({row["request_id"] for row in decisions}) == 40
    assert len([row for row in decisions if row["verdict"] == "approve"]) == 37
    early_ones = {json.loads(row["arguments"])["eur"] for row in requests[10:13]}
    assert desk.paid == sorted(set(range(40)) - early_ones)
    assert (
        desk.house.rows("SELECT * FROM approvals_rule WHERE run_id = ?", run.pk) == []
    )


def test_check_15_an_undo_that_races_the_release_has_one_outcome(desk: Desk) -> None:
    """Eight verdicts, each taken back some moments around the end of its hold."""
    count = 8
    run = desk.start([desk.call("wire", n=n) for n in range(count)], "end")
    requests = {json.loads(r["arguments"])["n"]: r for r in run.pending(count)}
    for request in requests.values():
        assert desk.ada.say("approve", request).status == 302
    released = {row["request_id"]: row["release_at"] for row in run.decisions()}

    def take_back(n: int) -> Reply:
        at = datetime.fromisoformat(released[requests[n]["id"]]).replace(tzinfo=UTC)
        early_s = (n - count / 2) * 0.02 + 0.05
        time.sleep(max(0, at.timestamp() - early_s - time.time()))
        return desk.ada.undo(requests[n])

    with ThreadPoolExecutor(count) as pool:
        replies = list(pool.map(take_back, range(count)))
    undone = {n for n, reply in enumerate(replies) if reply.status == 302}
    until(lambda: len(desk.done) == count - len(undone), "the others' effects")

    print(f"{len(undone)} of {count} were undone")
    assert {reply.status for reply in replies} <= {302, 409}
    assert {given["n"] for _, given in desk.done} == set(range(count)) - undone
    keys = {row["call_key"] for row in run.executions()}
    for n, request in requests.items():
        state = again(desk, request)["status"]
        assert state == ("undone" if n in undone else "approved")
        assert (request["call_key"] in keys) == (n not in undone)
    assert len(run.requests("pending")) == len(undone)


def test_check_16_time_over_is_never_an_approval(desk: Desk) -> None:
    run = desk.start([desk.call("lend")], "end")
    run.ended()
    (request,) = run.requests()

    late = desk.ada.say("approve", request)

    assert late.status == 409
    assert again(desk, request)["status"] == "expired"
    assert [row["verdict"] for row in run.decisions()] == ["reject"]
    assert [row["actor_id"] for row in run.decisions()] == [None]
    assert run.executions() == []
    assert desk.done == []
    assert "Nobody decided this call in time" in run.outputs()


def test_check_17_one_rejected_call_does_not_hold_up_the_others(desk: Desk) -> None:
    run = desk.start([desk.pay(1), desk.pay(2), desk.pay(3)], "All said.")
    requests = {json.loads(r["arguments"])["eur"]: r for r in run.pending(3)}

    reply = desk.ada.say("reject", requests[2], reason="Not the second one.")
    assert reply.status == 302
    assert desk.ada.say("approve", requests[1]).status == 302
    until(lambda: desk.paid == [1], "the first")
    assert len(run.requests("pending")) == 1
    assert desk.ada.say("approve", requests[3]).status == 302
    run.ended()

    assert desk.paid == [1, 3]
    states = [row["status"] for row in run.requests()]
    assert states == ["approved", "rejected", "approved"]
    assert "Not the second one." in run.outputs()
    assert "All said." in run.outputs()


def test_check_18_a_nested_agents_call_is_decided_on_the_outer_run(
    desk: Desk, house: House
) -> None:
    inner = json.dumps([[desk.pay(9)], "inner end"])
    before = len(house.rows("SELECT id FROM runs_run"))
    run = desk.start([("delegate", {"input": inner})], "end", agent="manager")
    (request,) = run.pending()
    page = desk.ada.get(path(request)).text

    assert request["agent_path"] == "Manager / Clerk"
    assert request["call_key"].count("/") == 1
    steps = json.loads(request["path"])
    assert steps == ["Manager", "delegate", "Clerk", "pay"]
    trail = page.split('class="trail', 1)[1].split("</", 40)
    assert all(any(step in part for part in trail) for step in steps)
    assert run.path in page

    assert desk.ada.say("approve", request).status == 302
    run.ended()
    assert desk.paid == [9]
    assert [row["call_key"] for row in run.decisions()] == [request["call_key"]]
    assert len(house.rows("SELECT id FROM runs_run")) == before + 1

"""Arguments that a person changes when approving a call."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from pydantic import BaseModel, Field

from runs.engine import (
    Call,
    Claim,
    ClaimRefused,
    CustomTool,
    InMemoryJournal,
    Ports,
    Runner,
    RunState,
    UserError,
    Verdict,
    VerdictKind,
    function_tool,
    tool_input_guardrail,
)
from runs.engine.state.edits import UNCHECKED, faults_in
from runs.engine.tools.tool_guardrails import ToolGuardrailFunctionOutput

from .scripted import (
    END,
    Support,
    approved,
    call,
    call_ids,
    paused,
    refund,
    reread,
    scripted,
    told,
    waiting,
)


class Order(BaseModel):
    id: str = Field(pattern="^A")


pytestmark = pytest.mark.usefixtures("nothing_left")


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ({"order_id": "A1"}, "amount_eur"),
        ({"order_id": 7, "amount_eur": 1.0}, "order_id"),
        ({"order_id": "A1", "amount_eur": 1.0, "to": "me"}, "to"),
        ({"order_id": "A1", "amount_eur": float("nan")}, "JSON"),
        ({"order_id": "A1", "amount_eur": object()}, "JSON"),
        ("{", "refund"),
        ("[]", "refund"),
        ("", "refund"),
        ("null", "refund"),
    ],
)
async def test_an_edit_that_the_tool_does_not_take_is_refused_and_decides_nothing(
    arguments: Any, fault: str
) -> None:
    support = Support([refund("c1")], END)
    state = await paused(support.agent)

    with pytest.raises(UserError, match=fault):
        state.approve(waiting(state), arguments=arguments)

    assert call_ids(state.get_interruptions()) == ["c1"]


async def test_an_edit_may_be_given_as_text() -> None:
    support = Support([refund("c1")], END)
    state = await paused(support.agent)

    text = '{"order_id": "A2", "amount_eur": 3}'
    state.approve(waiting(state), arguments=text)
    await Runner.run(support.agent, state)

    assert support.done == ["refund A2 3.0"]
    assert text in support.told()["c1"]


async def test_always_keeps_the_approval_and_not_the_edit() -> None:
    support = Support([refund("c1", "A1", 500)], [refund("c2", "A2", 7)], END)
    state = await paused(support.agent)

    edit = {"order_id": "A1", "amount_eur": 50}
    state.approve(waiting(state), always_approve=True, arguments=edit)
    await Runner.run(support.agent, await reread(support.agent, state))

    assert support.done == ["refund A1 50.0", "refund A2 7.0"]
    assert "person" not in support.told()["c2"]


async def test_a_later_plain_approval_takes_the_edit_back() -> None:
    support = Support([refund("c1")], END)
    state = await paused(support.agent)
    item = waiting(state)

    state.approve(item, arguments={"order_id": "A9", "amount_eur": 1})
    state.approve(item)
    await Runner.run(support.agent, state)

    assert support.done == ["refund A1 5.0"]


async def test_an_edit_mends_malformed_arguments() -> None:
    support = Support([call("refund", "c1")], END)
    state = await paused(support.agent)

    state.approve(waiting(state), arguments={"order_id": "A1", "amount_eur": 2})
    await Runner.run(support.agent, state)

    assert support.done == ["refund A1 2.0"]


async def test_the_tool_its_guardrails_and_hooks_see_what_runs() -> None:
    seen: list[str] = []

    @tool_input_guardrail
    def look(data: Any) -> ToolGuardrailFunctionOutput:
        seen.append(data.context.tool_arguments)
        return ToolGuardrailFunctionOutput.allow()

    support = Support([refund("c1")], END)
    support.agent.tools[0].tool_input_guardrails = [look]
    state = await paused(support.agent)

    state.approve(waiting(state), arguments={"order_id": "A2", "amount_eur": 3})
    await Runner.run(support.agent, state)

    assert [json.loads(text)["order_id"] for text in seen] == ["A2"]


async def test_an_edit_is_checked_in_its_parts() -> None:
    @function_tool(needs_approval=True, strict_mode=False)
    def refund(order: Order) -> str:
        return f"refunded {order.id}"

    agent = scripted([call("refund", "c1", order={"id": "A1"})], END, tools=[refund])
    state = await paused(agent)

    with pytest.raises(UserError, match=r"order\.id"):
        state.approve(waiting(state), arguments={"order": {"id": "B1"}})
    state.approve(waiting(state), arguments={"order": {"id": "A2"}})
    await Runner.run(agent, state)

    assert told(agent)["c1"].endswith("refunded A2")


async def test_an_edit_of_parts_of_content_stands_before_them() -> None:
    @function_tool(needs_approval=True)
    def draw(what: str) -> Any:
        return [
            {"type": "text", "text": f"a {what}"},
            {"type": "image", "image_url": "data:image/png;base64,AA=="},
        ]

    agent = scripted([call("draw", "c1", what="cat")], END, tools=[draw])
    state = await paused(agent)

    state.approve(waiting(state), arguments={"what": "dog"})
    await Runner.run(agent, state)

    first, second, third = told(agent)["c1"]
    assert "person" in first["text"]
    assert (second["text"], third["type"]) == ("a dog", "input_image")


async def test_a_call_without_json_arguments_takes_no_edit() -> None:
    raw = {
        "type": "custom_tool_call",
        "name": "sql",
        "call_id": "c1",
        "input": "drop",
        "id": "x1",
    }
    tool = CustomTool("sql", "", lambda ctx, text: text, needs_approval=True)
    agent = scripted([custom(raw)], END, tools=[tool])
    state = await paused(agent)

    with pytest.raises(UserError, match="approve or reject it as it is"):
        state.approve(waiting(state), arguments={"input": "select"})


def custom(raw: dict[str, Any]) -> Any:
    from openai.types.responses import ResponseCustomToolCall

    return ResponseCustomToolCall.model_validate(raw)


async def test_an_edit_of_a_renamed_tool_is_checked_by_its_schema() -> None:
    support = Support([refund("c1")], END)
    saved = (await paused(support.agent)).to_json()
    support.agent.tools[0].name = "pay_back"
    renames = {"tools": {"refund": "pay_back"}}
    state = await RunState.from_json(support.agent, saved, renames=renames)

    with pytest.raises(UserError, match="amount_eur"):
        state.approve(waiting(state), arguments={"order_id": "A1"})


async def test_an_edit_in_a_stored_state_is_checked_where_it_runs() -> None:
    support = Support([refund("c1")], END)
    state = await paused(support.agent)
    state.approve(waiting(state), arguments={"order_id": "A1", "amount_eur": 1})
    saved = state.to_json()
    saved["open"][0]["verdict"]["arguments"] = '{"order_id": 5}'

    result = await approved(
        support.agent, await RunState.from_json(support.agent, saved)
    )

    assert result.final_output == "end"
    assert support.done == []


# What is claimed is what runs


async def test_an_approval_of_other_arguments_than_it_brings_runs_nothing() -> None:
    support = Support([refund("c1")], END)
    state = await paused(support.agent)
    key = state.get_interruptions()[0].call_key
    edit = '{"order_id": "A2", "amount_eur": 3}'
    said = Verdict(kind=VerdictKind.APPROVE, arguments=edit, digest="0" * 64)

    state.record_verdict(key, said)
    with pytest.raises(ClaimRefused):
        await Runner.run(support.agent, state)

    assert support.done == []


async def test_a_claim_of_another_call_runs_nothing() -> None:
    class Mistaken(InMemoryJournal):
        async def claim(self, state: Any, call: Call) -> Claim:
            claim = await super().claim(state, call)
            return dataclasses.replace(claim, digest="0" * 64)

    support = Support([refund("c1")], END)
    state = await paused(support.agent)
    state.approve(waiting(state))

    with pytest.raises(ClaimRefused):
        await Runner.run(support.agent, state, ports=Ports(journal=Mistaken()))

    assert support.done == []


async def test_the_claim_is_of_the_arguments_that_run() -> None:
    claimed: list[Call] = []

    class Noting(InMemoryJournal):
        async def claim(self, state: Any, call: Call) -> Claim:
            claimed.append(call)
            return await super().claim(state, call)

    support = Support([refund("c1")], END)
    state = await paused(support.agent)
    edit = '{"order_id": "A2", "amount_eur": 3}'
    state.approve(waiting(state), arguments=edit)
    await Runner.run(support.agent, state, ports=Ports(journal=Noting()))

    [call] = claimed
    assert call.runs == edit
    assert call.runs_digest == call.running_digest() != call.current_digest()
    assert support.done == ["refund A2 3.0"]


async def test_a_person_s_words_stand_before_the_output() -> None:
    support = Support([refund("c1"), refund("c2")], END)
    state = await paused(support.agent)
    first, second = state.get_interruptions()
    edit = '{"order_id": "A2", "amount_eur": 3}'
    state.record_verdict(
        first.call_key,
        Verdict(kind=VerdictKind.APPROVE, arguments=edit, note="Changed. "),
    )
    state.record_verdict(
        second.call_key,
        Verdict(kind=VerdictKind.ANSWER, message="Paid.", note="Answered. "),
    )
    again = await reread(support.agent, state)
    await Runner.run(support.agent, again)

    told_them = support.told()
    assert told_them["c1"].startswith("Changed. ")
    assert told_them["c2"] == "Answered. Paid."


# Schemas that are not ours


def test_no_address_in_a_schema_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[Any] = []
    monkeypatch.setattr(
        "urllib.request.urlopen", lambda *given, **_: fetched.append(given)
    )
    schema = {"properties": {"a": {"$ref": "http://127.0.0.1:9/schema"}}}

    assert faults_in(schema, {"a": 1}) == {"": UNCHECKED}
    assert fetched == []


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ({"multipleOf": 0.01}, 10**400),
        ({"$ref": "#/nowhere"}, 1),
        ({"type": "nothing we know"}, 1),
        ({"patternProperties": {"(a+)+$": {}}}, {"a" * 30 + "!": 1}),
    ],
)
def test_what_cannot_be_checked_is_a_fault(part: Any, value: Any) -> None:
    assert faults_in({"properties": {"a": part}}, {"a": value}) == {"": UNCHECKED}


def test_a_pattern_takes_no_longer_than_the_text() -> None:
    schema = {"properties": {"a": {"pattern": "^(a+)+$"}}}

    assert list(faults_in(schema, {"a": "a" * 50 + "!"})) == ["a"]
    assert faults_in(schema, {"a": "a" * 50}) == {}


def test_a_pattern_only_the_tool_can_read_is_left_to_it() -> None:
    assert faults_in({"properties": {"a": {"pattern": "(?=b)b"}}}, {"a": "x"}) == {}

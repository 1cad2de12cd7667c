"""Agents that follow a script, and what their tools have done."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from runs.engine import (
    Agent,
    FunctionTool,
    Runner,
    RunResult,
    RunState,
    ToolApprovalItem,
    function_tool,
)
from runs.engine.testing import ScriptedModel, assistant_message, function_call

FIXTURES = Path(__file__).parent / "fixtures"
END = [assistant_message("end")]


def call(name: str, call_id: str, **arguments: Any) -> Any:
    """Return a model's call of a tool."""
    return function_call(name, arguments, call_id=call_id)


def refund(call_id: str, order_id: str = "A1", amount_eur: float = 5.0) -> Any:
    return call("refund", call_id, order_id=order_id, amount_eur=amount_eur)


def look_up(call_id: str, order_id: str = "A1") -> Any:
    return call("look_up", call_id, order_id=order_id)


def scripted(*steps: Any, name: str = "Support", **settings: Any) -> Agent[Any]:
    """Return an agent whose model takes these steps."""
    return Agent(name=name, model=ScriptedModel(steps=steps), **settings)


class Support:
    """A support agent with a gated `refund` and a free `look_up`.

    `done` lists what the tools have done: `refund A1 5.0`, `look_up A1`.
    """

    def __init__(self, *steps: Any, name: str = "Support", **settings: Any) -> None:
        self.done: list[str] = []
        tools = [self.refund(), self.look_up(), *settings.pop("tools", [])]
        self.agent = scripted(*steps, name=name, tools=tools, **settings)

    def refund(self) -> FunctionTool:
        @function_tool(needs_approval=True)
        async def refund(order_id: str, amount_eur: float) -> str:
            """Pay a customer back."""
            self.done.append(f"refund {order_id} {amount_eur}")
            return f"refunded {order_id}"

        return refund

    def look_up(self) -> FunctionTool:
        @function_tool
        async def look_up(order_id: str) -> str:
            """Look an order up."""
            self.done.append(f"look_up {order_id}")
            return f"order {order_id}"

        return look_up

    @property
    def model(self) -> ScriptedModel:
        return model_of(self.agent)

    def told(self) -> dict[str, Any]:
        return told(self.agent)


def model_of(agent: Agent[Any]) -> ScriptedModel:
    assert isinstance(agent.model, ScriptedModel)
    return agent.model


def told(agent: Agent[Any]) -> dict[str, Any]:
    """Return the outputs the agent's model was last told, by call id."""
    last = model_of(agent).last_call
    assert last is not None
    return {
        item["call_id"]: item["output"]
        for item in last.input
        if str(item.get("type")).endswith("call_output")
    }


async def paused(agent: Agent[Any], given: Any = "go", **options: Any) -> RunState[Any]:
    """Run to a pause and return its state."""
    result = await Runner.run(agent, given, **options)
    assert result.final_output is None
    assert result.interruptions
    return result.to_state()


async def reread(
    agent: Agent[Any], state: RunState[Any], **options: Any
) -> RunState[Any]:
    """Return the state as another process reads it."""
    return await RunState.from_string(agent, state.to_string(), **options)


def waiting(state: RunState[Any], call_id: str | None = None) -> ToolApprovalItem:
    """Return the one call that waits, or that of this id."""
    found = [
        item
        for item in state.get_interruptions()
        if call_id is None or item.call_id == call_id
    ]
    assert len(found) == 1, found
    return found[0]


def call_ids(items: Sequence[ToolApprovalItem]) -> list[str | None]:
    return [item.call_id for item in items]


async def approved(
    agent: Agent[Any], state: RunState[Any], **options: Any
) -> RunResult[Any]:
    """Approve all that waits and go on."""
    for item in state.get_interruptions():
        state.approve(item)
    return await Runner.run(agent, state, **options)


def fixture(name: str) -> dict[str, Any]:
    """Return a state as a schema version wrote it."""
    data: dict[str, Any] = json.loads((FIXTURES / f"{name}.json").read_text())
    return data

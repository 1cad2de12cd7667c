"""A run with everything in it, for tests that break it at every point.

The models answer by what they read and not by how often they were asked, so that a run
may be broken off anywhere and go on. Every callback gives way to the loop.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from runs.engine import (
    Agent,
    Call,
    Claim,
    ClaimStatus,
    GuardrailFunctionOutput,
    JournalFailed,
    LogEntry,
    Outcome,
    Ports,
    Review,
    RunContextWrapper,
    RunHooks,
    RunState,
    ToolGuardrailFunctionOutput,
    Verdict,
    VerdictKind,
    function_tool,
    handoff,
    input_guardrail,
    output_guardrail,
    tool_input_guardrail,
    tool_output_guardrail,
)
from runs.engine.state.restore import restore
from runs.engine.state.stored import (
    StoredLog,
    read_guardrail,
    read_head,
    read_item,
    read_order,
    read_view,
)
from runs.engine.testing import (
    ModelStep,
    ScriptedModel,
    assistant_message,
    function_call,
)

APPROVE = Verdict(kind=VerdictKind.APPROVE)
SKIP = Verdict(kind=VerdictKind.ANSWER, message="A person looked.")


def left_tasks() -> list[asyncio.Task[Any]]:
    """Return the tasks that still go on beside the caller's own."""
    return [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]


class Reader(ScriptedModel):
    """A model that answers by the ids of the calls whose outputs it reads."""

    def __init__(self, answer: Callable[[set[str]], Any]) -> None:
        super().__init__()
        self.answer = answer

    def _record(self, call: Any) -> Any:
        has = {
            item["call_id"]
            for item in call.input
            if item.get("type") == "function_call_output"
        }

        async def respond(_: Any) -> Any:
            await asyncio.sleep(0)
            return self.answer(has)

        self.enqueue(ModelStep.respond(respond))
        return super()._record(call)


class SlowHooks(RunHooks[Any]):
    """Hooks that give way to the loop."""

    async def on_agent_start(self, *_: Any) -> None:
        await asyncio.sleep(0)

    on_agent_end: Any = on_agent_start
    on_handoff: Any = on_agent_start
    on_llm_start: Any = on_agent_start
    on_llm_end: Any = on_agent_start
    on_tool_start: Any = on_agent_start
    on_tool_end: Any = on_agent_start


class ListSession:
    """A session that gives way to the loop before it does anything."""

    session_id = "s"
    session_settings = None

    def __init__(self) -> None:
        self.items: list[Any] = []

    async def get_items(self, limit: int | None = None) -> list[Any]:
        await asyncio.sleep(0)
        return list(self.items)

    async def add_items(self, items: Sequence[Any]) -> None:
        await asyncio.sleep(0)
        self.items += items

    async def pop_item(self) -> Any:
        return self.items.pop()

    async def clear_session(self) -> None:
        self.items.clear()


@input_guardrail
async def beside(*_: Any) -> GuardrailFunctionOutput:
    await asyncio.sleep(0)
    return GuardrailFunctionOutput(None, False)


@input_guardrail(run_in_parallel=False)
async def before(*_: Any) -> GuardrailFunctionOutput:
    await asyncio.sleep(0)
    return GuardrailFunctionOutput(None, False)


@output_guardrail
async def after(*_: Any) -> GuardrailFunctionOutput:
    await asyncio.sleep(0)
    return GuardrailFunctionOutput(None, False)


@tool_input_guardrail
async def before_tool(_: Any) -> ToolGuardrailFunctionOutput:
    await asyncio.sleep(0)
    return ToolGuardrailFunctionOutput.allow()


@tool_output_guardrail
async def after_tool(_: Any) -> ToolGuardrailFunctionOutput:
    await asyncio.sleep(0)
    return ToolGuardrailFunctionOutput.allow()


@dataclass
class World:
    """The agents, and what their tools have done."""

    done: Counter[str] = field(default_factory=Counter)
    """How often each body ran, by the tool's name and its argument."""

    def __post_init__(self) -> None:
        self.root = self._root()

    def _tools(self) -> list[Any]:
        @function_tool(
            tool_input_guardrails=[before_tool], tool_output_guardrails=[after_tool]
        )
        async def look(what: str) -> str:
            self.done[f"look {what}"] += 1
            await asyncio.sleep(0)
            return "seen"

        @function_tool(needs_approval=True)
        async def pay(what: str) -> str:
            await asyncio.sleep(0)
            self.done[f"pay {what}"] += 1
            await asyncio.sleep(0)
            return "paid"

        @function_tool(review=Review(idempotent=True))
        async def again(what: str) -> str:
            await asyncio.sleep(0)
            return "again"

        return [look, pay, again]

    def _root(self) -> Agent[Any]:
        tools = self._tools()
        # The inner agent's calls have the ids of the outer's.
        inner: Agent[Any] = Agent(
            name="Inner",
            tools=tools,
            model=Reader(
                lambda has: (
                    [assistant_message("inner said")]
                    if has
                    else [
                        function_call("pay", {"what": "in"}, call_id="1"),
                        function_call("look", {"what": "in"}, call_id="2"),
                    ]
                )
            ),
            output_guardrails=[after],
        )
        target: Agent[Any] = Agent(
            name="Target",
            tools=tools,
            model=Reader(
                lambda has: (
                    [assistant_message("end")]
                    if "t1" in has
                    else [function_call("look", {"what": "late"}, call_id="t1")]
                )
            ),
            output_guardrails=[after],
        )

        async def told(_: Any) -> None:
            await asyncio.sleep(0)

        return Agent(
            name="Root",
            tools=[*tools, inner.as_tool("inner", "Asks another.", on_stream=told)],
            handoffs=[handoff(target)],
            model=Reader(
                lambda has: (
                    [function_call("transfer_to_target", {}, call_id="h")]
                    if has
                    else [
                        function_call("look", {"what": "out"}, call_id="1"),
                        function_call("pay", {"what": "out"}, call_id="2"),
                        function_call("inner", {"input": "?"}, call_id="3"),
                        function_call("again", {"what": "out"}, call_id="4"),
                    ]
                )
            ),
            input_guardrails=[beside, before],
        )

    def state(self) -> RunState[Any]:
        """Return a run that has not begun."""
        return RunState(RunContextWrapper(context=None), "go", self.root)

    async def read(self, stored: str) -> RunState[Any]:
        return await RunState.from_string(self.root, stored)


def decide(state: RunState[Any]) -> RunState[Any]:
    """Approve what waits; answer for what may have happened already."""
    for item in state.get_interruptions():
        found = state.find_open(item.call_key)
        if found is not None and found[1].in_doubt:
            state.respond(item, "A person looked.")
        else:
            state.approve(item)
    return state


def check_whole(items: Sequence[Mapping[str, Any]]) -> None:
    """Fail unless every call has one output, behind it."""
    open_ids: Counter[str] = Counter()
    for item in items:
        if item.get("type") == "function_call":
            assert open_ids[item["call_id"]] == 0
            open_ids[item["call_id"]] += 1
        elif item.get("type") == "function_call_output":
            open_ids[item["call_id"]] -= 1
            assert open_ids[item["call_id"]] == 0
    assert not +open_ids


class Disk:
    """What survives a crash: rows, the head, claims, decisions. A journal and a gate.

    From write `crash_at` on nothing is stored any more; that one itself is stored with
    `keeps_last`, and the process learns of it in neither case.
    """

    def __init__(self, state: RunState[Any]) -> None:
        self.rows: list[str] = []
        self.head = ""
        self.claims: dict[str, str | None] = {}
        self.doubted: set[str] = set()
        self.crash_at: int | None = None
        self.keeps_last = False
        self.writes = 0
        self._store([state.entry(item) for item in state.all_items], state)

    def ports(self) -> Ports:
        return Ports(journal=self, gate=self)

    async def begin_turn(self, state: RunState[Any]) -> Sequence[Any]:
        await self._write(lambda: None)
        return []

    async def append(self, state: RunState[Any], entries: Sequence[LogEntry]) -> None:
        await self._write(lambda: self._store(entries, state))

    async def claim(self, state: RunState[Any], call: Call) -> Claim:
        def started() -> Claim:
            if call.key not in self.claims or call.review.idempotent:
                self.claims.setdefault(call.key, None)
                return Claim(status=ClaimStatus.GRANTED)
            told = self.claims[call.key]
            if told is None:
                self.doubted.add(call.key)
                return Claim(status=ClaimStatus.IN_DOUBT)
            return Claim(status=ClaimStatus.DONE, outcome=Outcome(**json.loads(told)))

        claim: Claim = await self._write(started)
        return claim

    async def record(
        self,
        state: RunState[Any],
        call: Call,
        outcome: Outcome,
        entries: Sequence[LogEntry],
    ) -> None:
        def ended() -> None:
            told = {"kind": outcome.kind, "output": outcome.output}
            self.claims[call.key] = json.dumps(told)
            self._store(entries, state)

        await self._write(ended)

    async def verdicts(self, calls: Sequence[Call]) -> dict[str, Verdict]:
        return {
            call.key: SKIP if call.key in self.doubted else APPROVE
            for call in calls
            if call.gated or call.key in self.doubted
        }

    def version(self) -> int:
        return 0

    async def changed(self, since: int) -> None:
        await asyncio.get_running_loop().create_future()

    def load(self, agent: Agent[Any]) -> RunState[Any]:
        """Return the run as the application reads it from its database."""
        rows: dict[tuple[str, str], list[Any]] = {}
        for row in map(json.loads, self.rows):
            read = _READ.get(row["kind"], lambda data: data)
            rows.setdefault((row["frame"], row["kind"]), []).append(read(row["data"]))

        def log_of(frame: str, _: Any) -> StoredLog:
            views = rows.get((frame, "view"))
            return StoredLog(
                items=rows.get((frame, "item"), []),
                responses=rows.get((frame, "response"), []),
                guardrails=rows.get((frame, "guardrail"), []),
                view=views[-1] if views else None,
                orders=rows.get((frame, "order"), []),
            )

        state = restore(RunState, agent, read_head(json.loads(self.head)), log_of)
        for _, open_call in state.open_calls_below():
            open_call.verdict, open_call.in_doubt = None, False
        return state

    def _store(self, entries: Sequence[LogEntry], state: RunState[Any]) -> None:
        self.head = json.dumps(state.head())
        self.rows += [
            json.dumps(
                {"kind": entry.kind, "frame": entry.frame, "data": entry.payload}
            )
            for entry in entries
        ]

    async def _write(self, change: Callable[[], Any]) -> Any:
        await asyncio.sleep(0)
        self.writes += 1
        if self.crash_at is None or self.writes < self.crash_at:
            return change()
        if self.keeps_last and self.writes == self.crash_at:
            change()
        raise JournalFailed("The machine is gone.")


_READ: dict[str, Callable[[Any], Any]] = {
    "item": read_item,
    "view": read_view,
    "order": read_order,
    "guardrail": read_guardrail,
}

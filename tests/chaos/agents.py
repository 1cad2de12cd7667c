"""Agents whose messages say what they are to do; their tools keep a journal.

A message is a plan: turns of calls. The model finds out from the items it is given how
far the plan has come, so that it goes on after a restart and in any process, and asked
the same again it answers the same.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import timedelta
from typing import Any

from runs.engine import (
    Agent,
    Model,
    ModelResponse,
    Review,
    ToolContext,
    TResponseStreamEvent,
    Usage,
    UserError,
    function_tool,
)
from runs.engine.models.events import make_response, response_events
from runs.engine.testing import assistant_message, function_call
from runs.registry import register

from . import journal, kills
from .plans import BROKEN, KEY, planned, read_plan

DONE = "done"
LOOK_S = 0.005
HELD_FOR = timedelta(seconds=0.4)
OPEN_FOR = timedelta(seconds=0.4)
ESCALATES = timedelta(seconds=0.6)
LEADS = "leads"

code = 1
"""Which code of the agents this process has."""


class Planned(Model):
    """Answers with the next turn of the plans it reads."""

    async def get_response(
        self, system_instructions: str | None, input: Any, *args: Any, **kwargs: Any
    ) -> ModelResponse:
        return self._answer(input)

    async def stream_response(
        self, system_instructions: str | None, input: Any, *args: Any, **kwargs: Any
    ) -> AsyncIterator[TResponseStreamEvent]:
        answer = self._answer(input)
        response = make_response(
            response_id=answer.response_id or "", model=KEY, output=answer.output
        )
        for event in response_events(response):
            yield event
            await asyncio.sleep(0)

    def _answer(self, given: Any) -> ModelResponse:
        items = given if isinstance(given, list) else [{"content": given}]
        plans = [told for item in items if (told := read_plan(item.get("content")))]
        called = {item.get("call_id") for item in items}
        if any(told.get(BROKEN) for told in plans) and not journal.has_sign("mended"):
            raise UserError(f"The model is {BROKEN}.")
        answer_id = uuid.uuid4().hex
        read = hashlib.sha256(json.dumps(items).encode()).hexdigest()
        journal.tell("asks", name=plans[0]["name"], read=read, answer=answer_id)
        return ModelResponse(
            output=list(_next_turn(plans, called)),
            usage=Usage(requests=1),
            response_id=answer_id,
        )


def _next_turn(plans: Sequence[dict[str, Any]], called: set[Any]) -> Iterator[Any]:
    for calls in planned(plans):
        if any(call_id not in called for call_id, _ in calls):
            for call_id, (tool, arguments) in calls:
                yield function_call(tool, arguments, call_id=call_id)
            return
    yield assistant_message(DONE)


def _happen(ctx: ToolContext[Any], **arguments: Any) -> str:
    kills.in_body(ctx.tool_name, "before")
    journal.tell(
        "effects",
        tool=ctx.tool_name,
        run=ctx.context["run"],
        key=ctx.idempotency_key,
        arguments=arguments,
        code=code,
    )
    kills.in_body(ctx.tool_name, "after")
    return f"{ctx.tool_name} {json.dumps(arguments)}"


@function_tool(needs_approval=True, review=Review(risk="high"))
async def pay(ctx: ToolContext[Any], ref: str, eur: int) -> str:
    """Pay: asked about, and never to be done twice."""
    return _happen(ctx, ref=ref, eur=eur)


@function_tool(needs_approval=True, review=Review(idempotent=True))
async def put(ctx: ToolContext[Any], ref: str) -> str:
    """Put something in its place: asked about, and twice is as good as once."""
    return _happen(ctx, ref=ref)


@function_tool(needs_approval=True, review=Review(approvals=2))
async def close(ctx: ToolContext[Any], ref: str) -> str:
    """Close something: two people are asked."""
    return _happen(ctx, ref=ref)


@function_tool(needs_approval=True, review=Review(hold=HELD_FOR))
async def wire(ctx: ToolContext[Any], ref: str) -> str:
    """Send money: a verdict on it can be undone for a moment."""
    return _happen(ctx, ref=ref)


@function_tool(needs_approval=True, review=Review(expires_after=OPEN_FOR))
async def offer(ctx: ToolContext[Any], ref: str) -> str:
    """Make an offer that holds for a moment: asked about in time, or never made."""
    return _happen(ctx, ref=ref)


@function_tool(
    needs_approval=True, review=Review(escalate_after=ESCALATES, escalate_to=LEADS)
)
async def ship(ctx: ToolContext[Any], ref: str) -> str:
    """Ship something: asked about, and after a moment of one more group."""
    return _happen(ctx, ref=ref)


@function_tool
async def send(ctx: ToolContext[Any], ref: str) -> str:
    """Send something: nobody is asked, and it is not to be done twice."""
    return _happen(ctx, ref=ref)


@function_tool(review=Review(idempotent=True))
async def look(ctx: ToolContext[Any], ref: str) -> str:
    """Look something up, as often as you like."""
    return _happen(ctx, ref=ref)


@function_tool
async def hold(ctx: ToolContext[Any], ref: str) -> str:
    """Send something once the gate of that name is open."""
    journal.tell("began", ref=ref)
    while not (  # noqa: ASYNC110  another process may open it
        journal.has_sign(ref) or journal.has_sign("every gate")
    ):
        await asyncio.sleep(LOOK_S)
    return _happen(ctx, ref=ref)


MODEL = Planned()
TOOLS = [pay, put, close, wire, offer, ship, send, look, hold]
clerk = Agent[Any](name="Clerk", tools=[*TOOLS], model=MODEL)
closer = Agent[Any](name="Closer", tools=[*TOOLS], model=MODEL)

chaos = Agent[Any](
    name="Chaos",
    tools=[
        *TOOLS,
        clerk.as_tool("delegate", "Let the clerk do it."),
        clerk.as_tool("entrust", "Let the clerk, if it may.", needs_approval=True),
    ],
    handoffs=[closer],
    model=MODEL,
)
register(chaos, key=KEY)


@function_tool(
    name_override="pay",
    needs_approval=True,
    review=Review(risk="high"),
    strict_mode=False,
)
async def pay_in_cents(ctx: ToolContext[Any], ref: str, eur: float) -> str:
    """Pay, by newer code: of other parameters, so that it is another tool."""
    return _happen(ctx, ref=ref, eur=eur)


def deploy() -> None:
    """Have newer code in this process from here on, as after a deployment."""
    global code
    code = 2
    for agent in (chaos, clerk, closer):
        agent.tools = [pay_in_cents if tool is pay else tool for tool in agent.tools]

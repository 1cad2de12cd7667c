"""A conversation with an agent at a terminal, to try it out."""

from __future__ import annotations

from typing import Any

from openai.types.responses import ResponseTextDeltaEvent

from .agent import Agent
from .config import DEFAULT_MAX_TURNS
from .digest import JSONObject
from .events import (
    AgentUpdatedStreamEvent,
    RawResponsesStreamEvent,
    RunItemStreamEvent,
    StreamEvent,
)
from .items import ToolCallItem, ToolCallOutputItem
from .result import RunResultBase
from .run import Runner

GOODBYE = {"exit", "quit"}


async def run_demo_loop(
    agent: Agent[Any],
    *,
    stream: bool = True,
    context: Any = None,
    max_turns: int | None = DEFAULT_MAX_TURNS,
) -> None:
    """Read lines from the standard input and print what the agent answers.

    `exit`, `quit` or the end of the input end it. Each line is a run of its own of at
    most `max_turns` turns, which reads all that was said before; the agent that spoke
    last goes on. Calls that wait for approval are named, and asked about there: `y`
    approves, anything else rejects. Raises what a run does.
    """
    said: list[JSONObject] = []
    while (line := _read("> ")) is not None and line.lower() not in GOODBYE:
        if not line:
            continue
        said.append({"role": "user", "content": line})
        options: dict[str, Any] = {"context": context, "max_turns": max_turns}
        result = await _played(agent, said, stream, options)
        while result.interruptions:
            state = result.to_state()
            for item in state.get_interruptions():
                answer = _read(f"Approve {item.name} {item.arguments}? [y/N] ")
                decide = state.approve if answer in {"y", "Y"} else state.reject
                decide(item)
            result = await _played(agent, state, stream, options)
        agent, said = result.last_agent, result.to_input_list()


def _read(prompt: str) -> str | None:
    """Return the next line, stripped; None at the end of the input.

    Nothing else runs meanwhile, so that the interrupt key reaches it.
    """
    try:
        return input(prompt).strip()
    except (EOFError, KeyboardInterrupt):
        return None


async def _played(
    agent: Agent[Any], given: Any, stream: bool, options: dict[str, Any]
) -> RunResultBase[Any]:
    if not stream:
        whole = await Runner.run(agent, given, **options)
        if whole.final_output is not None:
            print(whole.final_output)
        return whole
    streamed = Runner.run_streamed(agent, given, **options)
    async for event in streamed.stream_events():
        _show(event)
    print()
    return streamed


def _show(event: StreamEvent) -> None:
    if isinstance(event, RawResponsesStreamEvent):
        if isinstance(event.data, ResponseTextDeltaEvent):
            print(event.data.delta, end="", flush=True)
    elif isinstance(event, AgentUpdatedStreamEvent):
        print(f"[{event.new_agent.name}]")
    elif isinstance(event, RunItemStreamEvent):
        if isinstance(event.item, ToolCallItem) and event.name == "tool_called":
            print(f"\n[calls {event.item.tool_name}]")
        elif isinstance(event.item, ToolCallOutputItem):
            print(f"\n[{event.item.output}]")

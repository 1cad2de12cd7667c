"""Two engines behind one face: ours and the SDK's get the same agent, tool and model.

All is written once for both; only the names come from one or the other. The model keeps
nothing of what it is asked and tracing is off: what is measured is the engine.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import agents
from openai.types.responses import ResponseFunctionToolCall

sys.path.insert(0, str(Path(__file__).parents[2]))

from runs import engine
from runs.engine.models.events import make_response, response_events
from runs.engine.models.stream import usage_to_openai
from runs.engine.testing import assistant_message, function_call

SLICES = 5
"""Each figure is the median of so many slices, taken in turns with the other engine's.
"""

USED: dict[str, Any] = {
    "requests": 1,
    "input_tokens": 900,
    "output_tokens": 30,
    "total_tokens": 930,
}


@dataclass(frozen=True, slots=True)
class Engine:
    """One of the two."""

    name: str
    module: ModuleType
    """Where its public names are."""

    def agent(self, answers: Iterable[Any], *, padding: str = "") -> Any:
        """Return an agent with one tool, whose model gives `answers` one by one.

        The tool's output is a few words and `padding`.
        """

        async def look(what: str) -> str:
            """Look at something."""
            return f"saw {what}{padding}"

        return self.module.Agent(
            name="Bench",
            instructions="Look at things.",
            tools=[self.module.function_tool(look)],
            model=_SCRIPTED[self.name](answers),
        )

    def answers(
        self, turns: int, *, calls: int = 1, streamed: bool = False
    ) -> Iterator[Any]:
        """Yield what the model answers: so many `calls` a turn, then a message."""
        for turn in range(turns):
            called = [_call(turn * calls + number) for number in range(calls)]
            yield self._answer(turn, called, streamed=streamed)
        yield self._answer(turns, [assistant_message("end")], streamed=streamed)

    def _answer(self, turn: int, output: list[Any], *, streamed: bool) -> Any:
        response_id = f"resp_{turn:024}"
        if not streamed:
            usage = self.module.Usage(**USED)
            return self.module.ModelResponse(output, usage, response_id)
        response = make_response(
            response_id=response_id,
            model="scripted",
            output=output,
            usage=usage_to_openai(engine.Usage(**USED)),
        )
        return list(response_events(response))

    async def run(self, agent: Any) -> Any:
        """Return the result of a run without a limit of turns."""
        return await self.module.Runner.run(agent, "go", max_turns=None)

    async def run_streamed(self, agent: Any) -> Any:
        """Return the result once every event of the run was read."""
        result = self.module.Runner.run_streamed(agent, "go", max_turns=None)
        async for _ in result.stream_events():
            pass
        return result


def _call(number: int) -> ResponseFunctionToolCall:
    # Its id is as long as a server's.
    return function_call(
        "look", {"what": f"thing {number}"}, call_id=f"call_{number:024}"
    )


class _Script:
    """The two methods of a model, as both engines ask for them."""

    def __init__(self, answers: Iterable[Any]) -> None:
        self._answers = iter(answers)

    async def get_response(self, *args: Any, **kwargs: Any) -> Any:
        return next(self._answers)

    async def stream_response(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        for event in next(self._answers):
            yield event


class _OurScript(_Script, engine.Model):
    pass


class _SdkScript(_Script, agents.Model):
    pass


_SCRIPTED = {"ours": _OurScript, "SDK": _SdkScript}
OURS, SDK = Engine("ours", engine), Engine("SDK", agents)

for one in (OURS, SDK):
    one.module.set_tracing_disabled(True)

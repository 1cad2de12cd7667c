"""A model that takes its time, and derives its answer from the items it is given."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import uuid4

from runs.engine import (
    Model,
    ModelResponse,
    TResponseInputItem,
    TResponseOutputItem,
    TResponseStreamEvent,
    Usage,
)
from runs.engine.models.events import make_response, response_events
from runs.engine.models.stream import usage_to_openai
from runs.engine.testing import assistant_message, function_call

NAME = "scripted"
USAGE = Usage(requests=1, input_tokens=900, output_tokens=30, total_tokens=930)


class Paced(Model):
    """Calls one of `tools` a turn, by turns, until it has seen `turns` outputs.

    Each call's only argument is the number of outputs before it. So the model goes on
    after any restart, and what a run is to do is known beforehand. An answer takes a
    time between the two of `think_s`, by chance: runs that began together drift apart.
    """

    def __init__(
        self, *, tools: Sequence[str], turns: int, think_s: tuple[float, float]
    ) -> None:
        self.tools = tools
        self.turns = turns
        self.think_s = think_s

    async def get_response(
        self,
        system_instructions: str | None,
        input: str | list[TResponseInputItem],
        *args: Any,
        **kwargs: Any,
    ) -> ModelResponse:
        """Return the answer after a time."""
        await asyncio.sleep(random.uniform(*self.think_s))
        return ModelResponse(
            output=self._output(_outputs_in(input)),
            usage=USAGE,
            response_id=f"resp_{uuid4().hex}",
        )

    async def stream_response(
        self,
        system_instructions: str | None,
        input: str | list[TResponseInputItem],
        *args: Any,
        **kwargs: Any,
    ) -> AsyncIterator[TResponseStreamEvent]:
        """Yield the events of the answer after a time."""
        whole = await self.get_response(system_instructions, input)
        response = make_response(
            response_id=whole.response_id or "",
            model=NAME,
            output=whole.output,
            usage=usage_to_openai(whole.usage),
        )
        for event in response_events(response):
            yield event

    def _output(self, seen: int) -> list[TResponseOutputItem]:
        if seen >= self.turns:
            return [assistant_message("All is done.")]
        tool = self.tools[seen % len(self.tools)]
        return [assistant_message("Next."), function_call(tool, {"step": seen})]


def _outputs_in(given: str | list[TResponseInputItem]) -> int:
    items = [] if isinstance(given, str) else given
    return sum(item.get("type") == "function_call_output" for item in items)

"""A model without a network: it thinks by rules and streams like a real one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

from runs.engine import (
    Model,
    ModelResponse,
    ModelSettings,
    ModelTracing,
    Tool,
    TResponseInputItem,
    TResponseOutputItem,
    TResponseStreamEvent,
    Usage,
)
from runs.engine.models.events import make_response, response_events
from runs.engine.models.stream import usage_to_openai
from runs.engine.testing import assistant_message, function_call

from .mind import Answer, think
from .talk import read

NAME = "placet-demo"


class DemoModel(Model):
    """Answers from the conversation alone, so it goes on after any restart.

    A word of its text takes `word_s` seconds.
    """

    def __init__(self, *, word_s: float = 0.03) -> None:
        self.word_s = word_s

    async def get_response(
        self,
        system_instructions: str | None,
        input: str | list[TResponseInputItem],
        model_settings: ModelSettings,
        tools: list[Tool],
        output_schema: Any,
        handoffs: list[Any],
        tracing: ModelTracing,
        *,
        previous_response_id: str | None,
        conversation_id: str | None,
        prompt: Any,
    ) -> ModelResponse:
        """Return the answer at once."""
        names = [tool.name for tool in tools]
        names += [handoff.tool_name for handoff in handoffs]
        answer = think(read(input), names)
        return ModelResponse(
            output=_output(answer),
            usage=_usage(input, answer),
            response_id=f"resp_{uuid4().hex}",
        )

    async def stream_response(
        self,
        system_instructions: str | None,
        input: str | list[TResponseInputItem],
        model_settings: ModelSettings,
        tools: list[Tool],
        output_schema: Any,
        handoffs: list[Any],
        tracing: ModelTracing,
        *,
        previous_response_id: str | None,
        conversation_id: str | None,
        prompt: Any,
    ) -> AsyncIterator[TResponseStreamEvent]:
        """Yield the answer's events, its text word by word."""
        whole = await self.get_response(
            system_instructions,
            input,
            model_settings,
            tools,
            output_schema,
            handoffs,
            tracing,
            previous_response_id=previous_response_id,
            conversation_id=conversation_id,
            prompt=prompt,
        )
        response = make_response(
            response_id=whole.response_id or "",
            model=NAME,
            output=whole.output,
            usage=usage_to_openai(whole.usage),
        )
        for event in response_events(response):
            if event.type.endswith(".delta"):
                await asyncio.sleep(self.word_s)
            yield event


def _output(answer: Answer) -> list[TResponseOutputItem]:
    items: list[TResponseOutputItem] = [assistant_message(answer.text)]
    items += [function_call(call.name, call.arguments) for call in answer.calls]
    return items


def _usage(given: str | list[TResponseInputItem], answer: Answer) -> Usage:
    """Return a guess at tokens: four characters each."""
    read_tokens = len(str(given)) // 4
    written = len(answer.text + str(answer.calls)) // 4
    return Usage(
        requests=1,
        input_tokens=read_tokens,
        output_tokens=written,
        total_tokens=read_tokens + written,
    )

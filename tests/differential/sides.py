"""Two packages with one interface, each behind a Side: the SDK, and our engine.

A scenario is given a Side and knows nothing else of the package it runs on: it takes
names from it (`side.Agent`), plays runs with `side.run`, and says what is worth
comparing with `side.note`. What a Side gathered is its `record()`.
"""

from __future__ import annotations

import importlib
import inspect
import json
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, Protocol

from . import record, script

Package = Literal["sdk", "ours"]


class Decorated(Protocol):
    """A tool or a guardrail, or the decorator that makes one."""

    def __call__(self, *given: Any) -> Any: ...
    def __getattr__(self, name: str) -> Any: ...


Answer = Any
"""A list of output items, an exception, a Cut, or a callable of the request."""

MODULES: dict[Package, tuple[str, ...]] = {
    "sdk": (
        "agents",
        "agents.items",
        "agents.tool",
        "agents.tool_context",
        "agents.run_context",
        "agents.run_state",
        "agents.run",
        "agents.exceptions",
        "agents.stream_events",
        "agents.handoffs",
        "agents.tracing",
        "agents.memory",
        "agents.extensions.handoff_filters",
        "agents.extensions.handoff_prompt",
        "agents.strict_schema",
        "agents.function_schema",
        "agents.usage",
        "agents.lifecycle",
        "agents.agent",
        "agents.retry",
        "agents.prompts",
        "agents.testing",
        "agents.mcp",
    ),
    "ours": ("runs.engine", "runs.engine.testing"),
}


def named(package: Package, name: str) -> Any:
    """Return the public object `name`. Raises AttributeError where there is none."""
    for module in MODULES[package]:
        found = getattr(importlib.import_module(module), name, None)
        if found is not None and not inspect.ismodule(found):
            return found
    raise AttributeError(f"{MODULES[package][0]} has no {name}")


@cache
def scripted_model(package: Package) -> type[Any]:
    """Return the fake model's class: a subclass of the package's own Model."""
    base: type[Any] = named(package, "Model")

    class FakeModel(base):  # type: ignore[misc]
        def __init__(self, side: Side, label: str, answers: Sequence[Answer]) -> None:
            self.side, self.label, self.answers = side, label, list(answers)

        async def get_response(self, *given: Any, **named_arguments: Any) -> Any:
            answer, id = await self._next(False, given, named_arguments)
            return named(package, "ModelResponse")(
                output=[
                    each.model_copy(deep=True)
                    for each in script.response(id, answer).output
                ],
                usage=_usage(package),
                response_id=id,
            )

        async def stream_response(
            self, *given: Any, **named_arguments: Any
        ) -> AsyncIterator[Any]:
            answer, id = await self._next(True, given, named_arguments)
            if not isinstance(answer, script.Cut):
                for event in script.events(id, answer):
                    yield event
                return
            for event in list(script.events(id, answer.items))[:-1]:
                yield event
            if answer.error is not None:
                raise answer.error

        async def _next(
            self, streamed: bool, given: Sequence[Any], named_arguments: dict[str, Any]
        ) -> tuple[Any, str]:
            bound = inspect.signature(base.get_response).bind(
                self, *given, **named_arguments
            )
            asked = record.request(bound.arguments)
            self.side.requests.append({"model": self.label, **asked})
            if not self.answers:
                raise AssertionError(f"{self.label}: asked after its last answer")
            answer = self.answers.pop(0)
            if callable(answer):
                answer = answer(asked)
            if inspect.isawaitable(answer):
                answer = await answer
            if isinstance(answer, Exception):
                raise answer
            return answer, f"resp_{self.label}_{len(self.side.requests)}"

    return FakeModel


def _usage(package: Package) -> Any:
    return named(package, "Usage")(
        requests=1,
        input_tokens=script.INPUT_TOKENS,
        input_tokens_details={
            "cached_tokens": script.CACHED_TOKENS,
            "cache_write_tokens": 0,
        }
        if package == "sdk"
        else named(package, "InputTokensDetails")(cached_tokens=script.CACHED_TOKENS),
        output_tokens=script.OUTPUT_TOKENS,
        output_tokens_details={"reasoning_tokens": script.REASONING_TOKENS}
        if package == "sdk"
        else named(package, "OutputTokensDetails")(
            reasoning_tokens=script.REASONING_TOKENS
        ),
        total_tokens=script.INPUT_TOKENS + script.OUTPUT_TOKENS,
    )


@dataclass
class Side:
    """One package under a scenario, and what the scenario saw of it."""

    package: Package
    streamed: bool = False
    """True plays every run with `run_streamed` and keeps its events."""
    runs: list[Any] = field(default_factory=list)
    requests: list[Any] = field(default_factory=list)
    notes: list[Any] = field(default_factory=list)
    error: Exception | None = None
    """What ended the last run, if an error did."""

    if TYPE_CHECKING:  # found by __getattr__; typed, so that they may decorate

        def function_tool(self, *func: Any, **options: Any) -> Decorated: ...
        def input_guardrail(self, *func: Any, **options: Any) -> Decorated: ...
        def output_guardrail(self, *func: Any, **options: Any) -> Decorated: ...

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return named(self.package, name)

    @property
    def ours(self) -> bool:
        return self.package == "ours"

    def model(self, *answers: Answer, label: str = "main") -> Any:
        """Return a model that gives `answers`, one a call."""
        return scripted_model(self.package)(self, label, answers)

    def agent(self, *answers: Answer, name: str = "main", **fields: Any) -> Any:
        """Return an agent with a scripted model of its own, labelled by its name."""
        model = self.model(*answers, label=name)
        return self.Agent(**{"name": name, "model": model, **fields})

    def note(self, *what: Any) -> None:
        """Keep `what` for the comparison, in the order it happened."""
        self.notes.append(record.plain(list(what)))

    def takes_context(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Mark the first argument of a tool's function as the run's context."""
        first = next(iter(inspect.signature(func).parameters))
        func.__annotations__[first] = self.RunContextWrapper[Any]
        return func

    def takes_tool_context(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Mark the first argument of a tool's function as the call's context."""
        first = next(iter(inspect.signature(func).parameters))
        func.__annotations__[first] = self.ToolContext[Any]
        return func

    async def run(self, agent: Any, given: Any, **options: Any) -> Any:
        """Play a run and keep what it gave; None when it ended with an error."""
        self.error = None
        seen: list[Any] = []
        try:
            result = await self._play(agent, given, options, seen)
        except Exception as error:
            self.error = error
            kept = {"error": record.error(self.package, error)}
            self.runs.append({**kept, "events_before": seen} if self.streamed else kept)
            return None
        kept = record.result(self.package, result)
        self.runs.append({**kept, "events": seen} if self.streamed else kept)
        return result

    async def _play(
        self, agent: Any, given: Any, options: dict[str, Any], seen: list[Any]
    ) -> Any:
        if not self.streamed:
            return await self.Runner.run(agent, given, **options)
        result = self.Runner.run_streamed(agent, given, **options)
        async for event in result.stream_events():
            seen.append(record.event(event))
        return result

    async def restored(self, agent: Any, state: Any, **options: Any) -> Any:
        """Return `state` after its way through JSON text, noting what it holds."""
        written = json.loads(json.dumps(state.to_json()))
        back = await self.RunState.from_json(agent, written, **options)
        self.note("state", record.state(self.package, back))
        return back

    async def failure(self, action: Callable[[], Any]) -> Any:
        """Note which error `action` ends with; returns what it gives, if none."""
        try:
            given = action()
            return await given if inspect.isawaitable(given) else given
        except Exception as error:
            self.error = error
            self.note("error", record.error(self.package, error))
            return None

    def record(self) -> dict[str, Any]:
        """Return everything seen, as plain JSON."""
        return {"runs": self.runs, "requests": self.requests, "notes": self.notes}

"""Handoffs: one agent gives the conversation to another.

The model is offered a handoff as a function tool; calling it is the handoff.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeAlias

from pydantic import PydanticUserError, TypeAdapter, ValidationError
from typing_extensions import TypeVar

from ..callbacks import called, takes
from ..context import RunContextWrapper, TContext
from ..digest import JSONObject, MalformedArguments, parse_arguments
from ..errors import ModelBehaviorError, UserError
from ..tools.strict_schema import ensure_strict_json_schema
from .history import HandoffHistoryMapper, nest_handoff_history

if TYPE_CHECKING:
    from ..agent import Agent
    from ..items import RunItem

TAgent = TypeVar("TAgent", default="Agent[Any]")
THandoffInput = TypeVar("THandoffInput", default=Any)

OnHandoffWithInput: TypeAlias = Callable[[RunContextWrapper[Any], THandoffInput], Any]
OnHandoffWithoutInput: TypeAlias = Callable[[RunContextWrapper[Any]], Any]
IsHandoffEnabled: TypeAlias = bool | Callable[[RunContextWrapper[Any], Any], Any]

MAX_FAULTS = 10


@dataclass(frozen=True)
class HandoffInputData:
    """What the next agent is about to read, for a filter to change."""

    input_history: str | tuple[JSONObject, ...]
    """What the run was given."""
    pre_handoff_items: tuple[RunItem, ...]
    """What happened in the turns before the one of the handoff."""
    new_items: tuple[RunItem, ...]
    """What happened in that turn, the handoff's call and output included."""
    run_context: RunContextWrapper[Any] | None = None
    input_items: tuple[RunItem, ...] | None = None
    """Read by the next agent in place of `new_items`, which the session still gets."""

    def clone(self, **kwargs: Any) -> HandoffInputData:
        """Return a copy with the fields named changed."""
        return dataclasses.replace(self, **kwargs)


HandoffInputFilter: TypeAlias = Callable[
    [HandoffInputData], HandoffInputData | Awaitable[HandoffInputData]
]


@dataclass
class Handoff(Generic[TContext, TAgent]):
    """A way from one agent to another, as the model is offered it."""

    tool_name: str
    tool_description: str
    input_json_schema: JSONObject
    """The schema of the call's arguments; they are for `on_handoff`, not for the agent.
    """
    on_invoke_handoff: Callable[[RunContextWrapper[Any], str], Awaitable[TAgent]]
    """Called with the context and the text of the arguments; gives the next agent."""
    agent_name: str
    input_filter: HandoffInputFilter | None = None
    """Changes what the next agent reads; None leaves it to the run's filter."""
    nest_handoff_history: bool | None = None
    """Whether what came before is summarized; None leaves it to the run."""
    strict_json_schema: bool = True
    is_enabled: IsHandoffEnabled = True
    """Whether the model is offered it: a value, or a sync or async callable of
    (context, the agent that would hand off)."""
    agent: TAgent | None = field(default=None, kw_only=True, repr=False, compare=False)
    """Where it leads; None in one made by hand, which may lead anywhere."""

    def get_transfer_message(self, agent: Agent[Any]) -> str:
        """Return the output of the handoff's call."""
        return json.dumps({"assistant": agent.name})

    @classmethod
    def default_tool_name(cls, agent: Agent[Any]) -> str:
        """Return `transfer_to_<name>`, in lower case, in letters servers take."""
        return cls.tool_name_for(agent.name)

    @staticmethod
    def tool_name_for(agent_name: str) -> str:
        """Return the default tool name of a handoff to an agent of that name."""
        return re.sub(r"[^a-zA-Z0-9_]", "_", f"transfer_to_{agent_name}").lower()

    @classmethod
    def default_tool_description(cls, agent: Agent[Any]) -> str:
        return (
            f"Handoff to the {agent.name} agent to handle the request. "
            f"{agent.handoff_description or ''}"
        )


def handoff(
    agent: Agent[TContext],
    tool_name_override: str | None = None,
    tool_description_override: str | None = None,
    on_handoff: OnHandoffWithInput[Any] | OnHandoffWithoutInput | None = None,
    input_type: type[Any] | None = None,
    input_filter: HandoffInputFilter | None = None,
    nest_handoff_history: bool | None = None,
    is_enabled: IsHandoffEnabled = True,
) -> Handoff[TContext, Agent[TContext]]:
    """Return a handoff that leads to `agent`.

    `on_handoff`, sync or async, is called with the context when the handoff happens;
    with an `input_type` the model must give one, and it is called with the context and
    that. Raises UserError when the two do not fit each other, or `input_type` has no
    strict JSON schema.
    """
    _check_callback(agent, on_handoff, input_type)
    adapter, schema = _input_form(agent, input_type)

    async def invoke(
        ctx: RunContextWrapper[Any], input_json: str | None = None
    ) -> Agent[TContext]:
        given = () if adapter is None else (_input(agent, adapter, input_json),)
        if on_handoff is not None:
            what = f"on_handoff of the handoff to {agent.name!r}"
            await called(what, on_handoff, ctx, *given)
        return agent

    return Handoff(
        tool_name=tool_name_override or Handoff.default_tool_name(agent),
        tool_description=(
            tool_description_override or Handoff.default_tool_description(agent)
        ),
        input_json_schema=schema,
        on_invoke_handoff=invoke,
        agent_name=agent.name,
        input_filter=input_filter,
        nest_handoff_history=nest_handoff_history,
        is_enabled=is_enabled,
        agent=agent,
    )


def as_handoff(target: Agent[Any] | Handoff[Any, Any]) -> Handoff[Any, Any]:
    """Return `target` as a handoff. Raises UserError for anything but the two."""
    if isinstance(target, Handoff):
        return target
    if not hasattr(target, "handoff_description"):
        raise UserError(
            f"handoffs holds {target!r}; it takes agents and what handoff(…) returns."
        )
    return handoff(target)


async def enabled_handoffs(
    agent: Agent[Any], ctx: RunContextWrapper[Any]
) -> list[Handoff[Any, Any]]:
    """Return the handoffs that `agent` may make in this run, in their order."""
    ways = [as_handoff(target) for target in agent.handoffs]
    return [way for way in ways if await _enabled(way, ctx, agent)]


async def next_input(
    way: Handoff[Any, Any],
    data: HandoffInputData,
    *,
    run_filter: HandoffInputFilter | None = None,
    run_nests: bool = False,
    history_mapper: HandoffHistoryMapper | None = None,
) -> HandoffInputData:
    """Return what the next agent reads; `data` itself when nothing changes it.

    The handoff's own filter and setting go before the run's. Where there is a filter,
    nothing is nested: the filter may do so itself. Raises UserError when the filter
    cannot be called or gives something else.
    """
    chosen = run_filter if way.input_filter is None else way.input_filter
    if chosen is not None:
        return await _filtered(chosen, data)
    own = way.nest_handoff_history
    if run_nests if own is None else own:
        return nest_handoff_history(data, history_mapper=history_mapper)
    return data


async def _enabled(
    way: Handoff[Any, Any], ctx: RunContextWrapper[Any], agent: Agent[Any]
) -> bool:
    if not callable(way.is_enabled):
        return way.is_enabled
    what = f"is_enabled of the handoff {way.tool_name!r}"
    return bool(await called(what, way.is_enabled, ctx, agent))


async def _filtered(chosen: Any, data: HandoffInputData) -> HandoffInputData:
    if not callable(chosen):
        raise UserError(f"The handoff's input filter {chosen!r} cannot be called.")
    filtered = await called("The handoff's input filter", chosen, data)
    if not isinstance(filtered, HandoffInputData):
        raise UserError(
            f"The handoff's input filter returned {type(filtered).__name__}; "
            "it must return HandoffInputData."
        )
    return filtered


def _check_callback(agent: Agent[Any], on_handoff: Any, input_type: Any) -> None:
    what = f"on_handoff of the handoff to {agent.name!r}"
    if on_handoff is None:
        if input_type is not None:
            raise UserError(f"{what} is missing; input_type is read by nothing else.")
        return
    if not callable(on_handoff):
        raise UserError(f"{what} is {on_handoff!r}, which cannot be called.")
    if input_type is None and not takes(on_handoff, 1):
        raise UserError(f"{what} must take one argument, the context.")
    if input_type is not None and not takes(on_handoff, 2):
        raise UserError(f"{what} must take two arguments, the context and the input.")


def _input_form(
    agent: Agent[Any], input_type: type[Any] | None
) -> tuple[TypeAdapter[Any] | None, JSONObject]:
    """Return what reads the arguments, if anything does, and their schema."""
    if input_type is None:
        return None, ensure_strict_json_schema({})
    try:
        adapter = TypeAdapter(input_type)
        return adapter, ensure_strict_json_schema(adapter.json_schema())
    except PydanticUserError as error:
        raise UserError(
            f"input_type of the handoff to {agent.name!r} has no JSON schema; "
            f"use a type that pydantic knows. {error}"
        ) from error


def _input(agent: Agent[Any], adapter: TypeAdapter[Any], text: str | None) -> Any:
    """Return the model's arguments as the input type, strictly read."""
    try:
        # Refuses what two parsers may read differently, which pydantic does not. The
        # key around it lets an input type be other than an object.
        parse_arguments(f'{{"input": {text}}}')
        return adapter.validate_json(text or "", strict=True)
    except ValidationError as error:
        fault = _faults(error)
    except MalformedArguments as error:
        fault = str(error)
    raise ModelBehaviorError(
        f"The arguments of the handoff to {agent.name!r} do not fit: {fault}"
    )


def _faults(error: ValidationError) -> str:
    """Return what is wrong, without what the model wrote."""
    faults = error.errors(include_url=False, include_input=False)[:MAX_FAULTS]
    return "; ".join(
        f"{'.'.join(map(str, fault['loc'])) or 'input'}: {fault['msg']}"
        for fault in faults
    )

"""What the SDK's public names can be called with, ours can be called with."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Iterator
from typing import Any

import pytest

import runs.engine

from .differences import TOLD
from .sides import named
from .test_names import PLATFORM, SANDBOX, SDK_NAMES, WEBSOCKET

Parameter = inspect.Parameter
POSITIONAL = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)

MADE_BY_A_RUN = set(
    """
    CompactionItem HandoffCallItem HandoffOutputItem InputItem MCPApprovalRequestItem
    MCPApprovalResponseItem MCPListToolsItem MessageOutputItem ReasoningItem RunResult
    RunResultStreaming RunState ToolApprovalItem ToolCallItem ToolCallOutputItem
    ToolSearchCallItem ToolSearchOutputItem
    """.split()  # noqa: SIM905 - as a list it is a page long
)
"""Classes that programs read and nobody constructs."""

VALIDATOR = "the SDK's own check of the value, which nobody calls"
ASKED_INSIDE = "what the SDK's sandbox tools override; programs set needs_approval"
REFUSED = "what a chat server would lose is refused, unless a program asks otherwise"

EXCEPTIONS: dict[str, str] = {
    "MultiProvider(openai_websocket_base_url): not taken": WEBSOCKET,
    "MultiProvider(openai_responses_websocket_options): not taken": WEBSOCKET,
    "OpenAIProvider(websocket_base_url): not taken": WEBSOCKET,
    "OpenAIProvider(responses_websocket_options): not taken": WEBSOCKET,
    "MultiProvider(openai_agent_registration): not taken": PLATFORM,
    "OpenAIProvider(agent_registration): not taken": PLATFORM,
    "OpenAIProvider.agent_registration: missing": PLATFORM,
    "RunResultStreaming.ensure_sandbox_cleanup_on_completion: missing": SANDBOX,
    "CustomTool.runtime_needs_approval: missing": ASKED_INSIDE,
    "CustomTool.runtime_on_approval: missing": ASKED_INSIDE,
    "MultiProvider(openai_strict_feature_validation): "
    "True unless given, not False": REFUSED,
    "OpenAIChatCompletionsModel(strict_feature_validation): "
    "True unless given, not False": REFUSED,
    "OpenAIProvider(strict_feature_validation): True unless given, not False": REFUSED,
    "ToolOutputFileContent.check_at_least_one_required_field: missing": VALIDATOR,
    "ToolOutputImage.check_at_least_one_required_field: missing": VALIDATOR,
    "RunConfig(tool_not_found_behavior): "
    "'return_error_to_model' unless given, not 'raise_error'": TOLD,
}
"""A place where ours differs, as the test reports it, and why."""

SHARED = [name for name in SDK_NAMES if name in runs.engine.__all__]
PLAIN = (bool, int, float, str, type(None))


def compared(name: str, sdk: Any, ours: Any) -> Iterator[str]:
    """Yield what the SDK's `name` takes or has and ours does not."""
    if typing.is_typeddict(sdk):
        missing = set(sdk.__annotations__) - set(ours.__annotations__)
        yield from (f"{name}: no key {key}" for key in sorted(missing))
    elif inspect.isclass(sdk):
        yield from _of_class(name, sdk, ours)
    elif inspect.isfunction(sdk):
        yield from _of_callable(name, sdk, ours)


def _of_class(name: str, sdk: type, ours: Any) -> Iterator[str]:
    if not inspect.isclass(ours):
        yield f"{name}: a class there, {type(ours).__name__} here"
        return
    if name not in MADE_BY_A_RUN and not getattr(sdk, "_is_protocol", False):
        yield from _of_callable(name, sdk, ours)
    members = {each for base in sdk.__mro__[:-1] for each in vars(base)}
    for member in sorted(each for each in members if each[0] != "_"):
        if not _has(sdk, member):
            continue
        if not _has(ours, member) and not _set_by_init(ours, member):
            yield f"{name}.{member}: missing"
        elif inspect.isfunction(getattr(sdk, member)) or inspect.ismethod(
            getattr(sdk, member)
        ):
            yield from _of_callable(
                f"{name}.{member}", getattr(sdk, member), getattr(ours, member)
            )
    for attribute in sorted(_attributes(sdk) - _attributes(ours)):
        if not _set_by_init(ours, attribute):
            yield f"{name}.{attribute}: no such field"


def _has(cls: type, member: str) -> bool:
    return hasattr(cls, member) or member in _attributes(cls)


def _set_by_init(cls: type, member: str) -> bool:
    """Return whether an `__init__` of the class or its bases sets the attribute."""
    inits = [vars(base)["__init__"] for base in cls.__mro__ if "__init__" in vars(base)]
    return hasattr(cls, member) or any(
        member in getattr(getattr(init, "__code__", None), "co_names", ())
        for init in inits
    )


def _attributes(cls: type) -> set[str]:
    """Return the public names that instances have by their class's word."""
    if dataclasses.is_dataclass(cls):
        found = {each.name for each in dataclasses.fields(cls)}
    else:
        found = {each for base in cls.__mro__ for each in _annotations(base)}
    return {each for each in found if not each.startswith("_")}


def _annotations(cls: type) -> dict[str, Any]:
    return vars(cls).get("__annotations__", {}) if cls.__module__ != "builtins" else {}


def _of_callable(name: str, sdk: Any, ours: Any) -> Iterator[str]:
    try:
        theirs = inspect.signature(sdk).parameters
        mine = inspect.signature(ours).parameters
    except ValueError:
        return
    anything = any(each.kind is Parameter.VAR_KEYWORD for each in mine.values())
    order = [
        each
        for each, given in mine.items()
        if given.kind in POSITIONAL and each[0] != "_"
    ]
    public = [each for each in theirs.items() if each[0][0] != "_"]
    for place, (key, given) in enumerate(public):
        if given.kind in (Parameter.VAR_KEYWORD, Parameter.VAR_POSITIONAL):
            continue
        if key not in mine:
            if not anything:
                yield f"{name}({key}): not taken"
            continue
        if given.kind in POSITIONAL and order[place : place + 1] != [key]:
            yield f"{name}({key}): not at place {place + 1}"
        yield from _of_default(f"{name}({key})", given.default, mine[key].default)


def _of_default(where: str, theirs: Any, mine: Any) -> Iterator[str]:
    if theirs is not Parameter.empty and mine is Parameter.empty:
        yield f"{where}: must be given"
    elif isinstance(theirs, PLAIN) and isinstance(mine, PLAIN) and theirs != mine:
        yield f"{where}: {mine!r} unless given, not {theirs!r}"


@pytest.mark.parametrize("name", SHARED)
def test_ours_takes_what_the_sdk_takes(name: str) -> None:
    found = compared(name, named("sdk", name), getattr(runs.engine, name))

    assert [each for each in found if each not in EXCEPTIONS] == []


def test_every_exception_still_holds() -> None:
    found = {
        each
        for name in SHARED
        for each in compared(name, named("sdk", name), getattr(runs.engine, name))
    }

    assert sorted(set(EXCEPTIONS) - found) == []

from __future__ import annotations

import copy
import logging
from dataclasses import dataclass

import pytest

from runs.engine.errors import UserError
from runs.engine.tools.function_tool import function_tool
from runs.engine.tools.tool import FunctionTool
from runs.engine.tools.tool_names import resolve_name_collisions, tool_namespace


def tool(name: str, text: str = "", *, defer_loading: bool = False) -> FunctionTool:
    def body() -> str:
        return text

    return function_tool(
        body,
        name_override=name,
        description_override=text,
        defer_loading=defer_loading,
    )


@dataclass
class Offer:
    """Stands for a handoff."""

    tool_name: str
    text: str = ""


def test_tools_of_different_names_are_all_offered() -> None:
    tools, handoffs = [tool("a"), tool("b")], [Offer("c")]

    assert resolve_name_collisions(tools, handoffs, "error") == (tools, handoffs)


def test_the_last_tool_of_a_name_is_offered(caplog: pytest.LogCaptureFixture) -> None:
    tools = [tool("a", "first"), tool("b"), tool("a", "last")]

    with caplog.at_level(logging.WARNING):
        offered, _ = resolve_name_collisions(tools, [], "warn")

    assert offered == tools[1:]
    assert "one name" in caplog.text


def test_a_handoff_comes_before_a_tool_of_its_name() -> None:
    tools, handoffs = [tool("a"), tool("b")], [Offer("a", "first"), Offer("a", "last")]

    assert resolve_name_collisions(tools, handoffs, "warn") == (
        [tools[1]],
        [handoffs[1]],
    )


@pytest.mark.parametrize(
    ("tools", "handoffs", "told"),
    [
        (["a", "a"], [], "Several tools"),
        ([], ["a", "a"], "Several handoffs"),
        (["a"], ["a"], "A tool and a handoff"),
    ],
)
def test_equal_names_are_an_error_on_demand(
    tools: list[str], handoffs: list[str], told: str
) -> None:
    with pytest.raises(UserError, match=told):
        resolve_name_collisions(
            [tool(name) for name in tools], [Offer(name) for name in handoffs], "error"
        )


def test_a_tool_in_a_namespace_is_another_one() -> None:
    plain = tool("find")
    (placed,) = tool_namespace(name=" crm ", description="Customers.", tools=[plain])

    assert (placed.qualified_name, placed.namespace_description) == (
        "crm.find",
        "Customers.",
    )
    assert placed.lookup_key == ("namespaced", "crm", "find")
    assert plain.lookup_key == ("bare", "find")
    assert tool("find", defer_loading=True).lookup_key == ("deferred_top_level", "find")
    both = [plain, placed]
    assert resolve_name_collisions(both, [Offer("x")], "error")[0] == both


def test_tools_that_no_server_could_tell_apart_are_always_refused() -> None:
    (placed,) = tool_namespace(name="crm", description="C.", tools=[tool("find")])
    late = tool("find", defer_loading=True)

    for pair in ([placed, tool("crm.find")], [late, copy.copy(late)]):
        with pytest.raises(UserError, match="tell them apart"):
            resolve_name_collisions(pair, [], "warn")


def test_a_namespace_needs_a_name_of_its_own_and_a_description() -> None:
    for name, description in (("", "C."), ("crm", " "), ("crm", None)):
        with pytest.raises(UserError, match="namespace needs"):
            tool_namespace(name=name, description=description, tools=[])
    with pytest.raises(UserError, match="name of its namespace"):
        tool_namespace(name="find", description="C.", tools=[tool("find")])

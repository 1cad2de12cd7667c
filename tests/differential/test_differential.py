"""Each scenario is played on both sides; what they saw is the same, or allowed."""

from __future__ import annotations

from collections import Counter
from fnmatch import fnmatchcase
from typing import Any

import pytest

from .differences import DIFFERENCES, GENERAL, General
from .play import played
from .record import OUR_OWN_EVENTS, SAID, comparable, differing
from .registry import Mode, load
from .sides import Package
from .wording import OURS, SDK

SCENARIOS = load()
PACKAGES: tuple[Package, ...] = ("sdk", "ours")
PLAYS = [(name, mode) for name, each in SCENARIOS.items() for mode in each.modes]

SECTION_2 = {
    "needs_approval callable",
    "Identity of a call",
    "approve / reject",
    "Text the model sees on rejection",
    "Several calls in one turn",
    "Partial resolution",
    "Same snapshot twice",
    "Approved tool that raises",
    "Nested agent as tool",
    "Handoff",
    "Session",
    "max_turns",
    "Sticky keys",
    "Streaming",
    "Guardrails and hooks on resume",
    "Context on resume",
    "add_input while paused",
    "Tracing",
    "Hosted MCP",
    "Changed code",
}
MUST_BE_THERE = {
    "Agents",
    "Agents: as_tool",
    "Agents: output types",
    "Agents: tool_use_behavior",
    "Function tools",
    "Guardrails",
    "Handoffs",
    "Hooks",
    "Helpers",
    "Hosted tools and MCP",
    "Model calls",
    "Testing",
    "RunState",
    "Server-managed conversations",
    "Sessions",
    "error handlers",
}

SAYING = """
    reject_one default_of_a_failing_tool arguments_that_do_not_fit
    timeout_told_to_the_model
    unknown_tool_is_told_to_the_model two_handoffs_in_one_answer agent_as_a_tool
    agent_as_a_tool_with_parameters
    """.split()  # noqa: SIM905 - the scenarios that hear each sentence of `wording`

# The SDK warns through pydantic where a handler's answer is not yet of its type.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Pydantic serializer warnings"),
    # Ours warns of a context that is not written as it is, as the SDK's log does.
    pytest.mark.filterwarnings("ignore:The context"),
]


@pytest.mark.parametrize(("name", "mode"), PLAYS)
async def test_ours_does_as_the_sdk(name: str, mode: Mode) -> None:
    sdk = comparable(await played(SCENARIOS[name], "sdk", mode))
    ours = comparable(await played(SCENARIOS[name], "ours", mode))

    found = {path: (left, right) for path, left, right in differing(sdk, ours)}
    allowed = DIFFERENCES.get(name)
    patterns = allowed.paths if allowed and mode in allowed.modes else ()
    unexpected = {
        path: f"sdk {left!r:.300} / ours {right!r:.300}"
        for path, (left, right) in found.items()
        if not any(fnmatchcase(path, pattern) for pattern in patterns)
        and not any(rule.allows(path, left, right) for rule in GENERAL)
    }
    stale = [
        pattern
        for pattern in patterns
        if not any(fnmatchcase(path, pattern) for path in found)
        and (mode == "streamed" or ".events." not in pattern)
    ]

    assert unexpected == {}
    for path, value in (allowed.ours if patterns and allowed else {}).items():
        assert at(ours, path) == value, path
    assert stale == [], "these places no longer differ; take them off the list"


def at(told: Any, path: str) -> Any:
    """Return what a record holds at `path`."""
    for key in path.split("."):
        told = told[int(key) if isinstance(told, list) else key]
    return told


def test_every_paragraph_and_every_feature_has_a_scenario() -> None:
    played_for = Counter(each.covers for each in SCENARIOS.values())

    assert set(played_for) == SECTION_2 | MUST_BE_THERE
    assert len(SCENARIOS) >= 60


def test_no_difference_is_allowed_to_a_scenario_that_is_gone() -> None:
    assert set(DIFFERENCES) <= set(SCENARIOS)


@pytest.mark.parametrize("rule", GENERAL, ids=lambda rule: rule.witness)
async def test_each_general_difference_is_still_there(rule: General) -> None:
    sdk = comparable(await played(SCENARIOS[rule.witness], "sdk", rule.mode))
    ours = comparable(await played(SCENARIOS[rule.witness], "ours", rule.mode))

    assert any(rule.allows(*each) for each in differing(sdk, ours))


@pytest.mark.parametrize(
    "name",
    [
        "session_over_a_pause",
        "session_left_out_on_resume",
        "session_over_partial_decisions",
    ],
)
async def test_a_paused_turn_leaves_no_orphan_call_in_the_session(name: str) -> None:
    ours = await played(SCENARIOS[name], "ours", "plain")

    for said, *kept in ours["notes"]:
        if said == "session":
            ids = Counter(
                item["call_id"] for item in kept[0] if "function_call" in str(item)
            )
            assert set(ids.values()) <= {2}, "a call without its output"


async def test_calls_that_wait_stand_behind_the_other_new_items() -> None:
    ours = await played(
        SCENARIOS["ungated_calls_run_before_the_pause"], "ours", "plain"
    )

    types = [each["type"] for each in ours["runs"][0]["new_items"]]
    waiting = ours["runs"][0]["interruptions"]
    assert len(waiting) == types.count("tool_approval_item") == 2
    assert types[-2:] == ["tool_approval_item"] * 2


async def test_the_sentences_of_each_side_are_still_said() -> None:
    SAID.clear()

    for name in SAYING:
        for package in PACKAGES:
            await played(SCENARIOS[name], package, "plain")

    assert sorted({*SDK, *OURS} - SAID) == []


async def test_the_events_that_only_ours_has_come() -> None:
    seen = str(
        [
            await played(SCENARIOS[name], "ours", "streamed")
            for name in ("approve_one", "input_added_while_paused")
        ]
    )

    assert [name for name in OUR_OWN_EVENTS if name not in seen] == []

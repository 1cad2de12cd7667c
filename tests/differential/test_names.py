"""Every public name of the SDK is ours too, or left out with a reason."""

from __future__ import annotations

import agents
import pytest

import runs.engine

from .sides import named

COMPUTER = "computer use may wait"
SANDBOX = "the cloud sandboxes may wait"
WEBSOCKET = "the websocket transport may wait"
PLATFORM = "tells OpenAI's platform which program runs; ours tells it nothing"

LEFT_OUT: dict[str, str] = {
    name: reason
    for reason, names in {
        COMPUTER: """
            AsyncComputer Button Computer ComputerProvider ComputerTool
            ComputerToolCustomDataContext ComputerToolCustomDataExtractor Environment
            dispose_resolved_computers resolve_computer""",
        SANDBOX: "apply_diff sandbox",
        WEBSOCKET: """
            OpenAIResponsesWSModel OpenAIResponsesWebSocketOptions
            ResponsesWebSocketSession responses_websocket_session""",
        PLATFORM: """
            OpenAIAgentRegistrationConfig set_default_openai_agent_registration
            set_default_openai_harness""",
        "the SDK's own version; ours is Placet's": "__version__",
    }.items()
    for name in names.split()
}

IN_SUBMODULES = [
    "function_schema",
    "generate_func_documentation",
    "ensure_strict_json_schema",
    "FunctionToolResult",
    "invoke_function_tool",
    "AgentHooksBase",
    "ToolsToFinalOutputResult",
    "CallModelData",
    "ModelInputData",
    "AgentRunner",
    "get_default_agent_runner",
    "set_default_agent_runner",
    "RequestUsage",
    "deserialize_usage",
    "TResponseOutputItem",
    "TResponseStreamEvent",
    "ModelRetrySettings",
    "ModelRetryBackoffSettings",
    "ModelRetryAdvice",
    "retry_policies",
    "RetryDecision",
    "RetryPolicyContext",
    "remove_all_tools",
    "RECOMMENDED_PROMPT_PREFIX",
    "prompt_with_handoff_instructions",
    "ToolContext",
    "RunErrorDetails",
    "CURRENT_SCHEMA_VERSION",
    "SUPPORTED_SCHEMA_VERSIONS",
    "SCHEMA_VERSION_SUMMARIES",
]

SDK_NAMES = sorted({*agents.__all__, *IN_SUBMODULES})


@pytest.mark.parametrize("name", SDK_NAMES)
def test_name_is_ours_or_left_out_for_a_reason(name: str) -> None:
    there = name in runs.engine.__all__ and hasattr(runs.engine, name)

    assert there != (name in LEFT_OUT), LEFT_OUT.get(name, "missing")


def test_names_of_submodules_are_the_sdks() -> None:
    assert [name for name in IN_SUBMODULES if named("sdk", name) is None] == []


def test_nothing_is_left_out_that_the_sdk_has_not() -> None:
    assert sorted(set(LEFT_OUT) - set(agents.__all__)) == []

"""Sentences that each package words for itself, under a common name.

What a model or a person reads may be said better than the SDK says it; that it is said
at the same place is compared. A sentence here must be said by some scenario on the
side it belongs to, or its test fails.
"""

from __future__ import annotations

REJECTED = "<the call was rejected>"
FAILED = "<the tool failed>"
TIMED_OUT = "<the tool took too long>"
UNKNOWN = "<there is no such tool>"
SECOND_HANDOFF = "<only one handoff is followed>"
STRUCTURED = "<structured input and its schema>"
AGENT_TOOL_SCHEMA = "<what an agent used as a tool is given>"

SDK: dict[str, str] = {
    r"^Tool execution was not approved\.$": REJECTED,
    r"^An error occurred while running the tool\. Please try again\.$": FAILED,
    r"^Tool '\w+' not found\.$": UNKNOWN,
    r"^Tool '\w+' timed out after 0\.01 seconds\.$": TIMED_OUT,
    r"^Multiple handoffs detected, ignoring this one\.$": SECOND_HANDOFF,
    r"^You are being called as a tool\..*## Input JSON Schema.*$": STRUCTURED,
    r"^Default input schema for agent-as-tool calls\.$": AGENT_TOOL_SCHEMA,
}
OURS: dict[str, str] = {
    r"^A reviewer rejected this call; it was not run\.$": REJECTED,
    r"^The tool failed: .*$": FAILED,
    r"^There is no tool named '\w+'\..*$": UNKNOWN,
    r"^The arguments (are|do not fit|hold) .*$": FAILED,
    r"^\w+ did not end within 0\.01 seconds; .*$": TIMED_OUT,
    r"^Only one agent can take over; this handoff was ignored\.$": SECOND_HANDOFF,
    r"^You are called as a tool\..*## Schema of the input.*$": STRUCTURED,
    r"^The arguments of an agent used as a tool, .*$": AGENT_TOOL_SCHEMA,
}

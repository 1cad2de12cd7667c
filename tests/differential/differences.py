"""Where ours may differ from the SDK, each with the promise or the reason.

A path is a pattern of `fnmatch` over the places of a record; a place that no longer
differs must leave this list, or its test fails.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal

ABSENT = "<absent>"


@dataclass(frozen=True, kw_only=True)
class General:
    """A difference of one kind, allowed in every scenario."""

    path: str
    when: Callable[[Any, Any], bool]
    """Of the SDK's value and ours."""
    reason: str
    witness: str
    """A scenario that shows it."""
    mode: Literal["plain", "streamed"] = "plain"
    """In which it shows it."""

    def allows(self, path: str, sdk: Any, ours: Any) -> bool:
        return fnmatchcase(path, self.path) and self.when(sdk, ours)


@dataclass(frozen=True, kw_only=True)
class Allowed:
    """Differences of one scenario."""

    paths: tuple[str, ...]
    reason: str
    ours: Mapping[str, Any] = field(default_factory=dict)
    """What our record holds at these places: the promise, kept."""
    modes: tuple[str, ...] = ("plain", "streamed")


def only_ours(sdk: Any, ours: Any) -> bool:
    return bool(sdk in (None, ABSENT) and ours is not None)


def the_same_input(sdk: Any, ours: Any) -> bool:
    return bool(sdk == [{"content": ours, "role": "user"}])


def both_outputs(sdk: Any, ours: Any) -> bool:
    told = "tool_output tool_call_output_item "
    return str(sdk).startswith(told) and str(ours).startswith(told)


def only_the_sdks(sdk: Any, ours: Any) -> bool:
    return bool(ours == ABSENT)


GENERAL: tuple[General, ...] = (
    General(
        path="*error.run_data",
        when=only_ours,
        reason="promise 4: every error of a run carries what the run had",
        witness="model_that_raises",
    ),
    General(
        path="*error.run_data.*",
        when=only_ours,
        reason="promise 4: what the run had includes the turn that failed",
        witness="failure_that_ends_the_run",
    ),
    General(
        path="runs.*.events_before.*",
        when=only_ours,
        reason="what came before an error is shown before it; the SDK drops some",
        witness="error_after_the_events_before_it",
        mode="streamed",
    ),
    General(
        path="notes.*.3",
        when=the_same_input,
        reason="a guardrail is given the input as the caller gave it, streamed too",
        witness="blocking_input_guardrail_trips",
        mode="streamed",
    ),
    General(
        path="runs.*.events.*",
        when=both_outputs,
        reason="an output is shown the moment it is there; what is read is in order",
        witness="outputs_in_call_order_whichever_ends_first",
        mode="streamed",
    ),
    General(
        path="runs.*.guardrails.tool_*.*",
        when=only_ours,
        reason="results of a tool's guardrails are kept on a resumed run too",
        witness="tool_guardrails_run_after_approval",
    ),
    General(
        path="notes.*.1.tools_used.*",
        when=only_the_sdks,
        reason="the SDK counts a call again whenever its turn is resumed",
        witness="callable_is_not_asked_again",
    ),
)

AT_ONCE = "a wrong use of the API raises at once, saying what to do instead"
TOLD = "a model's mistake is told to the model, unless a program asks for an error"
SESSION = "promise 12: a paused turn leaves no call without output in the session"
ONCE = "promise 2: a state keeps of an output what the model reads, once"
WRAPPED = "a failed call of the model is an error of the run's, the client's its cause"
COUNTED = "the SDK counts a call again whenever its turn is resumed"
OWN = "new items are the run's own; the SDK adds an inner agent's once it was resumed"
HANDED = "every handoff is told of; the SDK takes it for an item that was filtered out"
HANDOFF = "handoff_occured handoff_output_item c1"

DIFFERENCES: dict[str, Allowed] = {
    "callable_that_raises": Allowed(
        paths=("runs.0",),
        reason="promise 3: the call waits for a person, with the error on its card",
        ours={"runs.0.interruptions.0.call_id": "c1", "runs.0.final_output": None},
    ),
    "handlers_of_a_wrong_name": Allowed(
        paths=("requests.0", "runs.0"),
        reason=AT_ONCE,
        ours={"runs.0.error.class": "UserError"},
    ),
    "handoff_callbacks_that_cannot_be": Allowed(
        paths=("notes.3.1.class", "notes.3.1.is_agents"),
        reason=AT_ONCE,
        ours={"notes.3.1.class": "UserError"},
    ),
    "wrong_use_of_the_runner": Allowed(
        paths=("notes.?.1.class", "notes.?.1.is_agents"),
        reason=AT_ONCE,
        ours={"notes.0.1.class": "UserError", "notes.1.1.class": "UserError"},
    ),
    "unknown_tool_of_a_run_without_settings": Allowed(
        paths=("requests.1", "runs.0"),
        reason=TOLD,
        ours={"runs.0.final_output": "x"},
    ),
    "call_of_a_disabled_tool": Allowed(
        paths=("requests.1", "runs.0"),
        reason=TOLD,
        ours={"runs.0.final_output": "done"},
    ),
    "call_of_a_hosted_tool_by_function": Allowed(
        paths=("requests.1", "runs.0"),
        reason=TOLD,
        ours={"runs.0.final_output": "x"},
    ),
    "handoffs_enabled_or_not": Allowed(
        paths=("requests.3", "runs.1"),
        reason=TOLD,
        ours={"runs.1.final_output": "main's", "runs.1.last_agent": "main"},
    ),
    "handoff_with_input": Allowed(
        paths=("requests.*", "runs.1", "runs.2", "runs.3"),
        reason=TOLD,
        ours={
            "runs.1.final_output": "main's",
            "runs.2.final_output": "main's",
            "runs.3.final_output": "main's",
        },
    ),
    "max_turns_given_on_resume": Allowed(
        paths=("notes.2.1.max_turns", "requests.2", "runs.1.max_turns", "runs.2"),
        reason="promise 4: max_turns given on resume is honoured",
        ours={"runs.1.max_turns": 50, "runs.2.final_output": "x"},
    ),
    "resume_after_an_approved_tool_raised": Allowed(
        paths=("requests.1", "runs.2"),
        reason="promise 6: the run goes on, told of the failure; the tool ran once",
        ours={"runs.2.final_output": "x", "notes": [["ran"]]},
    ),
    "session_over_a_pause": Allowed(
        paths=("notes.0.1.*",),
        reason=SESSION,
    ),
    "session_left_out_on_resume": Allowed(
        paths=("notes.2.1.*",),
        reason=SESSION,
    ),
    "session_over_partial_decisions": Allowed(
        paths=("notes.3.1.*",),
        reason=SESSION,
    ),
    "parallel_input_guardrail_trips": Allowed(
        paths=(
            "requests.0",
            "runs.0.error.run_data.usage.*",
            "runs.0.events_before.1",
        ),
        reason="a guardrail that trips at once saves the model call, streamed too",
        ours={"requests": []},
        modes=("streamed",),
    ),
    "stream_that_just_ends": Allowed(
        paths=("requests.1", "runs.0"),
        reason="a stream without its last event has failed: the turn is made again",
        ours={"runs.0.final_output": "again"},
    ),
    "one_trace_over_a_pause": Allowed(
        paths=("notes.2.1.*", "notes.3.1.*"),
        reason="a call that only waits for a person is no span; the SDK opens one",
    ),
    "methods_of_a_session": Allowed(
        paths=("notes.4",),
        reason="a session has a default id, as the seed documents write it",
    ),
    "timeout_options_that_cannot_be": Allowed(
        paths=("notes.9",),
        reason="the wait for a sync tool can end too: it runs in a thread",
    ),
    "failure_beside_a_tool_that_goes_well": Allowed(
        paths=("runs.0.error.run_data.new_items.1",),
        reason="promise 4: the SDK leaves the call that failed out of the run's data",
    ),
    "sticky_decision_belongs_to_agent_and_tool": Allowed(
        paths=("notes.2.1.tools_used.main.1",),
        reason=COUNTED,
        ours={"notes.2.1.tools_used.main.1": "transfer_to_other"},
    ),
    "sticky_decision_survives_the_round_trip": Allowed(
        paths=("notes.3.1.tools_used.main.2",),
        reason=COUNTED,
        ours={"notes.3.1.tools_used.main": ["pay", "pay", "give"]},
    ),
    "arguments_edited_in_a_saved_state": Allowed(
        paths=("notes.1.1.run_data",),
        reason="an edited state is refused as it is read, before there is a run",
        ours={"notes.1.1.class": "ModelBehaviorError"},
    ),
    "tool_removed_while_paused": Allowed(
        paths=("notes.0.1.class", "notes.0.1.run_data"),
        reason="promise 13: it is an error of the program, as its state is read",
        ours={"notes.0.1.class": "UserError"},
    ),
    "tool_guardrails_before_approval": Allowed(
        paths=("runs.3.events_before.8",),
        reason="items are told of once the answer is stored, and it was not",
        ours={"runs.3.events_before.7": "raw response.completed"},
        modes=("streamed",),
    ),
    "handoff_input_filtered_by_the_run": Allowed(
        paths=("runs.0.events.*",),
        reason=HANDED,
        ours={"runs.0.events.9": HANDOFF},
        modes=("streamed",),
    ),
    "handoff_with_all_tools_removed": Allowed(
        paths=("runs.0.events.*",),
        reason=HANDED,
        ours={"runs.0.events.21": HANDOFF},
        modes=("streamed",),
    ),
    "input_list_in_both_modes": Allowed(
        paths=("runs.0.events.*",),
        reason=HANDED,
        ours={"runs.0.events.9": HANDOFF},
        modes=("streamed",),
    ),
    "mcp_tools_that_need_approval": Allowed(
        paths=("runs.3.new_items.2.output", "runs.5.new_items.2.output"),
        reason=ONCE,
    ),
    "model_call_not_made_again": Allowed(
        paths=("runs.*.error.class", "runs.*.error.is_agents"),
        reason=WRAPPED,
        ours={"runs.0.error.class": "ModelBehaviorError"},
    ),
    "model_call_fails_more_often_than_it_may": Allowed(
        paths=("runs.0.error.class", "runs.0.error.is_agents"),
        reason=WRAPPED,
        ours={"runs.0.error.class": "ModelBehaviorError"},
    ),
    "one_object_resumed_after_it_finished": Allowed(
        paths=("requests.2", "runs.2.*"),
        reason="an answer once stored is never asked for again",
        ours={"runs.2.final_output": "x"},
    ),
    "spans_of_a_handoff_and_guardrails": Allowed(
        paths=("notes.0.1.?", "notes.1.1.0.spans.0.spans.*"),
        reason="guardrails are part of the first turn, streamed as plain",
        ours={
            "notes.0.1.3": "start turn",
            "notes.0.1.4": "start guardrail judge",
            "notes.0.1.5": "end guardrail judge",
        },
        modes=("streamed",),
    ),
    "scripted_model_that_fails": Allowed(
        paths=("notes.0.1.class", "notes.0.1.run_data"),
        reason="a lost connection is tried again unasked, and finds the script's end",
        ours={"notes.0.1.class": "Exception"},
    ),
    "hosted_mcp_beside_a_function_tool": Allowed(
        paths=(
            "notes.0.1.interruptions.*",
            "notes.1.*",
            "notes.2.*",
            "requests.1.input.?",
            "runs.?.events.*",
            "runs.?.input_list.?",
            "runs.?.interruptions.*",
            "runs.?.new_items.*",
        ),
        reason="calls are asked about, and answered, in the order the model made them",
        ours={
            "runs.0.interruptions.0.call_id": "mcpr_1",
            "runs.0.interruptions.1.call_id": "c1",
            "runs.1.interruptions.0.call_id": "c1",
            "requests.1.input.3.type": "mcp_approval_response",
            "requests.1.input.4.call_id": "c1",
        },
    ),
    "both_layers_gated": Allowed(
        paths=("runs.1.new_items.1",),
        reason=OWN,
        ours={"runs.1.interruptions.0.call_id": "i1"},
    ),
    "outer_and_inner_calls_gated_in_one_turn": Allowed(
        paths=("runs.1.new_items.3",),
        reason=OWN,
        ours={"runs.1.interruptions.0.call_id": "i1"},
    ),
    "input_of_a_wrong_kind": Allowed(
        paths=("notes.[3-6]*",),
        reason=AT_ONCE,
        ours={
            "notes.3.1.class": "UserError",
            "notes.6": ["pending", [{"role": "user", "content": ""}]],
        },
    ),
    "mcp_server_that_is_a_program": Allowed(
        paths=("runs.1.new_items.[34].output*",),
        reason=ONCE,
    ),
    "items_tell_of_the_tool_that_was_called": Allowed(
        paths=("notes.*.1.usage.entries", "runs.1.usage.entries"),
        reason="promise 2: of an inner run that has ended a state keeps the sums",
        ours={"runs.1.usage.requests": 3},
    ),
}

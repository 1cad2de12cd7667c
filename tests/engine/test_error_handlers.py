"""What a program answers in a run's place, and what errors carry."""

from __future__ import annotations

from typing import Any

import pytest
from openai.types.responses import ResponseOutputMessage, ResponseOutputRefusal
from pydantic import BaseModel

from runs.engine import (
    AgentsException,
    InMemoryJournal,
    JournalFailed,
    LogEntry,
    MaxTurnsExceeded,
    ModelBehaviorError,
    ModelRefusalError,
    Ports,
    RunConfig,
    RunErrorHandlerResult,
    Runner,
    RunState,
    UserError,
    function_tool,
)
from runs.engine.testing import ModelStep, assistant_message

from .scripted import (
    END,
    Support,
    approved,
    call,
    look_up,
    model_of,
    paused,
    refund,
    reread,
    scripted,
)

pytestmark = pytest.mark.usefixtures("nothing_left")


class Report(BaseModel):
    title: str


def refusal() -> Any:
    part = ResponseOutputRefusal(type="refusal", refusal="I will not")
    return ResponseOutputMessage(
        id="m", role="assistant", status="completed", type="message", content=[part]
    )


FAILURES = [
    pytest.param(
        "max_turns", [look_up("c1")], {}, {"max_turns": 1}, MaxTurnsExceeded, id="turns"
    ),
    pytest.param("model_refusal", [refusal()], {}, {}, ModelRefusalError, id="refusal"),
    pytest.param(
        "invalid_final_output",
        [assistant_message("no json")],
        {"output_type": Report},
        {},
        ModelBehaviorError,
        id="output",
    ),
]


@pytest.mark.parametrize(("kind", "step", "settings", "options", "error"), FAILURES)
async def test_without_a_handler_the_error_carries_the_run(
    kind: str, step: Any, settings: Any, options: Any, error: Any
) -> None:
    support = Support(step, **settings)

    with pytest.raises(error) as raised:
        await Runner.run(support.agent, "go", **options)

    found = raised.value
    assert isinstance(found, AgentsException)
    assert found.run_data is not None
    assert found.run_data.input == "go"
    assert found.run_data.last_agent is support.agent
    assert found.run_data.new_items
    assert len(found.run_data.raw_responses) == 1
    assert found.run_state is not None
    assert (await reread(support.agent, found.run_state)).turn == 1


@pytest.mark.parametrize(("kind", "step", "settings", "options", "error"), FAILURES)
@pytest.mark.parametrize("form", ["plain", "dict", "result", "async"])
async def test_a_handlers_answer_is_the_runs(
    kind: str, step: Any, settings: Any, options: Any, error: Any, form: str
) -> None:
    output: Any = Report(title="sorry") if settings else "sorry"
    given: list[Any] = []

    def answer(data: Any) -> Any:
        given.append(data)
        if form == "dict":
            return {"final_output": output}
        return RunErrorHandlerResult(output) if form == "result" else output

    async def later(data: Any) -> Any:
        return answer(data)

    handlers = {kind: later if form == "async" else answer}
    support = Support(step, **settings)

    result = await Runner.run(support.agent, "go", error_handlers=handlers, **options)

    assert result.final_output == output
    assert result.new_items[-1].type == "message_output_item"
    [data] = given
    assert isinstance(data.error, error)
    assert data.context is result.context_wrapper
    assert data.run_data.last_agent is support.agent
    assert data.run_data.history[0] == {"role": "user", "content": "go"}
    again = await reread(support.agent, result.to_state())
    assert again.is_done
    assert again.final_output == output


async def test_an_answer_may_be_kept_out_of_the_history() -> None:
    support = Support([look_up("c1")])

    result = await Runner.run(
        support.agent,
        "go",
        max_turns=1,
        error_handlers={
            "max_turns": lambda data: RunErrorHandlerResult("sorry", False)
        },
    )

    assert result.final_output == "sorry"
    assert result.new_items[-1].type == "tool_call_output_item"


async def test_a_handler_that_gives_nothing_lets_the_error_out() -> None:
    support = Support([look_up("c1")])

    with pytest.raises(MaxTurnsExceeded):
        await Runner.run(
            support.agent,
            "go",
            max_turns=1,
            error_handlers={"max_turns": lambda data: None},
        )


@pytest.mark.parametrize(
    "handlers",
    [
        {"max_turn": lambda data: "x"},
        {"max_turns": "x"},
        {"max_turns": lambda: "x"},
        {"max_turns": lambda a, b, c: "x"},
    ],
)
async def test_handlers_that_cannot_be_are_refused_before_the_run(
    handlers: Any,
) -> None:
    agent = scripted(END)

    with pytest.raises(UserError):
        await Runner.run(agent, "go", error_handlers=handlers)

    assert model_of(agent).calls == []


async def test_a_handlers_dict_with_keys_nobody_knows_is_refused() -> None:
    support = Support([look_up("c1")])

    with pytest.raises(UserError, match="final_output"):
        await Runner.run(
            support.agent,
            "go",
            max_turns=1,
            error_handlers={"max_turns": lambda data: {"final_output": 1, "x": 2}},
        )


async def test_handlers_hold_in_a_resumed_run() -> None:
    support = Support([refund("c1")], END)
    state = await reread(support.agent, await paused(support.agent, max_turns=1))

    result = await approved(
        support.agent, state, error_handlers={"max_turns": lambda data: "sorry"}
    )

    assert result.final_output == "sorry"
    assert support.done == ["refund A1 5.0"]


# What every error carries


async def test_a_models_error_carries_the_state_and_goes_on() -> None:
    support = Support(
        [look_up("c1")], ModelStep.raise_error(ConnectionError("down")), END
    )

    with pytest.raises(Exception, match="down") as error:
        await Runner.run(support.agent, "go")

    state = error.value.run_state  # type: ignore[attr-defined]
    assert state.turn == 1
    result = await Runner.run(support.agent, await reread(support.agent, state))
    assert result.final_output == "end"
    assert support.done == ["look_up A1"]


@pytest.mark.parametrize("part", ["instructions", "filter"])
async def test_code_of_the_author_that_raises_leaves_a_state_to_go_on_from(
    part: str,
) -> None:
    broken = [True]

    def may_break(*given: Any) -> Any:
        if broken[0]:
            raise LookupError("no list")
        return given[-1].model_data if part == "filter" else "be nice"

    support = Support([look_up("c1")], END)
    config = RunConfig()
    if part == "filter":
        config.call_model_input_filter = may_break
    else:
        support.agent.instructions = may_break

    with pytest.raises(Exception, match="no list") as error:
        await Runner.run(support.agent, "go", run_config=config)
    broken[0] = False
    state = error.value.run_state  # type: ignore[attr-defined]
    result = await Runner.run(support.agent, state, run_config=config)

    assert result.final_output == "end"
    assert state.turn == 2


class FailsOnce(InMemoryJournal):
    """A journal that fails to store the first output of a tool."""

    async def record(self, *given: Any) -> None:
        if not hasattr(self, "failed"):
            self.failed = True
            raise OSError("disk full")
        await super().record(*given)


async def test_a_journal_that_fails_ends_the_run_and_no_tool_is_told_of_it() -> None:
    support = Support([look_up("c1")], END)

    with pytest.raises(JournalFailed, match="disk full") as error:
        await Runner.run(support.agent, "go", ports=Ports(journal=FailsOnce()))

    assert isinstance(error.value.__cause__, OSError)
    assert error.value.run_state is not None
    assert len(support.model.calls) == 1


async def test_a_journal_that_fails_to_append_leaves_no_model_asked_twice() -> None:
    class Broken(InMemoryJournal):
        async def append(self, state: RunState[Any], entries: Any) -> None:
            if any(entry.kind == "response" for entry in entries):
                raise OSError("disk full")

    agent = scripted(END, END)

    with pytest.raises(JournalFailed):
        await Runner.run(agent, "go", ports=Ports(journal=Broken()))

    assert len(model_of(agent).calls) == 1


async def test_the_journal_learns_of_guardrails_items_and_answers_in_order() -> None:
    journal = InMemoryJournal()
    support = Support([look_up("c1")], END)

    await Runner.run(support.agent, "go", ports=Ports(journal=journal))

    assert all(isinstance(entry, LogEntry) for entry in journal.entries)
    assert [entry.kind for entry in journal.entries] == [
        "item",
        "response",
        "item",
        "item",
        "response",
    ]


async def test_two_tools_that_fail_end_the_run_with_the_first_and_store_both() -> None:
    @function_tool(failure_error_function=None)
    async def broken(n: int) -> str:
        raise ConnectionError(f"down {n}")

    agent = scripted(
        [call("broken", "c1", n=1), call("broken", "c2", n=2)], END, tools=[broken]
    )

    with pytest.raises(UserError, match="down") as error:
        await Runner.run(agent, "go")

    state = error.value.run_state
    assert state is not None
    assert state.open == {}
    assert (await Runner.run(agent, await reread(agent, state))).final_output == "end"

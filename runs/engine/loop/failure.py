"""A run that cannot go on: what is told of it, and what may stand in for its answer."""

from __future__ import annotations

import contextlib
from typing import Any

from ..error_handlers import (
    RunErrorData,
    RunErrorHandlerInput,
    RunErrorHandlerKind,
    handle,
)
from ..errors import AgentsException, ModelBehaviorError, RunErrorDetails, UserError
from ..events import RunItemStreamEvent
from ..items import MessageOutputItem, RunItem, message_raw
from ..output import output_schema_of
from ..state.run_state import RunState
from .answer import Answer, NoOutput, text_of_output
from .drive import Drive


async def handled(
    run: Drive, kind: RunErrorHandlerKind, error: AgentsException
) -> None:
    """Let the program's handler answer in the run's place; else raise `error`.

    A model that gave no output at all is asked again instead.
    """
    state = run.state
    said = RunErrorHandlerInput(
        error=error, context=state.context, run_data=_data_of(state)
    )
    result = await run.unless_stopped(handle(run.error_handlers, kind, said))
    if result is None:
        if isinstance(error, NoOutput):
            return
        raise error
    output = _checked_output(state, result.final_output)
    async with run.storing() as entries:
        message = MessageOutputItem(
            state.current_agent,
            message_raw(text_of_output(state.current_agent, output)),
        )
        if result.include_in_history:
            entries.append(state.add(message))
        state.answer = Answer(output=output)
    if result.include_in_history:
        await run.emit(RunItemStreamEvent("message_output_created", message))


def tell_error(error: Exception, state: RunState[Any]) -> None:
    """Let `error` carry the run it ended: `run_state` and `run_data`."""
    with contextlib.suppress(AttributeError, TypeError):  # some exceptions hold nothing
        error.run_state = state  # type: ignore[attr-defined]  # of any exception
        error.run_data = details_of(state)  # type: ignore[attr-defined]


def details_of(state: RunState[Any]) -> RunErrorDetails:
    """Return what had happened in the run."""
    return RunErrorDetails(
        input=state.given_input,
        new_items=items_of(state),
        raw_responses=state.model_responses,
        last_agent=state.current_agent,
        context_wrapper=state.context,
        input_guardrail_results=state.input_guardrail_results,
        output_guardrail_results=state.output_guardrail_results,
        tool_input_guardrail_results=state.tool_input_guardrail_results,
        tool_output_guardrail_results=state.tool_output_guardrail_results,
    )


def items_of(state: RunState[Any]) -> list[RunItem]:
    """Return the items since the input, then one for each own call that waits."""
    waiting = [
        item for item in state.get_interruptions() if item.call_key in state.open
    ]
    return [*state.new_items, *waiting]


def _data_of(state: RunState[Any]) -> RunErrorData:
    output = state.transcript.reading_since(state.input_count)
    return RunErrorData(
        input=state.given_input,
        new_items=state.new_items,
        history=[*state.original_input, *output],
        output=output,
        raw_responses=state.model_responses,
        last_agent=state.current_agent,
    )


def _checked_output(state: RunState[Any], output: Any) -> Any:
    schema = output_schema_of(state.current_agent)
    if schema is None or schema.is_plain_text():
        return output
    try:
        return schema.validate_json(text_of_output(state.current_agent, output))
    except ModelBehaviorError as error:
        raise UserError(
            f"The error handler's final_output does not fit {schema.name()}: {error}"
        ) from error

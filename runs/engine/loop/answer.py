"""From the model's last words, or a tool's output, to the run's answer."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from ..errors import ModelBehaviorError, ModelRefusalError
from ..items import MessageOutputItem, RunItem, model_text, refusal_of
from ..output import AgentOutputSchema, AgentOutputSchemaBase, output_schema_of

if TYPE_CHECKING:
    from ..agent import Agent


class NoOutput(ModelBehaviorError):
    """The model said nothing, though the agent has an output type."""

    def __init__(self) -> None:
        super().__init__(
            "The model gave no final output, though the agent has an output type."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer that guardrails and hooks have yet to see."""

    output: Any
    from_tools: bool = False
    """True when it is the output of a tool, and no message of the model."""


def answer_in(agent: Agent[Any], items: Sequence[RunItem]) -> Answer | None:
    """Return the answer that the items of one model response hold.

    None when the model is to be asked again: it has only called tools of its server,
    or has said nothing where a type of output is wanted. Raises ModelRefusalError, and
    ModelBehaviorError when the answer is not of the agent's output type.
    """
    messages = [item for item in items if isinstance(item, MessageOutputItem)]
    if not messages:
        return _without_words(agent, items)
    raw = messages[-1].raw
    if refusal := refusal_of(raw):
        raise ModelRefusalError(refusal)
    text, schema = model_text(raw), output_schema_of(agent)
    if schema is None or schema.is_plain_text():
        return Answer(output=text)
    if not text:
        raise NoOutput
    return Answer(output=schema.validate_json(text))


def _without_words(agent: Agent[Any], items: Sequence[RunItem]) -> Answer | None:
    if any(item.type in ("tool_call_item", "tool_search_call_item") for item in items):
        return None
    schema = output_schema_of(agent)
    if schema is None or schema.is_plain_text():
        return Answer(output="")
    raise NoOutput


def plain_output(value: Any) -> Any:
    """Return an answer as plain JSON: what a log or a state holds of it."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError):
        return str(value)


def typed_output(agent: Agent[Any], stored: Any) -> Any:
    """Return a stored answer as the agent's output type, or as stored if it is none."""
    kind: Any = agent.output_type
    if stored is None or kind is None or kind is str:
        return stored
    if isinstance(kind, AgentOutputSchemaBase):
        kind = getattr(kind, "output_type", Any)
    try:
        return TypeAdapter(kind).validate_python(stored)
    except (ValidationError, TypeError, ValueError):
        return stored


def text_of_output(agent: Agent[Any], output: Any) -> str:
    """Return an answer as the model would have written it."""
    schema = output_schema_of(agent)
    if schema is None or schema.is_plain_text():
        return str(output)
    if isinstance(schema, AgentOutputSchema):
        return schema.dump_json(output)
    return json.dumps(plain_output(output), ensure_ascii=False)

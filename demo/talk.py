"""What a model finds when it reads a conversation: what was asked, done and told."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

_STEP = re.compile(r"\n|[;.!?]\s|\b(?:and then|then|after that|afterwards)\b", re.I)

SHORT_REPLY_WORDS = 4
HANDING_OVER = "transfer_to_"
"""How calls begin that only say who goes on."""


@dataclass(slots=True, kw_only=True)
class Call:
    """A tool call that was made or is wanted."""

    name: str
    arguments: dict[str, Any]
    output: str | None = None
    """What the tool, or a person instead of it, answered; None: nothing yet."""

    @property
    def facts(self) -> Any:
        """The output as JSON; None when it is none."""
        try:
            return json.loads(self.output or "")
        except ValueError:
            return None


@dataclass(slots=True)
class Talk:
    """The conversation since the agent last gave an answer, and what came before."""

    said: list[str] = field(default_factory=list)
    """The user's messages, not yet answered."""
    calls: list[Call] = field(default_factory=list)
    """The calls made to answer them."""
    before: list[str] = field(default_factory=list)
    """The user's messages already answered."""

    @property
    def steps(self) -> list[str]:
        """What the user wants, in the order it is to be done."""
        parts = (part for text in self.said for part in _STEP.split(text))
        return [part.strip() for part in parts if part.strip()]

    @property
    def reply(self) -> str:
        """The user's answer to a question of the agent's; "" when there is none."""
        return self.said[-1] if len(self.said) > 1 else ""

    def made(self, name: str, **arguments: Any) -> Call | None:
        """Return the call of `name` with at least these arguments, if it was made."""
        return next(self.all_made(name, **arguments), None)

    def all_made(self, name: str, **arguments: Any) -> Iterator[Call]:
        for call in self.calls:
            if call.name == name and arguments.items() <= call.arguments.items():
                yield call


def read(items: str | list[Any]) -> Talk:
    """Return what a model's input says.

    A short reply to a question goes on with what the question was about.
    """
    if isinstance(items, str):
        return Talk(said=[items])
    talk, calls = Talk(), dict[str, Call]()
    answered = asked = False
    for item in items:
        kind = item.get("type", "message")
        if kind == "function_call":
            call = Call(name=item["name"], arguments=_arguments(item["arguments"]))
            answered = False
            if not call.name.startswith(HANDING_OVER):
                calls[item["call_id"]] = call
                talk.calls.append(call)
        elif kind == "function_call_output" and item["call_id"] in calls:
            calls[item["call_id"]].output = _text(item["output"])
        elif item.get("role") == "assistant":
            # An answer, unless calls follow in the same breath.
            answered, asked = True, _text(item["content"]).endswith("?")
        elif item.get("role") == "user":
            text = _text(item["content"])
            if answered and not (asked and len(text.split()) <= SHORT_REPLY_WORDS):
                talk = Talk(before=talk.before + talk.said)
            answered = False
            talk.said.append(text)
    return talk


def _arguments(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text or "{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _text(content: Any) -> str:
    """Return the text of a message or an output, which may come in parts."""
    if isinstance(content, str):
        return content
    return "\n".join(str(part.get("text", "")) for part in content)

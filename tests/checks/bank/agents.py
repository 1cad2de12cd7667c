"""A made-up bank, run by the server under test: its tools write what they do to a file.

The model reads its part from the message itself, so that every run has its own and
goes on with it after a restart.
"""

from __future__ import annotations

import json
import os
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

from demo.model import DemoModel
from runs.engine import Agent, ModelResponse, Review, Usage, function_tool
from runs.engine.testing import assistant_message, function_call
from runs.registry import register

JOURNAL = Path(os.environ["PLACET_CHECKS_JOURNAL"])
IS_NEW = os.environ.get("PLACET_CHECKS_CODE") == "new"
"""Whether this is the code after a deployment: a tool has another schema."""
HOLD = timedelta(seconds=1)


def happen(tool: str, **arguments: Any) -> str:
    with JOURNAL.open("a") as journal:
        journal.write(json.dumps([tool, arguments]) + "\n")
    return f"{tool} is done."


class Reader(DemoModel):
    """Answers with the next turn of the last script it was sent.

    A script is JSON: a list of turns, each a text or a list of calls `[tool, {…}]`.
    """

    def __init__(self) -> None:
        super().__init__(word_s=0)

    async def get_response(
        self, system_instructions: Any, input: Any, *_: Any, **__: Any
    ) -> ModelResponse:
        turn = _next_turn(input)
        said: list[Any] = [turn] if isinstance(turn, str) else turn
        output: list[Any] = [
            assistant_message(one)
            if isinstance(one, str)
            else function_call(one[0], json.dumps(one[1]), call_id=f"c{uuid4().hex}")
            for one in said
        ]
        return ModelResponse(
            output=output, usage=Usage(requests=1), response_id=f"r{uuid4().hex}"
        )


def _next_turn(given: Any) -> Any:
    items = [{"role": "user", "content": given}] if isinstance(given, str) else given
    script: list[Any] = []
    taken, is_models = 0, False
    for item in items:
        was_models, is_models = is_models, _is_models(item)
        if item.get("role") == "user":
            found = _script(item["content"])
            script, taken = (found, 0) if found else (script, taken)
        elif is_models and not was_models:
            taken += 1
    return script[taken] if taken < len(script) else "Nothing is left to do."


def _is_models(item: Any) -> bool:
    return bool(item.get("type") == "function_call" or item.get("role") == "assistant")


def _script(text: Any) -> list[Any]:
    words = text if isinstance(text, str) else text[0]["text"]
    start = words.find("[")
    try:
        return list(json.loads(words[start:])) if start >= 0 else []
    except ValueError:
        return []


@function_tool(
    needs_approval=True, review=Review(summary="Pay {eur} to {to}", risk="medium")
)
async def pay(to: str, eur: int, note: str = "") -> str:
    """Pay somebody."""
    return happen("pay", to=to, eur=eur, note=note)


@function_tool(needs_approval=True, review=Review(summary="Wire to {to}", hold=HOLD))
async def wire(to: str, n: int = 0) -> str:
    """Pay after a moment in which a person may change their mind."""
    return happen("wire", to=to, n=n)


@function_tool(
    needs_approval=True,
    review=Review(summary="Post to {to}", hold=timedelta(minutes=10)),
)
async def post(to: str) -> str:
    """Pay after a long time."""
    return happen("post", to=to)


@function_tool(
    needs_approval=True, review=Review(summary="Close {to}", approvals=2, risk="low")
)
async def close(to: str, why: str) -> str:
    """Close an account; takes two people."""
    return happen("close", to=to, why=why)


@function_tool(
    needs_approval=True,
    review=Review(summary="Lend to {to}", expires_after=timedelta(seconds=1.5)),
)
async def lend(to: str) -> str:
    """Lend; the offer ends soon."""
    return happen("lend", to=to)


@function_tool(
    needs_approval=True, review=Review(summary="Haunt {to}", reviewers="ghosts")
)
async def haunt(to: str) -> str:
    """Do what nobody may decide."""
    return happen("haunt", to=to)


@function_tool(review=Review(idempotent=True))
async def jot(to: str, n: int) -> str:
    """Write a line; nobody is asked."""
    return happen("jot", to=to, n=n)


async def _save_before(to: str, eur: int) -> str:
    """Save money."""
    return happen("save", to=to, eur=eur)


async def _save_now(to: str, eur: int, fee: int = 7) -> str:
    """Save money, at a fee."""
    return happen("save", to=to, eur=eur, fee=fee)


save = function_tool(
    _save_now if IS_NEW else _save_before,
    name_override="save",
    needs_approval=True,
    strict_mode=False,
    review=Review(summary="Save {eur} for {to}"),
)


def agent(name: str, *tools: Any) -> Agent[Any]:
    return Agent(name=name, instructions=name, tools=list(tools), model=Reader())


clerk = agent("Clerk", pay, jot)
register(
    agent("Teller", pay, wire, post, close, lend, haunt, jot),
    key="teller",
)
register(agent("Saver", save), key="saver")
register(
    agent("Manager", clerk.as_tool("delegate", "Let the clerk do it."), pay),
    key="manager",
)

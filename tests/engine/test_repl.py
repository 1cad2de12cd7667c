"""Trying an agent out at a terminal, and seeing what the engine logs."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from runs.engine import (
    Agent,
    enable_verbose_stdout_logging,
    function_tool,
    run_demo_loop,
)
from runs.engine.testing import ScriptedModel, assistant_message, function_call


@function_tool(needs_approval=True)
def pay(eur: int) -> str:
    """Pay."""
    return f"paid {eur}"


def typed(monkeypatch: pytest.MonkeyPatch, *lines: str) -> list[str]:
    """Let the terminal say `lines`, then end; returns what it is asked."""
    asked: list[str] = []
    left = list(lines)

    def answer(prompt: str) -> str:
        asked.append(prompt)
        if not left:
            raise EOFError
        return left.pop(0)

    monkeypatch.setattr("builtins.input", answer)
    return asked


def till(*steps: Any) -> tuple[Agent[Any], ScriptedModel]:
    model = ScriptedModel(steps=list(steps))
    return Agent(name="Till", model=model, tools=[pay]), model


@pytest.mark.parametrize("stream", [True, False])
async def test_each_line_is_answered_and_remembered(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], stream: bool
) -> None:
    agent, model = till([assistant_message("one")], [assistant_message("two")])
    typed(monkeypatch, "hello", "  ", "more", "Exit", "never read")

    await run_demo_loop(agent, stream=stream)

    said = capsys.readouterr().out
    assert said.index("one") < said.index("two")
    assert [item["role"] for item in model.calls[1].input] == [
        "user",
        "assistant",
        "user",
    ]
    assert len(model.calls) == 2


@pytest.mark.parametrize(("answer", "told"), [("y", "paid 5"), ("n", "rejected")])
async def test_a_call_that_waits_is_asked_about(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    answer: str,
    told: str,
) -> None:
    call = function_call("pay", {"eur": 5}, call_id="c1")
    agent, _ = till([call], [assistant_message("end")])
    asked = typed(monkeypatch, "pay him", answer)

    await run_demo_loop(agent)

    assert "pay" in asked[1]
    assert '"eur": 5' in asked[1].replace('":5', '": 5')
    said = capsys.readouterr().out
    assert "[calls pay]" in said
    assert told in said


@pytest.fixture
def quiet_again() -> Iterator[logging.Logger]:
    logger = logging.getLogger("runs.engine")
    level, handlers = logger.level, list(logger.handlers)
    yield logger
    logger.setLevel(level)
    logger.handlers[:] = handlers


def test_what_the_engine_logs_is_written_out_once(
    quiet_again: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    enable_verbose_stdout_logging()
    enable_verbose_stdout_logging()

    quiet_again.getChild("loop").debug("a step")

    assert capsys.readouterr().out == "a step\n"

"""Between a server's shell calls and what a shell's executor takes and gives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from ..digest import JSONObject
from .local_tools import MalformedCall
from .shell_types import (
    ShellActionRequest,
    ShellCallData,
    ShellCommandOutput,
    ShellResult,
)


def shell_call(call: Mapping[str, Any]) -> ShellCallData:
    """Return the call as a shell's executor reads it. Raises MalformedCall."""
    action = call.get("action")
    commands = action.get("commands") if isinstance(action, Mapping) else None
    if not isinstance(action, Mapping) or not isinstance(commands, list | tuple):
        raise MalformedCall("The shell call has no list of commands.")
    wanted = [str(command) for command in commands if command is not None]
    if not wanted:
        raise MalformedCall("The shell call has no command.")
    status = call.get("status")
    return ShellCallData(
        call_id=str(call.get("call_id") or ""),
        action=ShellActionRequest(
            commands=wanted,
            timeout_ms=_whole(action, "timeout_ms") or None,
            max_output_length=_whole(action, "max_output_length"),
        ),
        status=status if status in {"in_progress", "completed"} else None,
        raw=call,
    )


def shell_output(
    given: ShellResult | object, longest: int | None
) -> tuple[list[JSONObject], str, int | None]:
    """Return what an executor gave: as the server takes it, as a text, and its limit.

    The limit is the smaller of the executor's and `longest`, in characters.
    """
    if not isinstance(given, ShellResult):
        text = str(given)[: None if longest is None else max(0, longest)]
        return [one_output(text)], text, longest
    limits = [one for one in (given.max_output_length, longest) if one is not None]
    limit = max(0, min(limits)) if limits else None
    kept = list(given.output if limit is None else _cut(given.output, limit))
    text = "\n\n".join(_rendered(one) for one in kept) or "(no output)"
    return [_sent(one) for one in kept], text[:limit], limit


def one_output(text: str, *, failed: bool = False) -> JSONObject:
    """Return a text as the output of one command."""
    outcome = {"type": "exit", "exit_code": 1 if failed else 0}
    streams = ("", text) if failed else (text, "")
    return {"stdout": streams[0], "stderr": streams[1], "outcome": outcome}


def _whole(action: Mapping[str, Any], name: str) -> int | None:
    value = action.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise MalformedCall(f"The shell call's {name} is {value!r}, no whole number.")
    return value


def _cut(
    outputs: Iterable[ShellCommandOutput], limit: int
) -> Iterable[ShellCommandOutput]:
    for output in outputs:
        stdout = output.stdout[:limit]
        limit -= len(stdout)
        stderr = output.stderr[:limit]
        limit -= len(stderr)
        yield replace(output, stdout=stdout, stderr=stderr)


def _sent(output: ShellCommandOutput) -> JSONObject:
    outcome: JSONObject = {"type": output.outcome.type}
    if output.outcome.type == "exit":
        outcome["exit_code"] = output.exit_code or 0
    return {"stdout": output.stdout, "stderr": output.stderr, "outcome": outcome}


def _rendered(output: ShellCommandOutput) -> str:
    said = output.stdout.rstrip("\n")
    wrong = output.stderr.rstrip("\n")
    gap = "\n" if said else ""
    lines = [
        f"$ {output.command}" if output.command else "",
        said,
        f"{gap}stderr:\n{wrong}" if wrong else "",
        f"exit code: {output.exit_code}" if output.exit_code else "",
        "status: timeout" if output.status == "timeout" else "",
    ]
    return "\n".join(line for line in lines if line).strip() or "(no output)"

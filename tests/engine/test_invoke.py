from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import enum
import functools
import gc
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from runs.engine.calls import Outcome, OutcomeKind
from runs.engine.context import ToolContext
from runs.engine.errors import (
    ModelBehaviorError,
    RunStopped,
    ToolTimeoutError,
    UserError,
)
from runs.engine.tools.custom_data import FunctionToolCustomDataContext, custom_data_of
from runs.engine.tools.function_tool import function_tool
from runs.engine.tools.invoke import STOPPED, ToolFailed, invoke, invoke_function_tool
from runs.engine.tools.tool import (
    FunctionTool,
    FunctionToolResult,
    InvalidToolArguments,
)
from runs.engine.tools.tool_origin import ToolOrigin, ToolOriginType
from runs.engine.tools.tool_outputs import (
    ToolOutputFileContent,
    ToolOutputImage,
    ToolOutputText,
    encode_output,
)


class Order(BaseModel):
    id: int


async def outcome_of(tool: FunctionTool, arguments: str = "{}") -> tuple[Outcome, Any]:
    return await invoke(tool, context(), arguments, stopping=asyncio.Event())


def context() -> ToolContext[Any]:
    return ToolContext(context=None, tool_name="t", tool_call_id="c1")


# What the model reads


class Letter(enum.StrEnum):
    A = "a"


@dataclasses.dataclass
class Point:
    x: int


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("text", "text"),
        (Letter.A, "a"),
        (None, "None"),
        (3, "3"),
        ({"a": 1}, "{'a': 1}"),
        ([], "[]"),
        (Order(id=1), "id=1"),
        (Point(1), "Point(x=1)"),
        ({"type": "text"}, "{'type': 'text'}"),
        ({"type": "image"}, "{'type': 'image'}"),
        ({"type": "other", "text": "x"}, "{'type': 'other', 'text': 'x'}"),
        (["a", {"type": "text", "text": "x"}], "['a', {'type': 'text', 'text': 'x'}]"),
        ("\ud800x", "\ufffd\ufffd\ufffdx"),
        (ToolOutputText(text="x"), [{"type": "input_text", "text": "x"}]),
        ({"type": "text", "text": "x"}, [{"type": "input_text", "text": "x"}]),
        (
            (
                ToolOutputImage(image_url="u", detail="low"),
                {"type": "file", "file_id": "f", "filename": "n"},
            ),
            [
                {"type": "input_image", "image_url": "u", "detail": "low"},
                {"type": "input_file", "file_id": "f", "filename": "n"},
            ],
        ),
        (
            [ToolOutputFileContent(file_data="d")],
            [{"type": "input_file", "file_data": "d"}],
        ),
    ],
)
def test_an_output_is_encoded_for_the_model(value: Any, told: Any) -> None:
    assert encode_output(value) == told


def test_an_image_or_a_file_needs_content() -> None:
    for kind in (ToolOutputImage, ToolOutputFileContent):
        with pytest.raises(ValueError, match="needs"):
            kind()


@given(
    st.recursive(
        st.none() | st.text() | st.integers(),
        lambda inner: st.one_of(
            st.lists(inner),
            st.dictionaries(
                st.sampled_from(["type", "text", "file_id"]),
                inner | st.sampled_from(["text", "file"]),
            ),
        ),
    )
)
def test_any_output_is_text_or_parts_that_can_be_sent(value: Any) -> None:
    encoded = encode_output(value)

    if isinstance(encoded, str):
        encoded.encode()
    else:
        assert all(part["type"].startswith("input_") for part in encoded)


async def test_an_output_type_is_checked_and_written_as_json() -> None:
    @function_tool(output_type=Order)
    def good() -> Any:
        return {"id": 1}

    @function_tool(output_type=Order)
    def bad() -> Any:
        return {"id": "many"}

    ended, value = await outcome_of(good)
    assert (ended.output, value) == ('{"id":1}', Order(id=1))
    ended, told = await outcome_of(bad)
    assert ended == Outcome(kind=OutcomeKind.FAILED, output=told)
    assert "not of its type: id: Input should be a valid integer" in told


@pytest.mark.parametrize(
    ("value", "kind", "told"),
    [
        ({"a": "é"}, OutcomeKind.SUCCEEDED, '{"a":"é"}'),
        ('{"a": 1}', OutcomeKind.SUCCEEDED, '{"a":1}'),
        (Order(id=1), OutcomeKind.SUCCEEDED, '{"id":1}'),
        ([1], OutcomeKind.FAILED, "not a JSON object"),
        ("text", OutcomeKind.FAILED, "JSONDecodeError"),
    ],
)
async def test_an_output_schema_makes_the_output_json(
    value: Any, kind: OutcomeKind, told: str
) -> None:
    @function_tool(output_json_schema={"type": "object", "properties": {}})
    def give() -> Any:
        return value

    ended, _ = await outcome_of(give)

    assert ended.kind is kind
    assert told in ended.output


async def test_an_output_that_cannot_be_written_is_a_failure() -> None:
    class Mute:
        def __str__(self) -> str:
            raise OSError("no words")

    @function_tool
    def give() -> Any:
        return Mute()

    ended, told = await outcome_of(give)

    assert ended == Outcome(kind=OutcomeKind.FAILED, output=told)
    assert "no words" in told


# Running the body


async def test_a_sync_wrapper_of_an_async_body_is_awaited() -> None:
    async def body() -> str:
        return "awaited"

    @functools.wraps(body)
    def wrapper() -> Any:
        return body()

    assert (await outcome_of(function_tool(wrapper)))[1] == "awaited"


async def test_bodies_run_where_they_can() -> None:
    class Async:
        async def __call__(self) -> int:
            return threading.get_ident()

    class Sync:
        def __call__(self) -> int:
            return threading.get_ident()

    here = threading.get_ident()
    for make, on_loop in ((Async, True), (Sync, False)):
        _, there = await outcome_of(function_tool(make()))
        assert (there == here) is on_loop
        _, there = await outcome_of(function_tool(functools.partial(make())))
        assert (there == here) is on_loop


async def test_a_sync_body_sees_the_context_variables() -> None:
    user = contextvars.ContextVar[str]("user")
    user.set("ada")

    @function_tool
    def who() -> str:
        return user.get()

    assert (await outcome_of(who))[1] == "ada"


async def test_a_failure_is_told_in_the_tools_own_words() -> None:
    told_of: list[Exception] = []

    async def tell(ctx: Any, error: Exception) -> str:
        told_of.append(error)
        return f"sorry, {ctx.tool_call_id}"

    @function_tool(failure_error_function=tell)
    def count(number: int) -> str:
        raise SystemExit(3)

    ended, told = await outcome_of(count, '{"number": 1}')
    assert ended == Outcome(kind=OutcomeKind.FAILED, output="sorry, c1")
    assert told == "sorry, c1"
    ended, _ = await outcome_of(count, "{}")
    assert ended == Outcome(kind=OutcomeKind.INVALID, output="sorry, c1")
    assert [type(error) for error in told_of] == [RuntimeError, InvalidToolArguments]


async def test_without_words_a_failure_ends_the_run_but_not_a_models_mistake() -> None:
    @function_tool(failure_error_function=None)
    def count(number: int) -> str:
        raise OSError("disk")

    with pytest.raises(ToolFailed, match="'count' failed: OSError: disk") as failed:
        await outcome_of(count, '{"number": 1}')
    assert failed.value.to_raise is failed.value
    assert isinstance(failed.value.__cause__, OSError)
    ended, _ = await outcome_of(count, "{}")
    assert ended.kind is OutcomeKind.INVALID


async def test_an_error_of_the_engine_inside_a_tool_is_what_the_run_ends_with() -> None:
    inner = ModelBehaviorError("inner")

    @function_tool(failure_error_function=None)
    def ask() -> str:
        raise inner

    with pytest.raises(ToolFailed) as failed:
        await outcome_of(ask)
    assert failed.value.to_raise is inner


async def test_words_that_fail_end_the_run() -> None:
    def tell(ctx: Any, error: Exception) -> str:
        raise KeyError("words")

    @function_tool(failure_error_function=tell)
    def fail() -> str:
        raise OSError("disk")

    with pytest.raises(ToolFailed, match=r"disk.*words"):
        await outcome_of(fail)


async def test_a_run_that_stops_inside_a_tool_is_no_failure_of_the_tool() -> None:
    @function_tool
    async def ask() -> str:
        raise RunStopped("stopped")

    with pytest.raises(RunStopped):
        await outcome_of(ask)


@pytest.mark.parametrize("seconds", [None, 60])
async def test_a_body_that_cancels_itself_has_failed(seconds: float | None) -> None:
    @function_tool(timeout=seconds)
    async def leak() -> str:
        raise asyncio.CancelledError

    ended, _ = await outcome_of(leak)

    assert ended.kind is OutcomeKind.FAILED


@pytest.mark.parametrize("seconds", [None, 60])
async def test_a_body_that_exits_has_failed(seconds: float | None) -> None:
    @function_tool(timeout=seconds)
    async def leave() -> str:
        raise SystemExit(3)

    ended, told = await outcome_of(leave)

    assert (ended.kind, "SystemExit: 3" in told) == (OutcomeKind.FAILED, True)


@pytest.mark.parametrize("seconds", [None, 60])
@pytest.mark.parametrize("is_stop", [True, False])
async def test_a_call_cut_off_by_a_stop_has_an_unknown_outcome(
    seconds: float | None, is_stop: bool
) -> None:
    started, ended = asyncio.Event(), asyncio.Event()
    stopping = asyncio.Event()

    @function_tool(timeout=seconds)
    async def hang() -> str:
        started.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.set()
        return ""

    task = asyncio.create_task(invoke(hang, context(), "{}", stopping=stopping))
    await started.wait()
    if is_stop:
        stopping.set()
    task.cancel()
    found: Any = (await asyncio.gather(task, return_exceptions=True))[0]

    assert ended.is_set()
    if is_stop:
        unknown = Outcome(kind=OutcomeKind.UNKNOWN, output=STOPPED)
        assert found == (unknown, STOPPED)
    else:
        assert isinstance(found, asyncio.CancelledError)


# Time


def hanging(**options: Any) -> FunctionTool:
    async def hang() -> None:
        await asyncio.get_running_loop().create_future()

    found: FunctionTool = function_tool(hang, timeout=0.01, **options)
    return found


async def test_a_body_out_of_time_is_told_to_the_model() -> None:
    ended, told = await outcome_of(hanging())

    assert ended == Outcome(kind=OutcomeKind.FAILED, output=told)
    assert "did not end within 0.01 seconds" in told


async def test_a_body_out_of_time_is_told_in_the_tools_own_words() -> None:
    def tell(ctx: Any, error: Exception) -> str:
        assert isinstance(error, ToolTimeoutError)
        return f"{error.tool_name}: {error.timeout_seconds}"

    for found in (
        (await outcome_of(hanging(timeout_error_function=tell)))[1],
        await invoke_function_tool(
            function_tool=hanging(timeout_error_function=tell),
            context=context(),
            arguments="{}",
        ),
    ):
        assert found == "hang: 0.01"


async def test_a_body_out_of_time_may_end_the_run() -> None:
    hang = hanging(timeout_behavior="raise_exception")

    with pytest.raises(ToolFailed) as failed:
        await outcome_of(hang)
    assert isinstance(failed.value.to_raise, ToolTimeoutError)
    with pytest.raises(ToolTimeoutError):
        await invoke_function_tool(
            function_tool=hang, context=context(), arguments="{}"
        )


async def test_a_timeout_of_the_bodys_own_is_an_ordinary_failure() -> None:
    @function_tool(timeout=60)
    async def ask() -> str:
        raise TimeoutError("the shop's")

    assert "TimeoutError: the shop's" in (await outcome_of(ask))[1]


async def test_a_body_that_ends_well_when_cut_off_has_ended_well() -> None:
    @function_tool(timeout=0.01)
    async def save() -> str:
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            return "saved half"
        return "saved"

    ended, value = await outcome_of(save)

    assert (ended.kind, value) == (OutcomeKind.SUCCEEDED, "saved half")


async def test_a_body_that_cannot_be_cut_off_does_not_hold_the_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("runs.engine.cancel.CANCEL_PATIENCE_S", 0.01)
    free = asyncio.Event()

    @function_tool(timeout=0.01)
    async def deaf() -> str:
        while not free.is_set():
            try:
                await free.wait()
            except asyncio.CancelledError:
                continue
        return ""

    ended, told = await outcome_of(deaf)

    assert (ended.kind, "0.01 seconds" in told) == (OutcomeKind.FAILED, True)
    free.set()


async def test_a_sync_body_out_of_time_is_no_longer_waited_for() -> None:
    free = threading.Event()

    @function_tool(timeout=0.01)
    def slow() -> str:
        free.wait(60)
        return ""

    ended, _ = await outcome_of(slow)
    free.set()

    assert ended.kind is OutcomeKind.FAILED


async def test_no_task_is_left_when_a_call_has_ended() -> None:
    @function_tool(timeout=60)
    async def fail() -> str:
        raise OSError

    before = asyncio.all_tasks()
    await outcome_of(fail)
    await outcome_of(hanging())
    gc.collect()

    assert asyncio.all_tasks() == before


async def test_a_tool_is_called_by_hand_as_the_run_would() -> None:
    @function_tool
    def half(number: int) -> float:
        return number / 2

    assert (
        await invoke_function_tool(
            function_tool=half, context=context(), arguments='{"number": 3}'
        )
        == 1.5
    )


# What goes with an output


async def test_custom_data_is_taken_from_the_output() -> None:
    seen: list[FunctionToolCustomDataContext] = []

    async def extract(given: FunctionToolCustomDataContext) -> dict[str, Any]:
        seen.append(given)
        given.raw_item["output"].append("changed")  # a copy
        return {"rows": (1, 2)}

    tool = function_tool(custom_data_extractor=extract)(lambda_tool)
    raw = {"output": ["x"]}

    assert await custom_data_of(tool, context(), "out", raw) == {"rows": [1, 2]}
    assert raw == {"output": ["x"]}
    assert (seen[0].tool, seen[0].output) == (tool, "out")


@pytest.mark.parametrize("data", [[1], {1: 2}, {"a": object()}, {"a": float("nan")}])
async def test_custom_data_that_json_cannot_hold_is_refused(data: Any) -> None:
    tool = function_tool(custom_data_extractor=lambda given: data)(lambda_tool)

    with pytest.raises(UserError, match="JSON cannot"):
        await custom_data_of(tool, context(), "", {})


async def test_most_tools_have_no_custom_data() -> None:
    empty = function_tool(custom_data_extractor=lambda given: {})(lambda_tool)

    for tool in (empty, function_tool(lambda_tool)):
        assert await custom_data_of(tool, context(), "", {}) is None


def lambda_tool() -> str:
    return ""


def test_an_origin_is_plain_json_and_back() -> None:
    origin = ToolOrigin(ToolOriginType.MCP, mcp_server_name="files")

    assert origin.to_json_dict() == {"type": "mcp", "mcp_server_name": "files"}
    assert ToolOrigin.from_json_dict(origin.to_json_dict()) == origin
    nothing_known: list[Any] = [None, {}, {"type": "moon"}, {"type": []}]
    for unknown in nothing_known:
        assert ToolOrigin.from_json_dict(unknown) is None
    assert ToolOrigin.from_json_dict({"type": "mcp", "agent_name": 3}) == ToolOrigin(
        ToolOriginType.MCP
    )


def test_a_result_has_no_interruptions_unless_given() -> None:
    tool = function_tool(lambda_tool)

    result = FunctionToolResult(tool=tool, output="x", run_item=None)

    assert (result.interruptions, result.agent_run_result) == ([], None)

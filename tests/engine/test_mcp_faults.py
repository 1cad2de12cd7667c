"""Servers that go wrong, and how they are started, left and started again."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from runs.engine import Agent, Runner, UserError
from runs.engine.cancel import CANCEL_PATIENCE_S
from runs.engine.mcp import (
    MCPServerManager,
    MCPServerSse,
    MCPServerStdio,
    MCPServerStreamableHttp,
    MCPServerTimeout,
    MCPServerUnavailable,
)
from runs.engine.mcp.connection import Connection
from runs.engine.mcp.errors import public_name
from runs.engine.testing import ScriptedModel, assistant_message, function_call

from .mcp_servers import (
    MemoryServer,
    children,
    is_running,
    listening,
    pid_of,
    stdio,
    tools_of,
    until,
)


@pytest.fixture(autouse=True)
async def no_task_is_left() -> Any:
    yield
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.fixture
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the package kill a process that will not end after 0.1 seconds."""
    package = pytest.importorskip("mcp.client.stdio")
    monkeypatch.setattr(package, "PROCESS_TERMINATION_TIMEOUT", 0.1)
    monkeypatch.setattr(package, "FORCE_KILL_TIMEOUT", 0.1)


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    started = time.monotonic()
    yield
    assert time.monotonic() - started < seconds


# starting and leaving


async def test_the_process_is_gone_after_cleanup() -> None:
    server = stdio()
    async with server:
        pid = await pid_of(server)
        assert is_running(pid)

    assert not is_running(pid)
    assert server.session is None


async def test_a_process_that_will_not_end_is_killed(
    short_patience: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Longer than the engine waits for a task that it has cancelled.
    monkeypatch.setattr("mcp.client.stdio.FORCE_KILL_TIMEOUT", CANCEL_PATIENCE_S + 0.5)
    server = stdio("stubborn", client_session_timeout_seconds=20)
    await server.connect()
    [pid] = children()

    with within(10):
        await server.cleanup()

    assert not is_running(pid)


def test_a_loop_that_ends_without_cleanup_leaves_no_process() -> None:
    async def leave_it_open() -> int:
        server = stdio()
        await server.connect()
        return await pid_of(server)

    assert not is_running(asyncio.run(leave_it_open()))


def test_a_server_of_an_ended_loop_is_started_again_in_the_next() -> None:
    server = stdio()

    async def first() -> int:
        await server.connect()
        return await pid_of(server)

    async def second() -> int:
        try:
            return await pid_of(server)
        finally:
            await server.cleanup()

    assert asyncio.run(first()) != asyncio.run(second())


async def test_a_server_connected_in_another_running_loop_says_so() -> None:
    async with stdio("echo", client_session_timeout_seconds=20) as server:

        def elsewhere() -> None:
            asyncio.run(server.list_tools())

        with pytest.raises(UserError, match="connected in another event loop"):
            await asyncio.to_thread(elsewhere)


async def test_any_task_may_connect_call_and_clean_up() -> None:
    server = stdio("echo", client_session_timeout_seconds=20)

    await asyncio.create_task(server.connect())
    await asyncio.gather(server.connect(), server.connect())
    call = asyncio.create_task(server.call_tool("echo", {}))
    await call
    await asyncio.create_task(server.cleanup())
    await server.cleanup()

    assert children() == []


async def test_before_connect_and_after_cleanup_the_error_says_so() -> None:
    server = stdio("echo")
    requests: list[Any] = [
        server.list_tools,
        lambda: server.call_tool("echo", {}),
        server.list_prompts,
        lambda: server.get_prompt("p"),
        server.list_resources,
    ]
    async with server:
        pass
    for request in requests:
        with pytest.raises(UserError, match=r"not connected; call connect\(\)"):
            await request()


async def test_a_cancelled_connect_leaves_nothing() -> None:
    server = stdio("mute", connect_timeout_seconds=30)
    connecting = asyncio.create_task(server.connect())
    await until(children)

    with within(10):
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting

    assert children() == []


async def test_cleanup_ends_an_attempt_to_connect() -> None:
    server = stdio("mute", connect_timeout_seconds=30)
    connecting = asyncio.create_task(server.connect())
    await until(children)

    with within(10):
        await server.cleanup()
        with pytest.raises(MCPServerUnavailable, match="left while it was connecting"):
            await connecting

    assert children() == []


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("exit", "ended before it was connected"),
        ("mute", "did not connect within 0.5 seconds"),
    ],
)
async def test_a_server_that_does_not_connect_says_why(mode: str, message: str) -> None:
    server = stdio(mode, connect_timeout_seconds=0.5 if mode == "mute" else 20)

    with pytest.raises(MCPServerUnavailable, match=message):
        await server.connect()

    assert children() == []


async def test_a_connection_outlives_the_time_it_had_to_connect() -> None:
    async def streams() -> AsyncIterator[Any]:
        yield None, None

    connection = Connection(
        lambda streams: contextlib.nullcontext("client"),
        contextlib.asynccontextmanager(streams)(),
        server="s",
        timeout_s=0.01,
    )
    await connection.open()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(asyncio.Event().wait(), timeout=0.05)

    assert not connection.is_over
    await connection.close()


async def test_a_command_that_does_not_exist_is_named() -> None:
    pytest.importorskip("mcp")
    server = MCPServerStdio({"command": "/no/such/command"})
    with pytest.raises(MCPServerUnavailable, match="/no/such/command"):
        await server.connect()


async def test_what_is_no_message_is_passed_over(caplog: Any) -> None:
    seen: list[Any] = []

    async def handler(message: Any) -> None:
        seen.append(message)

    options: Any = {"client_session_timeout_seconds": 20, "message_handler": handler}
    for mode in ("noise", "garbage"):
        async with stdio(mode, **options) as server:
            await server.list_tools()
            await server.call_tool("echo", {})

    assert len(seen) == 2
    assert all(isinstance(message, Exception) for message in seen)


# requests


async def test_a_server_that_dies_mid_call_is_started_again_by_the_next() -> None:
    async with stdio() as server:
        first = await pid_of(server)
        died, other = await asyncio.gather(
            server.call_tool("die", {}),
            server.call_tool("die", {}),
            return_exceptions=True,
        )
        second = await pid_of(server)

    for error in (died, other):
        assert isinstance(error, MCPServerUnavailable)
        assert "ended before it could answer the call of 'die'" in str(error)
    assert first != second
    assert not is_running(first)
    assert not is_running(second)


@pytest.mark.parametrize("retries", [0, 1, 2, -1])
async def test_a_failed_call_is_sent_again_only_as_often_as_asked(retries: int) -> None:
    options: Any = {"max_retry_attempts": retries, "retry_backoff_seconds_base": 0}
    async with stdio("flaky", client_session_timeout_seconds=20, **options) as server:
        if retries in (0, 1):
            with pytest.raises(Exception, match=f"attempt {retries + 1}"):
                await server.call_tool("echo", {})
        else:
            assert not (await server.call_tool("echo", {})).is_error


async def test_endless_retries_end_with_the_connection() -> None:
    options: Any = {"max_retry_attempts": -1, "retry_backoff_seconds_base": 0}
    server = stdio("refuse", client_session_timeout_seconds=20, **options)
    await server.connect()
    call = asyncio.create_task(server.call_tool("echo", {}))
    await asyncio.sleep(0)

    await server.cleanup()

    with pytest.raises(UserError, match="not connected"):
        await asyncio.wait_for(call, timeout=60)


async def test_a_closed_pipe_is_told_at_once(short_patience: None) -> None:
    async with stdio("closes", client_session_timeout_seconds=20) as server:
        await server.list_tools()
        with within(10), pytest.raises(MCPServerUnavailable, match="ended before"):
            await server.call_tool("echo", {})


async def test_a_server_that_hangs_is_given_up(short_patience: None) -> None:
    async with stdio("deaf") as server:
        await server.list_tools()
        with within(10), pytest.raises(MCPServerTimeout, match="what it did is not"):
            await server.call_tool("echo", {})


async def test_a_server_that_reads_nothing_is_given_up(short_patience: None) -> None:
    async with stdio("unread") as server:
        await server.list_tools()
        # The package's own timeout would wait for the pipe to take a cancellation.
        with within(15), pytest.raises(MCPServerTimeout, match="'echo' within 3 sec"):
            await server.call_tool("echo", {"a": "x" * 1_000_000})
        assert server.session is None


async def test_a_run_told_of_a_hanging_server_goes_on(short_patience: None) -> None:
    async with stdio("deaf") as server:
        model = ScriptedModel(
            steps=[[function_call("echo", {}, call_id="c")], [assistant_message("end")]]
        )
        agent: Agent[Any] = Agent(name="A", model=model, tools=await tools_of(server))
        done = await Runner.run(agent, "go")

    assert done.final_output == "end"
    assert model.last_call is not None
    assert "did not answer the call of 'echo'" in model.last_call.input[-1]["output"]


async def test_a_cancelled_call_leaves_the_connection_usable(tmp_path: Path) -> None:
    async with stdio() as server:
        begun = tmp_path / "begun"
        call = asyncio.create_task(server.call_tool("wait", {"file": str(begun)}))
        await until(begun.exists)
        pid = await pid_of(server)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert await pid_of(server) == pid


async def test_cleanup_ends_the_calls_under_way(tmp_path: Path) -> None:
    server = stdio()
    await server.connect()
    begun = tmp_path / "begun"
    call = asyncio.create_task(server.call_tool("wait", {"file": str(begun)}))
    await until(begun.exists)

    await server.cleanup()

    with pytest.raises(MCPServerUnavailable):
        await call


@pytest.mark.parametrize(
    ("mode", "asked", "message"),
    [
        ("malformed", "list", r"not MCP when it was to list its tools.*tools.0.name"),
        ("nonsense", "call", r"not MCP when it was to answer the call.*content"),
        ("circle", "list", "repeated cursor"),
        ("endless", "list", "more than 20,000 tools"),
    ],
)
async def test_a_wrong_answer_says_what_is_wrong(
    mode: str, asked: str, message: str
) -> None:
    async with stdio(mode, client_session_timeout_seconds=20) as server:
        request: Any = {
            "list": server.list_tools,
            "call": lambda: server.call_tool("echo", {}),
        }[asked]
        with pytest.raises(MCPServerUnavailable, match=message):
            await request()


async def test_pages_are_followed_up_to_the_limit() -> None:
    async with stdio("pages", client_session_timeout_seconds=20) as server:
        assert [tool.name for tool in await server.list_tools()] == ["t0", "t1", "t2"]
        server.max_list_pages = 2
        with pytest.raises(UserError, match="max_list_pages=2"):
            await server.list_tools()


# the list of tools


async def names(server: MCPServerStdio) -> list[str]:
    return [tool.name for tool in await server.list_tools()]


async def test_tools_are_listed_anew_unless_they_are_to_be_kept() -> None:
    async with stdio("counting", client_session_timeout_seconds=20) as server:
        assert await names(server) == ["listed1"]
        assert await names(server) == ["listed2"]


async def test_kept_tools_are_kept_until_they_are_invalid() -> None:
    options: Any = {"cache_tools_list": True, "client_session_timeout_seconds": 20}
    async with stdio("counting", **options) as server:
        assert server.cached_tools is None
        for _ in range(3):
            [tool] = await server.list_tools()
            assert tool.input_schema == {"type": "object"}
            tool.input_schema["changed"] = True
        assert tool.name == "listed1"
        assert server.cached_tools is not None
        assert server.cached_tools[0].input_schema == {"type": "object"}

        server.invalidate_tools_cache()
        assert await names(server) == ["listed2"]


async def test_a_server_started_again_has_its_tools_listed_again() -> None:
    options: Any = {"cache_tools_list": True, "client_session_timeout_seconds": 20}
    async with stdio("counting", **options) as server:
        [first] = await server.list_tools()
        with pytest.raises(MCPServerUnavailable):
            await server.call_tool("listed1", {})
        with pytest.raises(MCPServerUnavailable):
            await server.call_tool("listed1", {})
        [second] = await server.list_tools()

    assert first.description != second.description


async def test_tools_that_change_while_they_are_listed_are_not_kept() -> None:
    options: Any = {"cache_tools_list": True, "client_session_timeout_seconds": 20}
    async with stdio("changing", **options) as server:
        assert await names(server) == ["listed1"]
        assert await names(server) == ["listed2"]
        assert await names(server) == ["listed2"]


async def test_a_server_that_says_so_has_its_tools_listed_again() -> None:
    said = asyncio.Event()

    async def handler(message: Any) -> None:
        said.set()

    options: Any = {"cache_tools_list": True, "message_handler": handler}
    async with stdio("changed", client_session_timeout_seconds=20, **options) as server:
        for _ in range(2):
            said.clear()
            await server.list_tools()
            async with asyncio.timeout(20):
                await said.wait()


# HTTP


@pytest.mark.parametrize("kind", [MCPServerStreamableHttp, MCPServerSse])
async def test_an_http_server_that_refuses_gives_its_status_and_no_secret(
    kind: Any,
) -> None:
    pytest.importorskip("mcp")

    async def refuse(reader: Any, writer: Any) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        server = kind({"url": f"http://me:pw@127.0.0.1:{port}/mcp?key=secret"})
        with pytest.raises(MCPServerUnavailable, match="HTTP status 401") as caught:
            await server.connect()

    shown = f"{caught.value!s}{caught.value.__cause__!r}{caught.value.__context__!r}"
    assert "secret" not in shown
    assert "pw" not in shown


@pytest.mark.parametrize("kind", [MCPServerStreamableHttp, MCPServerSse])
async def test_an_http_server_that_is_not_there_is_told(kind: Any) -> None:
    pytest.importorskip("mcp")
    server = kind({"url": "http://127.0.0.1:9/mcp"})
    with pytest.raises(MCPServerUnavailable, match="cannot be connected to"):
        await server.connect()


@pytest.mark.parametrize("kind", [MCPServerStreamableHttp, MCPServerSse])
async def test_an_http_server_that_is_silent_is_given_up(kind: Any) -> None:
    pytest.importorskip("mcp")
    connections: list[Any] = []

    def be_silent(reader: Any, writer: Any) -> None:
        connections.append(writer)

    async with await asyncio.start_server(be_silent, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        server = kind(
            {"url": f"http://127.0.0.1:{port}/mcp"}, connect_timeout_seconds=0.3
        )
        with within(10), pytest.raises(MCPServerUnavailable, match=r"within 0\.3 s"):
            await server.connect()
        for writer in connections:
            writer.close()


async def test_an_http_server_that_dies_mid_call_is_told() -> None:
    async with listening() as url, MCPServerStreamableHttp({"url": url}) as server:
        with pytest.raises(MCPServerUnavailable, match="ended before it could answer"):
            await server.call_tool("die", {})
        with pytest.raises(MCPServerUnavailable, match="cannot be connected to"):
            await server.call_tool("add", {"a": 1})


@pytest.mark.parametrize(
    ("name", "public"),
    [
        ("plain name", "plain name"),
        ("sse: http://u:p@h:1/a?b#c", "sse: http://h:1/a"),
        ("https://h/a?b", "https://h/a"),
        ("streamable_http: nonsense", "streamable_http: <invalid-url>"),
        ("sse: http://[::1/a?b", "sse: <invalid-url>"),
    ],
)
def test_a_name_made_from_a_url_shows_no_secret(name: str, public: str) -> None:
    assert public_name(name) == public


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"client_session_timeout_seconds": -1}, ValueError),
        ({"client_session_timeout_seconds": float("nan")}, ValueError),
        ({"client_session_timeout_seconds": "5"}, TypeError),
        ({"retry_backoff_seconds_max": float("inf")}, ValueError),
        ({"max_list_pages": 0}, ValueError),
        ({"max_list_pages": True}, TypeError),
    ],
)
def test_options_out_of_range_are_refused(options: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=next(iter(options))):
        MCPServerStdio({"command": "x"}, **options)


# several servers


@pytest.mark.parametrize("parallel", [True, False])
async def test_the_manager_uses_the_servers_that_connect(parallel: bool) -> None:
    good, bad = MemoryServer(name="good"), MemoryServer(name="bad")
    bad.fails_with = OSError("no route")

    async with MCPServerManager(
        [good, bad, good], connect_in_parallel=parallel
    ) as manager:
        assert manager.all_servers == [good, bad]
        assert manager.active_servers == [good]
        assert manager.failed_servers == [bad]
        assert manager.errors == {bad: bad.fails_with}
        bad.fails_with = None
        assert await manager.reconnect() == [good, bad]
        assert (manager.failed_servers, manager.errors) == ([], {})

    assert manager.active_servers == []
    assert good.log == ["connect", "cleanup"]
    assert bad.log == ["connect", "cleanup", "connect", "cleanup"]
    for server in (good, bad):
        entered, left = server.tasks[-2:]
        assert entered is left
        assert entered is not asyncio.current_task()


@pytest.mark.parametrize("parallel", [True, False])
async def test_a_strict_manager_raises_and_leaves_all(parallel: bool) -> None:
    good, bad = MemoryServer(name="good"), MemoryServer(name="bad")
    bad.fails_with = OSError("no route")
    manager = MCPServerManager([good, bad], strict=True, connect_in_parallel=parallel)

    with pytest.raises(OSError, match="no route"):
        await manager.connect_all()

    assert good.log == ["connect", "cleanup"]
    assert manager.active_servers == []


async def test_the_manager_may_keep_failed_servers() -> None:
    bad = MemoryServer()
    bad.fails_with = OSError()
    async with MCPServerManager([bad], drop_failed_servers=False) as manager:
        assert manager.active_servers == [bad]


async def test_the_manager_waits_no_longer_than_it_is_told() -> None:
    class Slow(MemoryServer):
        async def connect(self) -> None:
            await asyncio.Event().wait()

    class Sticky(MemoryServer):
        async def cleanup(self) -> None:
            await asyncio.Event().wait()

    slow, sticky = Slow(name="slow"), Sticky(name="sticky")
    manager = MCPServerManager(
        [slow, sticky], connect_timeout_seconds=0.05, cleanup_timeout_seconds=0.05
    )
    with within(10):
        async with manager:
            assert manager.active_servers == [sticky]

    assert isinstance(manager.errors[slow], TimeoutError)
    assert isinstance(manager.errors[sticky], TimeoutError)


async def test_a_cancellation_that_leaks_from_a_server_is_its_failure() -> None:
    leaky = MemoryServer()
    leaky.fails_with = asyncio.CancelledError()

    async with MCPServerManager([leaky]) as manager:
        assert manager.failed_servers == [leaky]
    with pytest.raises(asyncio.CancelledError):
        await MCPServerManager([leaky], suppress_cancelled_error=False).connect_all()


@pytest.mark.parametrize("parallel", [True, False])
async def test_the_callers_cancellation_goes_through_the_manager(
    parallel: bool,
) -> None:
    class Slow(MemoryServer):
        async def connect(self) -> None:
            await super().connect()
            await asyncio.Event().wait()

        async def cleanup(self) -> None:
            for _ in range(20 if self.name == "late" else 0):
                await asyncio.sleep(0)
            await super().cleanup()

    good, slow, late = MemoryServer(name="good"), Slow(name="slow"), Slow(name="late")
    manager = MCPServerManager([good, slow, late], connect_in_parallel=parallel)
    task = asyncio.create_task(manager.connect_all())
    await until(lambda: slow.log)
    with within(5):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert asyncio.all_tasks() == {asyncio.current_task()}

    assert late.log == (["connect", "cleanup"] if parallel else [])
    assert slow.log == ["connect", "cleanup"]
    assert good.log == ["connect", "cleanup"]


async def test_the_manager_manages_real_servers() -> None:
    servers = [
        stdio("echo", name="one", client_session_timeout_seconds=20),
        stdio("exit", name="two"),
    ]
    async with MCPServerManager(servers, connect_in_parallel=True) as manager:
        assert manager.active_servers == servers[:1]
        await servers[0].call_tool("echo", {})
    assert children() == []

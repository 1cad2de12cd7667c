"""Settings of sessions, and sessions in SQLite."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from openai.types.responses import ResponseOutputMessage

from runs.engine.errors import UserError
from runs.engine.sessions import (
    Session,
    SessionSettings,
    SQLiteSession,
)

from .session_items import ListSession, said, user

# Settings


def test_settings_have_two_names_for_the_limit() -> None:
    assert SessionSettings(max_items=5) == SessionSettings(limit=5)
    assert SessionSettings(5).max_items == 5
    assert SessionSettings(limit=5).to_dict() == {"limit": 5}


@pytest.mark.parametrize(
    "given",
    [{"lmit": 3}, {"limit": 3, "max_items": 3}, {"limit": "3"}, {"limit": True}],
)
def test_settings_refuse_what_they_do_not_know(given: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        SessionSettings(**given)


def test_settings_refuse_a_negative_limit() -> None:
    with pytest.raises(UserError, match="0 or more"):
        SessionSettings(limit=-1)


@pytest.mark.parametrize(
    ("override", "limit"),
    [
        (None, 3),
        (SessionSettings(), 3),
        (SessionSettings(limit=7), 7),
        ({"max_items": 0}, 0),
    ],
)
def test_settings_resolve_what_is_set(override: Any, limit: int) -> None:
    assert SessionSettings(limit=3).resolve(override).limit == limit


# SQLite


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions.sqlite3"


@pytest.fixture
def opened() -> Iterator[Callable[..., SQLiteSession]]:
    """Opens sessions that are closed at the end."""
    sessions: list[SQLiteSession] = []

    def open_one(*given: Any, **named: Any) -> SQLiteSession:
        sessions.append(SQLiteSession(*given, **named))
        return sessions[-1]

    yield open_one
    for session in sessions:
        session.close()


Opened = Callable[..., SQLiteSession]


async def test_sqlite_keeps_order(opened: Opened) -> None:
    session = opened()

    await session.add_items([user("one"), said("two")])
    await session.add_items([user("three")])

    assert session.session_id == "default"
    assert isinstance(session, Session)
    assert await session.get_items() == [user("one"), said("two"), user("three")]


async def test_sqlite_in_memory_belongs_to_one_object(opened: Opened) -> None:
    await opened("a").add_items([user("mine")])

    assert await opened("a").get_items() == []


async def test_sqlite_file_outlives_its_object(opened: Opened, path: Path) -> None:
    first = opened("a", path)
    await first.add_items([user("one")])
    first.close()
    await opened("b", path).add_items([user("other")])

    assert await opened("a", str(path)).get_items() == [user("one")]


@pytest.mark.parametrize(("limit", "texts"), [(0, ""), (2, "cd"), (9, "abcd")])
async def test_sqlite_limit_is_of_the_newest(
    opened: Opened, limit: int, texts: str
) -> None:
    session = opened()
    await session.add_items([user(text) for text in "abcd"])

    assert await session.get_items(limit) == [user(text) for text in texts]


async def test_sqlite_settings_limit_what_is_read_by_default(opened: Opened) -> None:
    session = opened(session_settings={"max_items": 1})
    await session.add_items([user("a"), user("b")])

    assert await session.get_items() == [user("b")]
    assert await session.get_items(2) == [user("a"), user("b")]


async def test_sqlite_pop_and_clear(opened: Opened, path: Path) -> None:
    session, other = opened("a", path), opened("b", path)
    await session.add_items([user("one"), user("two")])
    await other.add_items([user("other")])

    assert await session.pop_item() == user("two")
    await session.clear_session()
    assert await session.get_items() == []
    assert await session.pop_item() is None
    assert await other.get_items() == [user("other")]


async def test_sqlite_gives_back_what_no_utf8_holds(opened: Opened, path: Path) -> None:
    odd = [user("\ud800 lone"), user("nul \x00 in it"), user("😀")]

    await opened("a\x00b", path).add_items(odd)

    assert await opened("a\x00b", path).get_items() == odd
    assert await opened("a", path).get_items() == []


async def test_sqlite_takes_objects_of_the_client(opened: Opened) -> None:
    session = opened()
    message = said("hi", id="msg_1", status="completed")

    await session.add_items([ResponseOutputMessage.model_validate(message)])

    assert await session.get_items() == [message]


async def test_sqlite_stores_what_was_there_when_it_was_told(opened: Opened) -> None:
    session, item = opened(), user("before")

    adding = asyncio.ensure_future(session.add_items([item]))
    await asyncio.sleep(0)
    item["content"] = "after"
    await adding

    assert await session.get_items() == [user("before")]


@pytest.mark.parametrize("bad", [{"x": float("nan")}, {"x": object()}, "text", None])
async def test_sqlite_adds_all_or_none(opened: Opened, bad: Any) -> None:
    session = opened()

    with pytest.raises(UserError):
        await session.add_items([user("good"), bad])

    assert await session.get_items() == []


def spoil(path: Path, *values: Any) -> None:
    with sqlite3.connect(path) as connection:
        connection.executemany(
            "INSERT INTO agent_messages (session_id, message_data) VALUES ('a', ?)",
            [(value,) for value in values],
        )
        connection.execute(
            "INSERT INTO agent_messages (session_id, message_data) "
            "VALUES ('a', CAST(x'7bff7d' AS TEXT))"
        )
    connection.close()


BROKEN = ("{cut", "5", "null", 7, b"\xff\xfe\xff", "[" * 100_000)


async def test_sqlite_leaves_broken_rows_out(opened: Opened, path: Path) -> None:
    session = opened("a", path)
    await session.add_items([user("one"), user("two")])
    spoil(path, *BROKEN)
    await session.add_items([user("three")])
    spoil(path, *BROKEN)

    assert await session.get_items(2) == [user("two"), user("three")]
    assert await session.pop_item() == user("three")
    assert await session.pop_item() == user("two")
    assert await session.get_items() == [user("one")]


async def test_sqlite_shared_by_tasks_and_threads(opened: Opened, path: Path) -> None:
    sessions = [opened("a", path), opened("a", path)]

    def from_a_thread(number: int) -> None:
        asyncio.run(sessions[number % 2].add_items([user(f"t{number}")] * 3))

    threads = [threading.Thread(target=from_a_thread, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    await asyncio.gather(
        *(sessions[n % 2].add_items([user(f"l{n}")] * 3) for n in range(20))
    )
    for thread in threads:
        await asyncio.to_thread(thread.join)

    items = await sessions[0].get_items()
    assert len(items) == 26 * 3
    batches = [items[start : start + 3] for start in range(0, len(items), 3)]
    assert all(first == second == third for first, second, third in batches)


async def test_sqlite_shared_by_processes(opened: Opened, path: Path) -> None:
    code = (
        "import asyncio, sys\n"
        "from runs.engine.sessions import SQLiteSession\n"
        "async def main():\n"
        "    for number in range(10):\n"
        "        session = SQLiteSession('a', sys.argv[1])\n"
        "        await session.add_items([{'n': number, 'by': sys.argv[2]}])\n"
        "        session.close()\n"
        "asyncio.run(main())\n"
    )
    root = Path(__file__).parents[2]
    others = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            code,
            str(path),
            name,
            cwd=root,
            stderr=subprocess.PIPE,
        )
        for name in ("x", "y")
    ]
    for other in others:
        assert (await other.communicate())[1] == b""

    items = await opened("a", path).get_items()
    for name in ("x", "y"):
        assert [item["n"] for item in items if item["by"] == name] == [*range(10)]


async def test_sqlite_waits_for_another_writer(opened: Opened, path: Path) -> None:
    session = opened("a", path)
    await session.add_items([user("first")])
    writer = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    writer.execute("BEGIN IMMEDIATE")

    adding = asyncio.ensure_future(session.add_items([user("second")]))
    done, _ = await asyncio.wait({adding}, timeout=0.05)
    assert done == set()
    writer.execute("COMMIT")
    writer.close()
    await adding

    assert await session.get_items() == [user("first"), user("second")]


async def test_sqlite_write_ends_before_its_cancelled_caller_goes_on(
    opened: Opened, path: Path
) -> None:
    session = opened("a", path)
    await session.add_items([user("first")])
    writer = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    writer.execute("BEGIN IMMEDIATE")
    adding = asyncio.ensure_future(session.add_items([user("second")]))
    await asyncio.wait({adding}, timeout=0.05)

    adding.cancel()
    await asyncio.wait({adding}, timeout=0.05)
    adding.cancel()
    assert not adding.done()
    writer.execute("COMMIT")
    writer.close()
    with pytest.raises(asyncio.CancelledError):
        await adding

    assert len(await session.get_items()) == 2


async def test_sqlite_closed_says_so(opened: Opened, path: Path) -> None:
    session = opened("a", path)
    session.close()
    session.close()

    with pytest.raises(UserError, match="closed"):
        await session.get_items()
    with pytest.raises(UserError, match="closed"):
        await session.add_items([user("late")])


@pytest.mark.parametrize(
    "given",
    [
        {"session_id": 5},
        {"session_id": "\ud800"},
        {"sessions_table": "x; drop table y"},
        {"messages_table": ""},
        {"sessions_table": "Same", "messages_table": "same"},
        {"db_path": "/nowhere/at/all.sqlite3"},
    ],
)
def test_sqlite_refuses_at_once_what_cannot_work(given: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        SQLiteSession(**given)


async def test_sqlite_tables_have_names_of_choice(opened: Opened, path: Path) -> None:
    tables = {"sessions_table": "order", "messages_table": "items"}
    await opened("a", path, **tables).add_items([user("one")])

    assert await opened("a", path, **tables).get_items() == [user("one")]
    assert await opened("a", path).get_items() == []


async def test_sqlite_saves_under_a_conversation_id(opened: Opened, path: Path) -> None:
    session = opened(db_path=path)

    await session.save_items(conversation_id="conv-1", items=[user("one")])
    await session.save_items(None, [user("own")])

    assert await opened("conv-1", path).get_items() == [user("one")]
    assert await session.get_items() == [user("own")]


async def test_a_session_saves_under_its_own_id_only() -> None:
    session = ListSession()

    await session.save_items("list", [user("one")])
    with pytest.raises(UserError, match="other"):
        await session.save_items("other", [user("two")])

    assert session.items == [user("one")]

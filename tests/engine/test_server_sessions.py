"""Sessions that OpenAI keeps, and those it keeps short: over loopback HTTP."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlparse

import pytest
from openai import AsyncOpenAI

from runs.engine.context import RunContextWrapper
from runs.engine.sessions import (
    OpenAIConversationsSession,
    OpenAIResponsesCompactionSession,
    SQLiteSession,
    compact_after_turn,
    is_openai_responses_compaction_aware_session,
)

from .session_items import Item, ListSession, call, output, reasoning, said, user

# Kept by OpenAI


class FakeServer(ThreadingHTTPServer):
    """Conversations and compaction, as OpenAI serves them."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.conversations: dict[str, list[Item]] = {}
        self.requests: list[tuple[str, str, Any]] = []
        self.compacted: list[Item] = []
        self.compaction_usage: Item | None = None
        self.fail_after: int | None = None

    @property
    def client(self) -> AsyncOpenAI:
        address = f"http://127.0.0.1:{self.server_address[1]}/v1"
        return AsyncOpenAI(api_key="key", base_url=address, max_retries=0)

    def sent(self, method: str) -> list[Any]:
        return [body for kind, _, body in self.requests if kind == method]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each answer waits 40 ms
    server: FakeServer

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def do_DELETE(self) -> None:
        self._answer("DELETE")

    def log_message(self, format: str, *args: Any) -> None: ...

    def _answer(self, method: str) -> None:
        url = urlparse(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length) or b"null")
        self.server.requests.append((method, url.path, body))
        left = self.server.fail_after
        if left is not None and len(self.server.requests) > left:
            self._send(500, {"error": {"message": "It failed."}})
            return
        parts = url.path.removeprefix("/v1/").split("/")
        if parts == ["responses", "compact"]:
            self._send(200, self._compacted())
        elif parts == ["conversations"]:
            name = f"conv_{len(self.server.conversations)}"
            self.server.conversations[name] = []
            self._send(200, {"id": name, "object": "conversation", "created_at": 1})
        else:
            self._send(200, self._items(method, parts[1:], url.query, body))

    def _compacted(self) -> Item:
        return {
            "id": "resp_c",
            "object": "response.compaction",
            "created_at": 1,
            "output": self.server.compacted,
            "usage": self.server.compaction_usage,
        }

    def _items(self, method: str, parts: list[str], query: str, body: Any) -> Item:
        if len(parts) == 1:
            del self.server.conversations[parts[0]]
            return {"id": parts[0], "object": "conversation.deleted", "deleted": True}
        items = self.server.conversations[parts[0]]
        if method == "POST":
            start = len(items)
            for number, item in enumerate(body["items"], start):
                items.append({"id": f"item_{number}", "type": "message", **item})
        elif method == "DELETE":
            items[:] = [item for item in items if item["id"] != parts[2]]
            return {"id": parts[0], "object": "conversation", "created_at": 1}
        return self._page(items, parse_qs(query))

    def _page(self, items: list[Item], query: dict[str, list[str]]) -> Item:
        ordered = items[::-1] if query.get("order") == ["desc"] else items
        ids = [item["id"] for item in ordered]
        start = ids.index(query["after"][0]) + 1 if "after" in query else 0
        page = ordered[start : start + 4]
        return {
            "object": "list",
            "data": page,
            "first_id": page[0]["id"] if page else "",
            "last_id": page[-1]["id"] if page else "",
            "has_more": start + 4 < len(ordered),
        }

    def _send(self, status: int, body: Item) -> None:
        payload = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as fake:
        thread = threading.Thread(target=fake.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield fake
        fake.shutdown()
        thread.join()


@pytest.fixture
async def client(server: FakeServer) -> AsyncIterator[AsyncOpenAI]:
    async with server.client as opened:
        yield opened


def texts(items: list[Item]) -> list[str]:
    return [
        part if isinstance(part := item["content"], str) else part[0]["text"]
        for item in items
    ]


async def test_conversation_is_opened_when_it_is_first_used(
    server: FakeServer, client: AsyncOpenAI
) -> None:
    session = OpenAIConversationsSession(openai_client=client)
    with pytest.raises(ValueError, match="first used"):
        _ = session.session_id

    await session.add_items([])
    assert server.requests == []
    await asyncio.gather(session.get_items(), session.get_items())

    assert session.session_id == "conv_0"
    assert list(server.conversations) == ["conv_0"]


async def test_conversation_keeps_order_over_pages_and_requests(
    server: FakeServer, client: AsyncOpenAI
) -> None:
    session = OpenAIConversationsSession(openai_client=client)

    await session.add_items([user(str(number)) for number in range(45)])

    assert [len(body["items"]) for body in server.sent("POST")[1:]] == [20, 20, 5]
    assert texts(await session.get_items()) == [str(number) for number in range(45)]
    assert texts(await session.get_items(limit=6)) == [str(n) for n in range(39, 45)]
    assert await session.get_items(limit=0) == []


async def test_conversation_is_sent_items_it_takes_and_gives_items_models_take(
    server: FakeServer, client: AsyncOpenAI
) -> None:
    session = OpenAIConversationsSession(openai_client=client)

    await session.add_items(
        [
            {**said("a"), "id": "msg_1", "provider_data": {}},
            reasoning("rs_1"),
            {"type": "reasoning", "summary": []},
            {"type": "web_search_call", "id": "ws_1"},
        ]
    )

    assert server.sent("POST")[-1]["items"] == [
        said("a"),
        reasoning("rs_1"),
        {"type": "web_search_call", "id": "ws_1"},
    ]
    assert "id" not in (await session.get_items())[0]


async def test_conversation_pops_and_clears(
    server: FakeServer, client: AsyncOpenAI
) -> None:
    server.conversations["conv_9"] = []
    session = OpenAIConversationsSession(
        conversation_id="conv_9", openai_client=client, session_settings={"limit": 1}
    )
    await session.add_items([user("a"), user("b")])

    popped = await session.pop_item()
    assert popped is not None
    assert texts([popped]) == ["b"]
    assert texts(await session.get_items()) == ["a"]
    await session.clear_session()
    await session.clear_session()
    assert server.conversations == {}
    assert await session.pop_item() is None
    assert session.session_id == "conv_0"


async def test_conversation_that_fails_midway_sends_nothing_more(
    server: FakeServer, client: AsyncOpenAI
) -> None:
    session = OpenAIConversationsSession(openai_client=client)
    await session.get_items()
    server.fail_after = len(server.requests) + 1

    with pytest.raises(Exception, match="It failed"):
        await session.add_items([user(str(number)) for number in range(60)])

    assert len(server.conversations["conv_0"]) == 20
    assert len(server.sent("POST")) == 3


# Kept short by OpenAI


LONG = [
    item for n in range(5) for item in (user(str(n)), call(f"c{n}"), output(f"c{n}"))
]
SUMMARY: Item = {"type": "compaction", "id": "cmp_1", "encrypted_content": "…"}


async def test_compaction_puts_a_summary_in_place_of_a_long_session(
    server: FakeServer, client: AsyncOpenAI
) -> None:
    inner = SQLiteSession()
    session = OpenAIResponsesCompactionSession("s", inner, client=client)
    server.compacted = [SUMMARY, {**said("end"), "id": "msg_1", "status": "completed"}]
    await session.add_items(LONG)

    await compact_after_turn(session, "resp_1", store=False)

    assert server.sent("POST") == [{"model": "gpt-4.1", "input": LONG}]
    assert await inner.get_items() == [SUMMARY, said("end", status="completed")]
    inner.close()


@pytest.mark.parametrize(
    ("args", "sent"),
    [
        ({"response_id": "resp_1"}, {"previous_response_id": "resp_1"}),
        ({"response_id": "resp_1", "compaction_mode": "input"}, {"input": [user("a")]}),
        ({}, {"input": [user("a")]}),
    ],
)
async def test_compaction_tells_the_server_where_the_history_is(
    server: FakeServer, client: AsyncOpenAI, args: Any, sent: Item
) -> None:
    session = OpenAIResponsesCompactionSession(
        "s", ListSession(user("a")), client=client
    )

    args["force"] = True
    await session.run_compaction(args)

    assert server.sent("POST") == [{"model": "gpt-4.1", **sent}]


async def test_what_a_compaction_costs_counts_in_the_run(
    server: FakeServer, client: AsyncOpenAI
) -> None:
    server.compacted = [SUMMARY]
    server.compaction_usage = {
        "input_tokens": 7,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 2,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 9,
    }
    session = OpenAIResponsesCompactionSession("s", ListSession(*LONG), client=client)
    context: RunContextWrapper[None] = RunContextWrapper(None)

    await compact_after_turn(session, "resp_1", context=context)

    assert (context.usage.requests, context.usage.total_tokens) == (1, 9)


async def test_compaction_leaves_short_and_waiting_sessions_alone(
    server: FakeServer, client: AsyncOpenAI
) -> None:
    short, waiting = ListSession(*LONG[:9]), ListSession(*LONG, call("open"))

    for inner in (short, waiting):
        session = OpenAIResponsesCompactionSession("s", inner, client=client)
        await session.run_compaction({"response_id": "resp_1"})

    assert server.requests == []
    assert waiting.items == [*LONG, call("open")]


async def test_compaction_that_fails_loses_nothing(
    server: FakeServer, client: AsyncOpenAI
) -> None:
    class Full(ListSession):
        async def add_items(self, items: list[Any]) -> None:
            if items == [SUMMARY]:
                raise OSError("The disk is full.")
            await super().add_items(items)

    server.compacted = [SUMMARY]
    inner = Full(*LONG)
    session = OpenAIResponsesCompactionSession("s", inner, client=client)

    with pytest.raises(OSError, match="full"):
        await session.run_compaction({"force": True})
    server.fail_after = 0
    with pytest.raises(Exception, match="It failed"):
        await session.run_compaction({"force": True})

    assert inner.items == LONG


async def test_compaction_keeps_its_bounds(client: AsyncOpenAI) -> None:
    session = OpenAIResponsesCompactionSession(
        "s", ListSession(*LONG), client=client, max_rollback_items=5
    )

    with pytest.raises(ValueError, match="more than 5"):
        await session.run_compaction({"force": True})
    with pytest.raises(ValueError, match="response_id"):
        await session.run_compaction({"compaction_mode": "previous_response_id"})
    for wrong in ({"model": "llama-3"}, {"max_rollback_items": 0}):
        with pytest.raises(ValueError, match=r"1 or more|cannot compact"):
            OpenAIResponsesCompactionSession("s", ListSession(), **wrong)
    with pytest.raises(ValueError, match="use it alone"):
        OpenAIResponsesCompactionSession("s", OpenAIConversationsSession())


async def test_compaction_session_is_a_session_like_its_inner_one() -> None:
    inner = ListSession(user("a"), user("b"))
    session = OpenAIResponsesCompactionSession("s", inner)

    assert is_openai_responses_compaction_aware_session(session)
    assert not is_openai_responses_compaction_aware_session(inner)
    assert not is_openai_responses_compaction_aware_session(None)
    assert await session.get_items(1) == [user("b")]
    assert await session.pop_item() == user("b")
    await session.clear_session()
    await compact_after_turn(inner, "resp_1")
    assert inner.items == []

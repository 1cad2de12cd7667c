"""A small OpenAI server on 127.0.0.1, for tests over real HTTP and for trying things.

    script = [calls(("refund", {"order_id": "A1"}, "call_1")), text("Done.")]
    with FakeOpenAI(script) as server:
        model = OpenAIResponsesModel("fake", api_key="k", base_url=server.base_url)

It answers `/v1/responses` and `/v1/chat/completions`, streamed or whole. A script is a
list of replies, one a request, or a callable of the request's JSON; without one it is
`shop_script`, which calls the tool that the user's words name. By itself:
`python -m tests.fake_openai --port 8899`.
"""

from __future__ import annotations

import argparse
import json
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, TypeAlias

JSON: TypeAlias = dict[str, Any]

HOLD_LIMIT_S = 30.0
"""The longest a reply is held back, so that a failed test cannot hang its server."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """A call of a tool, with the text of its arguments as it is."""

    name: str
    arguments: str
    call_id: str


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What the server does with one request. `text`, `calls` … make them."""

    text: str = ""
    refusal: str = ""
    calls: tuple[Call, ...] = ()
    finish: str | None = None
    """The chat's finish reason; `length` and `content_filter` make it incomplete."""
    usage: bool = True
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    error: str = ""
    raw: tuple[str, ...] | None = None
    """The exact events of the stream, without the blank line behind each."""
    cut_after: int | None = None
    """Break off after so many events (or, unstreamed, in the middle of the body)."""
    clean_cut: bool = False
    """Break off by ending the body properly rather than dropping the connection."""
    delay_s: float = 0.0
    """Wait before each event."""
    hold: threading.Event | None = None
    """Wait for it once `hold_after` events are sent."""
    hold_after: int = 0

    def cut(self, after: int, *, clean: bool = False) -> Reply:
        """Return this reply, broken off after so many events."""
        return replace(self, cut_after=after, clean_cut=clean)

    def held(self, until: threading.Event, *, after: int = 0) -> Reply:
        """Return this reply, waiting for `until` once `after` events are sent."""
        return replace(self, hold=until, hold_after=after)

    def paced(self, delay_s: float) -> Reply:
        """Return this reply with a wait before each event."""
        return replace(self, delay_s=delay_s)


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """A request as it came."""

    path: str
    headers: Mapping[str, str]
    """Names in lower case."""
    body: JSON
    client: tuple[str, int]
    """The address of the connection: the same one for requests that shared it."""


Script: TypeAlias = Callable[[JSON], Reply] | Sequence[Reply]


def text(
    said: str, *, finish: str | None = None, usage: bool = True, refusal: str = ""
) -> Reply:
    """Return a reply of text; `finish="length"` makes it one that was cut short."""
    return Reply(text=said, finish=finish, usage=usage, refusal=refusal)


def calls(
    *made: tuple[str, str | Mapping[str, Any], str],
    said: str = "",
    finish: str | None = None,
    usage: bool = True,
) -> Reply:
    """Return a reply that calls tools: each a name, arguments and a call id."""
    return Reply(
        text=said,
        calls=tuple(
            Call(
                name=name,
                arguments=given if isinstance(given, str) else json.dumps(dict(given)),
                call_id=call_id,
            )
            for name, given, call_id in made
        ),
        finish=finish,
        usage=usage,
    )


def error(
    status: int,
    message: str = "It failed.",
    *,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """Return an HTTP error, as 429 with `headers={"Retry-After": "0"}`."""
    return Reply(status=status, error=message, headers=headers or {})


def raw(*events: str | JSON) -> Reply:
    """Return exactly these events; JSON is sent as `data:`, text as it is."""
    return Reply(
        raw=tuple(
            event if isinstance(event, str) else f"data: {json.dumps(event)}"
            for event in events
        )
    )


def last_user_text(request: JSON) -> str:
    """Return the text of the newest message of the user; "" when there is none."""
    if isinstance(request.get("input"), str):
        return str(request["input"])
    said = [_content_text(item) for item in _items(request) if _is_user(item)]
    return said[-1] if said else ""


def tool_outputs(request: JSON) -> list[tuple[str, str]]:
    """Return call id and text of each tool output since the user's newest message."""
    outputs: list[tuple[str, str]] = []
    for item in _items(request):
        if _is_user(item):
            outputs.clear()
        elif item.get("type") == "function_call_output":
            outputs.append((item["call_id"], _as_text(item.get("output"))))
        elif item.get("role") == "tool":
            outputs.append((item["tool_call_id"], _as_text(item.get("content"))))
    return outputs


def offered_tools(request: JSON) -> list[JSON]:
    """Return the tools of the request as `name`, `description` and `parameters`."""
    return [tool.get("function") or tool for tool in request.get("tools") or []]


def arguments_for(tool: JSON, said: str) -> JSON:
    """Return arguments that fit the tool's schema, from the words where they can be."""
    schema = tool.get("parameters") or {}
    properties: JSON = schema.get("properties") or {}
    return {name: _value_for(part, said) for name, part in properties.items()}


def shop_script(request: JSON) -> Reply:
    """Call the tool that the user's words name, then say what it gave."""
    outputs, said = tool_outputs(request), last_user_text(request)
    if outputs:
        return text("Done. " + " ".join(output for _, output in outputs))
    for tool in offered_tools(request):
        if _names_tool(said, tool["name"]):
            call_id = f"call_{time.time_ns():x}"
            return calls((tool["name"], arguments_for(tool, said), call_id))
    return text(f"You said: {said}")


class FakeOpenAI:
    """The server; a context manager that starts and stops it.

    `requests` holds every request so far. A list of replies that has run out answers
    400, which nobody asks again.
    """

    def __init__(self, script: Script = shop_script, *, port: int = 0) -> None:
        self.requests: list[Recorded] = []
        self._changed = threading.Condition()
        self.use(script)
        self._http = _Server(("127.0.0.1", port), _Handler)
        self._http.fake = self
        # `shutdown` waits for the next look: half a second by default, each test.
        self._thread = threading.Thread(
            target=self._http.serve_forever, args=(0.01,), daemon=True
        )

    @property
    def base_url(self) -> str:
        """What a client takes as `base_url`."""
        return f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    def start(self) -> FakeOpenAI:
        self._thread.start()
        return self

    def stop(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._http.drop_connections()
        self._thread.join(HOLD_LIMIT_S)

    def __enter__(self) -> FakeOpenAI:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def use(self, script: Script) -> None:
        """Answer by `script` from here on, and forget the requests so far."""
        with self._changed:
            self.requests.clear()
            self._script = script if callable(script) else _one_by_one(script)

    def wait_for_requests(self, count: int, *, timeout_s: float = 10.0) -> None:
        """Return once `count` requests came. Raises TimeoutError."""
        with self._changed:
            came = self._changed.wait_for(
                lambda: len(self.requests) >= count, timeout_s
            )
        if not came:
            raise TimeoutError(f"{len(self.requests)} of {count} requests came.")

    def answer(self, request: Recorded) -> Reply:
        """Record the request and return what the script says."""
        with self._changed:
            self.requests.append(request)
            self._changed.notify_all()
            return self._script(request.body)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256
    fake: FakeOpenAI

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._open: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients that go away are what tests are about."""

    def drop_connections(self) -> None:
        for connection in list(self._open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each event waits 40 ms for the last one's ACK
    server: _Server

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length) or b"{}")
        api = _APIS.get(self.path.split("?")[0])
        if api is None:
            self._send_json(404, {"error": {"message": f"Nothing at {self.path}."}})
            return
        reply = self.server.fake.answer(
            Recorded(
                path=self.path,
                headers={key.lower(): value for key, value in self.headers.items()},
                body=body,
                client=self.client_address,
            )
        )
        if reply.status != 200:
            self._send_json(
                reply.status, {"error": {"message": reply.error}}, reply.headers
            )
        elif body.get("stream"):
            self._stream(reply, api(body, reply).events())
        else:
            self._send_whole(reply, api(body, reply).whole())

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet."""

    def _send_whole(self, reply: Reply, answer: JSON) -> None:
        self._wait(reply, 0)
        if reply.cut_after is None:
            self._send_json(200, answer, reply.headers)
            return
        payload = json.dumps(answer).encode()
        self._begin(200, {"Content-Length": str(len(payload))})
        self.wfile.write(payload[: len(payload) // 2])
        self._drop()

    def _send_json(
        self, status: int, body: JSON, headers: Mapping[str, str] | None = None
    ) -> None:
        payload = json.dumps(body).encode()
        self._begin(
            status,
            {
                "Content-Type": "application/json",
                "Content-Length": str(len(payload)),
                **(headers or {}),
            },
        )
        self.wfile.write(payload)

    def _stream(self, reply: Reply, events: Iterator[str]) -> None:
        self._begin(
            200,
            {
                "Content-Type": "text/event-stream",
                "Transfer-Encoding": "chunked",
                **reply.headers,
            },
        )
        for number, event in enumerate(events if reply.raw is None else reply.raw):
            if number == reply.cut_after:
                break
            self._wait(reply, number)
            payload = f"{event}\n\n".encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(payload), payload))
        if reply.cut_after is not None and not reply.clean_cut:
            self._drop()
            return
        self.wfile.write(b"0\r\n\r\n")

    def _wait(self, reply: Reply, sent: int) -> None:
        if reply.hold is not None and sent == reply.hold_after:
            reply.hold.wait(HOLD_LIMIT_S)
        if reply.delay_s:
            time.sleep(reply.delay_s)

    def _begin(self, status: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        self.send_header("x-request-id", f"req_{time.time_ns():x}")
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _drop(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)


class _Responses:
    """Answers of `/v1/responses`."""

    def __init__(self, request: JSON, reply: Reply) -> None:
        self._reply = reply
        self._number = 0
        incomplete = _INCOMPLETE.get(reply.finish or "")
        self._head: JSON = {
            "id": f"resp_{time.time_ns():x}",
            "object": "response",
            "created_at": int(time.time()),
            "model": request.get("model"),
            "status": "incomplete" if incomplete else "completed",
            "incomplete_details": {"reason": incomplete} if incomplete else None,
            "error": None,
            "instructions": request.get("instructions"),
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
        }

    def whole(self) -> JSON:
        usage = _responses_usage() if self._reply.usage else None
        return {**self._head, "output": self._output(), "usage": usage}

    def events(self) -> Iterator[str]:
        begun = {**self._head, "status": "in_progress", "output": [], "usage": None}
        begun["incomplete_details"] = None
        yield self._event("response.created", response=begun)
        yield self._event("response.in_progress", response=begun)
        answer = self.whole()
        for index, item in enumerate(answer["output"]):
            yield from self._item_events(item, index)
        yield self._event(f"response.{self._head['status']}", response=answer)

    def _output(self) -> list[JSON]:
        items: list[JSON] = []
        parts: list[JSON] = []
        if self._reply.text:
            parts.append(
                {"type": "output_text", "text": self._reply.text, "annotations": []}
            )
        if self._reply.refusal:
            parts.append({"type": "refusal", "refusal": self._reply.refusal})
        if parts:
            items.append(
                {
                    "type": "message",
                    "id": f"msg_{self._head['id']}",
                    "role": "assistant",
                    "status": self._head["status"],
                    "content": parts,
                }
            )
        return items + [_call_item(call) for call in self._reply.calls]

    def _item_events(self, item: JSON, index: int) -> Iterator[str]:
        at = {"item_id": item["id"], "output_index": index}
        empty: JSON = (
            {"content": []} if item["type"] == "message" else {"arguments": ""}
        )
        yield self._event(
            "response.output_item.added",
            output_index=index,
            item={**item, **empty, "status": "in_progress"},
        )
        if item["type"] == "message":
            for number, part in enumerate(item["content"]):
                yield from self._part_events({**at, "content_index": number}, part)
        else:
            kind = "response.function_call_arguments"
            for piece in _pieces(item["arguments"]):
                yield self._event(f"{kind}.delta", delta=piece, **at)
            yield self._event(f"{kind}.done", arguments=item["arguments"], **at)
        yield self._event("response.output_item.done", output_index=index, item=item)

    def _part_events(self, at: JSON, part: JSON) -> Iterator[str]:
        key = "refusal" if part["type"] == "refusal" else "text"
        kind = "refusal" if key == "refusal" else "output_text"
        yield self._event("response.content_part.added", part={**part, key: ""}, **at)
        for piece in _pieces(part[key]):
            yield self._event(f"response.{kind}.delta", delta=piece, logprobs=[], **at)
        done = {key: part[key], "logprobs": [], **at}
        yield self._event(f"response.{kind}.done", **done)
        yield self._event("response.content_part.done", part=part, **at)

    def _event(self, kind: str, **values: Any) -> str:
        data = {"type": kind, "sequence_number": self._number, **values}
        self._number += 1
        return f"event: {kind}\ndata: {json.dumps(data)}"


class _Chat:
    """Answers of `/v1/chat/completions`."""

    def __init__(self, request: JSON, reply: Reply) -> None:
        self._reply = reply
        options = request.get("stream_options") or {}
        self._counts_stream = bool(reply.usage and options.get("include_usage"))
        self._finish = reply.finish or ("tool_calls" if reply.calls else "stop")
        self._head: JSON = {
            "id": f"chatcmpl-{time.time_ns():x}",
            "created": int(time.time()),
            "model": request.get("model"),
        }

    def whole(self) -> JSON:
        message: JSON = {
            "role": "assistant",
            "content": self._reply.text or None,
            "refusal": self._reply.refusal or None,
        }
        if self._reply.calls:
            message["tool_calls"] = [_chat_call(call) for call in self._reply.calls]
        return {
            **self._head,
            "object": "chat.completion",
            "choices": [
                {"index": 0, "message": message, "finish_reason": self._finish}
            ],
            **({"usage": _chat_usage()} if self._reply.usage else {}),
        }

    def events(self) -> Iterator[str]:
        yield self._chunk({"role": "assistant", "content": ""})
        for piece in _pieces(self._reply.text):
            yield self._chunk({"content": piece})
        for piece in _pieces(self._reply.refusal):
            yield self._chunk({"refusal": piece})
        for index, call in enumerate(self._reply.calls):
            begun = _chat_call(replace(call, arguments=""))
            yield self._chunk({"tool_calls": [{"index": index, **begun}]})
            for piece in _pieces(call.arguments):
                part = {"index": index, "function": {"arguments": piece}}
                yield self._chunk({"tool_calls": [part]})
        yield self._chunk({}, self._finish)
        if self._counts_stream:
            data = {**self._head, "object": "chat.completion.chunk", "choices": []}
            yield f"data: {json.dumps({**data, 'usage': _chat_usage()})}"
        yield "data: [DONE]"

    def _chunk(self, delta: JSON, finish: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        data = {**self._head, "object": "chat.completion.chunk", "choices": [choice]}
        return f"data: {json.dumps(data)}"


_APIS: dict[str, type[_Responses | _Chat]] = {
    "/v1/responses": _Responses,
    "/v1/chat/completions": _Chat,
}
_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}


def _one_by_one(replies: Sequence[Reply]) -> Callable[[JSON], Reply]:
    left = iter(replies)
    spent = error(400, f"The fake server's {len(replies)} replies are used up.")
    return lambda request: next(left, spent)


def _pieces(said: str) -> list[str]:
    return re.findall(r"\s*\S+|\s+$", said)


def _call_item(call: Call) -> JSON:
    return {
        "type": "function_call",
        "id": f"fc_{call.call_id}",
        "call_id": call.call_id,
        "name": call.name,
        "arguments": call.arguments,
        "status": "completed",
    }


def _chat_call(call: Call) -> JSON:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.call_id, "type": "function", "function": function}


def _responses_usage() -> JSON:
    return {
        "input_tokens": 20,
        "input_tokens_details": {"cached_tokens": 8, "cache_write_tokens": 0},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 2},
        "total_tokens": 25,
    }


def _chat_usage() -> JSON:
    return {
        "prompt_tokens": 20,
        "prompt_tokens_details": {"cached_tokens": 8},
        "completion_tokens": 5,
        "completion_tokens_details": {"reasoning_tokens": 2},
        "total_tokens": 25,
    }


def _items(request: JSON) -> list[JSON]:
    given = request.get("input", request.get("messages"))
    return given if isinstance(given, list) else []


def _is_user(item: JSON) -> bool:
    return item.get("role") == "user"


def _content_text(item: JSON) -> str:
    return _as_text(item.get("content"))


def _as_text(content: Any) -> str:
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content)
    return str(content or "")


def _names_tool(said: str, name: str) -> bool:
    spoken = said.lower()
    return name.lower() in spoken or name.lower().replace("_", " ") in spoken


def _value_for(schema: JSON, said: str) -> Any:
    if schema.get("enum"):
        return schema["enum"][0]
    for option in schema.get("anyOf") or []:
        if option.get("type") != "null":
            return _value_for(option, said)
    kind = schema.get("type")
    if kind in {"integer", "number"}:
        found = re.findall(r"(?<![\w-])\d+(?:\.\d+)?(?![\w-])", said)
        number = float(found[0]) if found else 1.0
        return int(number) if kind == "integer" else number
    if kind == "object":
        return arguments_for({"parameters": schema}, said)
    if kind in {"boolean", "array", "null"}:
        return {"boolean": True, "array": [], "null": None}[kind]
    named = re.findall(r"\b[A-Z]+-?\d+\b", said)
    return named[0] if named else said


def main() -> None:
    """Serve `shop_script` until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8899)
    stop = threading.Event()
    # Set by hand: a shell starts its background jobs with SIGINT ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with FakeOpenAI(port=parser.parse_args().port) as server:
        print(f"OPENAI_BASE_URL={server.base_url} OPENAI_API_KEY=fake", flush=True)
        stop.wait()


if __name__ == "__main__":
    main()

"""Both adapters against a server over real HTTP, streamed and whole."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx2
import openai
import pytest
from openai.types.shared import Reasoning

from runs.engine.errors import ModelCallError, UserError
from runs.engine.model_settings import ModelSettings
from runs.engine.models import (
    Model,
    ModelProvider,
    ModelResponse,
    ModelTracing,
    MultiProvider,
    MultiProviderMap,
    OpenAIChatCompletionsModel,
    OpenAIProvider,
    OpenAIResponsesModel,
    close_clients,
    collect,
    default_model_name,
    defaults,
    set_default_openai_api,
    set_default_openai_client,
    set_default_openai_key,
    set_default_openai_responses_transport,
    share_keys_with_tracing,
    shared_client,
)
from runs.engine.models.retry_advice import normalized_error
from runs.engine.tools.tool import FunctionTool
from tests.fake_openai import (
    FakeOpenAI,
    calls,
    error,
    last_user_text,
    raw,
    text,
    tool_outputs,
)

ADAPTERS = [OpenAIResponsesModel, OpenAIChatCompletionsModel]
BOTH = pytest.mark.parametrize("adapter", ADAPTERS)
STREAMED = pytest.mark.parametrize("streamed", [False, True])


def refund_tool() -> FunctionTool:
    return FunctionTool(
        name="refund",
        description="Refund an order.",
        params_json_schema={
            "type": "object",
            "properties": {"order_id": {"type": "string"}},
        },
        on_invoke_tool=_never,
    )


async def _never(ctx: Any, arguments: str) -> Any:
    raise AssertionError("No adapter runs a tool.")


@dataclass
class Schema:
    """As much of an output schema as an adapter reads."""

    plain: bool = False

    def name(self) -> str:
        return "Answer"

    def is_plain_text(self) -> bool:
        return self.plain

    def json_schema(self) -> dict[str, Any]:
        return {"type": "object"}

    def is_strict_json_schema(self) -> bool:
        return True


@pytest.fixture(autouse=True)
async def _closed_clients() -> AsyncIterator[None]:
    yield
    await close_clients()


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("API_KEY", "BASE_URL"):
        monkeypatch.delenv(f"OPENAI_{name}", raising=False)
    for name in ("PLACET_MODEL", "PLACET_OPENAI_API", "OPENAI_DEFAULT_MODEL"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


async def ask(
    model: Model,
    *,
    streamed: bool,
    input: Any = "hi",
    events: list[Any] | None = None,
    **given: Any,
) -> ModelResponse:
    settings = given.pop("settings", None) or ModelSettings()
    asked = (
        given.pop("instructions", None),
        input,
        settings,
        given.pop("tools", []),
        given.pop("output_schema", None),
        given.pop("handoffs", []),
        ModelTracing.DISABLED,
    )
    ids = {"previous_response_id": None, "conversation_id": None, "prompt": None}
    if not streamed:
        return await model.get_response(*asked, **(ids | given))

    async def note(event: Any) -> None:
        if events is not None:
            events.append(event)

    return await collect(
        model.stream_response(*asked, **(ids | given)),
        on_event=note,
        raw_usage=settings.preserve_raw_usage,
    )


def made(adapter: type[Any], server: FakeOpenAI) -> Model:
    model: Model = adapter("fake", api_key="key", base_url=server.base_url)
    return model


def said(answer: ModelResponse) -> str:
    item: Any = answer.output[0]
    return str(item.content[0].text)


@BOTH
@STREAMED
async def test_text_arrives_whole_with_usage_and_ids(
    adapter: type[Any], streamed: bool
) -> None:
    with FakeOpenAI([text("Hello big world.")]) as server:
        answer = await ask(made(adapter, server), streamed=streamed)

    assert said(answer) == "Hello big world."
    assert answer.usage.totals() == {
        "requests": 1,
        "input_tokens": 20,
        "cached_tokens": 8,
        "cache_write_tokens": 0,
        "output_tokens": 5,
        "reasoning_tokens": 2,
        "total_tokens": 25,
    }
    assert (answer.response_id or "").startswith(("resp_", "chatcmpl-"))
    assert (answer.request_id or "").startswith("req_")


@BOTH
@STREAMED
async def test_text_before_calls_keeps_its_place(
    adapter: type[Any], streamed: bool
) -> None:
    made_calls = (("refund", {"order_id": "A 1"}, "c1"), ("look", "", "c2"))

    with FakeOpenAI([calls(*made_calls, said="Let me see.")]) as server:
        answer = await ask(
            made(adapter, server), streamed=streamed, tools=[refund_tool()]
        )

    message, first, second = (item.model_dump() for item in answer.output)
    assert message["content"][0]["text"] == "Let me see."
    assert (first["name"], first["call_id"]) == ("refund", "c1")
    assert json.loads(first["arguments"]) == {"order_id": "A 1"}
    assert (second["name"], second["call_id"]) == ("look", "c2")


@BOTH
async def test_stream_is_well_formed(adapter: type[Any]) -> None:
    events: list[Any] = []
    reply = calls(("refund", {"order_id": "A1"}, "c1"), said="One moment please.")

    with FakeOpenAI([reply]) as server:
        await ask(made(adapter, server), streamed=True, events=events)

    kinds = [event.type for event in events]
    assert kinds[:2] == ["response.created", "response.in_progress"]
    assert kinds[-1] == "response.completed"
    assert kinds.count("response.output_text.delta") == 3
    assert kinds.count("response.output_item.added") == 2
    assert kinds.count("response.output_item.done") == 2
    assert [event.sequence_number for event in events] == list(range(len(events)))
    begun = {e.item.id for e in events if e.type == "response.output_item.added"}
    assert {e.item_id for e in events if hasattr(e, "item_id")} == begun
    assert [item.type for item in events[-1].response.output] == [
        "message",
        "function_call",
    ]


@BOTH
@STREAMED
@pytest.mark.parametrize(
    ("finish", "reason"),
    [("length", "max_output_tokens"), ("content_filter", "content_filter")],
)
async def test_answer_cut_short_is_incomplete_and_kept(
    adapter: type[Any], streamed: bool, finish: str, reason: str
) -> None:
    events: list[Any] = []

    with FakeOpenAI([text("Half of", finish=finish)]) as server:
        answer = await ask(made(adapter, server), streamed=streamed, events=events)

    assert said(answer) == "Half of"
    if streamed:
        assert events[-1].type == "response.incomplete"
        assert events[-1].response.incomplete_details.reason == reason


@BOTH
@STREAMED
async def test_refusal_is_a_part_of_its_own(adapter: type[Any], streamed: bool) -> None:
    with FakeOpenAI([text("", refusal="I will not do that.")]) as server:
        answer = await ask(made(adapter, server), streamed=streamed)

    item: Any = answer.output[0]
    assert [part.type for part in item.content] == ["refusal"]
    assert item.content[0].refusal == "I will not do that."


@BOTH
@STREAMED
async def test_server_that_sends_no_usage_counts_one_request(
    adapter: type[Any], streamed: bool
) -> None:
    with FakeOpenAI([text("Hi.", usage=False)]) as server:
        answer = await ask(made(adapter, server), streamed=streamed)

    assert answer.usage.requests == 1
    assert answer.usage.total_tokens == 0


@BOTH
@STREAMED
async def test_http_errors_come_out_as_they_are_after_one_request(
    adapter: type[Any], streamed: bool
) -> None:
    busy = error(429, "Slow down.", headers={"Retry-After": "7"})

    with FakeOpenAI([busy, error(500)]) as server:
        model = made(adapter, server)
        with pytest.raises(openai.RateLimitError) as limited:
            await ask(model, streamed=streamed)
        with pytest.raises(openai.InternalServerError):
            await ask(model, streamed=streamed)

    assert limited.value.response.headers["retry-after"] == "7"
    assert len(server.requests) == 2


@BOTH
async def test_connection_lost_in_the_middle_is_an_error(adapter: type[Any]) -> None:
    events: list[Any] = []

    with (
        FakeOpenAI([text("Never to be whole.").cut(after=5)]) as server,
        pytest.raises((openai.APIConnectionError, httpx2.TransportError)),
    ):
        await ask(made(adapter, server), streamed=True, events=events)

    assert [event.type for event in events][:1] == ["response.created"]


@BOTH
async def test_stream_without_its_end_is_a_failure(adapter: type[Any]) -> None:
    with (
        FakeOpenAI([text("Never to be whole.").cut(after=4, clean=True)]) as server,
        pytest.raises(ModelCallError, match="ended before") as failed,
    ):
        await ask(made(adapter, server), streamed=True)

    assert normalized_error(failed.value).is_network_error


@BOTH
async def test_corrupt_chunk_comes_out_raw(adapter: type[Any]) -> None:
    with (
        FakeOpenAI([raw("data: {not json")]) as server,
        pytest.raises(json.JSONDecodeError),
    ):
        await ask(made(adapter, server), streamed=True)


@BOTH
async def test_error_in_the_stream_is_the_clients_error(adapter: type[Any]) -> None:
    with (
        FakeOpenAI([raw({"error": {"message": "Overloaded."}})]) as server,
        pytest.raises(openai.APIError, match="Overloaded"),
    ):
        await ask(made(adapter, server), streamed=True)


async def test_chat_answer_without_choices_names_the_servers_error() -> None:
    body = {"error": {"message": "No such model."}, "choices": None}

    def handle(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, json=body)

    async with openai.AsyncOpenAI(
        api_key="key",
        base_url="http://fake.test/v1",
        http_client=httpx2.AsyncClient(transport=httpx2.MockTransport(handle)),
    ) as client:
        with pytest.raises(ModelCallError, match="No such model"):
            await ask(OpenAIChatCompletionsModel("fake", client), streamed=False)


@BOTH
async def test_page_of_a_proxy_is_a_failure(adapter: type[Any]) -> None:
    def handle(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, html="<h1>Sign in</h1>")

    async with openai.AsyncOpenAI(
        api_key="key",
        base_url="http://fake.test/v1",
        http_client=httpx2.AsyncClient(transport=httpx2.MockTransport(handle)),
    ) as client:
        with pytest.raises(ModelCallError, match="sent"):
            await ask(adapter("fake", client), streamed=False)


@STREAMED
async def test_responses_request_holds_only_what_is_set(streamed: bool) -> None:
    with FakeOpenAI([text("Hi.")]) as server:
        await ask(made(OpenAIResponsesModel, server), streamed=streamed)

    body = server.requests[0].body
    assert body.pop("stream", False) is streamed
    assert body == {"model": "fake", "input": [{"role": "user", "content": "hi"}]}


async def test_responses_request_maps_every_setting() -> None:
    settings = ModelSettings(
        temperature=0.5,
        top_p=0.9,
        tool_choice="refund",
        parallel_tool_calls=False,
        truncation="auto",
        max_tokens=100,
        reasoning=Reasoning(effort="low", summary="auto"),
        verbosity="low",
        metadata={"run": "7"},
        store=False,
        prompt_cache_retention="24h",
        prompt_cache_options={"mode": "explicit"},
        context_management=[{"type": "compaction", "compact_threshold": 1000}],
        response_include=["reasoning.encrypted_content"],
        top_logprobs=2,
        extra_query={"q": "1"},
        extra_body={"seed": 3},
        extra_headers={"X-Team": "desk"},
        extra_args={"service_tier": "flex"},
    )

    with FakeOpenAI([text("Hi.")]) as server:
        await ask(
            made(OpenAIResponsesModel, server),
            streamed=False,
            instructions="Be brief.",
            settings=settings,
            tools=[refund_tool()],
            output_schema=Schema(),
            previous_response_id="resp_1",
            prompt={"id": "pmpt_1"},
        )

    request = server.requests[0]
    assert request.path == "/v1/responses?q=1"
    assert request.headers["x-team"] == "desk"
    assert request.body == {
        "model": "fake",
        "input": [{"role": "user", "content": "hi"}],
        "instructions": "Be brief.",
        "tools": [
            {
                "type": "function",
                "name": "refund",
                "description": "Refund an order.",
                "parameters": refund_tool().params_json_schema,
                "strict": True,
            }
        ],
        "tool_choice": {"type": "function", "name": "refund"},
        "parallel_tool_calls": False,
        "temperature": 0.5,
        "top_p": 0.9,
        "truncation": "auto",
        "max_output_tokens": 100,
        "reasoning": {"effort": "low", "summary": "auto"},
        "text": {
            "verbosity": "low",
            "format": {
                "type": "json_schema",
                "name": "final_output",
                "schema": {"type": "object"},
                "strict": True,
            },
        },
        "metadata": {"run": "7"},
        "store": False,
        "prompt_cache_retention": "24h",
        "prompt_cache_options": {"mode": "explicit"},
        "context_management": [{"type": "compaction", "compact_threshold": 1000}],
        "include": ["reasoning.encrypted_content", "message.output_text.logprobs"],
        "top_logprobs": 2,
        "previous_response_id": "resp_1",
        "prompt": {"id": "pmpt_1"},
        "seed": 3,
        "service_tier": "flex",
    }


async def test_responses_request_leaves_out_reasoning_of_a_chat_model() -> None:
    items = [
        {"role": "user", "content": "hi"},
        {"type": "reasoning", "id": "rs_chat_1", "summary": []},
        {"type": "reasoning", "id": "rs_1", "summary": []},
    ]

    with FakeOpenAI([text("Hi.")]) as server:
        await ask(made(OpenAIResponsesModel, server), streamed=False, input=items)

    assert server.requests[0].body["input"] == [items[0], items[2]]


@STREAMED
async def test_chat_request_holds_only_what_is_set(streamed: bool) -> None:
    settings = ModelSettings(tool_choice="required", include_usage=False)

    with FakeOpenAI([text("Hi.")]) as server:
        model = made(OpenAIChatCompletionsModel, server)
        await ask(model, streamed=streamed, settings=settings)

    body = server.requests[0].body
    assert body.pop("stream", False) is streamed
    assert body == {"model": "fake", "messages": [{"role": "user", "content": "hi"}]}


async def test_chat_request_maps_every_setting() -> None:
    settings = ModelSettings(
        temperature=0.5,
        top_p=0.9,
        frequency_penalty=0.1,
        presence_penalty=0.2,
        tool_choice="refund",
        parallel_tool_calls=False,
        max_tokens=100,
        reasoning=Reasoning(effort="low"),
        verbosity="low",
        metadata={"run": "7"},
        store=False,
        prompt_cache_retention="24h",
        top_logprobs=2,
        extra_query={"q": "1"},
        extra_body={"seed": 3},
        extra_headers={"X-Team": "desk"},
        extra_args={"service_tier": "flex"},
    )

    with FakeOpenAI([text("Hi.")]) as server:
        await ask(
            made(OpenAIChatCompletionsModel, server),
            streamed=True,
            instructions="Be brief.",
            settings=settings,
            tools=[refund_tool()],
            output_schema=Schema(),
        )

    request = server.requests[0]
    assert request.path == "/v1/chat/completions?q=1"
    assert request.headers["x-team"] == "desk"
    assert request.body == {
        "model": "fake",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "hi"},
        ],
        "max_tokens": 100,
        "temperature": 0.5,
        "top_p": 0.9,
        "frequency_penalty": 0.1,
        "presence_penalty": 0.2,
        "reasoning_effort": "low",
        "verbosity": "low",
        "metadata": {"run": "7"},
        "store": False,
        "prompt_cache_retention": "24h",
        "logprobs": True,
        "top_logprobs": 2,
        "response_format": {
            "type": "json_schema",
            "json_schema": {
                "name": "final_output",
                "strict": True,
                "schema": {"type": "object"},
            },
        },
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": "refund",
                    "description": "Refund an order.",
                    "parameters": refund_tool().params_json_schema,
                    "strict": True,
                },
            }
        ],
        "tool_choice": {"type": "function", "function": {"name": "refund"}},
        "parallel_tool_calls": False,
        "stream": True,
        "stream_options": {"include_usage": True},
        "seed": 3,
        "service_tier": "flex",
    }


@BOTH
@STREAMED
async def test_setting_given_twice_is_refused(
    adapter: type[Any], streamed: bool
) -> None:
    settings = ModelSettings(temperature=0.5, extra_args={"temperature": 1})

    with FakeOpenAI([text("Hi.")]) as server:
        model = made(adapter, server)
        with pytest.raises(UserError, match="temperature"):
            await ask(model, streamed=streamed, settings=settings)

    assert server.requests == []


@BOTH
@STREAMED
async def test_half_a_character_does_not_stop_the_run(
    adapter: type[Any], streamed: bool
) -> None:
    with FakeOpenAI([text("Hi.")]) as server:
        await ask(made(adapter, server), streamed=streamed, input="caf\ud800 ol\u00e9")

    assert last_user_text(server.requests[0].body) == "caf? ol\u00e9"


@STREAMED
async def test_chat_refuses_what_needs_a_server_with_memory(streamed: bool) -> None:
    model = OpenAIChatCompletionsModel("fake", api_key="key")

    with pytest.raises(UserError, match="previous_response_id"):
        await ask(model, streamed=streamed, previous_response_id="resp_1")


@STREAMED
async def test_chat_gives_used_and_missing_call_ids_fresh_ones(streamed: bool) -> None:
    earlier = [
        {"role": "user", "content": "refund both"},
        {"type": "function_call", "call_id": "c1", "name": "refund", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "ok"},
    ]
    reply = calls(
        ("refund", "{}", "c1"), ("refund", "{}", ""), ("a", "{}", "c2"), ("b", "", "c2")
    )

    with FakeOpenAI([reply]) as server:
        model = made(OpenAIChatCompletionsModel, server)
        answer = await ask(model, streamed=streamed, input=earlier)

    items: list[Any] = list(answer.output)
    ids = [item.call_id for item in items]
    assert [item.name for item in items] == ["refund", "refund", "a", "b"]
    assert ids[2] == "c2"
    assert len({"c1", "", *ids}) == 6
    assert items[3].arguments == "{}"


async def test_chat_whitespace_before_calls_is_no_message() -> None:
    reply = calls(("refund", "{}", "c1"), said="\n\n")

    with FakeOpenAI([reply, reply]) as server:
        model = made(OpenAIChatCompletionsModel, server)
        streamed = await ask(model, streamed=True)
        whole = await ask(model, streamed=False)

    assert [item.type for item in streamed.output] == ["function_call"]
    assert [item.type for item in whole.output] == ["function_call"]


async def test_client_is_one_a_loop_and_credential(
    environment: pytest.MonkeyPatch,
) -> None:
    environment.setenv("OPENAI_API_KEY", "key")

    here = shared_client()
    other_loop = await asyncio.to_thread(lambda: asyncio.run(_client_of_this_loop()))

    assert shared_client("key") is here
    assert shared_client("other") is not here
    assert shared_client(base_url="http://127.0.0.1:1/v1") is not here
    assert other_loop is not here
    assert here.max_retries == 0


@BOTH
async def test_turns_share_one_connection(adapter: type[Any]) -> None:
    with FakeOpenAI([text("One."), text("Two."), text("Three.")]) as server:
        model = made(adapter, server)
        for _ in range(3):
            await ask(model, streamed=True)

    assert len({request.client for request in server.requests}) == 1


@BOTH
async def test_cancelled_stream_hangs_up(adapter: type[Any]) -> None:
    go_on = threading.Event()

    with FakeOpenAI([text("A long answer.").held(go_on, after=3)]) as server:
        task = asyncio.create_task(ask(made(adapter, server), streamed=True))
        await asyncio.to_thread(server.wait_for_requests, 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        go_on.set()


async def test_provider_reads_the_environment(
    environment: pytest.MonkeyPatch,
) -> None:
    environment.setenv("OPENAI_API_KEY", "key")
    with FakeOpenAI([text("One."), text("Two.")]) as server:
        environment.setenv("OPENAI_BASE_URL", server.base_url)
        first = OpenAIProvider().get_model(None)
        environment.setenv("PLACET_OPENAI_API", "chat")
        environment.setenv("PLACET_MODEL", "llama")
        second = OpenAIProvider().get_model(None)
        await ask(first, streamed=False)
        await ask(second, streamed=False)

    assert isinstance(second, OpenAIChatCompletionsModel)
    asked = [(request.path, request.body["model"]) for request in server.requests]
    assert asked == [
        ("/v1/responses", "gpt-5-mini"),
        ("/v1/chat/completions", "llama"),
    ]
    assert server.requests[0].headers["authorization"] == "Bearer key"


def test_provider_names_the_variable_to_set(
    environment: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(UserError, match="OPENAI_API_KEY"):
        OpenAIProvider().get_model("gpt-5-mini")

    environment.setenv("PLACET_OPENAI_API", "completions")
    with pytest.raises(UserError, match="PLACET_OPENAI_API='completions'"):
        OpenAIProvider(api_key="key").get_model("gpt-5-mini")


def test_provider_argument_beats_the_environment(
    environment: pytest.MonkeyPatch,
) -> None:
    environment.setenv("PLACET_OPENAI_API", "chat")

    model = OpenAIProvider("key", use_responses=True).get_model("gpt-5")

    assert isinstance(model, OpenAIResponsesModel)


@BOTH
@STREAMED
async def test_shop_script_calls_the_tool_and_then_tells(
    adapter: type[Any], streamed: bool
) -> None:
    question: dict[str, Any] = {"role": "user", "content": "Please refund order A1."}
    with FakeOpenAI() as server:
        model = made(adapter, server)
        first = await ask(
            model, streamed=streamed, input=[question], tools=[refund_tool()]
        )
        call: Any = first.output[0]
        output = {
            "type": "function_call_output",
            "call_id": call.call_id,
            "output": "refunded",
        }
        items = [question, *first.to_input_items(), output]
        last = await ask(model, streamed=streamed, input=items, tools=[refund_tool()])

    assert (call.name, json.loads(call.arguments)) == ("refund", {"order_id": "A1"})
    assert said(last) == "Done. refunded"
    body = server.requests[-1].body
    assert last_user_text(body) == "Please refund order A1."
    assert tool_outputs(body) == [(call.call_id, "refunded")]


@dataclass
class Transfer:
    """As much of a handoff as an adapter reads."""

    tool_name: str = "transfer_to_desk"
    tool_description: str = "Hand over to the desk."
    strict_json_schema: bool = True

    @property
    def input_json_schema(self) -> dict[str, Any]:
        return {"type": "object", "properties": {}}


HOSTED_ITEMS: list[dict[str, Any]] = [
    {
        "type": "web_search_call",
        "id": "ws_1",
        "status": "completed",
        "action": {"type": "search", "query": "rome", "queries": ["rome"]},
    },
    {
        "type": "mcp_list_tools",
        "id": "mcpl_1",
        "server_label": "shop",
        "tools": [{"name": "refund", "input_schema": {"type": "object"}}],
    },
    {
        "type": "mcp_approval_request",
        "id": "mcpr_1",
        "server_label": "shop",
        "name": "refund",
        "arguments": "{}",
    },
    {
        "type": "mcp_call",
        "id": "mcp_1",
        "server_label": "shop",
        "name": "refund",
        "arguments": "{}",
        "output": "done",
    },
    {"type": "compaction", "id": "cmp_1", "encrypted_content": "zzz"},
    {
        "type": "image_generation_call",
        "id": "ig_1",
        "status": "completed",
        "result": "aGk=",
    },
    {
        "type": "tool_search_call",
        "id": "tsc_1",
        "arguments": {"query": "refund"},
        "execution": "server",
        "status": "completed",
    },
    {
        "type": "function_call",
        "id": "fc_1",
        "call_id": "c1",
        "name": "refund",
        "arguments": "{}",
        "status": "completed",
        "namespace": "crm",
        "caller": {"type": "program", "caller_id": "prog_1"},
        "something_new": {"a": 1},
    },
    {"type": "thing_of_tomorrow", "id": "t_1", "payload": [1, 2]},
]


def response_of(*items: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "model": "fake",
        "status": "completed",
        "output": list(items),
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        **more,
    }


def client_of(body: dict[str, Any], **more: Any) -> openai.AsyncOpenAI:
    def handle(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, json=body)

    return openai.AsyncOpenAI(
        api_key="key",
        base_url="http://fake.test/v1",
        http_client=httpx2.AsyncClient(transport=httpx2.MockTransport(handle)),
        **more,
    )


async def answer_of(items: list[dict[str, Any]], *, streamed: bool) -> ModelResponse:
    """Return what the engine makes of a server's items."""
    whole = response_of(*items)
    if not streamed:
        async with client_of(whole) as client:
            return await ask(OpenAIResponsesModel("fake", client), streamed=False)
    done = [
        {"type": "response.output_item.done", "output_index": index, "item": item}
        for index, item in enumerate(items)
    ]
    # The last event without its items: they come from the events before.
    end = {"type": "response.completed", "response": {**whole, "output": []}}
    with FakeOpenAI([raw(*done, end)]) as server:
        return await ask(made(OpenAIResponsesModel, server), streamed=True)


@STREAMED
async def test_items_of_hosted_tools_come_back_unharmed(streamed: bool) -> None:
    answer = await answer_of(HOSTED_ITEMS, streamed=streamed)
    items = answer.to_input_items()
    with FakeOpenAI([text("Hi.")]) as server:
        await ask(made(OpenAIResponsesModel, server), streamed=False, input=items)

    assert [item.type for item in answer.output] == [
        item["type"] for item in HOSTED_ITEMS
    ]
    assert items == HOSTED_ITEMS
    assert server.requests[0].body["input"] == HOSTED_ITEMS


@STREAMED
async def test_usage_is_kept_as_it_was_sent_where_it_is_asked_for(
    streamed: bool,
) -> None:
    settings = ModelSettings(preserve_raw_usage=True)
    with FakeOpenAI([text("Hi."), text("Hi."), text("Hi.")]) as server:
        responses = made(OpenAIResponsesModel, server)
        chat = made(OpenAIChatCompletionsModel, server)
        kept = await ask(responses, streamed=streamed, settings=settings)
        converted = await ask(chat, streamed=streamed, settings=settings)
        plain = await ask(chat, streamed=streamed)

    assert (kept.raw_usage or {})["input_tokens"] == kept.usage.input_tokens
    assert (converted.raw_usage or {})["prompt_tokens"] == converted.usage.input_tokens
    assert plain.raw_usage is None


async def test_conversation_is_named_to_the_server() -> None:
    with FakeOpenAI([text("Hi.")]) as server:
        model = made(OpenAIResponsesModel, server)
        await ask(model, streamed=False, conversation_id="conv_1")

    assert server.requests[0].body["conversation"] == "conv_1"


async def test_a_prompt_brings_its_own_model_unless_one_is_named() -> None:
    with FakeOpenAI([text("Hi."), text("Hi.")]) as server:
        for explicit in (True, False):
            model = OpenAIResponsesModel(
                "fake",
                model_is_explicit=explicit,
                api_key="key",
                base_url=server.base_url,
            )
            await ask(model, streamed=False, prompt={"id": "pmpt_1"})

    assert [request.body.get("model") for request in server.requests] == ["fake", None]


async def test_parallel_calls_are_no_matter_without_tools() -> None:
    settings = ModelSettings(parallel_tool_calls=True)
    with FakeOpenAI([text("Hi."), text("Hi.")]) as server:
        model = made(OpenAIResponsesModel, server)
        await ask(model, streamed=False, settings=settings)
        await ask(model, streamed=False, settings=settings, handoffs=[Transfer()])

    asked = [request.body.get("parallel_tool_calls") for request in server.requests]
    assert asked == [None, True]


async def test_fields_of_another_server_are_not_sent_to_responses() -> None:
    call = {
        "type": "function_call",
        "call_id": "c1",
        "name": "refund",
        "arguments": "{}",
    }
    with FakeOpenAI([text("Hi.")]) as server:
        model = made(OpenAIResponsesModel, server)
        await ask(model, streamed=False, input=[{**call, "provider_data": {"a": 1}}])

    assert server.requests[0].body["input"] == [call]


@STREAMED
async def test_chat_may_leave_out_what_the_server_does_not_know(
    streamed: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with FakeOpenAI([text("Hi.")]) as server:
        model = OpenAIChatCompletionsModel(
            "fake",
            strict_feature_validation=False,
            api_key="key",
            base_url=server.base_url,
        )
        await ask(model, streamed=streamed, previous_response_id="resp_1")

    assert "previous_response_id" not in server.requests[0].body
    assert "previous_response_id" in caplog.text


async def test_chat_log_probabilities_may_be_given_by_hand() -> None:
    settings = ModelSettings(top_logprobs=2, extra_args={"logprobs": True})
    with FakeOpenAI([text("Hi.")]) as server:
        model = made(OpenAIChatCompletionsModel, server)
        await ask(model, streamed=False, settings=settings)

    assert server.requests[0].body["logprobs"] is True


@BOTH
@pytest.mark.parametrize(("retry", "asked"), [(None, 2), ({"max_retries": 0}, 1)])
async def test_given_client_retries_by_itself_unless_the_settings_say_how(
    adapter: type[Any], retry: Any, asked: int
) -> None:
    # The client waits 0.5 s at least where a server names no wait.
    busy = error(429, headers={"Retry-After-Ms": "1"})
    with FakeOpenAI(lambda request: busy) as server:
        async with openai.AsyncOpenAI(
            api_key="key", base_url=server.base_url, max_retries=1
        ) as client:
            settings = ModelSettings(retry=retry)
            with pytest.raises(openai.RateLimitError):
                await ask(adapter("fake", client), streamed=False, settings=settings)

    assert len(server.requests) == asked


async def _client_of_this_loop() -> openai.AsyncOpenAI:
    client = shared_client()
    await close_clients()
    return client


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_server_with_chat_completions_only_is_asked_that_way(
    environment: pytest.MonkeyPatch, streamed: bool
) -> None:
    def chat_only(request: dict[str, Any]) -> Any:
        return text("Hello.") if "messages" in request else error(404)

    with FakeOpenAI(chat_only) as server:
        model = OpenAIProvider("key", server.base_url).get_model(None)
        answers = [await ask(model, streamed=streamed) for _ in range(2)]

    assert [said(answer) for answer in answers] == ["Hello."] * 2
    assert [request.path for request in server.requests] == [
        "/v1/responses",
        "/v1/chat/completions",
        "/v1/chat/completions",
    ]


async def test_a_server_that_has_neither_way_says_so(
    environment: pytest.MonkeyPatch,
) -> None:
    with FakeOpenAI(lambda request: error(404)) as server:
        model = OpenAIProvider("key", server.base_url).get_model(None)
        for _ in range(2):
            with pytest.raises(openai.NotFoundError):
                await ask(model, streamed=True)

    assert [request.path for request in server.requests] == [
        "/v1/responses",
        "/v1/chat/completions",
    ] * 2


# Providers


@pytest.fixture
def fresh_defaults(
    environment: pytest.MonkeyPatch,
) -> pytest.MonkeyPatch:
    environment.setattr(defaults, "_defaults", defaults._Defaults())
    return environment


async def test_provider_takes_a_client_or_what_makes_one(
    environment: pytest.MonkeyPatch,
) -> None:
    with FakeOpenAI([text("Hi.")]) as server:
        async with openai.AsyncOpenAI(
            api_key="given", base_url=server.base_url
        ) as client:
            model = OpenAIProvider(openai_client=client).get_model("gpt-5")
            await ask(model, streamed=False)
            with pytest.raises(UserError, match="openai_client"):
                OpenAIProvider(openai_client=client, project="p")

    assert server.requests[0].headers["authorization"] == "Bearer given"


async def test_provider_names_organization_and_project(
    environment: pytest.MonkeyPatch,
) -> None:
    with FakeOpenAI([text("Hi.")]) as server:
        provider = OpenAIProvider(
            api_key="key",
            base_url=server.base_url,
            organization="org_1",
            project="proj_1",
        )
        await ask(provider.get_model("gpt-5"), streamed=False)

    headers = server.requests[0].headers
    assert headers["openai-organization"] == "org_1"
    assert headers["openai-project"] == "proj_1"


async def test_wish_for_websockets_is_answered_over_http(
    environment: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with FakeOpenAI([text("Hi.")]) as server:
        provider = OpenAIProvider("key", server.base_url, use_responses_websocket=True)
        answer = await ask(provider.get_model("gpt-5"), streamed=True)

    assert said(answer) == "Hi."
    assert "HTTP" in caplog.text
    with pytest.raises(ValueError, match="'pigeon'"):
        set_default_openai_responses_transport("pigeon")  # type: ignore[arg-type]


async def test_defaults_of_the_process_beat_the_environment(
    fresh_defaults: pytest.MonkeyPatch,
) -> None:
    told: list[str] = []
    share_keys_with_tracing(told.append)
    fresh_defaults.setenv("OPENAI_API_KEY", "environment")
    fresh_defaults.setenv("PLACET_OPENAI_API", "responses")
    set_default_openai_key("default")
    set_default_openai_api("chat_completions")
    with FakeOpenAI([text("Hi.")] * 5) as server:
        url = server.base_url
        await ask(OpenAIProvider(None, url).get_model(None), streamed=False)
        async with openai.AsyncOpenAI(
            api_key="client", base_url=server.base_url
        ) as client:
            set_default_openai_client(client, use_for_tracing=False)
            await ask(OpenAIProvider().get_model(None), streamed=False)
            await ask(OpenAIChatCompletionsModel("fake"), streamed=False)
            for model in (
                OpenAIChatCompletionsModel("fake", api_key="own", base_url=url),
                OpenAIProvider("own", url).get_model(None),
            ):
                await ask(model, streamed=False)

    assert {request.path for request in server.requests} == {"/v1/chat/completions"}
    assert [request.headers["authorization"] for request in server.requests] == [
        "Bearer default",
        "Bearer client",
        "Bearer client",
        "Bearer own",
        "Bearer own",
    ]
    assert told == ["default"]


def test_default_model_may_be_named_as_the_sdk_does(
    environment: pytest.MonkeyPatch,
) -> None:
    environment.setenv("OPENAI_DEFAULT_MODEL", "gpt-theirs")
    assert default_model_name() == "gpt-theirs"

    environment.setenv("PLACET_MODEL", "gpt-ours")
    assert default_model_name() == "gpt-ours"


class Named(ModelProvider):
    """Remembers the names it is asked for."""

    def __init__(self, *, broken: bool = False) -> None:
        self.names: list[str | None] = []
        self.closed = 0
        self._broken = broken

    def get_model(self, model_name: str | None) -> Model:
        self.names.append(model_name)
        return OpenAIResponsesModel(str(model_name), api_key="key")

    async def aclose(self) -> None:
        self.closed += 1
        if self._broken:
            raise OSError("lost")


@pytest.mark.parametrize(
    ("options", "name", "asked"),
    [
        ({}, "gpt-5", "gpt-5"),
        ({}, None, None),
        ({}, "openai/gpt-5", "gpt-5"),
        ({"openai_prefix_mode": "model_id"}, "openai/gpt-5", "openai/gpt-5"),
        ({"unknown_prefix_mode": "model_id"}, "meta/llama/3", "meta/llama/3"),
    ],
)
def test_names_go_to_openai_by_prefix(
    options: dict[str, Any], name: str | None, asked: str | None
) -> None:
    provider = MultiProvider(openai_api_key="key", **options)
    openai_models: Any = Named()
    provider.openai_provider = openai_models

    provider.get_model(name)

    assert openai_models.names == [asked]


def test_names_go_to_the_provider_of_their_prefix() -> None:
    mapped, own = Named(), MultiProviderMap()
    own.add_provider("shop", mapped)
    own.add_provider("openai", mapped)
    provider = MultiProvider(provider_map=own, openai_api_key="key")

    provider.get_model("shop/a/b")
    provider.get_model("openai/gpt-5")

    assert mapped.names == ["a/b", "gpt-5"]
    with pytest.raises(UserError, match="'litellm'"):
        provider.get_model("litellm/gpt-5")


def test_prefix_modes_are_two() -> None:
    with pytest.raises(UserError, match="openai_prefix_mode"):
        MultiProvider(openai_prefix_mode="strip")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="unknown_prefix_mode"):
        MultiProvider(unknown_prefix_mode="strip")  # type: ignore[arg-type]


async def test_every_provider_is_closed_once_even_after_a_failure() -> None:
    broken, whole, own = Named(broken=True), Named(), MultiProviderMap()
    own.set_mapping({"a": broken, "b": whole, "c": whole})

    with pytest.raises(OSError, match="lost"):
        await MultiProvider(provider_map=own, openai_api_key="key").aclose()

    assert (broken.closed, whole.closed) == (1, 1)


def test_chat_says_that_it_sends_no_reasoning_back() -> None:
    replay: Any = lambda context: True  # noqa: E731  as programs pass it

    with pytest.raises(UserError, match="should_replay_reasoning_content"):
        OpenAIChatCompletionsModel("m", None, replay)

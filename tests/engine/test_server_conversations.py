"""Conversations that the model's server keeps: it is sent only what is new to it."""

from __future__ import annotations

from typing import Any

import httpx2
import openai
import pytest

from runs.engine import (
    Agent,
    ModelRetryBackoffSettings,
    ModelRetrySettings,
    ModelSettings,
    Ports,
    RunConfig,
    Runner,
    UserError,
    handoff,
    remove_all_tools,
)
from runs.engine.testing import ModelStep, assistant_message

from .conftest import FakeClock
from .scripted import (
    END,
    Support,
    approved,
    call,
    look_up,
    model_of,
    paused,
    refund,
    reread,
    scripted,
)

pytestmark = pytest.mark.usefixtures("nothing_left")


def sent(agent: Agent[Any]) -> list[tuple[str | None, str | None, list[str]]]:
    """Return previous response, conversation and kinds of items of each request."""
    return [
        (
            asked.previous_response_id,
            asked.conversation_id,
            [item.get("type") or item["role"] for item in asked.input],
        )
        for asked in model_of(agent).calls
    ]


OUTPUT = ["function_call_output"]


async def test_a_conversation_is_sent_each_item_once() -> None:
    support = Support([look_up("c1")], END)

    await Runner.run(support.agent, "go", conversation_id="conv")

    assert sent(support.agent) == [
        (None, "conv", ["user"]),
        (None, "conv", OUTPUT),
    ]


@pytest.mark.parametrize(
    ("options", "first"),
    [
        ({"previous_response_id": "resp_0"}, "resp_0"),
        ({"auto_previous_response_id": True}, None),
    ],
)
async def test_each_answer_is_the_next_ones_previous(
    options: Any, first: str | None
) -> None:
    support = Support([look_up("c1")], [look_up("c2")], END)

    result = await Runner.run(support.agent, "go", **options)

    assert sent(support.agent) == [
        (first, None, ["user"]),
        ("scripted-response-1", None, OUTPUT),
        ("scripted-response-2", None, OUTPUT),
    ]
    assert result.last_response_id == "scripted-response-3"


@pytest.mark.parametrize(
    "options",
    [
        {"conversation_id": "conv"},
        {"previous_response_id": "resp_0"},
        {"auto_previous_response_id": True},
    ],
)
@pytest.mark.parametrize("again", [True, False])
async def test_a_pause_goes_on_in_the_conversation_whether_or_not_it_is_named_again(
    options: Any, again: bool
) -> None:
    support = Support([look_up("c0"), refund("c1")], END)
    state = await reread(support.agent, await paused(support.agent, **options))

    await approved(support.agent, state, **(options if again else {}))

    previous, conversation, items = sent(support.agent)[1]
    assert items == ["function_call_output", "function_call_output"]
    assert conversation == options.get("conversation_id")
    assert previous == (None if conversation else "scripted-response-1")


async def test_input_added_at_a_pause_is_sent_once() -> None:
    support = Support([refund("c1")], [look_up("c2")], END)
    state = await paused(support.agent, conversation_id="conv")
    state.add_input("And hurry.")

    await approved(support.agent, await reread(support.agent, state))

    assert [items for *_, items in sent(support.agent)] == [
        ["user"],
        ["function_call_output", "user"],
        OUTPUT,
    ]


async def test_a_model_that_failed_is_sent_the_same_again() -> None:
    support = Support(
        [look_up("c1")], ModelStep.raise_error(ConnectionError("down")), END
    )

    with pytest.raises(Exception, match="down") as error:
        await Runner.run(support.agent, "go", conversation_id="conv")
    state = error.value.run_state  # type: ignore[attr-defined]
    await Runner.run(support.agent, await reread(support.agent, state))

    assert [items for *_, items in sent(support.agent)] == [["user"], OUTPUT, OUTPUT]


async def test_a_handoff_goes_on_in_the_conversation() -> None:
    other = scripted([assistant_message("done")], name="Other")
    agent = scripted([call("transfer_to_other", "h1")], handoffs=[other])

    await Runner.run(agent, "go", auto_previous_response_id=True)

    assert sent(other) == [("scripted-response-1", None, OUTPUT)]


@pytest.mark.parametrize("by", ["handoff", "run"])
async def test_a_filter_cannot_edit_what_the_server_keeps(by: str) -> None:
    other = scripted(END, name="Other")
    own = handoff(other, input_filter=remove_all_tools if by == "handoff" else None)
    agent = scripted([call("transfer_to_other", "h1")], handoffs=[own])
    config = RunConfig(handoff_input_filter=remove_all_tools if by == "run" else None)

    with pytest.raises(UserError, match="server keeps"):
        await Runner.run(agent, "go", conversation_id="conv", run_config=config)


async def test_an_inner_agent_is_in_no_conversation_but_its_own() -> None:
    inner = Support([look_up("c1")], END, name="Clerk")
    tool = inner.agent.as_tool("clerk", "", conversation_id="inner")
    outer = scripted([call("clerk", "r1", input="x")], END, tools=[tool])

    await Runner.run(outer, "go", conversation_id="outer")

    assert {conversation for _, conversation, _ in sent(outer)} == {"outer"}
    assert sent(inner.agent) == [(None, "inner", ["user"]), (None, "inner", OUTPUT)]


async def test_a_retry_asks_for_the_same_previous_response(clock: FakeClock) -> None:
    backoff = ModelRetryBackoffSettings(initial_delay=1.0, jitter=False)
    settings = ModelSettings(retry=ModelRetrySettings(2, backoff))
    request = httpx2.Request("POST", "http://127.0.0.1/v1/responses")
    response = httpx2.Response(429, request=request)
    busy = openai.APIStatusError("busy", response=response, body=None)
    support = Support(
        [look_up("c1")], ModelStep.raise_error(busy), END, model_settings=settings
    )

    await Runner.run(
        support.agent, "go", auto_previous_response_id=True, ports=Ports(clock=clock)
    )

    asked = ("scripted-response-1", None, OUTPUT)
    assert sent(support.agent)[1:] == [asked, asked]
    assert clock.waits == [1.0]

"""Runs that ask one model keep its server's limits together."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator, Hashable
from typing import Any

import openai
import pytest

from runs.engine import Agent, ModelResponse, ModelSettings, Runner, UserError
from runs.engine.models import OpenAIChatCompletionsModel, OpenAIProvider
from runs.engine.models.pace import LONGEST_PAUSE_S, LONGEST_SPREAD_S
from runs.engine.ports import Ports
from runs.engine.testing import ScriptedModel, assistant_message

from .test_retry import status_error

pytestmark = pytest.mark.usefixtures("nothing_left")


class Time:
    """A clock that stands still until a test lets time pass."""

    def __init__(self) -> None:
        self.now = 100.0
        self._sleeping: list[tuple[float, int, asyncio.Future[None]]] = []

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        woken = asyncio.get_running_loop().create_future()
        entry = (self.now + seconds, len(self._sleeping), woken)
        heapq.heappush(self._sleeping, entry)
        await woken

    async def go_on(self, seconds: float = 0.0) -> None:
        """Let so much time pass, and everything happen that is due by then."""
        end = self.now + seconds
        await settled()
        while self._sleeping and self._sleeping[0][0] <= end:
            self.now, _, woken = heapq.heappop(self._sleeping)
            if not woken.done():
                woken.set_result(None)
            await settled()
        self.now = end


async def settled() -> None:
    """Return once every task waits for time or for an answer."""
    for _ in range(50):
        await asyncio.sleep(0)


class Server(ScriptedModel):
    """Models of one server; notes when it is asked, and may hold its answers back."""

    def __init__(self, time: Time, *steps: Any, key: Hashable = "server") -> None:
        super().__init__(steps)
        self.asked: list[float] = []
        self.answering = asyncio.Event()
        self.answering.set()
        self._time = time
        self._key = key

    def rate_limit_key(self) -> Hashable:
        return self._key

    async def get_response(self, *args: Any, **kwargs: Any) -> ModelResponse:
        self.asked.append(self._time.now)
        await self.answering.wait()
        return await super().get_response(*args, **kwargs)

    async def stream_response(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        self.asked.append(self._time.now)
        await self.answering.wait()
        async for event in super().stream_response(*args, **kwargs):
            yield event


DONE = assistant_message("done")


@pytest.fixture
def time() -> Time:
    return Time()


def run(model: ScriptedModel, time: Time, **settings: Any) -> asyncio.Task[Any]:
    agent = Agent(
        name="A", model=model, model_settings=ModelSettings(**settings), tools=[]
    )
    return asyncio.create_task(Runner.run(agent, "Hi", ports=Ports(clock=time)))


def busy(after_s: float, status: int = 429) -> openai.APIStatusError:
    return status_error(status, retry_after=str(after_s))


@pytest.mark.parametrize("status", [429, 503])
async def test_all_runs_wait_once_the_server_asks_one_to(
    time: Time, status: int
) -> None:
    model = Server(time, busy(10, status), *[DONE] * 3)
    runs = [run(model, time)]
    await time.go_on(1)
    runs += [run(model, time), run(model, time)]

    await time.go_on(8.9)
    assert model.asked == [100]
    await time.go_on(0.1 + LONGEST_SPREAD_S)

    assert len(await asyncio.gather(*runs)) == 3
    assert all(110 <= at <= 110 + LONGEST_SPREAD_S for at in model.asked[1:])


async def test_those_who_waited_do_not_come_all_at_once(time: Time) -> None:
    model = Server(time, busy(10), *[DONE] * 20)
    runs = [run(model, time)]
    await time.go_on(1)
    runs += [run(model, time) for _ in range(19)]

    await time.go_on(20)

    await asyncio.gather(*runs)
    assert len(set(model.asked[1:])) == 20


async def test_another_model_is_asked_meanwhile(time: Time) -> None:
    held = run(Server(time, busy(10), DONE), time)
    await time.go_on(1)
    other = Server(time, DONE, key="another server")
    free = run(other, time)

    await time.go_on()

    assert free.done()
    assert not held.done()
    await time.go_on(20)
    await asyncio.gather(held, free)


async def test_a_longer_pause_replaces_a_shorter_and_not_the_reverse(
    time: Time,
) -> None:
    model = Server(time, busy(30), busy(5), DONE, DONE, DONE)
    model.answering.clear()
    first, second = run(model, time), run(model, time)
    await time.go_on()
    model.answering.set()
    await time.go_on(1)
    third = run(model, time)

    await time.go_on(28)
    assert model.asked == [100, 100]
    await time.go_on(10)

    await asyncio.gather(first, second, third)


async def test_a_pause_has_an_end_however_long_the_server_wants(time: Time) -> None:
    model = Server(time, busy(9999), DONE)
    refused = run(model, time)
    await time.go_on()
    other = run(model, time)

    await time.go_on(LONGEST_PAUSE_S + LONGEST_SPREAD_S)

    assert (await other).final_output == "done"
    with pytest.raises(Exception, match="asked once without an answer"):
        await refused


async def test_a_stop_ends_the_wait_at_once(time: Time) -> None:
    model = Server(time, busy(100), DONE, DONE)
    held = run(model, time)
    await time.go_on()
    streaming = Runner.run_streamed(
        Agent(name="A", model=model), "Hi", ports=Ports(clock=time)
    )
    reading = asyncio.create_task(read(streaming))
    await time.go_on(1)

    streaming.stop()
    await time.go_on()

    assert reading.done()
    assert await reading == "RunStopped"
    assert model.asked == [100]
    await time.go_on(200)
    await held


async def read(streaming: Any) -> str:
    """Read the run to its end; return the name of what ended it."""
    try:
        async for _ in streaming.stream_events():
            pass
    except Exception as error:
        return type(error).__name__
    return ""


async def test_the_wait_is_no_part_of_the_models_timeout(time: Time) -> None:
    model = Server(time, busy(100), DONE, DONE)
    held = run(model, time)
    await time.go_on()
    waiting = run(model, time, timeout=0.05)

    # The timeout is in real time: twice as long, and the run has not failed.
    ended, _ = await asyncio.wait({waiting}, timeout=0.1)
    assert not ended
    await time.go_on(150)

    assert (await waiting).final_output == "done"
    await held


async def test_a_budget_a_minute_is_kept(
    time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLACET_MODEL_RPM", "2")
    model = Server(time, *[DONE] * 5)
    runs = [run(model, time) for _ in range(4)]
    await time.go_on(10)
    runs.append(run(model, time))

    await time.go_on(49.9)
    assert model.asked == [100, 100]
    await time.go_on(0.1)
    assert model.asked == [100, 100, 160, 160]
    await time.go_on(60)

    await asyncio.gather(*runs)
    assert model.asked[4:] == [220]


async def test_a_pause_that_begins_in_the_wait_for_the_budget_counts(
    time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLACET_MODEL_RPM", "1")
    model = Server(time, busy(100), DONE, DONE)
    model.answering.clear()
    runs = [run(model, time), run(model, time)]
    await time.go_on(50)
    model.answering.set()

    await time.go_on(99)
    assert model.asked == [100]

    await time.go_on(200)
    await asyncio.gather(*runs)


async def test_no_more_requests_at_once_than_configured(
    time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLACET_MODEL_CONCURRENCY", "2")
    model = Server(time, *[DONE] * 5)
    model.answering.clear()
    runs = [run(model, time) for _ in range(5)]
    await time.go_on()
    assert len(model.asked) == 2

    model.answering.set()

    await asyncio.gather(*runs)
    assert len(model.asked) == 5


async def test_who_is_stopped_in_the_line_takes_no_place(
    time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLACET_MODEL_CONCURRENCY", "1")
    model = Server(time, DONE, DONE)
    model.answering.clear()
    first = run(model, time)
    await time.go_on()
    streaming = Runner.run_streamed(
        Agent(name="A", model=model), "Hi", ports=Ports(clock=time)
    )
    reading = asyncio.create_task(read(streaming))
    await time.go_on()
    # The place is given and the run is stopped in the same moment.
    model.answering.set()
    streaming.stop()

    last = run(model, time)

    await asyncio.gather(first, last, reading)


@pytest.mark.parametrize("given", ["0", "-1", "many"])
async def test_a_budget_that_is_no_number_says_so(
    time: Time, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    monkeypatch.setenv("PLACET_MODEL_RPM", given)

    with pytest.raises(UserError, match=r"PLACET_MODEL_RPM=.* is no number"):
        await run(Server(time, DONE), time)


async def test_a_model_without_a_limit_of_its_own_shares_nothing(time: Time) -> None:
    model = ScriptedModel([busy(10), DONE, DONE])
    held = run(model, time)
    await time.go_on(1)

    other = run(model, time)
    await time.go_on()

    assert other.done()
    await time.go_on(20)
    await asyncio.gather(held, other)


async def test_models_of_one_server_and_name_share_a_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1/")
    client = openai.AsyncOpenAI(api_key="k", base_url="http://127.0.0.1:1/v1")
    named = OpenAIProvider().get_model("small").rate_limit_key()

    same = OpenAIChatCompletionsModel("small", client).rate_limit_key()
    other = OpenAIChatCompletionsModel("large", client).rate_limit_key()
    elsewhere = OpenAIChatCompletionsModel(
        "small", base_url="http://127.0.0.1:2/v1"
    ).rate_limit_key()

    await client.close()
    assert named == same
    assert len({same, other, elsewhere}) == 3

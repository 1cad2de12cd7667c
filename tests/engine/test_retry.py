"""Asking a model again: what is worth it, after how long, and who may forbid it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx2
import openai
import pytest

from runs.engine.errors import ModelCallError, ModelTimeoutError
from runs.engine.models import OpenAIResponsesModel
from runs.engine.models.retry import (
    ModelRetryAdvice,
    ModelRetryAdviceRequest,
    ModelRetryBackoffSettings,
    ModelRetryNormalizedError,
    ModelRetrySettings,
    RetryDecision,
    RetryPolicyContext,
    retry_policies,
    with_retries,
    within,
)
from runs.engine.models.retry_advice import normalized_error, server_advice
from runs.engine.models.retry_rules import decide

from .conftest import FakeClock

REQUEST = httpx2.Request("POST", "http://127.0.0.1/v1/responses")
STEADY = ModelRetryBackoffSettings(initial_delay=1.0, jitter=False)
YES = RetryDecision(True)


def status_error(
    status: int, code: str | None = None, **headers: str
) -> openai.APIStatusError:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    response = httpx2.Response(status, headers=named, request=REQUEST)
    kind = openai.BadRequestError if status == 400 else openai.APIStatusError
    return kind(f"status {status}", response=response, body={"code": code})


def lost() -> openai.APIConnectionError:
    error = openai.APIConnectionError(request=REQUEST)
    error.__cause__ = httpx2.ReadError("cut")
    return error


def refused() -> openai.APIConnectionError:
    error = openai.APIConnectionError(request=REQUEST)
    error.__cause__ = httpx2.ConnectError("refused")
    return error


async def attempts(
    error: Exception,
    clock: FakeClock,
    settings: ModelRetrySettings | None = None,
    **request: Any,
) -> int:
    """Return how often a call is made whose every attempt fails."""
    made: list[int] = []

    async def attempt(number: int) -> None:
        made.append(number)
        raise error

    async def on_retry(number: int, error: Exception) -> None:
        return None

    request.setdefault("advice", server_advice)
    with pytest.raises(type(error) if request.pop("bare", False) else ModelCallError):
        await with_retries(
            attempt,
            settings=settings,
            sleep=clock.sleep,
            on_retry=on_retry,
            **request,
        )
    return len(made)


def policy(rule: Callable[..., Any], **more: Any) -> ModelRetrySettings:
    return ModelRetrySettings(
        **{"max_retries": 1, "backoff": STEADY, **more}, policy=rule
    )


async def asked(
    rule: Callable[[RetryPolicyContext], Any],
    error: Exception | None = None,
    advice: ModelRetryAdvice | None = None,
) -> RetryDecision:
    failure = error or status_error(500)
    context = RetryPolicyContext(
        error=failure,
        attempt=1,
        max_retries=1,
        stream=False,
        normalized=normalized_error(failure),
        provider_advice=advice,
    )
    return await decide(rule, context)


# The default


@pytest.mark.parametrize(
    ("error", "count"),
    [
        (status_error(500), 5),
        (status_error(429), 5),
        (status_error(404), 1),
        (status_error(429, "insufficient_quota"), 1),
        (status_error(400, "conversation_locked"), 5),
        (status_error(400, x_should_retry="true"), 5),
        (status_error(503, x_should_retry="false"), 1),
        (lost(), 5),
        (ModelCallError("broken off"), 5),
    ],
)
async def test_default_asks_again_what_may_pass(
    clock: FakeClock, error: Exception, count: int
) -> None:
    assert await attempts(error, clock) == count


async def test_default_waits_double_up_to_a_limit(clock: FakeClock) -> None:
    backoff = ModelRetryBackoffSettings(max_delay=3.0, jitter=False)

    await attempts(status_error(500), clock, ModelRetrySettings(backoff=backoff))

    assert clock.waits == [0.5, 1.0, 2.0, 3.0]


async def test_jitter_shortens_a_wait_by_half_at_most(clock: FakeClock) -> None:
    await attempts(status_error(500), clock, ModelRetrySettings(1))

    assert 0.25 <= clock.waits[0] <= 0.5


@pytest.mark.parametrize(
    ("headers", "waits"),
    [
        ({"retry_after": "7"}, [7.0]),
        ({"retry_after_ms": "250", "retry_after": "7"}, [0.25]),
        ({"retry_after": "soon"}, [1.0]),
        ({"retry_after": "nan"}, [1.0]),
        ({"retry_after": "600"}, []),
    ],
)
async def test_wait_the_server_names_is_kept_up_to_two_minutes(
    clock: FakeClock, headers: dict[str, str], waits: list[float]
) -> None:
    settings = ModelRetrySettings(1, STEADY)

    await attempts(status_error(429, **headers), clock, settings)

    assert clock.waits == waits


async def test_wait_may_be_named_as_a_date(clock: FakeClock) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=60))

    await attempts(status_error(429, retry_after=date), clock, ModelRetrySettings(1))

    assert 50 < clock.waits[0] <= 60


async def test_no_retries_means_none(clock: FakeClock) -> None:
    locked = status_error(400, "conversation_locked")

    assert await attempts(locked, clock, ModelRetrySettings(0)) == 1


async def test_locked_conversation_is_asked_again_whatever_the_policy(
    clock: FakeClock,
) -> None:
    locked = status_error(400, "conversation_locked")
    never = policy(retry_policies.never())

    assert await attempts(locked, clock, never, conversation_id="conv_1") == 2


async def test_error_of_a_program_comes_out_as_it_is(clock: FakeClock) -> None:
    assert await attempts(KeyError("x"), clock, bare=True) == 1


async def test_attempt_that_takes_too_long_is_asked_again_and_named(
    clock: FakeClock,
) -> None:
    async def attempt(number: int) -> None:
        await within(0.001, asyncio.Event().wait())

    async def on_retry(number: int, error: Exception) -> None:
        return None

    with pytest.raises(ModelTimeoutError) as late:
        await with_retries(
            attempt,
            settings=ModelRetrySettings(2),
            sleep=clock.sleep,
            on_retry=on_retry,
        )

    assert (late.value.timeout_seconds, late.value.attempts) == (0.001, 3)


async def test_timeout_of_the_work_itself_is_no_deadline() -> None:
    async def work() -> None:
        raise TimeoutError("of its own")

    with pytest.raises(TimeoutError, match="of its own"):
        await within(60, work())


# What the server keeps


@pytest.mark.parametrize(
    ("error", "request_", "count"),
    [
        (lost(), {"conversation_id": "conv_1"}, 1),
        (refused(), {"conversation_id": "conv_1"}, 5),
        (status_error(503), {"conversation_id": "conv_1"}, 5),
        (lost(), {"previous_response_id": "resp_1"}, 5),
    ],
)
async def test_a_conversation_gets_nothing_twice(
    clock: FakeClock, error: Exception, request_: dict[str, Any], count: int
) -> None:
    assert await attempts(error, clock, **request_) == count


async def test_a_policy_says_so_to_ask_a_stateful_server_again(
    clock: FakeClock,
) -> None:
    def yes(context: RetryPolicyContext) -> bool:
        return True

    stateful: dict[str, Any] = {"previous_response_id": "resp_1"}

    assert await attempts(lost(), clock, policy(yes), **stateful) == 1
    assert await attempts(status_error(503), clock, policy(yes), **stateful) == 2


@pytest.mark.parametrize(
    ("decision", "stream", "count"),
    [
        (RetryDecision(True), False, 1),
        (RetryDecision(True, approve_unsafe_replay=True), False, 2),
        (RetryDecision(True, approve_unsafe_replay=True), True, 1),
    ],
)
async def test_unsafe_replay_needs_its_own_yes(
    clock: FakeClock, decision: RetryDecision, stream: bool, count: int
) -> None:
    def unsafe(request: ModelRetryAdviceRequest) -> ModelRetryAdvice:
        return ModelRetryAdvice(replay_safety="unsafe")

    settings = policy(lambda context: decision)

    made = await attempts(lost(), clock, settings, stream=stream, advice=unsafe)

    assert made == count


async def test_a_cancelled_call_is_never_made_again(clock: FakeClock) -> None:
    error = ValueError("gone")
    error.__cause__ = asyncio.CancelledError()

    made = await attempts(error, clock, policy(lambda context: True), bare=True)

    assert made == 1


# Policies


async def test_policy_decides_with_the_facts(clock: FakeClock) -> None:
    seen: list[RetryPolicyContext] = []

    async def rule(context: RetryPolicyContext) -> RetryDecision:
        seen.append(context)
        return RetryDecision(True, delay=600.0)

    error = status_error(418, "teapot", x_request_id="req_1")
    made = await attempts(error, clock, policy(rule), stream=True)

    assert (made, clock.waits) == (2, [600.0])
    assert seen[0].normalized == ModelRetryNormalizedError(
        status_code=418, error_code="teapot", message="status 418", request_id="req_1"
    )
    assert (seen[0].attempt, seen[0].max_retries, seen[0].stream) == (1, 1, True)
    assert (seen[0].replay_safety, seen[0].stateful_request) == ("unknown", False)


async def test_policy_without_a_number_of_retries_gets_four(clock: FakeClock) -> None:
    always = policy(lambda context: True, max_retries=None)

    assert await attempts(status_error(418), clock, always) == 5


@pytest.mark.parametrize(
    ("rule", "error", "retry"),
    [
        (retry_policies.never(), status_error(500), False),
        (retry_policies.http_status([500]), status_error(500), True),
        (retry_policies.http_status([500]), status_error(502), False),
        (retry_policies.http_status([500]), lost(), False),
        (retry_policies.network_error(), lost(), True),
        (retry_policies.network_error(), TimeoutError(), True),
        (retry_policies.network_error(), ModelTimeoutError(3), True),
        (retry_policies.network_error(), status_error(500), False),
        (retry_policies.retry_after(), status_error(429, retry_after="3"), True),
        (retry_policies.retry_after(), status_error(429), False),
        (retry_policies.all(), status_error(500), False),
        (retry_policies.any(), status_error(500), False),
    ],
)
async def test_ready_made_policies(
    rule: Callable[[RetryPolicyContext], Any], error: Exception, retry: bool
) -> None:
    assert (await asked(rule, error)).retry is retry


async def test_broken_off_stream_is_a_network_error() -> None:
    error = ModelCallError("ended before")
    error.__cause__ = EOFError()

    assert (await asked(retry_policies.network_error(), error)).retry


async def test_providers_word_counts() -> None:
    rule = retry_policies.provider_suggested()
    suggested = ModelRetryAdvice(True, retry_after=3.0, reason="busy")

    assert await asked(rule, advice=suggested) == RetryDecision(True, 3.0, "busy")
    assert await asked(rule, advice=ModelRetryAdvice(False)) == RetryDecision(False)
    assert await asked(rule) == RetryDecision(False)


async def test_any_takes_one_yes_and_the_last_word_on_the_rest() -> None:
    rule = retry_policies.any(
        lambda context: False,
        lambda context: RetryDecision(True, 1.0, "first"),
        lambda context: RetryDecision(True, 2.0, approve_unsafe_replay=True),
    )
    nobody = retry_policies.any(
        lambda context: False, lambda context: RetryDecision(False, reason="last")
    )

    assert await asked(rule) == RetryDecision(True, 2.0, "first", True)
    assert await asked(nobody) == RetryDecision(False, reason="last")


async def test_all_takes_every_yes() -> None:
    wait = retry_policies.retry_after()
    busy = status_error(429, retry_after="3")

    both = retry_policies.all(wait, retry_policies.http_status([429]))
    one = retry_policies.all(wait, retry_policies.http_status([500]))

    assert await asked(both, busy) == RetryDecision(True, 3.0)
    assert not (await asked(one, busy)).retry


@pytest.mark.parametrize("combined", [retry_policies.any, retry_policies.all])
async def test_providers_no_is_final_save_for_an_unsafe_replay(
    combined: Callable[..., Any],
) -> None:
    told = retry_policies.provider_suggested()
    no = ModelRetryAdvice(False, reason="no")
    unsafe = ModelRetryAdvice(False, reason="twice", replay_safety="unsafe")
    bold = RetryDecision(True, approve_unsafe_replay=True)

    assert not (await asked(combined(lambda c: bold, told), advice=no)).retry
    assert not (await asked(combined(told, lambda c: YES), advice=unsafe)).retry
    overruled = await asked(combined(told, lambda c: bold), advice=unsafe)
    assert overruled == RetryDecision(True, None, "twice", True)


# Advice


async def test_models_own_reading_covers_ours(clock: FakeClock) -> None:
    facts = ModelRetryNormalizedError(status_code=529, is_network_error=False)
    seen: list[ModelRetryNormalizedError] = []

    def rule(context: RetryPolicyContext) -> bool:
        seen.append(context.normalized)
        return False

    await attempts(
        lost(),
        clock,
        policy(rule),
        advice=lambda request: ModelRetryAdvice(normalized=facts, retry_after=2.0),
    )

    assert (seen[0].status_code, seen[0].is_network_error) == (529, False)
    assert seen[0].message == "Connection error."
    assert seen[0].retry_after == 2.0


@pytest.mark.parametrize(
    ("error", "suggested", "safety"),
    [
        (status_error(503), True, None),
        (status_error(400, x_should_retry="true"), True, "safe"),
        (status_error(503, x_should_retry="false"), False, None),
        (lost(), True, None),
        (refused(), True, "safe"),
        (status_error(404, retry_after="3"), None, None),
    ],
)
def test_advice_of_an_openai_server(
    error: Exception, suggested: bool | None, safety: str | None
) -> None:
    model = OpenAIResponsesModel("fake", api_key="key")

    advice = model.get_retry_advice(ModelRetryAdviceRequest(error, 1, False))

    assert advice is not None
    assert (advice.suggested, advice.replay_safety) == (suggested, safety)
    assert advice.normalized is not None


def test_advice_on_a_plain_refusal_is_none() -> None:
    assert server_advice(ModelRetryAdviceRequest(status_error(404), 1, False)) is None

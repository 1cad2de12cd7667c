"""Asking a model again: which failures pass, and how long to wait.

The client's own retries are off: they cannot see a stream that breaks off, and one
place should decide. A text that had begun to arrive is withdrawn before the next try,
so a stream is asked again whatever it had brought.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeAlias, TypeVar

import openai

from ..errors import ModelCallError, ModelTimeoutError
from ..model_settings import ModelRetryBackoffSettings, ModelRetrySettings
from .retry_advice import (
    ModelRetryAdvice,
    ModelRetryAdviceRequest,
    ModelRetryNormalizedError,
    RetryDecision,
    RetryPolicyContext,
    is_locked,
    is_passing,
    normalized_error,
)
from .retry_rules import (
    RetryPolicies,
    RetryPolicy,
    decide,
    retry_policies,
    what_may_pass,
)

__all__ = [
    "ModelRetryAdvice",
    "ModelRetryAdviceRequest",
    "ModelRetryBackoffSettings",
    "ModelRetryNormalizedError",
    "ModelRetrySettings",
    "RetryDecision",
    "RetryPolicies",
    "RetryPolicy",
    "RetryPolicyContext",
    "is_passing",
    "retry_policies",
    "with_retries",
    "within",
]

T = TypeVar("T")
Advice: TypeAlias = Callable[[ModelRetryAdviceRequest], ModelRetryAdvice | None]

DEFAULT_MAX_RETRIES = 4
LONGEST_RETRY_AFTER_S = 120.0


async def _awaited(work: Coroutine[Any, Any, T]) -> T:
    return await work


async def with_retries(
    attempt: Callable[[int], Awaitable[T]],
    *,
    settings: ModelRetrySettings | None,
    sleep: Callable[[float], Awaitable[None]],
    on_retry: Callable[[int, Exception], Awaitable[None]],
    unless_stopped: Callable[[Coroutine[Any, Any, Any]], Awaitable[Any]] = _awaited,
    advice: Advice = lambda request: None,
    stream: bool = False,
    previous_response_id: str | None = None,
    conversation_id: str | None = None,
) -> T:
    """Return what `attempt` gives, called with 1, 2, … until one succeeds.

    `on_retry(number, error)` is told of each failure that is tried again, before the
    wait. `unless_stopped` is what the policy, code of the agent's author, is awaited
    through. `advice` is the model's `get_retry_advice`; the rest is what the request
    was.
    Raises ModelCallError when the failure will not pass or no retry is left, and
    ModelTimeoutError when the last attempt took too long.
    """
    settings = settings or ModelRetrySettings()
    number = 1
    while True:
        try:
            return await attempt(number)
        except Exception as error:
            asked = ModelRetryAdviceRequest(
                error, number, stream, previous_response_id, conversation_id
            )
            wait_s = await unless_stopped(retry_wait_s(asked, settings, advice))
            if wait_s is None:
                failure = _given_up(error, number)
                if failure is error:
                    raise
                raise failure from error
            await on_retry(number, error)
        await sleep(wait_s)
        number += 1


async def within(timeout_s: float, work: Awaitable[T]) -> T:
    """Return what `work` gives. Raises ModelTimeoutError after `timeout_s` seconds."""
    try:
        async with asyncio.timeout(timeout_s) as deadline:
            return await work
    except TimeoutError as error:
        if not deadline.expired():
            raise
        raise ModelTimeoutError(timeout_s) from error


async def retry_wait_s(
    failed: ModelRetryAdviceRequest, settings: ModelRetrySettings, advice: Advice
) -> float | None:
    """Return the wait after a failed attempt, in seconds, or None to give up."""
    allowed = settings.max_retries
    allowed = DEFAULT_MAX_RETRIES if allowed is None else allowed
    if failed.attempt > allowed:
        return None
    context = _context(failed, allowed, advice(failed))
    decision = await _decision(context, settings)
    if not decision.retry:
        return None
    if decision.delay is not None:
        return decision.delay
    asked = context.normalized.retry_after
    if asked is None:
        return backoff_s(failed.attempt, settings.backoff)
    return asked if asked <= LONGEST_RETRY_AFTER_S else None


def backoff_s(attempt: int, backoff: ModelRetryBackoffSettings | None) -> float:
    """Return the wait after failed `attempt` (from 1), with jitter unless it is off.

    Source: Amazon Builders' Library, "Timeouts, retries, and backoff with jitter".
    """
    given = backoff or ModelRetryBackoffSettings()
    first_s = 0.5 if given.initial_delay is None else given.initial_delay
    longest_s = 30.0 if given.max_delay is None else given.max_delay
    factor = 2.0 if given.multiplier is None else given.multiplier
    wait_s = min(longest_s, first_s * factor ** (attempt - 1))
    if given.jitter is False:
        return wait_s
    return wait_s * random.uniform(0.5, 1.0)  # noqa: S311  spreads load, keeps no secret


def _context(
    failed: ModelRetryAdviceRequest, allowed: int, advised: ModelRetryAdvice | None
) -> RetryPolicyContext:
    facts = normalized_error(failed.error)
    if advised is not None:
        if advised.retry_after is not None:
            facts.retry_after = advised.retry_after
        if advised.normalized is not None:
            facts = facts.covered_by(advised.normalized)
    return RetryPolicyContext(
        error=failed.error,
        attempt=failed.attempt,
        max_retries=allowed,
        stream=failed.stream,
        normalized=facts,
        provider_advice=advised,
        previous_response_id=failed.previous_response_id,
        conversation_id=failed.conversation_id,
    )


async def _decision(
    context: RetryPolicyContext, settings: ModelRetrySettings
) -> RetryDecision:
    """Return the policy's decision, or a no where sending again may do harm."""
    unsafe = context.replay_safety == "unsafe"
    if context.normalized.is_abort or (unsafe and context.stream):
        return RetryDecision(False)
    if is_locked(context.error):
        return RetryDecision(True)  # The server refused it whole: nothing is there yet.
    decision = await decide(settings.policy or what_may_pass, context)
    harmless = decision._safe or context.replay_safety == "safe"
    approved = decision.approve_unsafe_replay and unsafe
    if (unsafe or context.stateful_request) and not (harmless or approved):
        return RetryDecision(False, reason=decision.reason)
    return decision


def _given_up(error: Exception, attempts: int) -> Exception:
    if isinstance(error, ModelTimeoutError) or (
        isinstance(error, ModelCallError) and attempts == 1
    ):
        error.attempts = attempts
        return error
    if not isinstance(error, openai.APIError) and not is_passing(error):
        return error
    tried = "once" if attempts == 1 else f"{attempts} times"
    detail = "it took too long" if isinstance(error, TimeoutError) else str(error)
    return ModelCallError(
        f"The model was asked {tried} without an answer: {detail}", attempts=attempts
    )

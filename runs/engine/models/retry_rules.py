"""`retry_policies`: what is worth asking a model again, and how rules combine."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeAlias

from .retry_advice import RetryDecision, RetryPolicyContext, is_passing

RetryPolicy: TypeAlias = Callable[
    [RetryPolicyContext], "bool | RetryDecision | Awaitable[bool | RetryDecision]"
]


async def decide(policy: RetryPolicy, context: RetryPolicyContext) -> RetryDecision:
    """Return what the policy, sync or async, says about the failure."""
    said = policy(context)
    if inspect.isawaitable(said):
        said = await said
    return said if isinstance(said, RetryDecision) else RetryDecision(bool(said))


def what_may_pass(context: RetryPolicyContext) -> RetryDecision:
    """Ask again after all that may pass: the rule of a run that is given none.

    The model's own word comes first. A conversation is the exception: it may hold the
    lost request already, and would then hold it twice. An answer to an earlier response
    is a branch of its own, and harmless.
    """
    advice = context.provider_advice
    said = advice.suggested if advice is not None else None
    again = is_passing(context.error) if said is None else said
    return RetryDecision(again)._as(safe=not context.conversation_id)


class RetryPolicies:
    """Makes retry policies; `any` and `all` combine them."""

    def never(self) -> RetryPolicy:
        """Never ask again."""
        return lambda context: False

    def provider_suggested(self) -> RetryPolicy:
        """Do what the model's server says; its no is final."""
        return _as_suggested

    def network_error(self) -> RetryPolicy:
        """Ask again when the connection failed or took too long."""
        return lambda context: (
            context.normalized.is_network_error or context.normalized.is_timeout
        )

    def retry_after(self) -> RetryPolicy:
        """Ask again when the server names a wait, after that wait."""
        return _after_the_wait_named

    def http_status(self, statuses: Iterable[int]) -> RetryPolicy:
        """Ask again after these statuses."""
        wanted = frozenset(statuses)
        return lambda context: context.normalized.status_code in wanted

    def all(self, *policies: RetryPolicy) -> RetryPolicy:
        """Ask again when every policy says so; without one, never."""

        async def policy(context: RetryPolicyContext) -> RetryDecision:
            yes: list[RetryDecision] = []
            unsafe: RetryDecision | None = None
            for one in policies:
                decision = await decide(one, context)
                if decision._veto == "replay":
                    unsafe = unsafe or decision
                elif decision._veto or not decision.retry:
                    return decision
                else:
                    yes.append(decision)
            return _settled(yes, unsafe)

        return policy if policies else self.never()

    def any(self, *policies: RetryPolicy) -> RetryPolicy:
        """Ask again when one policy says so; without one, never."""

        async def policy(context: RetryPolicyContext) -> RetryDecision:
            yes: list[RetryDecision] = []
            no, unsafe = RetryDecision(False), None
            for one in policies:
                decision = await decide(one, context)
                if decision._veto == "replay":
                    unsafe = unsafe or decision
                elif decision._veto:
                    return decision
                elif decision.retry:
                    yes.append(decision)
                else:
                    no = decision
            return _settled(yes, unsafe) if yes or unsafe else no

        return policy if policies else self.never()


retry_policies = RetryPolicies()


def _as_suggested(context: RetryPolicyContext) -> RetryDecision:
    advice = context.provider_advice
    if advice is None or advice.suggested is None:
        return RetryDecision(False)
    if advice.suggested:
        decision = RetryDecision(True, advice.retry_after, advice.reason)
        return decision._as(safe=context.replay_safety == "safe")
    refused = RetryDecision(False, reason=advice.reason)
    unsafe = context.replay_safety == "unsafe"
    return refused._as(veto="replay" if unsafe else "absolute")


def _after_the_wait_named(context: RetryPolicyContext) -> RetryDecision:
    asked = context.normalized.retry_after
    if asked is None and context.provider_advice is not None:
        asked = context.provider_advice.retry_after
    return RetryDecision(asked is not None, asked)


def _settled(yes: list[RetryDecision], unsafe: RetryDecision | None) -> RetryDecision:
    """Return the sum of what says yes; later delays and reasons cover earlier ones.

    A model that calls the replay unsafe is overruled only by an explicit approval.
    """
    total = RetryDecision(True)._as(safe=any(one._safe for one in yes))
    for one in yes:
        total.delay = total.delay if one.delay is None else one.delay
        total.reason = total.reason if one.reason is None else one.reason
        total.approve_unsafe_replay |= one.approve_unsafe_replay
    if unsafe is None:
        return total
    total.reason = total.reason or unsafe.reason
    return total if total.approve_unsafe_replay else unsafe

"""What is known about a failed model call when it is decided whether to ask again."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, Literal, TypeAlias

import httpx2
import openai

from ..errors import ModelCallError, ModelTimeoutError

_PASSING_STATUSES = {408, 409, 429}
_NEVER_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)
_BROKEN_CONNECTION = (
    openai.APIConnectionError,
    httpx2.TransportError,
    ConnectionError,
    TimeoutError,
    EOFError,
)
_TIMEOUTS = (
    openai.APITimeoutError,
    httpx2.TimeoutException,
    TimeoutError,
    ModelTimeoutError,
)

Veto: TypeAlias = Literal["", "replay", "absolute"]


@dataclass
class ModelRetryNormalizedError:
    """A failure in the same words for every server and client."""

    status_code: int | None = None
    error_code: str | None = None
    message: str | None = None
    request_id: str | None = None
    retry_after: float | None = None
    """The wait the server asks for, in seconds."""
    is_abort: bool = False
    """Somebody cancelled the call: it is never made again."""
    is_network_error: bool = False
    is_timeout: bool = False

    def __new__(cls, *values: Any, **named: Any) -> ModelRetryNormalizedError:
        # A model's own reading covers the engine's only in what it says, and it may
        # say None or False: so what was given counts, not what differs.
        made = super().__new__(cls)
        names = [one.name for one in dataclasses.fields(cls)]
        made._given = frozenset([*names[: len(values)], *named])
        return made

    def covered_by(self, other: ModelRetryNormalizedError) -> ModelRetryNormalizedError:
        """Return this reading with all that `other` was given; an abort stays one."""
        said = {name: getattr(other, name) for name in other._given}
        abort = self.is_abort or other.is_abort
        return dataclasses.replace(self, **{**said, "is_abort": abort})

    _given: frozenset[str] = field(
        default=frozenset(), init=False, repr=False, compare=False
    )


@dataclass
class ModelRetryAdvice:
    """What a model says about its own failure."""

    suggested: bool | None = None
    """Whether to ask again; None leaves it open."""
    retry_after: float | None = None
    """The wait before that, in seconds."""
    replay_safety: str | None = None
    """`safe` or `unsafe` to send again what may have arrived; None: not known."""
    reason: str | None = None
    normalized: ModelRetryNormalizedError | None = None
    response_started: bool = False


@dataclass
class ModelRetryAdviceRequest:
    """The failure that `Model.get_retry_advice` is asked about."""

    error: Exception
    attempt: int
    """Counts from 1."""
    stream: bool
    previous_response_id: str | None = None
    conversation_id: str | None = None


@dataclass
class RetryDecision:
    """Whether to ask again, and after how long."""

    retry: bool
    delay: float | None = None
    """Seconds; None leaves it to the server's wish or the backoff."""
    reason: str | None = None
    approve_unsafe_replay: bool = False
    """Accept that the server does twice what it may have done already."""
    _veto: Veto = field(default="", init=False, repr=False, compare=False)
    """`replay` gives way to `approve_unsafe_replay`, `absolute` to nothing."""
    _safe: bool = field(default=False, init=False, repr=False, compare=False)
    """Sending the request again is known to do no harm."""

    def _as(self, *, veto: Veto = "", safe: bool = False) -> RetryDecision:
        self._veto, self._safe = veto, safe
        return self


@dataclass
class RetryPolicyContext:
    """What a retry policy decides on."""

    error: Exception
    attempt: int
    """The call that failed; counts from 1."""
    max_retries: int
    stream: bool
    normalized: ModelRetryNormalizedError
    provider_advice: ModelRetryAdvice | None = None
    previous_response_id: str | None = None
    conversation_id: str | None = None

    @property
    def response_started(self) -> bool:
        """Whether the model had begun to answer, as far as it says so."""
        return (
            self.provider_advice is not None and self.provider_advice.response_started
        )

    @property
    def replay_safety(self) -> str:
        """`safe`, `unsafe` or `unknown`."""
        said = self.provider_advice.replay_safety if self.provider_advice else None
        return said if said in {"safe", "unsafe"} else "unknown"

    @property
    def stateful_request(self) -> bool:
        """Whether the request leant on what the server keeps."""
        return bool(self.previous_response_id or self.conversation_id)


def normalized_error(error: Exception) -> ModelRetryNormalizedError:
    """Return the facts of a failure, its causes included."""
    chain = list(_chain(error))
    return ModelRetryNormalizedError(
        status_code=_first(chain, "status_code", int),
        error_code=_first(chain, "code", str),
        message=str(error),
        request_id=_first(chain, "request_id", str),
        retry_after=_retry_after_s(chain),
        is_abort=_is_abort(chain),
        is_network_error=any(isinstance(one, _BROKEN_CONNECTION) for one in chain),
        is_timeout=any(isinstance(one, _TIMEOUTS) for one in chain),
    )


def server_advice(request: ModelRetryAdviceRequest) -> ModelRetryAdvice | None:
    """Return what an OpenAI server, or one like it, means by its failure."""
    error = request.error
    if getattr(error, "unsafe_to_replay", False):
        return ModelRetryAdvice(False, replay_safety="unsafe", reason=str(error))
    facts = normalized_error(error)
    chain = list(_chain(error))
    wished = (_header(chain, "x-should-retry") or "").strip().lower()
    stateful = request.previous_response_id or request.conversation_id
    suggested: bool | None = None
    safe = any(isinstance(one, _NEVER_SENT) for one in chain)
    if wished in {"true", "false"}:
        suggested = wished == "true"
        safe = safe or suggested
    elif isinstance(error, openai.APIStatusError):
        suggested = True if is_passing(error) else None
        safe = bool(suggested and stateful)
    elif facts.is_network_error or facts.is_timeout:
        suggested = True
    if suggested is None and facts.retry_after is None:
        return None
    return ModelRetryAdvice(
        suggested=suggested,
        retry_after=facts.retry_after,
        replay_safety="safe" if safe else None,
        reason=str(error),
        normalized=facts,
    )


def is_passing(error: Exception) -> bool:
    """Say whether the same request may succeed a little later."""
    if is_locked(error):
        return True
    if isinstance(error, openai.APIStatusError):
        if error.code == "insufficient_quota":
            return False
        return error.status_code in _PASSING_STATUSES or error.status_code >= 500
    # A corrupt chunk raises JSONDecodeError, the stream helper RuntimeError, and a
    # connection cut in the middle of a stream the transport's own error.
    return isinstance(
        error,
        openai.APIError
        | ModelCallError
        | TimeoutError
        | json.JSONDecodeError
        | RuntimeError
        | httpx2.TransportError,
    )


def is_locked(error: Exception) -> bool:
    """Say whether another request just then wrote to the same conversation."""
    return (
        isinstance(error, openai.BadRequestError)
        and error.code == "conversation_locked"
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        yield one
        one = one.__cause__ or one.__context__


def _is_abort(chain: list[BaseException]) -> bool:
    # A deadline cancels too, and a run names a cancellation that nobody asked for.
    named = (asyncio.CancelledError, TimeoutError, ModelCallError)
    first = next((one for one in chain if isinstance(one, named)), None)
    return isinstance(first, asyncio.CancelledError)


def _first(chain: list[BaseException], name: str, kind: type[Any]) -> Any:
    values = (getattr(one, name, None) for one in chain)
    return next((value for value in values if isinstance(value, kind)), None)


def _header(chain: list[BaseException], name: str) -> str | None:
    for one in chain:
        headers = getattr(getattr(one, "response", None), "headers", None)
        if isinstance(headers, Mapping) and isinstance(headers.get(name), str):
            return str(headers[name])
    return None


def _retry_after_s(chain: list[BaseException]) -> float | None:
    asked = _number(_header(chain, "retry-after-ms"))
    if asked is not None:
        return asked / 1000
    text = _header(chain, "retry-after")
    asked = _number(text)
    return asked if asked is not None or text is None else _seconds_until(text)


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return None if math.isnan(value) else max(0.0, value)


def _seconds_until(date: str) -> float | None:
    try:
        return max(0.0, parsedate_to_datetime(date).timestamp() - time.time())
    except (TypeError, ValueError, IndexError):
        return None

"""Tokens and requests a run has used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any


@dataclass(slots=True)
class InputTokensDetails:
    """What of the input tokens was read from a cache, or written to one."""

    cached_tokens: int = 0
    cache_write_tokens: int = 0


@dataclass(slots=True)
class OutputTokensDetails:
    """What of the output tokens went into reasoning."""

    reasoning_tokens: int = 0


@dataclass(slots=True)
class RequestUsage:
    """Tokens of one model request."""

    input_tokens: int
    output_tokens: int
    total_tokens: int
    input_tokens_details: InputTokensDetails = field(default_factory=InputTokensDetails)
    output_tokens_details: OutputTokensDetails = field(
        default_factory=OutputTokensDetails
    )


@dataclass(slots=True)
class Usage:
    """Tokens summed over requests, with one entry for each request."""

    requests: int = 0
    input_tokens: int = 0
    input_tokens_details: InputTokensDetails = field(default_factory=InputTokensDetails)
    output_tokens: int = 0
    output_tokens_details: OutputTokensDetails = field(
        default_factory=OutputTokensDetails
    )
    total_tokens: int = 0
    request_usage_entries: list[RequestUsage] = field(default_factory=list)

    @property
    def request_tokens(self) -> int:
        """Another name for `input_tokens`."""
        return self.input_tokens

    @property
    def response_tokens(self) -> int:
        """Another name for `output_tokens`."""
        return self.output_tokens

    def add(self, other: Usage) -> None:
        """Add `other` to this usage; one request without entries makes an entry."""
        self.requests += other.requests
        self.input_tokens += other.input_tokens
        self.output_tokens += other.output_tokens
        self.total_tokens += other.total_tokens
        ours, theirs = self.input_tokens_details, other.input_tokens_details
        ours.cached_tokens += theirs.cached_tokens
        ours.cache_write_tokens += theirs.cache_write_tokens
        self.output_tokens_details.reasoning_tokens += (
            other.output_tokens_details.reasoning_tokens
        )
        if other.request_usage_entries:
            self.request_usage_entries.extend(other.request_usage_entries)
        elif other.requests == 1:
            self.request_usage_entries.append(as_request(other))

    def totals(self) -> dict[str, int]:
        """Return the sums as plain JSON, without the entries of single requests."""
        return {
            "requests": self.requests,
            "input_tokens": self.input_tokens,
            "cached_tokens": self.input_tokens_details.cached_tokens,
            "cache_write_tokens": self.input_tokens_details.cache_write_tokens,
            "output_tokens": self.output_tokens,
            "reasoning_tokens": self.output_tokens_details.reasoning_tokens,
            "total_tokens": self.total_tokens,
        }

    @classmethod
    def from_totals(cls, totals: dict[str, Any]) -> Usage:
        """Build a usage from what `totals` gave; a missing number counts as 0."""
        number = {key: int(totals.get(key, 0)) for key in _TOTALS}
        return cls(
            requests=number["requests"],
            input_tokens=number["input_tokens"],
            input_tokens_details=InputTokensDetails(
                number["cached_tokens"], number["cache_write_tokens"]
            ),
            output_tokens=number["output_tokens"],
            output_tokens_details=OutputTokensDetails(number["reasoning_tokens"]),
            total_tokens=number["total_tokens"],
        )


_TOTALS = tuple(Usage().totals())


def as_request(usage: Usage) -> RequestUsage:
    """Return the usage of a single request as an entry."""
    return RequestUsage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        total_tokens=usage.total_tokens,
        input_tokens_details=usage.input_tokens_details,
        output_tokens_details=usage.output_tokens_details,
    )


def deserialize_usage(usage_data: Mapping[str, Any]) -> Usage:
    """Return the usage that `dataclasses.asdict`, or another engine, wrote as JSON."""
    return Usage(
        requests=usage_data.get("requests") or 0,
        request_usage_entries=[
            as_request(_tokens(entry))
            for entry in usage_data.get("request_usage_entries") or []
        ],
        **_token_fields(usage_data),
    )


def _tokens(data: Mapping[str, Any]) -> Usage:
    return Usage(requests=1, **_token_fields(data))


def _token_fields(data: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "input_tokens": data.get("input_tokens") or 0,
        "output_tokens": data.get("output_tokens") or 0,
        "total_tokens": data.get("total_tokens") or 0,
        "input_tokens_details": InputTokensDetails(
            **_known(InputTokensDetails, data.get("input_tokens_details"))
        ),
        "output_tokens_details": OutputTokensDetails(
            **_known(OutputTokensDetails, data.get("output_tokens_details"))
        ),
    }


def _known(kind: type[Any], given: Any) -> dict[str, int]:
    """Return the numbers in `given` that `kind` has fields for."""
    sent = given[0] if isinstance(given, list) and given else given
    if not isinstance(sent, Mapping):
        return {}
    names = {name.name for name in fields(kind)}
    return {name: value or 0 for name, value in sent.items() if name in names}

"""Which call exactly: one strict parser of arguments, one digest of a call.

Two readers of the same text must never see two different calls. So arguments that two
JSON parsers may read differently are malformed, and the digest covers all that decides
what runs: the tool, its schema, the agent and the arguments.
"""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any, TypeAlias

import rfc8785

JSONObject: TypeAlias = dict[str, Any]

DIGEST_VERSION = 1
MAX_SAFE_INTEGER = 2**53 - 1


class MalformedArguments(ValueError):
    """Arguments that are no JSON object, or that two parsers may read differently."""


def parse_arguments(text: str) -> JSONObject:
    """Return the object that `text` holds.

    Raises MalformedArguments for what is not JSON or not an object, and for duplicate
    keys, NaN, infinities, lone surrogates and nesting too deep to read.
    """
    try:
        value = json.loads(
            text,
            object_pairs_hook=_without_duplicates,
            parse_constant=_refuse_constant,
            parse_float=_finite,
        )
        text.encode("utf-8")
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise MalformedArguments("The arguments hold a lone surrogate.") from None
    except RecursionError:
        raise MalformedArguments("The arguments are nested too deep.") from None
    except MalformedArguments:
        raise
    except ValueError as error:
        raise MalformedArguments(f"The arguments are not JSON: {error}") from None
    if not isinstance(value, dict):
        raise MalformedArguments(
            f"The arguments are {_kind(value)}; they must be a JSON object."
        )
    return value


def call_digest(*, tool: str, schema_hash: str, agent_path: str, arguments: str) -> str:
    """Return the SHA-256, in hex, of what a call is.

    `arguments` is the text as the model wrote it. Where it holds an integer that some
    readers round (beyond ±(2^53-1)), or is malformed, the text itself is digested.
    Source: RFC 8785 (JSON Canonicalization Scheme).
    """
    subject: JSONObject = {
        "version": DIGEST_VERSION,
        "tool": tool,
        "schema": schema_hash,
        "agent": agent_path,
        **_digested_arguments(arguments),
    }
    return hashlib.sha256(rfc8785.dumps(subject)).hexdigest()


def schema_hash(name: str, schema: JSONObject) -> str:
    """Return the SHA-256, in hex, of a tool's name and parameter schema."""
    text = json.dumps([name, schema], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _digested_arguments(text: str) -> JSONObject:
    try:
        value = parse_arguments(text)
    except MalformedArguments:
        # Bytes in hex: a malformed text may hold what canonical JSON cannot.
        return {"arguments_bytes": text.encode("utf-8", "surrogatepass").hex()}
    if _holds_unsafe_integer(value):
        return {"arguments_text": text}
    return {"arguments": value}


def _holds_unsafe_integer(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_holds_unsafe_integer(part) for part in value.values())
    if isinstance(value, list):
        return any(_holds_unsafe_integer(part) for part in value)
    return isinstance(value, int) and abs(value) > MAX_SAFE_INTEGER


def _without_duplicates(pairs: list[tuple[str, Any]]) -> JSONObject:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise MalformedArguments("The arguments name a key twice.")
    return found


def _refuse_constant(name: str) -> Any:
    raise MalformedArguments(f"The arguments hold {name}, which is not JSON.")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise MalformedArguments(f"The arguments hold {text}, which is too large.")
    return number


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    kinds = {list: "a list", str: "a text", bool: "a boolean"}
    return kinds.get(type(value), "a number")

"""Which call exactly: one strict parser of arguments, one digest of a call.

Two readers of the same text must never see two different calls. So arguments that two
JSON parsers may read differently are malformed, and the digest covers all that decides
what runs: the tool, its schema, the agent and the arguments.
"""

from __future__ import annotations

import hashlib
import json
import math
from decimal import Decimal
from typing import Any, TypeAlias

import rfc8785

JSONObject: TypeAlias = dict[str, Any]

DIGEST_VERSION = 1
MAX_SAFE_INTEGER = 2**53 - 1
MAX_DEPTH = 64
_TOO_DEEP = f"The arguments are nested deeper than {MAX_DEPTH} levels."


class MalformedArguments(ValueError):
    """Arguments that are no JSON object, or that two parsers may read differently."""


def parse_arguments(text: str) -> JSONObject:
    """Return the object that `text` holds.

    Raises MalformedArguments for what is not JSON or not an object, and for duplicate
    keys, NaN, infinities, lone surrogates and more than MAX_DEPTH levels.
    """
    value, _ = _read(text)
    return value


def _read(text: str) -> tuple[JSONObject, bool]:
    """Return the object, and whether every reader sees the same numbers in it."""
    exact = True

    def number(digits: str) -> float:
        nonlocal exact
        value = _finite(digits)
        exact = exact and Decimal(repr(value)) == Decimal(digits)
        return value

    try:
        value = json.loads(
            text,
            object_pairs_hook=_without_duplicates,
            parse_constant=_refuse_constant,
            parse_float=number,
        )
        text.encode("utf-8")
        exact = _has_safe_integers(value, depth=1) and exact
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise MalformedArguments("The arguments hold a lone surrogate.") from None
    except RecursionError:
        raise MalformedArguments(_TOO_DEEP) from None
    except MalformedArguments:
        raise
    except (ValueError, ArithmeticError) as error:
        raise MalformedArguments(f"The arguments are not JSON: {error}") from None
    if not isinstance(value, dict):
        raise MalformedArguments(
            f"The arguments are {_kind(value)}; they must be a JSON object."
        )
    return value, exact


def call_digest(*, tool: str, schema_hash: str, agent_path: str, arguments: str) -> str:
    """Return the SHA-256, in hex, of what a call is.

    `arguments` is the text as the model wrote it. Where it holds a number that some
    readers round (an integer beyond ±(2^53-1), a fraction of more digits than a double
    has), or is malformed, the text itself is digested.
    Source: RFC 8785 (JSON Canonicalization Scheme).
    """
    subject: JSONObject = {
        "version": DIGEST_VERSION,
        "tool": _canonical(tool),
        "schema": _canonical(schema_hash),
        "agent": _canonical(agent_path),
        **_digested_arguments(arguments),
    }
    return hashlib.sha256(rfc8785.dumps(subject)).hexdigest()


def _canonical(text: str) -> str | JSONObject:
    """Return `text`, or its bytes in hex where canonical JSON cannot hold it."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return {"bytes": text.encode("utf-8", "surrogatepass").hex()}
    return text


def schema_hash(name: str, schema: JSONObject) -> str:
    """Return the SHA-256, in hex, of a tool's name and parameter schema."""
    text = json.dumps([name, schema], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def schema_hash_as(name: str, schema: JSONObject, as_name: str) -> str:
    """Return the hash that the tool `name` would have if it were called `as_name`."""
    if schema.get("title") == f"{_bare(name)}_args":
        # A schema made of a function is titled after it.
        schema = {**schema, "title": f"{_bare(as_name)}_args"}
    return schema_hash(as_name, schema)


def _bare(name: str) -> str:
    """Return the name without that of its namespace."""
    return name.rpartition(".")[2]


def _digested_arguments(text: str) -> JSONObject:
    try:
        value, exact = _read(text)
    except MalformedArguments:
        # Bytes in hex: a malformed text may hold what canonical JSON cannot.
        return {"arguments_bytes": text.encode("utf-8", "surrogatepass").hex()}
    return {"arguments": value} if exact else {"arguments_text": text}


def _has_safe_integers(value: Any, *, depth: int) -> bool:
    # The depth is fixed, so that what is malformed does not depend on the stack.
    if depth > MAX_DEPTH:
        raise MalformedArguments(_TOO_DEEP)
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        inside = [_has_safe_integers(part, depth=depth + 1) for part in value]
        return all(inside)
    return not isinstance(value, int) or abs(value) <= MAX_SAFE_INTEGER


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

"""Arguments a person puts in the place of those the model wrote.

A schema may be a stranger's, as an MCP server's is: checking against it fetches
nothing, and takes no longer than the text is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import jsonschema
from pydantic_core import SchemaError, SchemaValidator, ValidationError, core_schema
from referencing import Registry

from ..calls import Call, CallKind
from ..digest import JSONObject, MalformedArguments, parse_arguments
from ..errors import UserError

if TYPE_CHECKING:
    from ..tools.tool import FunctionTool

UNCHECKED = "its schema cannot be checked here; approve or reject it as it is"


def checked_arguments(
    tool: FunctionTool | None, call: Call, arguments: str | Mapping[str, Any]
) -> str:
    """Return `arguments` as the text that runs in place of the call's own.

    Raises UserError when the tool does not take them, or the call takes no changes.
    """
    if call.kind not in (CallKind.FUNCTION, CallKind.AGENT):
        raise UserError(
            f"{call.tool} runs with exactly what the model asked for; "
            "approve or reject it as it is."
        )
    text = arguments if isinstance(arguments, str) else _written(call, arguments)
    try:
        parsed = parse_arguments(text)
    except MalformedArguments as error:
        raise UserError(f"{call.tool} was not approved: {error}") from error
    if fault := fault_in(schema_of(tool), parsed):
        raise UserError(f"{call.tool} does not take these arguments: {fault}.")
    return text


def fault_in(schema: JSONObject, arguments: JSONObject) -> str | None:
    """Return the first thing wrong with `arguments` by their JSON schema, or None."""
    for fault in _faults(schema, arguments):
        place = ".".join(map(str, fault.absolute_path))
        return f"{place}: {fault.message}" if place else fault.message
    return None


def faults_in(schema: JSONObject, arguments: JSONObject) -> dict[str, str]:
    """Return what is wrong with each argument by its name; `""` for the whole."""
    found: dict[str, str] = {}
    for fault in _faults(schema, arguments):
        path = list(fault.absolute_path)
        inside = ".".join(map(str, path[1:]))
        told = f"{inside}: {fault.message}" if inside else fault.message
        found.setdefault(str(path[0]) if path else "", told)
    return found


def _faults(schema: JSONObject, arguments: JSONObject) -> Iterator[Any]:
    """Yield what is wrong; UNCHECKED where the schema cannot be read as it should."""
    try:
        if '"patternProperties"' in json.dumps(schema):
            raise ValueError("Its patterns would be searched for without a bound.")
        # A registry of its own: the default one fetches what a schema refers to.
        yield from _Checker(schema, registry=Registry()).iter_errors(arguments)
    except Exception:
        yield jsonschema.ValidationError(UNCHECKED)


def _pattern(_: Any, pattern: str, instance: Any, __: Any) -> Iterator[Any]:
    """Check a pattern in time that is linear in the text, which `re` cannot promise."""
    matcher = _matcher(pattern)
    if matcher is None or not isinstance(instance, str):
        return
    try:
        matcher.validate_python(instance)
    except ValidationError:
        yield jsonschema.ValidationError(f"{instance!r} does not match {pattern!r}")


@lru_cache(maxsize=256)
def _matcher(pattern: str) -> SchemaValidator | None:
    """Return what looks for `pattern`; None for one that only the tool can read."""
    try:
        return SchemaValidator(core_schema.str_schema(pattern=pattern))
    except SchemaError:
        return None


_Checker = jsonschema.validators.extend(
    jsonschema.Draft202012Validator, {"pattern": _pattern}
)


def schema_of(tool: FunctionTool | None) -> JSONObject:
    """Return the tool's parameter schema; {} for one that is not known here.

    A tool of an MCP server is known to its server only: that checks the arguments.
    """
    return tool.params_json_schema if tool else {}


def _written(call: Call, arguments: Mapping[str, Any]) -> str:
    try:
        return json.dumps(dict(arguments), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise UserError(
            f"The arguments for {call.tool} are not plain JSON: {error}"
        ) from error


def told_of_edit(arguments: str) -> str:
    """Return the words that tell the model what ran instead of what it wrote."""
    return f"A person changed the arguments before this ran, to {arguments}. Output: "

"""What an agent is made of, as JSON, and how two such definitions differ.

Tools, their schemas, what they ask people, handoffs, types of answer: what decides what
a run may do. Instructions and models are told of and ask nobody: whatever a model is
told, each call it makes stops at the same gates, and a question after every change of
words would teach people to answer it unread. What an MCP server offers is known to the
server alone and is left out; a call of it is checked when it is about to run.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..digest import JSONObject, schema_hash, schema_hash_as
from ..errors import UserError
from ..handoffs.handoff import Handoff, as_handoff
from ..hosted.hosted_tools import HostedMCPTool
from ..models.interface import Model
from ..output import output_schema_of
from ..tools.tool import FunctionTool
from .schema_diff import difference, signature

if TYPE_CHECKING:
    from ..agent import Agent

Renames = Mapping[str, Mapping[str, str]]

ASKS = {
    "always": "always asks a person",
    "sometimes": "asks a person where its rule says so",
    "never": "runs without asking",
    "code": "is decided by the program",
}
_STRICTNESS = ("never", "code", "sometimes", "always")
_ABSENT = "not there"
_GONE = "gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One thing that is not as it was."""

    agent: str
    """Whose it is."""
    what: str
    before: str
    now: str
    asks: bool = True
    """Whether a person must let a run go on with it."""
    loosens: bool = False
    """Whether people are asked less than before."""

    def to_json(self) -> JSONObject:
        return {name: getattr(self, name) for name in self.__slots__}


def definition_of(agent: Agent[Any]) -> JSONObject:
    """Return what `agent` and all agents it can reach are made of."""
    agents, known = _reached(agent), keys_of(agent)
    written = {key: _agent(found, known) for key, found in agents.items()}
    return {"root": agent.name, "agents": written}


def keys_of(agent: Agent[Any]) -> dict[int, str]:
    """Return the key in its definition of each agent it can reach, by `id()`."""
    return {id(found): key for key, found in _reached(agent).items()}


def differences(
    old: JSONObject, new: JSONObject, renames: Renames | None = None
) -> list[Difference]:
    """Return what has changed from `old` to `new`, save what `renames` declares."""
    old = _renamed(old, living_renames(new, renames or {}))
    found: list[Difference] = []
    before, now = old["root"], new["root"]
    if before != now:
        name = Difference(agent=now, what="Name of the agent", before=before, now=now)
        found.append(name)
        if before not in new["agents"] and now not in old["agents"]:
            old = _renamed(old, {"agents": {before: now}})
    was, is_now = old["agents"], new["agents"]
    found += [_gone_agent(key) for key in was if key not in is_now]
    found += [_new_agent(key, is_now[key]) for key in is_now if key not in was]
    for key in was:
        if key in is_now:
            found += _of_agent(key, was[key], is_now[key])
    return found


def living_renames(new: JSONObject, renames: Renames) -> dict[str, dict[str, str]]:
    """Return the renames that hold: a name that is still in use was not given up.

    The handoffs that are named after a renamed agent are renamed with it.
    """
    agents = new["agents"]
    used = {
        name for has in agents.values() for name in (*has["tools"], *has["handoffs"])
    }
    gone = {
        old: now for old, now in renames.get("agents", {}).items() if old not in agents
    }
    tools = {
        Handoff.tool_name_for(old): Handoff.tool_name_for(now)
        for old, now in gone.items()
    }
    tools |= renames.get("tools", {})
    return {
        "agents": gone,
        "tools": {old: now for old, now in tools.items() if old not in used},
    }


def change_digest(run_id: str, old: str, new: str) -> str:
    """Return the SHA-256, in hex, of a run's going on under another definition."""
    return hashlib.sha256(json.dumps([run_id, old, new]).encode()).hexdigest()


# Writing


def _reached(root: Agent[Any]) -> dict[str, Agent[Any]]:
    """Return every agent by its name, a second one of a name as `name#2`."""
    found: dict[str, Agent[Any]] = {}
    waiting = [root]
    for agent in waiting:
        if any(agent is known for known in found.values()):
            continue
        found[_free_key(agent.name, found)] = agent
        waiting += agent.handoff_targets()
        waiting += [
            tool.agent_tool.agent
            for tool in agent.tools
            if isinstance(tool, FunctionTool) and tool.agent_tool is not None
        ]
    return found


def _free_key(name: str, taken: Mapping[str, object]) -> str:
    key, number = name, 1
    while key in taken:
        number += 1
        key = f"{name}#{number}"
    return key


def _agent(agent: Agent[Any], known: Mapping[int, str]) -> JSONObject:
    ways = [as_handoff(given) for given in agent.handoffs]
    return {
        "tools": dict(_tool(tool, known) for tool in agent.tools),
        "handoffs": {way.tool_name: _handoff(way, known) for way in ways},
        "output": _output(agent),
        "mcp_servers": [str(server.name) for server in agent.mcp_servers],
        "instructions": _text_digest(agent.instructions),
        "model": _model_name(agent.model),
    }


def _tool(tool: Any, known: Mapping[int, str]) -> tuple[str, JSONObject]:
    if isinstance(tool, FunctionTool):
        return tool.qualified_name, _function_tool(tool, known)
    if isinstance(tool, HostedMCPTool):
        return _hosted_server(dict(tool.tool_config), asks=_asks(tool))
    name = str(tool.name)
    return name, _without_parameters(type(tool).__name__, name, _asks(tool))


def _without_parameters(kind: str, name: str, asks: str) -> JSONObject:
    hashed = schema_hash(name, {})
    return {"kind": kind, "schema_hash": hashed, "parameters": {}, "asks": asks}


def _hosted_server(config: JSONObject, *, asks: str) -> tuple[str, JSONObject]:
    """Return the entry of a server that the model's server calls itself."""
    name = f"hosted_mcp {config.get('server_label')}"
    where = config.get("server_url") or config.get("connector_id") or "no address"
    offered = json.dumps(config.get("allowed_tools") or "all its tools")
    rule = json.dumps(config.get("require_approval") or "always")
    entry = _without_parameters(HostedMCPTool.__name__, name, asks)
    entry["settings"] = f"{where}: {offered}, approval {rule}"
    return name, entry


def _function_tool(tool: FunctionTool, known: Mapping[int, str]) -> JSONObject:
    review, used = tool.review, tool.agent_tool
    return {
        "kind": "FunctionTool",
        "schema_hash": tool.schema_hash,
        "parameters": tool.params_json_schema,
        "asks": _asks(tool),
        "review": {
            "reviewers": review.reviewers,
            "approvals": review.approvals,
            "risk": str(review.risk),
            "idempotent": review.idempotent,
            # Left out where it is not set: definitions of before it are as they were.
            **({"escalates_to": review.escalate_to} if review.escalate_to else {}),
        },
        **({"agent": known[id(used.agent)]} if used else {}),
    }


def _asks(tool: Any) -> str:
    decides = getattr(tool, "on_approval", None) or getattr(
        tool, "on_approval_request", None
    )
    if decides is not None:
        return "code"
    if isinstance(tool, HostedMCPTool):
        rule: Any = tool.tool_config.get("require_approval") or "always"
    else:
        rule = getattr(tool, "needs_approval", False)
    said = {True: "always", False: "never", "always": "always", "never": "never"}
    return said[rule] if isinstance(rule, bool | str) else "sometimes"


def _handoff(way: Handoff[Any, Any], known: Mapping[int, str]) -> JSONObject:
    return {
        "to": known[id(way.agent)] if way.agent is not None else way.agent_name,
        "schema_hash": schema_hash(way.tool_name, way.input_json_schema),
        "parameters": way.input_json_schema,
    }


def _output(agent: Agent[Any]) -> JSONObject:
    # A type without a schema fails the run when it is driven, with its own words.
    with contextlib.suppress(UserError):
        schema = output_schema_of(agent)
        if schema is not None and not schema.is_plain_text():
            name = schema.name()
            return {
                "name": name,
                "schema_hash": schema_hash(name, schema.json_schema()),
            }
    return {"name": "text", "schema_hash": ""}


def _text_digest(instructions: Any) -> str:
    if instructions is None:
        return ""
    if not isinstance(instructions, str):
        return "made by the program"
    text = instructions.encode("utf-8", "surrogatepass")
    return hashlib.sha256(text).hexdigest()


def _model_name(model: Any) -> str:
    if isinstance(model, Model):
        return type(model).__name__
    return str(model or "the default model")


# Renaming


def _renamed(old: JSONObject, renames: Renames) -> JSONObject:
    """Return `old` with the names that are in use now."""
    agents, tools = renames.get("agents", {}), renames.get("tools", {})

    def entry(called: str, has: JSONObject) -> JSONObject:
        written = dict(has)
        if called in tools:
            written["called"] = called
        for part in ("agent", "to"):
            if part in has:
                written[part] = agents.get(has[part], has[part])
        return written

    def renamed(has: JSONObject) -> JSONObject:
        moved = {
            part: {
                tools.get(name, name): entry(name, of) for name, of in has[part].items()
            }
            for part in ("tools", "handoffs")
        }
        return {**has, **moved}

    return {
        "root": agents.get(old["root"], old["root"]),
        "agents": {
            agents.get(key, key): renamed(has) for key, has in old["agents"].items()
        },
    }


# Telling


def _gone_agent(key: str) -> Difference:
    return Difference(agent=key, what="Agent", before="there", now=_GONE)


def _new_agent(key: str, has: JSONObject) -> Difference:
    tools = [f"{name} ({ASKS[tool['asks']]})" for name, tool in has["tools"].items()]
    told = f"new, with {', '.join(tools)}" if tools else "new, without tools"
    return Difference(agent=key, what="Agent", before=_ABSENT, now=told)


def _of_agent(key: str, old: JSONObject, new: JSONObject) -> Iterator[Difference]:
    yield from _of_tools(key, old["tools"], new["tools"])
    yield from _of_handoffs(key, old["handoffs"], new["handoffs"])
    yield from _of_servers(key, old["mcp_servers"], new["mcp_servers"])
    if old["output"] != new["output"]:
        before, now = old["output"]["name"], new["output"]["name"]
        now = f"another {now}" if before == now else now
        yield Difference(agent=key, what="Type of its answer", before=before, now=now)
    if old["model"] != new["model"]:
        told = {"before": old["model"], "now": new["model"]}
        yield Difference(agent=key, what="Model", **told, asks=False)
    if old["instructions"] != new["instructions"]:
        told = {"before": "one text", "now": "another text"}
        yield Difference(agent=key, what="Instructions", **told, asks=False)


def _of_tools(agent: str, old: JSONObject, new: JSONObject) -> Iterator[Difference]:
    for name in old:
        if name not in new:
            before = ASKS[old[name]["asks"]]
            yield Difference(agent=agent, what=f"Tool {name}", before=before, now=_GONE)
    for name in new:
        if name not in old:
            now = f"new, {ASKS[new[name]['asks']]}"
            yield Difference(agent=agent, what=f"Tool {name}", before=_ABSENT, now=now)
        else:
            yield from _of_tool(agent, name, old[name], new[name])


def _of_tool(
    agent: str, name: str, old: JSONObject, new: JSONObject
) -> Iterator[Difference]:
    yield from _of_schema(agent, f"Tool {name}", name, old, new)
    if old["asks"] != new["asks"]:
        rank = _STRICTNESS.index
        yield Difference(
            agent=agent,
            what=f"Tool {name}",
            before=ASKS[old["asks"]],
            now=ASKS[new["asks"]],
            loosens=rank(new["asks"]) < rank(old["asks"]),
        )
    runs, ran = _runs(new), _runs(old)
    if runs != ran:
        yield Difference(agent=agent, what=f"Tool {name}", before=ran, now=runs)
    if old.get("settings") != new.get("settings"):
        set_up = {
            "before": old.get("settings", "none"),
            "now": new.get("settings", "none"),
        }
        yield Difference(agent=agent, what=f"Settings of {name}", **set_up)
    was, is_now = old.get("review"), new.get("review")
    if was and is_now and was != is_now:
        yield Difference(
            agent=agent,
            what=f"Review of {name}",
            before=_review(was),
            now=_review(is_now),
            loosens=is_now["approvals"] < was["approvals"]
            or is_now["idempotent"] > was["idempotent"],
        )


def _of_schema(
    agent: str, what: str, name: str, old: JSONObject, new: JSONObject
) -> Iterator[Difference]:
    called = old.get("called", name)
    now = new["schema_hash"]
    if called != name:
        now = schema_hash_as(name, new["parameters"], called)
    if old["schema_hash"] != now:
        yield Difference(
            agent=agent,
            what=f"{what}: parameters",
            before=signature(old["parameters"]),
            now=difference(old["parameters"], new["parameters"]),
        )


def _runs(tool: JSONObject) -> str:
    if "agent" in tool:
        return f"runs the agent {tool['agent']}"
    return "runs a function" if tool["kind"] == "FunctionTool" else f"a {tool['kind']}"


def _review(review: JSONObject) -> str:
    people = (
        "1 approval" if review["approvals"] == 1 else f"{review['approvals']} approvals"
    )
    by = f" of {review['reviewers']}" if review["reviewers"] else ""
    again = ", may be repeated" if review["idempotent"] else ""
    to = review.get("escalates_to")
    later = f", later also of {to}" if to else ""
    return f"{people}{by}{later}, {review['risk']} risk{again}"


def _of_handoffs(agent: str, old: JSONObject, new: JSONObject) -> Iterator[Difference]:
    for name in {**old, **new}:
        what = f"Handoff {name}"
        before = f"to {old[name]['to']}" if name in old else _ABSENT
        now = f"to {new[name]['to']}" if name in new else _GONE
        if before != now:
            yield Difference(agent=agent, what=what, before=before, now=now)
        if name in old and name in new:
            yield from _of_schema(agent, what, name, old[name], new[name])


def _of_servers(agent: str, old: list[str], new: list[str]) -> Iterator[Difference]:
    for name in dict.fromkeys([*old, *new]):
        if (name in old) != (name in new):
            before, now = ("there", _GONE) if name in old else (_ABSENT, "new")
            what = f"MCP server {name}"
            yield Difference(agent=agent, what=what, before=before, now=now)

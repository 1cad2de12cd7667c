"""The question whether a run may go on under changed code: how it is put and read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.utils import timezone

from runs import codec
from runs.engine import Risk
from runs.models import Run
from runs.upgrades import UPGRADE_KEY, CodeChange

from . import audit, display, notices, services
from .models import ApprovalRequest

_SHOWN = ("agent", "what", "before", "now")
WHY = "The code of this run has changed since it was last at work."


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A row of the table that a reviewer reads."""

    agent: str
    what: str
    before: str
    now: str
    asks: bool
    """False: told only because something else asks."""
    loosens: bool


def ask(run: Run, change: CodeChange, *, revision: int) -> ApprovalRequest:
    """Put to people whether `run` may go on, inside the caller's transaction."""
    now = timezone.now()
    told = [difference.to_json() for difference in change.differences]
    text = "\n".join(_line(row) for row in told)
    loosens = any(difference.loosens for difference in change.differences)
    request = ApprovalRequest.objects.create(
        run=run,
        kind=ApprovalRequest.Kind.UPGRADE,
        call_key=UPGRADE_KEY,
        revision=revision,
        tool="",
        agent_path=codec.storable(change.agent)[:500],
        call=codec.dumps({"arguments": text}),
        arguments=codec.storable(text),
        schema_hash="",
        digest=change.digest,
        risk=Risk.HIGH if loosens else Risk.MEDIUM,
        summary=_summary(change.agent),
        why=WHY,
        warnings=sum(map(display.count_warnings, _texts(told))),
        tell_at=notices.first_moment(now, None),
        evidence=codec.dumps({"differences": told, "servers": _servers(change)}),
        created_at=now,
        updated_at=now,
    )
    audit.append(
        run.pk,
        actor="Placet",
        action="request",
        about=request.pk,
        payload={
            "kind": request.kind,
            "digest": request.digest,
            "before": change.before,
            "now": change.now,
        },
    )
    services.announce(request)
    return request


def changes_in(request: ApprovalRequest) -> list[Change]:
    """Return what has changed, as it was when the question was put; [] for others."""
    if request.kind != ApprovalRequest.Kind.UPGRADE:
        return []
    told: list[dict[str, Any]] = codec.loads(request.evidence)["differences"]
    return [Change(**row) for row in told]


def servers_in(request: ApprovalRequest) -> list[str]:
    """Return the MCP servers whose tools were not compared; [] for other requests."""
    if request.kind != ApprovalRequest.Kind.UPGRADE:
        return []
    servers: list[str] = codec.loads(request.evidence)["servers"]
    return servers


def _servers(change: CodeChange) -> list[str]:
    agents = codec.loads(change.now)["agents"].values()
    return sorted({name for has in agents for name in has["mcp_servers"]})


def _summary(agent: str) -> str:
    return codec.storable(f"May the run of {agent} go on under changed code?")[:300]


def _texts(told: list[dict[str, Any]]) -> list[str]:
    """Return what a reviewer reads of each row."""
    return [str(row[part]) for row in told for part in _SHOWN]


def _line(row: dict[str, Any]) -> str:
    return f"{row['agent']}: {row['what']}: {row['before']} → {row['now']}"

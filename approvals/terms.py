"""What *always* is to mean: how far a new Rule reaches, and for how long."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.contrib.auth.models import User

from .conditions import ANY, Conditions, dump
from .models import ApprovalRequest, Rule, Verdict

Scope = Rule.Scope

LIFE = {Scope.AGENT: timedelta(days=30), Scope.EVERYWHERE: timedelta(days=30)}
"""How long a Rule lives unless its maker says otherwise."""
IDLE = {Scope.CONVERSATION: timedelta(hours=8)}
"""A Rule ends when it was not used for so long."""
USE_CAP = {Scope.AGENT: 100}
MAX_LIFE = timedelta(days=365)
MAX_USES = 10_000
GLOBAL_RULE = "add_global_rule"
"""The permission to make a Rule for every agent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How far *always* reaches; what is left out is as usual for the scope."""

    scope: Rule.Scope = Rule.Scope.RUN
    conditions: Conditions = ANY
    use_cap: int | None = None
    life: timedelta | None = None
    """From its making. A Rule for one run ends with the run at the latest."""

    @property
    def fault(self) -> str:
        """Why no Rule can be made on these terms; empty when one can."""
        if self.use_cap is not None and not 1 <= self.use_cap <= MAX_USES:
            return f"A Rule is used at least once and at most {MAX_USES} times."
        if self.life is not None and not timedelta(0) < self.life <= MAX_LIFE:
            return f"A Rule lives for at most {MAX_LIFE.days} days."
        return ""


FOR_THIS_RUN = Terms()
"""Any arguments, to the end of the run."""


def draft(
    terms: Terms,
    request: ApprovalRequest,
    *,
    verdict: Verdict,
    creator: User,
    now: datetime,
    reason: str = "",
) -> Rule:
    """Return the Rule that `terms` make of a verdict on `request`; it is not stored."""
    scope, run = terms.scope, request.run
    life = terms.life or LIFE.get(scope)
    # A stated life takes the place of the idle time.
    idle = None if terms.life else IDLE.get(scope)
    return Rule(
        scope=scope,
        run=run if scope == Scope.RUN else None,
        conversation_id=run.conversation_id if scope == Scope.CONVERSATION else None,
        agent_key=run.agent_key,
        agent_path=request.agent_path,
        tool=request.tool,
        schema_hash=request.schema_hash,
        conditions=dump(terms.conditions),
        verdict=verdict,
        reason=reason,
        use_cap=terms.use_cap or USE_CAP.get(scope),
        expires_at=now + life if life else None,
        idle=idle,
        idle_at=now + idle if idle else None,
        creator=creator,
        created_at=now,
    )

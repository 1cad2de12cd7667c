"""What a person must decide, who may, and what they decided.

Decisions, votes and audit entries are append-only. Every verdict is written by
`approvals.services.decide`.
"""

from __future__ import annotations

from .attention import Attention, Look, Snooze
from .audit import AuditEntry
from .people import Notice, Preferences
from .requests import (
    DECIDED_STATUSES,
    STATUS_AFTER,
    ApprovalRequest,
    Decision,
    RequestStatus,
    Vote,
)
from .rules import Rule, RuleState
from .verdicts import Verdict

__all__ = [
    "DECIDED_STATUSES",
    "STATUS_AFTER",
    "ApprovalRequest",
    "Attention",
    "AuditEntry",
    "Decision",
    "Look",
    "Notice",
    "Preferences",
    "RequestStatus",
    "Rule",
    "RuleState",
    "Snooze",
    "Verdict",
    "Vote",
]

"""Every write about requests and decisions. `decide` is the one door for verdicts.

Page, command, admin, standing Rule and expiry come through it; nothing else writes a
Decision. `undo` takes one back while it is held; `revoke_rule` ends a standing Rule.
"""

from __future__ import annotations

from ..errors import (
    AlreadyDecided,
    DecisionError,
    InvalidDecision,
    InvalidEdit,
    NotAllowed,
    NotUndoable,
    RuleEnded,
    RuleError,
    RuleNotYours,
    Stale,
    Taken,
)
from .attention import (
    assign,
    claim,
    look,
    look_away,
    release,
    snooze,
    unsnooze,
)
from .bulk import decide_each
from .deciding import apply_rules, decide, deny_orphans
from .editing import check_edit, edit
from .escalation import escalate, escalate_due
from .expiry import expire_due
from .notices import tell_due
from .people import save_preferences
from .rules import revoke_rule
from .telling import announce, announce_new
from .undoing import undo

__all__ = [
    "AlreadyDecided",
    "DecisionError",
    "InvalidDecision",
    "InvalidEdit",
    "NotAllowed",
    "NotUndoable",
    "RuleEnded",
    "RuleError",
    "RuleNotYours",
    "Stale",
    "Taken",
    "announce",
    "announce_new",
    "apply_rules",
    "assign",
    "check_edit",
    "claim",
    "decide",
    "decide_each",
    "deny_orphans",
    "edit",
    "escalate",
    "escalate_due",
    "expire_due",
    "look",
    "look_away",
    "release",
    "revoke_rule",
    "save_preferences",
    "snooze",
    "tell_due",
    "undo",
    "unsnooze",
]

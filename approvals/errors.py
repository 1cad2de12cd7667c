"""Why a decision was not taken. Nothing has changed when one of these is raised.

DecisionError
├── InvalidDecision   the verdict is none, or not one for this kind of request
│   └── InvalidEdit   the call does not take the arguments that a person gave it
├── NotAllowed        this person may not decide this request
├── Stale             the request no longer is what the person saw
├── AlreadyDecided    the request has ended
├── Taken             somebody else has claimed it
└── NotUndoable       there is no verdict, or it is too late to take it back

RuleError             why a standing Rule was not changed
├── RuleNotYours      this person may not revoke it
└── RuleEnded         it has ended before
"""

from __future__ import annotations

from collections.abc import Mapping

from .models import ApprovalRequest, Rule


class DecisionError(Exception):
    """`request` is the request as it stands now; the text is fit for the page."""

    def __init__(self, message: str, request: ApprovalRequest) -> None:
        super().__init__(message)
        self.request = request


class InvalidDecision(DecisionError):
    pass


class InvalidEdit(InvalidDecision):
    """`faults` says what is wrong by argument, `""` for all of them at once.

    `why` says what is wrong with the reason.
    """

    def __init__(
        self, faults: Mapping[str, str], request: ApprovalRequest, *, why: str = ""
    ) -> None:
        told = [f"{name}: {fault}" if name else fault for name, fault in faults.items()]
        super().__init__(" ".join([*told, why]).strip(), request)
        self.faults = faults
        self.why = why


class NotAllowed(DecisionError):
    pass


class Stale(DecisionError):
    pass


class AlreadyDecided(DecisionError):
    pass


class NotUndoable(DecisionError):
    pass


class Taken(DecisionError):
    pass


class RuleError(Exception):
    """`rule` is the Rule as it stands now; the text is fit for the page."""

    def __init__(self, message: str, rule: Rule) -> None:
        super().__init__(message)
        self.rule = rule


class RuleNotYours(RuleError):
    pass


class RuleEnded(RuleError):
    pass

"""A request in words: one line for people, and what the model is told of its verdict.

What the model reads begins with fixed words, so that it can tell a person's from a
tool's, and says what it is not to try again.
"""

from __future__ import annotations

from collections.abc import Sequence

from runs import codec, inert
from runs.engine import Verdict, VerdictKind
from runs.engine.digest import MalformedArguments, parse_arguments

from . import display
from .models import ApprovalRequest, Decision, RequestStatus

EXPIRED = "Nobody decided this call in time; it was not run."
REJECTED = "A reviewer rejected this call; it was not run."
NOT_AGAIN = (
    "Do not make the same call again: do what the reason says, or go on without it."
)
SKIPPED = "This call may or may not have happened; a person chose to skip it."
ANSWERED = (
    "A person answered instead of running this tool; the tool was not run, "
    "and does not need to be. The person's answer:\n"
)
HAPPENED = (
    "This call started, and nobody saw how it ended. "
    "A person found that it happened, with this output:\n"
)
EDITED = "A person changed this call before it was run. It ran with these arguments: "
EDITED_BECAUSE = "The person's reason: "
NOT_AS_WRITTEN = (
    "Do not make the call again with the earlier arguments. The tool's output:\n"
)


def describe(request: ApprovalRequest, *, names: Sequence[str]) -> None:
    """Set what is shown and searched of a request, from the call it is about.

    `names` are those of its tool and agents, whole: they are looked at as well.
    """
    written = request.call_arguments
    request.arguments = codec.storable(written)
    request.summary = codec.storable(_summary(request, written))[:300]
    request.warnings = display.warnings_of(written, *names)


def told(decision: Decision) -> Verdict:
    """Return the decision as the engine and the model are told of it.

    One on a call that a person changed brings what is to run, and its digest.
    """
    kind, request = VerdictKind(decision.verdict), decision.request
    if kind is VerdictKind.ANSWER:
        doubted = request.kind == ApprovalRequest.Kind.RECONCILE
        note = HAPPENED if doubted else ANSWERED
        return Verdict(kind=kind, message=decision.output, note=note)
    if kind is VerdictKind.REJECT:
        return Verdict(kind=kind, message=_rejection(decision))
    if not request.is_edited:
        return Verdict(kind=kind)
    return Verdict(
        kind=kind,
        arguments=request.call_arguments,
        digest=request.digest,
        note=_edit_note(request),
    )


def _rejection(decision: Decision) -> str:
    request = decision.request
    if request.status == RequestStatus.EXPIRED:
        return EXPIRED
    doubted = request.kind == ApprovalRequest.Kind.RECONCILE
    words = [SKIPPED if doubted else REJECTED]
    if decision.reason:
        words.append(f"Reason: {decision.reason}")
        if not doubted:
            return f"{' '.join(words)}\n{NOT_AGAIN}"
    return " ".join(words)


def _edit_note(request: ApprovalRequest) -> str:
    because = f"{EDITED_BECAUSE}{request.edit_reason}\n" if request.edit_reason else ""
    return f"{EDITED}{request.call_arguments}\n{because}{NOT_AS_WRITTEN}"


def _summary(request: ApprovalRequest, written: str) -> str:
    """Return one line about the call: the tool's own, else one from its arguments."""
    if request.summary_form:
        try:
            values = parse_arguments(written)
            return request.summary_form.format_map(
                {name: inert.plain(str(value)) for name, value in values.items()}
            )
        except (MalformedArguments, LookupError, ValueError, AttributeError, TypeError):
            pass  # the model left out, or changed, what the line is made of
    return display.summary_line(request.tool, written)

"""A tool call as the run carries it, and what may be said about it."""

from __future__ import annotations

import dataclasses
import enum
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from .digest import JSONObject, MalformedArguments, call_digest, parse_arguments
from .errors import ClaimRefused

if TYPE_CHECKING:
    from .state.run_state import RunState


CALLED_HERE = (
    "function_call",
    "shell_call",
    "local_shell_call",
    "apply_patch_call",
    "custom_tool_call",
)
"""Types of items that ask for a call which is dealt with here."""


class Risk(enum.StrEnum):
    """How much harm a call can do; the desk shows it and orders by it."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"
    """Always asked about: no standing approval covers it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """What a reviewer needs to know, and the desk must enforce, about a tool."""

    risk: str = Risk.MEDIUM
    reviewers: str = ""
    """Name of the group that decides; empty: whoever may decide at all."""
    approvals: int = 1
    """How many different people must approve."""
    idempotent: bool = False
    """True: the same call made twice has the effect of one, so it may be repeated."""
    summary: str = ""
    """One line about a call, filled from its arguments: `Refund {amount_eur} EUR`."""
    expires_after: timedelta | None = None
    """How long a request waits before it is rejected as expired; None: for ever."""
    escalate_after: timedelta | None = None
    """How long a request waits before `escalate_to` may decide it as well."""
    escalate_to: str = ""
    """Name of the group that is asked too when nobody has decided by then."""
    hold: timedelta = timedelta(0)
    """How long after a verdict the call may not start, so that it can be undone."""

    def __post_init__(self) -> None:
        if self.risk not in list(Risk):
            raise ValueError(
                f"Review risk {self.risk!r} is unknown; use one of {', '.join(Risk)}."
            )
        if self.approvals < 1:
            raise ValueError("Review approvals must be at least 1.")
        if self.expires_after is not None and self.expires_after <= timedelta(0):
            raise ValueError("Review expires_after must be longer than nothing.")
        self._check_escalation()
        if self.hold < timedelta(0):
            raise ValueError("Review hold must not be negative.")

    def _check_escalation(self) -> None:
        after, to = self.escalate_after, self.escalate_to
        if (after is None) != (not to.strip()):
            raise ValueError("Review escalate_after and escalate_to go together.")
        if after is None:
            return
        if after <= timedelta(0):
            raise ValueError("Review escalate_after must be longer than nothing.")
        if self.expires_after is not None and after >= self.expires_after:
            raise ValueError("Review escalate_after must be before expires_after.")
        if to == self.reviewers:
            raise ValueError(f"Review escalate_to {to!r} are its reviewers already.")


HOSTED_MCP_REVIEW = Review(idempotent=True)
"""Of a call on a hosted server: its effect is the answer in the log, which stands there
once."""


class CallKind(enum.StrEnum):
    """What a call is of, and so how it is settled."""

    FUNCTION = "function"
    """A tool whose body runs here."""
    AGENT = "agent"
    """An agent used as a tool: a frame of its own, whose calls live below this one."""
    HANDOFF = "handoff"
    """Another agent takes over."""
    LOCAL = "local"
    """A tool with calls of a form of their own that runs here: a shell, a patch."""
    HOSTED_MCP = "hosted_mcp"
    """The model's server asks whether it may call a tool there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """What a person put in the place of a call's arguments."""

    arguments: str
    digest: str
    """Of the call with these arguments."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of one tool, exactly as the model wrote it."""

    key: str
    """Call ids from the root agent's frame down, joined by `/`."""
    call_id: str
    tool: str
    agent_path: str
    """Agent names from the root down, joined by ` / `."""
    arguments: str
    """The text the model wrote; never reformatted."""
    schema_hash: str
    digest: str
    kind: CallKind = CallKind.FUNCTION
    gated: bool = False
    """True when a person, or a standing rule, must approve it first."""
    why: str = ""
    """Why it is gated, in one sentence for the reviewer."""
    review: Review = field(default_factory=Review)
    parameters: JSONObject | None = field(default=None, compare=False)
    """The JSON schema of its arguments, where it is known."""
    override: Override | None = None
    """What runs instead of `arguments`, which stay as the model wrote them."""

    @property
    def runs(self) -> str:
        """The arguments that the body gets."""
        return self.override.arguments if self.override else self.arguments

    @property
    def runs_digest(self) -> str:
        """The digest of the call with them."""
        return self.override.digest if self.override else self.digest

    @property
    def is_claimed(self) -> bool:
        """True unless a repetition can do no harm and nobody is asked about it."""
        return self.gated or not self.review.idempotent

    def parsed(self) -> dict[str, Any] | None:
        """Return the arguments as an object, or None when they are malformed."""
        try:
            return parse_arguments(self.arguments)
        except MalformedArguments:
            return None

    def current_digest(self) -> str:
        """Return the digest computed anew from what the model wrote."""
        return self._digest_with(self.arguments)

    def running_digest(self) -> str:
        """Return the digest computed anew from what runs."""
        return self._digest_with(self.runs)

    def under(self, verdict: Verdict | None) -> Call:
        """Return the call as it runs under `verdict`.

        Raises ClaimRefused when the verdict is on other arguments than it brings, or
        the call takes none but its own.
        """
        if verdict is None or verdict.arguments is None:
            return self
        digest = self._digest_with(verdict.arguments)
        changeable = self.kind in (CallKind.FUNCTION, CallKind.AGENT)
        if verdict.digest not in (None, digest) or not changeable:
            raise ClaimRefused(
                f"What was approved instead of the call of {self.tool} is not what was "
                "about to start; it was not run."
            )
        override = Override(arguments=verdict.arguments, digest=digest)
        return dataclasses.replace(self, override=override)

    def _digest_with(self, arguments: str) -> str:
        return call_digest(
            tool=self.tool,
            schema_hash=self.schema_hash,
            agent_path=self.agent_path,
            arguments=arguments,
        )


class VerdictKind(enum.StrEnum):
    """What a person, or a rule, says of a call."""

    APPROVE = "approve"
    REJECT = "reject"
    ANSWER = "answer"
    """A person's text stands for the tool's output; the tool does not run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What was decided about a call."""

    kind: VerdictKind
    message: str | None = None
    """Reject: what the model is told. Answer: the output. None: the default text."""
    arguments: str | None = None
    """Approve: what runs instead of what the model wrote; None runs that."""
    digest: str | None = None
    """Of the call with those `arguments`; with it, it is compared before they run."""
    note: str | None = None
    """Answer, or approve with other arguments: the words before the output."""
    stop: bool = False
    """Reject: the run ends with this call."""


class OutcomeKind(enum.StrEnum):
    """How a call ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    REJECTED = "rejected"
    ANSWERED = "answered"
    INVALID = "invalid"
    """The call could not be made: no such tool, or arguments it does not take."""
    UNKNOWN = "unknown"
    """It started and nobody saw how it ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a call ended and what the model is told of it."""

    kind: OutcomeKind
    output: str | list[JSONObject]
    """A text, or content parts (text, image, file) as the Responses API has them."""


class ClaimStatus(enum.StrEnum):
    """Whether the caller may run a call's body now."""

    GRANTED = "granted"
    """This caller, and no other, runs the tool's body now."""
    DONE = "done"
    """It ran before; `outcome` says how it ended."""
    IN_DOUBT = "in_doubt"
    """It started before and nobody saw how it ended; a person has been asked."""
    HELD = "held"
    """It may not start yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The journal's answer to a call that wants to start."""

    status: ClaimStatus
    idempotency_key: str = ""
    """The same for every attempt of one call."""
    outcome: Outcome | None = None
    digest: str = ""
    """What was granted; empty where nothing is compared with it."""


@dataclass(slots=True, kw_only=True)
class OpenCall:
    """A call the model asked for, and that has no output yet."""

    call: Call
    verdict: Verdict | None = None
    """What was decided about exactly this call."""
    in_doubt: bool = False
    """It may have happened already; a person has been asked."""
    held: bool = False
    """Approved, but it may not start yet."""
    held_at: int | None = None
    """How much news the gate had had when it was held."""
    nested: RunState[Any] | None = None
    """The run of the agent that this call uses as a tool, once it has begun."""
    resolved: bool = False
    """Its decision was announced in this stretch of the run."""
    gone: bool = False
    """The code has its tool no more, or another one: it cannot run."""
    started: bool = False
    """Of one that is gone: it had started, and nobody saw how it ended."""

    @property
    def is_void(self) -> bool:
        """True when it ends without running, whatever anybody says of it."""
        return self.gone and not self.started

    @property
    def waits(self) -> bool:
        """True while only a person, or time, can move this call on."""
        if self.is_void:
            return False
        if self.nested is not None:
            return not self.nested.can_go_on()
        if self.verdict is None:
            return self.call.gated or self.in_doubt or self.held
        return self.held


@dataclass(frozen=True, slots=True, kw_only=True)
class StickyVerdict:
    """A verdict on every call of one agent's tool, for this run."""

    agent_path: str
    tool: str
    schema_hash: str | None
    """The tool's own: another tool of that name is not covered. None in old states."""
    verdict: Verdict

    def covers(self, call: Call) -> bool:
        """Say whether it holds for `call`."""
        same = (self.agent_path, self.tool) == (call.agent_path, call.tool)
        return same and self.schema_hash in (None, call.schema_hash)

    @property
    def scope(self) -> str:
        """What it covers, in words.

        The run is the agent's own: for an agent used as a tool, one use of it.
        """
        return f"every call of {self.tool} by {self.agent_path}, until its run ends"


def key_of(frame: str, call_id: str) -> str:
    """Return the key of a call: its id behind the keys of the frames it is in.

    A `/` in an id is written as `%2F`, so that no id reaches into another frame.
    """
    own = call_id.replace("%", "%25").replace("/", "%2F")
    return f"{frame}/{own}" if frame else own

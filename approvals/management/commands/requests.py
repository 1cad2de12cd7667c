"""Lists what waits for a decision, safe to read in a terminal."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db.models import QuerySet

from approvals import display
from approvals.models import ApprovalRequest, RequestStatus
from runs import inert

ALL_SHOWN = 200
ARGUMENT_CHARS = 4000


class Command(BaseCommand):
    help = (
        "Lists the pending approval requests, the oldest first: id, risk and summary, "
        "then tool, digest and arguments. Characters that cannot be seen are named."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--all",
            action="store_true",
            help=f"The last {ALL_SHOWN} requests, decided ones too.",
        )

    def handle(self, **options: Any) -> None:
        found = listed(options["all"])
        for request in found:
            self.stdout.write(told(request))
        if not found:
            self.stdout.write("No request is waiting.")


def listed(with_decided: bool) -> list[ApprovalRequest]:
    requests: QuerySet[ApprovalRequest] = ApprovalRequest.objects.select_related(
        "run__requester", "decision__actor", "decision__rule__creator"
    )
    if with_decided:
        return list(requests.order_by("-id")[:ALL_SHOWN])[::-1]
    return list(requests.filter(status=RequestStatus.PENDING).order_by("id"))


def told(request: ApprovalRequest) -> str:
    """Return one request as lines of inert text, the arguments as they would run."""
    requester = request.run.requester
    by = f", asked for by {requester.get_username()}" if requester else ""
    agent = inert.plain(request.agent_path, one_line=True)
    tool = inert.plain(request.tool, one_line=True)
    lines = [
        f"{request.pk}  {request.risk}  {inert.plain(request.summary, one_line=True)}",
        f"  {state(request)}",
        f"  {tool}, called by {agent}{by}",
        f"  digest {request.digest}",
        *(f"    {line}" for line in arguments(request)),
    ]
    return "\n".join([*lines, ""])


def arguments(request: ApprovalRequest) -> list[str]:
    text = display.full_text(request.call_data["arguments"])
    lines = text[:ARGUMENT_CHARS].splitlines()
    missing = len(text) - ARGUMENT_CHARS
    if missing > 0:
        lines.append(f"… and {missing} more characters; look at the page.")
    return lines


def state(request: ApprovalRequest) -> str:
    if request.is_pending:
        votes = f"{request.votes} of {request.votes_needed} votes"
        doubt = "did it happen?, " if request.kind == request.Kind.RECONCILE else ""
        return f"pending, {doubt}{votes}"
    decision = getattr(request, "decision", None)
    return f"{request.status} by {decision.actor_name}" if decision else request.status

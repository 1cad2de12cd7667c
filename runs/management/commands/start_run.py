"""Starts a run from a terminal or a script, and follows it when asked to."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from time import monotonic, sleep
from typing import Any
from uuid import UUID

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from runs import inert, services
from runs.models import Conversation, EventKind, Run, RunStatus

POLL_S = 0.5
EXIT_CODES = {RunStatus.COMPLETED: 0, RunStatus.WAITING: 3}
ENDED_BADLY = 1
TIMED_OUT = 4


class Command(BaseCommand):
    help = (
        "Starts a run and prints its id. With --wait, follows it until it ends or "
        "waits for a decision, and prints its answer or what it waits for; the exit "
        "code is 0 when it completed, 3 when it waits, 1 when it failed or was "
        "cancelled, 4 when --timeout passed. A server or a worker does the work."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("text", help="What the agent is to do.")
        parser.add_argument("--agent", help="Key of the agent.")
        parser.add_argument("--as", dest="username", help="Who asks for it.")
        parser.add_argument(
            "--conversation", help="Id of a conversation to go on in, with its agent."
        )
        parser.add_argument("--wait", action="store_true")
        parser.add_argument(
            "--timeout", type=float, metavar="SECONDS", help="Wait no longer than this."
        )

    def handle(
        self,
        *,
        text: str,
        agent: str | None,
        username: str | None,
        conversation: str | None,
        wait: bool,
        timeout: float | None,
        **options: Any,
    ) -> None:
        opened = find_conversation(conversation, agent) if conversation else None
        if opened is None and not agent:
            raise CommandError("Name the agent with --agent KEY.")
        try:
            run = services.start_run(
                opened.agent_key if opened else agent or "",
                text,
                trigger=Run.Trigger.COMMAND,
                requester=find_user(username) if username else None,
                conversation=opened,
            )
        except services.RunError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(str(run.pk))
        self.stdout.flush()
        if wait:
            self.follow(run.pk, timeout)

    def follow(self, run_id: UUID, timeout_s: float | None) -> None:
        """Print how the run comes to rest, and exit with the code that says it."""
        for run in looks(run_id, timeout_s):
            if run.status not in (RunStatus.QUEUED, RunStatus.RUNNING):
                self.stdout.write(told(run))
                if code := EXIT_CODES.get(RunStatus(run.status), ENDED_BADLY):
                    sys.exit(code)
                return
        self.stderr.write(f"The run is still {run.status} after {timeout_s:g} seconds.")
        sys.exit(TIMED_OUT)


def looks(run_id: UUID, timeout_s: float | None) -> Iterator[Run]:
    """Yield the run as it stands, again and again until the time is over."""
    end = None if timeout_s is None else monotonic() + timeout_s
    while True:
        yield Run.objects.get(pk=run_id)
        if end is not None and monotonic() >= end:
            return
        sleep(POLL_S)


def told(run: Run) -> str:
    """Return a run at rest as text that is safe in a terminal."""
    if run.status == RunStatus.COMPLETED:
        return inert.plain(run.final_output)
    if run.status == RunStatus.WAITING:
        waits = "\n".join(f"  {request}" for request in open_requests(run))
        return f"Waiting for a decision on:\n{waits}"
    ended = "failed" if run.status == RunStatus.FAILED else f"was {run.status}"
    return inert.plain(f"The run {ended}. {run.error}".strip())


def open_requests(run: Run) -> list[str]:
    """Return the ids of the requests that the run waits for."""
    latest = {
        event.data["request"]: event.data["status"]
        for event in run.events.filter(kind=EventKind.REQUEST).order_by("seq")
    }
    return [request for request, status in latest.items() if status == "pending"]


def find_user(username: str) -> User:
    try:
        return User.objects.get(username=username, is_active=True)
    except User.DoesNotExist:
        raise CommandError(f"There is no active user {username!r}.") from None


def find_conversation(pk: str, agent_key: str | None) -> Conversation:
    try:
        conversation = Conversation.objects.get(pk=pk)
    except (Conversation.DoesNotExist, ValidationError):
        raise CommandError(f"There is no conversation {pk!r}.") from None
    if agent_key not in (None, conversation.agent_key):
        raise CommandError(
            f"The conversation is with the agent {conversation.agent_key!r}; "
            "leave --agent out."
        )
    return conversation

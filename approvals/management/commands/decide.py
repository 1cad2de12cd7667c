"""Decides a request from a terminal, with the same rights as on its page."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from approvals.models import ApprovalRequest, Verdict
from approvals.services import DecisionError, decide, edit
from approvals.terms import FOR_THIS_RUN
from runs import inert

EDIT = "edit"


class Command(BaseCommand):
    help = (
        "Approves or rejects a request, answers it instead of the tool, or approves it "
        "with other arguments. The person must be allowed to, as on the request's page."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("request", help="Its id, as `manage.py requests` shows it.")
        verdicts = [*(str(verdict) for verdict in Verdict), EDIT]
        parser.add_argument("verdict", choices=verdicts)
        parser.add_argument("--as", dest="username", required=True, help="Who decides.")
        parser.add_argument(
            "--reason", default="", help="Reaches the model if rejected or edited."
        )
        parser.add_argument(
            "--output", default="", help="With answer: what the model gets as output."
        )
        parser.add_argument(
            "--arguments",
            help="With edit: a file with the arguments that run instead, a JSON "
            "object; - reads them from the standard input.",
        )
        parser.add_argument(
            "--digest",
            help="Of the call you have looked at; decides nothing if it has changed.",
        )
        parser.add_argument(
            "--always",
            action="store_true",
            help="Decide all further calls of this tool in this run the same way.",
        )
        parser.add_argument(
            "--stop", action="store_true", help="With reject: stop the run as well."
        )

    def handle(self, **options: Any) -> None:
        request = find_request(options["request"])
        said = _edited if options["verdict"] == EDIT else _decided
        try:
            request = said(request, find_user(options["username"]), options)
        except DecisionError as error:
            raise CommandError(inert.plain(str(error))) from error
        summary = inert.plain(request.summary, one_line=True)
        if request.is_pending:
            votes = f"{request.votes} of {request.votes_needed} votes"
            self.stdout.write(f"Counted, {votes}: {summary}")
        else:
            self.stdout.write(f"{request.get_status_display()}: {summary}")


def _decided(
    request: ApprovalRequest, by: User, options: dict[str, Any]
) -> ApprovalRequest:
    if options["arguments"] is not None:
        raise CommandError("--arguments goes with edit.")
    return decide(
        request.pk,
        verdict=Verdict(options["verdict"]),
        by=by,
        digest_seen=options["digest"] or request.digest,
        reason=options["reason"],
        output=options["output"],
        always=FOR_THIS_RUN if options["always"] else None,
        stop=options["stop"],
    )


def _edited(
    request: ApprovalRequest, by: User, options: dict[str, Any]
) -> ApprovalRequest:
    if options["arguments"] is None:
        raise CommandError("Give the arguments that run instead with --arguments.")
    if options["always"] or options["stop"] or options["output"]:
        raise CommandError("--always, --stop and --output do not go with edit.")
    return edit(
        request.pk,
        arguments=_read(options["arguments"]),
        reason=options["reason"],
        by=by,
        digest_seen=options["digest"] or request.digest,
    )


def _read(name: str) -> str:
    try:
        return sys.stdin.read() if name == "-" else Path(name).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{name} cannot be read: {error}") from error


def find_request(pk: str) -> ApprovalRequest:
    try:
        return ApprovalRequest.objects.get(pk=pk)
    except (ApprovalRequest.DoesNotExist, ValidationError):
        raise CommandError(f"There is no request {pk!r}.") from None


def find_user(username: str) -> User:
    try:
        return User.objects.get(username=username, is_active=True)
    except User.DoesNotExist:
        raise CommandError(f"There is no active user {username!r}.") from None

"""Decides a request from a terminal, with the same rights as on its page."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from approvals.models import ApprovalRequest, Verdict
from approvals.services import DecisionError, decide
from runs import inert


class Command(BaseCommand):
    help = (
        "Approves or rejects a request; answers one that asks whether a call happened. "
        "The person must be allowed to, as on the request's page."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("request", help="Its id, as `manage.py requests` shows it.")
        parser.add_argument("verdict", choices=[str(verdict) for verdict in Verdict])
        parser.add_argument("--as", dest="username", required=True, help="Who decides.")
        parser.add_argument(
            "--reason", default="", help="Reaches the model if rejected."
        )
        parser.add_argument(
            "--output", default="", help="With answer: what the call's output was."
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

    def handle(self, **options: Any) -> None:
        request = find_request(options["request"])
        try:
            request = decide(
                request.pk,
                verdict=Verdict(options["verdict"]),
                by=find_user(options["username"]),
                digest_seen=options["digest"] or request.digest,
                reason=options["reason"],
                output=options["output"],
                always=options["always"],
            )
        except DecisionError as error:
            raise CommandError(str(error)) from error
        summary = inert.plain(request.summary, one_line=True)
        if request.is_pending:
            votes = f"{request.votes} of {request.votes_needed} votes"
            self.stdout.write(f"Counted, {votes}: {summary}")
        else:
            self.stdout.write(f"{request.get_status_display()}: {summary}")


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

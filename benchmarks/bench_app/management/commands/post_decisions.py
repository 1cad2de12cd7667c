"""Decides by the page of a server, as a browser does, and says when each was on."""

from __future__ import annotations

import time
from functools import partial
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlencode

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.test import Client

from approvals.models import ApprovalRequest, RequestStatus
from bench_app.asking import has_ended, make_reviewer, wait_for

TOKEN = "b" * 32
"""Any will do, where cookie and form have the same."""


class Command(BaseCommand):
    help = "Posts decisions; prints begin and end of each, in seconds of the clock."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("port", type=int)
        parser.add_argument("decisions", type=int)
        parser.add_argument(
            "--to-the-end", action="store_true", help="The run's end, not the answer."
        )

    def handle(
        self, *, port: int, decisions: int, to_the_end: bool, **options: Any
    ) -> None:
        client = Client()
        client.force_login(make_reviewer())
        session = client.cookies["sessionid"].value
        pending = ApprovalRequest.objects.filter(status=RequestStatus.PENDING)
        for request in pending.order_by("pk")[:decisions]:
            begin = time.time()
            _post(port, session, request)
            if to_the_end:
                wait_for("the run has ended", partial(has_ended, request.run_id))
            self.stdout.write(f"{begin} {time.time()}")


def _post(port: int, session: str, request: ApprovalRequest) -> None:
    form = {
        "verdict": "approve",
        "digest": request.digest,
        "csrfmiddlewaretoken": TOKEN,
    }
    connection = HTTPConnection("127.0.0.1", port)
    connection.request(
        "POST",
        f"{request.get_absolute_url()}decide/",
        body=urlencode(form),
        headers={
            "Content-Type": "application/x-www-form-urlencoded",
            "Cookie": f"sessionid={session}; csrftoken={TOKEN}",
        },
    )
    response = connection.getresponse()
    response.read()
    connection.close()
    request.refresh_from_db()
    if response.status != 302 or request.status != RequestStatus.APPROVED:
        raise CommandError(f"A decision was answered with {response.status}.")

"""The installation under check, and the people in front of it."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode, urlsplit
from uuid import UUID

from tests.browser.site import Site

T = TypeVar("T")
Row = sqlite3.Row
Turn = str | list[tuple[str, dict[str, Any]]]
DEADLINE_S = 20.0
TOKEN = "t" * 32
OPEN = ("queued", "running", "waiting")
CHECKS = 20
PEOPLE = f"""
from django.contrib.auth.models import Group, User
from django.test import Client
roles = {{"ada": "reviewers", "cyd": "reviewers", "bob": "operators"}}
for n in range(1, {CHECKS} + 1):
    for name, role in roles.items():
        person = User.objects.create(username=f"{{name}}{{n:02}}")
        person.groups.add(Group.objects.get(name=role))
User.objects.get(username="bob07").groups.add(Group.objects.get(name="reviewers"))
User.objects.create_superuser("boss")
for person in User.objects.all():
    client = Client()
    client.force_login(person)
    print(person.username, client.cookies["sessionid"].value)
"""
"""Everybody is signed in once: no check waits for a password to be hashed."""


class House(Site):
    """A running Placet with the bank's agents; what it stored, and what was done."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.journal = data / "done.jsonl"
        self.sessions: dict[str, str] = {}
        self.code = "old"
        super().__init__(data, "")

    def manage(self, *command: str, check: bool = True) -> str:
        self.environment |= {
            "PLACET_DEMO": "false",
            "PLACET_APPS": "tests.checks.bank",
            "PLACET_CHECKS_JOURNAL": str(self.journal),
            "PLACET_CHECKS_CODE": self.code,
            "PLACET_SWEEP_S": "0.1",
            "PLACET_LOG_LEVEL": "ERROR",
        }
        if command[0] == "shell":
            told = super().manage("shell", "-v0", "-c", PEOPLE, check=check)
            self.sessions = dict(line.split() for line in told.splitlines())
            return told
        return super().manage(*command, check=check)

    def deploy(self, code: str) -> None:
        """Go on with other code, as after a deployment; the data stays."""
        assert self.stop() == 0
        self.code = code
        self.environment["PLACET_CHECKS_CODE"] = code
        self.start()

    # What is there

    def rows(self, sql: str, *values: Any) -> list[Row]:
        """Return what the database has; ids in `values` may be UUIDs."""
        with closing(self._database("ro")) as database:
            return database.execute(sql, _stored(values)).fetchall()

    def change(self, sql: str, *values: Any) -> None:
        """Turn the clock of a row: nothing else is written from here."""
        with closing(self._database("rw")) as database, database:
            assert database.execute(sql, _stored(values)).rowcount == 1

    def _database(self, mode: str) -> sqlite3.Connection:
        path = self.data / "placet.sqlite3"
        database = sqlite3.connect(f"file:{path}?mode={mode}", uri=True, timeout=20)
        database.row_factory = sqlite3.Row
        return database

    def done(self, to: str) -> list[tuple[str, dict[str, Any]]]:
        """Return what the tools have done for `to`: name and arguments, in order."""
        lines = self.journal.read_text().splitlines() if self.journal.exists() else []
        told = [json.loads(line) for line in lines]
        return [(tool, given) for tool, given in told if given.pop("to") == to]


class Person:
    """Somebody at the desk without a browser; each request has its own connection."""

    def __init__(self, house: House, name: str) -> None:
        self.house = house
        self.name = name
        self.session = house.sessions[name]

    @property
    def cookies(self) -> str:
        return f"sessionid={self.session}; csrftoken={TOKEN}"

    def ask(
        self,
        method: str,
        path: str,
        given: dict[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        sent = {"Cookie": self.cookies, "X-CSRFToken": TOKEN, **(headers or {})}
        sent.setdefault("Content-Type", "application/x-www-form-urlencoded")
        body = None if given is None else urlencode(given, doseq=True)
        connection = HTTPConnection("127.0.0.1", self.house.port, timeout=DEADLINE_S)
        with closing(connection):
            connection.request(method, path, body, sent)
            return Reply(connection.getresponse())

    def get(self, path: str) -> Reply:
        return self.ask("GET", path)

    def post(self, path: str, given: dict[str, Any] | None = None) -> Reply:
        return self.ask("POST", path, given or {})

    # Verbs

    def say(self, verdict: str, request: Row, **more: Any) -> Reply:
        said = {"verdict": verdict, "digest": request["digest"], **more}
        return self.post(f"/requests/{UUID(request['id'])}/decide/", said)

    def undo(self, request: Row) -> Reply:
        return self.post(f"/requests/{UUID(request['id'])}/undo/")

    def edit(self, request: Row, **more: Any) -> Reply:
        """Look at a change of the call, then send it."""
        path = f"/requests/{UUID(request['id'])}/edit/"
        written = json.loads(request["arguments"])
        given = {"digest": request["digest"], "reason": "Better so.", "step": "look"}
        given |= {f"arg-{name}": value for name, value in written.items()} | more
        looked = self.post(path, given)
        if looked.status != 200:
            return looked
        edited = looked.text.split('name="edited" value="')[1].split('"')[0]
        return self.post(path, given | {"step": "send", "edited": edited})

    def always(self, request: Row, scope: str, **more: Any) -> Reply:
        said = {"verdict": "approve", "digest": request["digest"], "scope": scope}
        arguments = json.loads(request["arguments"])
        said |= {f"op-{number}": "any" for number, _ in enumerate(arguments)}
        path = f"/requests/{UUID(request['id'])}/always/"
        return self.post(path, said | {"match": "any"} | more)


class Reply:
    def __init__(self, response: HTTPResponse) -> None:
        self.status = response.status
        self.location = response.headers.get("Location", "")
        self.text = response.read().decode()


class RunSeen:
    """A run as its database has it."""

    def __init__(self, house: House, conversation: UUID, pk: UUID) -> None:
        self.house = house
        self.conversation = conversation
        self.pk = pk

    @property
    def path(self) -> str:
        return f"/runs/{self.pk}/"

    @property
    def status(self) -> str:
        found = self.house.rows("SELECT status FROM runs_run WHERE id = ?", self.pk)
        return str(found[0]["status"])

    def requests(self, status: str = "") -> list[Row]:
        """Return its requests, or those of one status, the oldest first."""
        found = self.house.rows(
            "SELECT * FROM approvals_approvalrequest WHERE run_id = ? ORDER BY id",
            self.pk,
        )
        return [row for row in found if not status or row["status"] == status]

    def pending(self, count: int = 1) -> list[Row]:
        """Return its open requests once there are so many and it rests."""

        def found() -> list[Row] | None:
            rows = self.requests("pending")
            return rows if len(rows) == count and self.status == "waiting" else None

        return until(found, f"{count} requests of {self.pk}")

    def decisions(self) -> list[Row]:
        return self.house.rows(
            "SELECT d.*, r.call_key FROM approvals_decision d"
            " JOIN approvals_approvalrequest r ON r.id = d.request_id"
            " WHERE r.run_id = ? ORDER BY d.id",
            self.pk,
        )

    def executions(self) -> list[Row]:
        sql = "SELECT * FROM runs_toolexecution WHERE run_id = ?"
        return self.house.rows(sql, self.pk)

    def outputs(self) -> str:
        """Return all that the model was told, as stored."""
        sql = "SELECT payload FROM runs_runevent WHERE run_id = ? AND kind = 'item'"
        return "\n".join(row["payload"] for row in self.house.rows(sql, self.pk))

    def ended(self, status: str = "completed") -> None:
        until(lambda: self.status not in OPEN, f"the end of {self.pk}")
        assert self.status == status


class Desk:
    """One check's own people, and a name that only its calls have."""

    def __init__(self, house: House, number: int) -> None:
        self.house = house
        self.number = number
        self.to = f"acct-{number:02}"
        self.ada, self.cyd, self.bob = (
            Person(house, f"{name}{number:02}") for name in ("ada", "cyd", "bob")
        )
        self.begun: list[RunSeen] = []

    def start(self, *turns: Any, agent: str = "teller") -> RunSeen:
        """Have bob start a run of these turns."""
        given = {"agent": agent, "text": script(self.to, turns)}
        reply = self.bob.post("/conversations/new/", given)
        assert reply.status == 302, reply.text
        return self._run(UUID(urlsplit(reply.location).path.split("/")[2]))

    def go_on(self, run: RunSeen, *turns: Any) -> RunSeen:
        """Have bob send the next message; return the run that takes it."""
        path = f"/conversations/{run.conversation}/messages/"
        reply = self.bob.post(path, {"text": script(self.to, turns)})
        assert reply.status == 302, reply.text
        return self._run(run.conversation)

    def call(self, tool: str, **arguments: Any) -> tuple[str, dict[str, Any]]:
        return tool, {"to": self.to, **arguments}

    def pay(self, eur: int, **more: Any) -> tuple[str, dict[str, Any]]:
        return self.call("pay", eur=eur, **{"note": "", **more})

    @property
    def done(self) -> list[tuple[str, dict[str, Any]]]:
        return self.house.done(self.to)

    @property
    def paid(self) -> list[int]:
        """How much was paid each time, sorted: side by side has no order."""
        return sorted(given["eur"] for tool, given in self.done if tool == "pay")

    def _run(self, conversation: UUID) -> RunSeen:
        sql = "SELECT current_run_id FROM runs_conversation WHERE id = ?"
        pk = UUID(self.house.rows(sql, conversation)[0]["current_run_id"])
        self.begun.append(RunSeen(self.house, conversation, pk))
        return self.begun[-1]

    def leave(self) -> None:
        """Stop what the check has left: nobody else finds it in a queue."""
        for run in self.begun:
            if run.status in OPEN:
                self.bob.post(f"{run.path}stop/")


def script(name: str, turns: Sequence[Any]) -> str:
    return f"For {name}: {json.dumps(turns)}"


def until(claim: Callable[[], T | None], what: str) -> T:
    """Return what `claim` gives once it gives something."""
    end = time.monotonic() + DEADLINE_S
    while not (found := claim()):
        assert time.monotonic() < end, f"{what} did not come within {DEADLINE_S:g} s"
        time.sleep(0.01)
    return found


def _stored(values: Sequence[Any]) -> list[Any]:
    return [value.hex if isinstance(value, UUID) else value for value in values]

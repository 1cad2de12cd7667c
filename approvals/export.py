"""A conversation or a run as one JSON file: all that was said, asked, decided and done.

With each run comes its audit trail and whether it holds: each link's hash is made anew
while it is written. Memory does not grow with the length of a run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from django.db.models import Model, QuerySet
from django.utils import timezone

from runs import codec
from runs.inspector import row_as_json
from runs.models import Conversation, Run

from .audit import broken_link
from .models import AuditEntry

FORMAT = "placet-export/1"
BATCH = 500
_NOT_TOLD = frozenset(("lease_owner", "lease_expires_at", "wakes", "search"))
"""How a worker holds a run, and what is only there to be found."""


def conversation_pieces(conversation: Conversation) -> Iterator[str]:
    """Yield the file of a conversation with all its runs, oldest first."""
    runs = conversation.runs.order_by("pk")
    yield from _file({"conversation": fields_of(conversation)}, runs)


def run_pieces(run: Run) -> Iterator[str]:
    """Yield the file of one run."""
    yield from _file({}, Run.objects.filter(pk=run.pk))


def fields_of(row: Model) -> dict[str, Any]:
    """Return the columns of a row as plain JSON, by name."""
    return {
        field.attname: _plain(getattr(row, field.attname))
        for field in row._meta.concrete_fields
        if field.name not in _NOT_TOLD
    }


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _file(about: dict[str, Any], runs: QuerySet[Run]) -> Iterator[str]:
    head = {"format": FORMAT, "exported_at": timezone.now().isoformat(), **about}
    yield f'{codec.dumps(head)[:-1]},"runs":['
    for number, run in enumerate(runs.iterator(10)):
        yield ",\n" if number else ""
        yield from _run(run)
    yield "]}\n"


def _run(run: Run) -> Iterator[str]:
    speakers = list(
        run.speakers.order_by("username").values_list("username", flat=True)
    )
    yield f'{{"run":{codec.dumps({**fields_of(run), "speakers": speakers})},"log":'
    yield from _array(row_as_json(row) for row in _batches(run.events.all(), "seq"))
    yield ',"requests":'
    yield from _array(_requests(run))
    yield ',"executions":'
    executions = run.executions.order_by("pk").iterator(BATCH)
    yield from _array(fields_of(row) for row in executions)
    yield ',"audit":{"entries":'
    entries = AuditEntry.objects.filter(chain=f"run:{run.pk}")
    yield from _array(fields_of(row) for row in _batches(entries, "seq"))
    broken = broken_link(run.pk)
    yield f',"holds":{codec.dumps(broken is None)}'
    yield f',"first_broken":{codec.dumps(broken.seq if broken else None)}}}}}'


def _requests(run: Run) -> Iterator[dict[str, Any]]:
    """Yield each request with its votes and decision, in the order they were asked."""
    asked = run.requests.select_related("decision").prefetch_related("vote_set")
    for request in asked.order_by("pk").iterator(BATCH):
        decision = getattr(request, "decision", None)
        yield fields_of(request) | {
            "votes_cast": [fields_of(vote) for vote in request.vote_set.all()],
            "decision": fields_of(decision) if decision else None,
        }


def _batches(rows: QuerySet[Any], field: str) -> Iterator[Any]:
    last = 0
    while some := list(rows.filter(**{f"{field}__gt": last}).order_by(field)[:BATCH]):
        yield from some
        last = getattr(some[-1], field)


def _array(rows: Iterable[dict[str, Any]]) -> Iterator[str]:
    yield "["
    for number, row in enumerate(rows):
        yield f"{',' if number else ''}\n{codec.dumps(row)}"
    yield "]"

"""Searching what was said: the words of an item, and how the databases find them.

Each item's words stand in a column beside its payload, folded (no case, no accents) and
each once, so that both databases find the same: SQLite by FTS5, PostgreSQL by a GIN
index. Both are kept by the database itself, in the transaction that stores the item.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator
from itertools import islice
from typing import Any

from django.db import connection
from django.db.models.expressions import RawSQL

from .models import Conversation, Run, RunEvent

SEARCHED_CHARS = 8_000
"""Of one item; what comes after is not found."""
WORD_CHARS = 64
MOST_WORDS = 8
"""Of a question; the others are left out."""
MOST_ROWS = 5_000
"""The newest rows that match; what is older is not found, so that the cost is bound."""

_WORD = re.compile(r"[^\W_]+")
_MARKS = re.compile(
    "[\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]+"
)
"""What a letter's accents are once it is taken apart."""
_NOT_SAID = frozenset(("type", "id", "call_id", "status", "role", "annotations"))
_LEAVES = 2_000
_JSON_CHARS = 4 * SEARCHED_CHARS


def words(text: str) -> list[str]:
    """Return the different words of `text`, folded, in their order."""
    found = _WORD.findall(_folded(text[:SEARCHED_CHARS]))
    return list(dict.fromkeys(word[:WORD_CHARS] for word in found))


def _folded(text: str) -> str:
    """Return `text` without case and accents."""
    if text.isascii():
        return text.lower()  # most are, and each step of a run pays for its items
    plain = unicodedata.normalize("NFKD", text).casefold()
    return _MARKS.sub("", plain)


def words_of_item(payload: dict[str, Any]) -> str:
    """Return what an item's log row is found by: texts, tool, arguments, outputs."""
    found: list[str] = []
    length = 0
    for text in _texts(payload.get("raw")):
        found.append(text)
        length += len(text)
        if length > SEARCHED_CHARS:
            break
    return " ".join(words(" ".join(found)))


def _texts(raw: Any) -> Iterator[str]:
    """Yield the texts inside `raw`, without recursion, save what says nothing.

    A text that is JSON, as arguments and many outputs are, is read as what it says.
    """
    waiting: list[tuple[Any, bool]] = [(raw, False)]
    for _ in range(_LEAVES):
        if not waiting:
            return
        value, is_told = waiting.pop()
        if isinstance(value, str):
            inside = None if is_told else _json(value)
            if inside is None:
                yield value
            else:
                waiting.append((inside, True))
        elif isinstance(value, dict):
            said = _said(value, whole=is_told)
            waiting += [(part, is_told) for part in reversed(said)]
        elif isinstance(value, list):
            waiting += [(part, is_told) for part in reversed(value[:_LEAVES])]
        elif is_told and value is not None:
            yield str(value)


def _said(value: dict[str, Any], *, whole: bool) -> list[Any]:
    """Return the parts of an item that say something; of arguments the names too."""
    parts = list(islice(value.items(), _LEAVES))
    if whole:
        return [part for pair in parts for part in pair]
    return [part for name, part in parts if name not in _NOT_SAID]


def _json(text: str) -> Any:
    """Return what a text says that is a JSON object or array of readable length."""
    if not text.startswith(("{", "[")) or len(text) > _JSON_CHARS:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


_RUN, _EVENT = Run._meta.db_table, RunEvent._meta.db_table
_CONVERSATION = Conversation._meta.db_table
_OWNED = (
    f"AND run_id IN (SELECT own.id FROM {_RUN} own JOIN {_CONVERSATION} talk "  # noqa: S608
    "ON talk.id = own.conversation_id WHERE talk.owner_id = %s) "
)
# Materialized: by the index on words first. By the key from the newest down, the other
# way there is, PostgreSQL would make the words of each row anew.
_POSTGRESQL = (
    "WITH hits AS MATERIALIZED (SELECT id, run_id "  # noqa: S608
    f"FROM {_EVENT} WHERE search <> '' "
    "AND to_tsvector('simple', search) @@ to_tsquery('simple', %s) {owned}) "
    f"SELECT conversation_id FROM {_RUN} WHERE id IN "
    f"(SELECT run_id FROM hits ORDER BY id DESC LIMIT {MOST_ROWS})"
)
_SQLITE = (
    f"SELECT conversation_id FROM {_RUN} WHERE id IN "  # noqa: S608
    f"(SELECT run_id FROM (SELECT e.run_id FROM runs_search f JOIN {_EVENT} e "
    "ON e.id = f.rowid WHERE f.search MATCH %s {owned}"
    f"ORDER BY f.rowid DESC LIMIT {MOST_ROWS}))"
)


def conversations_saying(asked: list[str], *, owner_id: int | None) -> RawSQL:
    """Return the ids of the conversations in which one item holds all of `asked`.

    `asked` are `words`, at least one; each may be the beginning of a word. With
    `owner_id`, of that person's alone.
    """
    owned = "" if owner_id is None else _OWNED
    owner = [] if owner_id is None else [owner_id]
    if connection.vendor == "postgresql":
        terms = " & ".join(f"'{word}':*" for word in asked[:MOST_WORDS])
        return RawSQL(_POSTGRESQL.format(owned=owned), [terms, *owner])  # noqa: S611
    terms = " ".join(f'"{word}"*' for word in asked[:MOST_WORDS])
    return RawSQL(_SQLITE.format(owned=owned), [terms, *owner])  # noqa: S611

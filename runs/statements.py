"""Statements whose SQL is written once.

Django builds a query anew each time it runs, which costs several times what the
database's part does. Where each step of each run makes the same statement, it is made
of these; everywhere else the ORM is the plainer way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any, Generic, TypeAlias, TypeVar
from uuid import UUID

from django.db import DEFAULT_DB_ALIAS, connection, connections, models
from django.db.models.sql import UpdateQuery

M = TypeVar("M", bound=models.Model)
N = TypeVar("N", bound=models.Model)
Change: TypeAlias = tuple[models.QuerySet[Any], dict[str, Any]]
Converter = Callable[[Any], Any]


def execute(sql: str, params: Sequence[Any] = ()) -> Any:
    """Run a statement on this thread's connection; return the cursor with its rows.

    Ids and times among `params` are adapted. Past Django's cursors, whose bookkeeping
    costs more than the statement: except where somebody looks at the statements made.
    Raises what Django's cursors raise.
    """
    base = connections[DEFAULT_DB_ALIAS]
    values = [db_value(value) for value in params]
    if base.connection is None or base.execute_wrappers or base.queries_logged:
        cursor = base.cursor()
        cursor.execute(sql, values)
        return cursor
    base.validate_no_broken_transaction()
    with base.wrap_database_errors:
        if base.vendor == "sqlite":
            return base.connection.execute(_with_question_marks(sql), values)
        return base.connection.cursor().execute(sql, values)


def db_value(value: Any) -> Any:
    """Return an id or a time as this database's driver takes it."""
    if isinstance(value, UUID):
        return value if _has_native_uuid() else value.hex
    if isinstance(value, datetime):
        return _operations().adapt_datetimefield_value(value)
    return value


class Rows(Generic[M]):
    """Reads whole rows of a model; `tail` is what follows FROM in the statement.

    `{keys}` in it stands for as many values as the last argument holds.
    """

    def __init__(self, model: type[M], tail: str) -> None:
        self._model = model
        self._tail = tail

    def __call__(self, *params: Any, keys: Sequence[Any] = ()) -> list[M]:
        """Return the rows, in the statement's order."""
        found = _read((self._model,), self._tail, params, keys)
        return [_row(self._model, row) for row in found]

    def get(self, *params: Any) -> M:
        """Return the one row. Raises the model's DoesNotExist."""
        found = self(*params)
        if not found:
            missing = f"There is no {self._model._meta.verbose_name} {params[0]}."
            # Each model has its own; the stubs do not know it of a type variable.
            raise self._model.DoesNotExist(missing)  # type: ignore[attr-defined]
        return found[0]


class Pairs(Generic[M, N]):
    """Reads rows of a model, each with that of another, which `tail` joins to it."""

    def __init__(self, model: type[M], other: type[N], tail: str) -> None:
        self._models = model, other
        self._tail = tail

    def __call__(
        self, *params: Any, keys: Sequence[Any] = ()
    ) -> list[tuple[M, N | None]]:
        """Return the pairs, in the statement's order; None where none was joined."""
        model, other = self._models
        width = len(model._meta.concrete_fields)
        pairs = _read(self._models, self._tail, params, keys)
        return [
            (
                _row(model, pair[:width]),
                None if pair[width] is None else _row(other, pair[width:]),
            )
            for pair in pairs
        ]


def _read(
    of: tuple[type[models.Model], ...],
    tail: str,
    params: Sequence[Any],
    keys: Sequence[Any],
) -> Any:
    """Return rows that hold the columns of these models, one after the other."""
    columns = ", ".join(_columns(model)[0] for model in of)
    table = of[0]._meta.db_table
    if "{keys}" in tail:
        tail = tail.format(keys=", ".join(["%s"] * len(keys)))
    sql = f"SELECT {columns} FROM {table} {tail}"  # noqa: S608  names of our own
    return execute(sql, [*params, *keys])


def _row(model: type[M], values: Sequence[Any]) -> M:
    _, names, converters = _columns(model)
    return model.from_db(DEFAULT_DB_ALIAS, names, _converted(values, converters))


class Update:
    """A conditional UPDATE that Django builds once, whatever its values.

    `build` gets the values by name and returns the rows and what changes in them. What
    it gets are stand-ins, each of its value's type: it must build the same statement
    whatever they are, and so take plain values and no rows.
    """

    def __init__(self, build: Callable[..., Change]) -> None:
        self._build = build
        self._places: Sequence[tuple[str, Any]] = ()
        """Of each parameter the name of its value, or with no name the value."""
        self._sql = ""

    def __call__(self, **values: Any) -> int:
        """Return how many rows were changed."""
        if not self._sql:
            self._write(values)
        params = [values[name] if name else value for name, value in self._places]
        return int(execute(self._sql, params).rowcount)

    def _write(self, values: dict[str, Any]) -> None:
        stand_ins = {
            name: _stand_in(value, number)
            for number, (name, value) in enumerate(values.items())
        }
        rows, changes = self._build(**stand_ins)
        query = rows.query.chain(UpdateQuery)
        query.add_update_values(changes)  # type: ignore[attr-defined]  # an UpdateQuery
        sql, params = query.get_compiler(DEFAULT_DB_ALIAS).as_sql()
        names = {db_value(stand_in): name for name, stand_in in stand_ins.items()}
        self._places = [(names.get(value, ""), value) for value in params]
        if unused := values.keys() - {name for name, _ in self._places}:
            raise ValueError(f"The statement does not hold {', '.join(unused)}.")
        self._sql = sql


def _stand_in(value: Any, number: int) -> Any:
    """Return a value of the same type that stands for nothing else."""
    if isinstance(value, UUID):
        return UUID(int=number + 1)
    if isinstance(value, datetime):
        return datetime(1, 1, 1, microsecond=number, tzinfo=UTC)
    if isinstance(value, int):
        return 1_000_000_007 + number
    return f"\N{REPLACEMENT CHARACTER}{number}"


def insert(row: models.Model) -> None:
    """Insert a new row, and tell it the key that the database gives it."""
    has_key = row.pk is not None
    fields = _inserted(type(row), has_key)
    values = [
        field.get_db_prep_save(getattr(row, field.attname), connection)
        for field in fields
    ]
    [key] = execute(_insertion(type(row), has_key), values).fetchone()
    if not has_key:
        row.pk = key
    row._state.adding = False


@cache
def _with_question_marks(sql: str) -> str:
    return sql.replace("%s", "?")


@cache
def _has_native_uuid() -> bool:
    return bool(connection.features.has_native_uuid_field)


@cache
def _operations() -> Any:
    return connection.ops


@cache
def _columns(
    model: type[models.Model],
) -> tuple[str, list[str], list[tuple[int, Converter]]]:
    """Return the columns of a model, its attributes, and what becomes of which."""
    fields = model._meta.concrete_fields
    converters: list[tuple[int, Converter]] = []
    for index, field in enumerate(fields):
        column = field.get_col(model._meta.db_table)
        for convert in [
            *connection.ops.get_db_converters(column),
            *column.get_db_converters(connection),
        ]:
            converters.append((index, _bound(convert, column)))
    table = model._meta.db_table
    columns = ", ".join(f"{table}.{field.column!s}" for field in fields)
    return columns, [field.attname for field in fields], converters


def _bound(convert: Callable[..., Any], column: Any) -> Converter:
    return lambda value: convert(value, column, connection)


def _converted(
    row: Sequence[Any], converters: list[tuple[int, Converter]]
) -> list[Any]:
    values = list(row)
    for index, convert in converters:
        values[index] = convert(values[index])
    return values


@cache
def _inserted(model: type[models.Model], has_key: bool) -> list[Any]:
    """Return the fields that an insertion names: the key only where it is known."""
    fields = model._meta.concrete_fields
    return [
        field
        for field in fields
        if not field.generated and (has_key or not field.primary_key)
    ]


@cache
def _insertion(model: type[models.Model], has_key: bool) -> str:
    fields = _inserted(model, has_key)
    columns = ", ".join(str(field.column) for field in fields)
    places = ", ".join(["%s"] * len(fields))
    key = model._meta.pk.column if model._meta.pk else ""
    return (
        f"INSERT INTO {model._meta.db_table} ({columns}) "  # noqa: S608
        f"VALUES ({places}) RETURNING {key}"
    )

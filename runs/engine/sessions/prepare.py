"""What a run reads of its session, and what the session is to keep of the run."""

from __future__ import annotations

import copy
import inspect
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..digest import JSONObject
from ..errors import UserError
from .pairs import calls_of, once, orphans, plain, without_reasoning_id
from .session import Session, read_session
from .settings import SessionInputCallback, SessionSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedInput:
    """A run's input, told apart into what the session held and what is new."""

    history_items: list[JSONObject]
    """What the model reads of the session: whole, no call without its output."""
    new_items: list[JSONObject]
    """What the run brings, and the session is to keep."""
    model_input: list[JSONObject]
    """All of it, as the model reads it."""

    @property
    def in_order(self) -> bool:
        """False when a callback has put something new before something old."""
        return self.model_input == [*self.history_items, *self.new_items]


async def prepare_input(
    session: Session,
    new_input_items: str | Sequence[Any],
    settings: SessionSettings | Mapping[str, Any] | None = None,
    callback: SessionInputCallback | None = None,
    *,
    reasoning_item_id_policy: str | None = None,
    context: Any = None,
) -> PreparedInput:
    """Return the input of a run that begins with `session`.

    `settings` go over the session's own. `callback(history, new)`, sync or async,
    gives the input instead of "history, then new"; it is handed copies. Of its result
    an item counts as old when it is one of `history`, or equal to one not yet used;
    all else is new. Calls the session holds without an output, and outputs without a
    call, are left out; so are items that come twice. `context` is what a session
    method that takes `wrapper` gets.

    Raises UserError when `callback` is no function, or gives no list of items.
    """
    own = SessionSettings.of(getattr(session, "session_settings", None))
    limit = own.resolve(settings).limit
    history = [plain(item) for item in await read_session(session, limit, context)]
    if reasoning_item_id_policy == "omit":
        history = [without_reasoning_id(item) for item in history]
    new = _input_items(new_input_items)
    if callback is None:
        marked = [(item, False) for item in history] + [(item, True) for item in new]
    else:
        marked = await _combined(callback, history, new)
    return _prepared(marked)


def storable(
    items: Iterable[Any],
    saved: Iterable[JSONObject] = (),
    *,
    reasoning_item_id_policy: str | None = None,
) -> list[JSONObject]:
    """Return what a session keeps of `items`, in their order.

    Each call with exactly one output after it, and no output without its call, among
    `items` or among `saved`, which the session holds already. Made-up ids are taken
    off. A call that still waits is left out, with the reasoning that led to it: give
    the whole answer again once its calls are settled.
    """
    whole = [item for _, item in once([plain(item) for item in items])]
    lost = orphans(whole, calls_of(saved))
    kept = [item for place, item in enumerate(whole) if place not in lost]
    if reasoning_item_id_policy == "omit":
        return [without_reasoning_id(item) for item in kept]
    return kept


def _input_items(given: str | Sequence[Any]) -> list[JSONObject]:
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    return [plain(item) for item in given]


def _prepared(marked: Sequence[tuple[JSONObject, bool]]) -> PreparedInput:
    """Return the input made of (item, is it new) in the model's order."""
    kept = once([item for item, _ in marked])
    whole = [(item, marked[place][1]) for place, item in kept]
    # What the caller gives is the caller's own to answer for.
    lost = {
        place for place in orphans([item for item, _ in whole]) if not whole[place][1]
    }
    whole = [entry for place, entry in enumerate(whole) if place not in lost]
    return PreparedInput(
        history_items=[item for item, is_new in whole if not is_new],
        new_items=[item for item, is_new in whole if is_new],
        model_input=[item for item, _ in whole],
    )


async def _combined(
    callback: SessionInputCallback, history: list[JSONObject], new: list[JSONObject]
) -> list[tuple[JSONObject, bool]]:
    if not callable(callback):
        raise UserError(
            "session_input_callback is a function of (history, new items) that gives "
            f"the list of input items, not {callback!r}."
        )
    old, fresh = copy.deepcopy(history), copy.deepcopy(new)
    # Lists of their own: the callback may change the ones it is handed.
    given = callback(list(old), list(fresh))
    result = await given if inspect.isawaitable(given) else given
    if not isinstance(result, list):
        raise UserError(
            "session_input_callback must return a list of input items, not "
            f"{type(result).__name__}."
        )
    return [
        (plain(item), is_new)
        for item, is_new in zip(result, _new_among(result, old, fresh), strict=True)
    ]


def _new_among(
    result: Sequence[Any], history: Sequence[JSONObject], new: Sequence[JSONObject]
) -> list[bool]:
    old_ids = {id(item) for item in history}
    new_ids = {id(item) for item in new}
    copies = Counter(_text(item) for item in history)
    marks = []
    for item in result:
        text = _text(item)
        is_old = id(item) in old_ids or (id(item) not in new_ids and copies[text] > 0)
        if is_old and copies[text]:
            copies[text] -= 1
        marks.append(not is_old)
    return marks


def _text(item: Any) -> str:
    return json.dumps(plain(item), sort_keys=True, default=repr)

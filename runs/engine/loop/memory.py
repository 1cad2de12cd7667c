"""A run and its session: what the session gives it, and what it gives the session.

A session never holds a call without its output: a turn is saved once its calls are
settled, so that a paused run leaves no orphan there.
"""

from __future__ import annotations

import logging

from ..errors import UserError
from ..sessions import (
    Session,
    add_to_session,
    compact_after_turn,
    prepare_input,
    storable,
)
from ..state.server import ServerConversation
from ..state.view import View
from .drive import Drive

logger = logging.getLogger(__name__)


def check_session(session: Session | None, server: ServerConversation | None) -> None:
    """Raise UserError when a session and the server would both keep the history."""
    if session is not None and server is not None:
        raise UserError(
            "A session keeps the history here, conversation_id and "
            "previous_response_id keep it at the model's server; give one of them."
        )


async def recall(run: Drive) -> None:
    """Let a run that begins read what its session holds, before its own input."""
    state = run.state
    if run.session is None:
        if state.session_id is not None:
            logger.warning(
                "A run goes on without its session, which will miss the rest of it.",
                extra={"session_id": state.session_id},
            )
        return
    state.session_id = run.session.session_id
    if run.resumed or state.turn or state.session_saved:
        return
    prepared = await run.unless_stopped(
        prepare_input(
            run.session,
            state.original_input,
            run.config.session_settings,
            run.config.session_input_callback,
            reasoning_item_id_policy=state.transcript.reasoning_ids,
            context=state.context,
        )
    )
    state.begin_after(prepared.history_items, prepared.new_items)
    if not prepared.in_order:
        async with run.storing() as entries:
            view = View(base=prepared.model_input, shown=[], listed=[])
            entries.append(state.show(view))


async def remember_input(run: Drive) -> None:
    """Save the run's input, which outlives whatever becomes of the run."""
    state = run.state
    if run.session is None or state.session_saved or state.turn:
        return
    count = state.input_count
    given = storable(state.transcript.read(state.transcript.items[:count]))
    await run.within_grace(add_to_session(run.session, given, state.context))
    state.session_saved = count


async def remember(run: Drive) -> None:
    """Save what is new in the run to its session, once no call of it is open."""
    state, policy = run.state, run.state.transcript.reasoning_ids
    count = len(state.transcript.items)
    if run.session is None or state.session_saved == count or state.open:
        return
    if not state.input_checked:
        return
    unsaved = state.transcript.reading_since(state.session_saved)
    kept = storable(unsaved, reasoning_item_id_policy=policy)
    await run.within_grace(add_to_session(run.session, kept, state.context))
    state.session_saved = count
    compacted = compact_after_turn(
        run.session, state.last_response_id, context=state.context
    )
    await run.within_grace(compacted)

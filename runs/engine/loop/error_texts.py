"""What the model reads of a call that came to nothing, as the program wants it told."""

from __future__ import annotations

import logging
from typing import Any

from ..callbacks import called
from ..config import RunConfig, ToolErrorFormatterArgs
from ..context import RunContextWrapper

logger = logging.getLogger(__name__)


async def error_text(
    config: RunConfig | None,
    context: RunContextWrapper[Any],
    *,
    kind: Any,
    tool_name: str,
    call_id: str,
    default: str,
    error: Exception | None = None,
) -> str:
    """Return what `tool_error_formatter` makes of `default`; None from it keeps that.

    A formatter that fails is logged, and keeps it too.
    """
    formatter = config.tool_error_formatter if config else None
    if formatter is None:
        return default
    asked = ToolErrorFormatterArgs(
        kind=kind,
        tool_type="function",
        tool_name=tool_name,
        call_id=call_id,
        default_message=default,
        run_context=context,
        error=error,
    )
    try:
        text = await called("The tool_error_formatter", formatter, asked)
    except Exception:
        logger.exception("A tool_error_formatter failed; its default text is used")
        return default
    return text if isinstance(text, str) else default

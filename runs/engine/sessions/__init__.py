"""Sessions: conversations that outlive a run.

session        what a session is
settings       how a run reads one
prepare        what a run reads of it, what it keeps of a run
pairs          calls and their outputs
sqlite         kept in a SQLite file, or in memory
conversations  kept by OpenAI's conversations API
compaction     kept short by OpenAI's compaction API
"""

from .compaction import (
    OpenAIResponsesCompactionArgs,
    OpenAIResponsesCompactionAwareSession,
    OpenAIResponsesCompactionSession,
    compact_after_turn,
    is_openai_responses_compaction_aware_session,
)
from .conversations import (
    OpenAIConversationsSession,
    start_openai_conversations_session,
)
from .prepare import PreparedInput, prepare_input, storable
from .session import Session, SessionABC, add_to_session, read_session
from .settings import SessionInputCallback, SessionSettings
from .sqlite import SQLiteSession

__all__ = [
    "OpenAIConversationsSession",
    "OpenAIResponsesCompactionArgs",
    "OpenAIResponsesCompactionAwareSession",
    "OpenAIResponsesCompactionSession",
    "PreparedInput",
    "SQLiteSession",
    "Session",
    "SessionABC",
    "SessionInputCallback",
    "SessionSettings",
    "add_to_session",
    "compact_after_turn",
    "is_openai_responses_compaction_aware_session",
    "prepare_input",
    "read_session",
    "start_openai_conversations_session",
    "storable",
]

"""Conveniences around a run: run an agent in one call; keep its state well.

running    run_agent, default_result_processor
contexts   contexts as JSON
loading    states read back: migrated, checked
secrecy    states encrypted
"""

from .contexts import ContextSerializer
from .loading import load_state_with_migration, state_problems, validate_state
from .running import ResultProcessor, default_result_processor, run_agent
from .secrecy import decrypt_state, encrypt_state, new_state_key

__all__ = [
    "ContextSerializer",
    "ResultProcessor",
    "decrypt_state",
    "default_result_processor",
    "encrypt_state",
    "load_state_with_migration",
    "new_state_key",
    "run_agent",
    "state_problems",
    "validate_state",
]

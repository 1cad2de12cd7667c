"""Every write about conversations and runs; each owns its transaction.

start    start a run, send a message
fork     a new run from a step of another
control  stop, resume, re-queue
lease    hold a run: take, renew, park, release, finish
views    searches that people put by
limits   how many runs may be worked on and queued (inside the caller's transaction)
workers  what the processes that drive runs tell of themselves
steps    what a held run does: turns, claims, outcomes
upgrade  go on under changed code
log      append to the log, wake the run (inside the caller's transaction)
prune    clean up old states
"""

from ..errors import (
    ConversationBusy,
    EmptyInput,
    MessageRefused,
    NotForkable,
    NotOpen,
    NotResumable,
    QueueFull,
    RunError,
    UnknownAgent,
    ViewRefused,
)
from .control import requeue_run, resume_run, stop_run
from .fork import fork_run
from .lease import end
from .log import lock, record_event, record_status, wake
from .start import send_message, start_run
from .views import delete_view, rename_view, save_view

__all__ = [
    "ConversationBusy",
    "EmptyInput",
    "MessageRefused",
    "NotForkable",
    "NotOpen",
    "NotResumable",
    "QueueFull",
    "RunError",
    "UnknownAgent",
    "ViewRefused",
    "delete_view",
    "end",
    "fork_run",
    "lock",
    "record_event",
    "record_status",
    "rename_view",
    "requeue_run",
    "resume_run",
    "save_view",
    "send_message",
    "start_run",
    "stop_run",
    "wake",
]

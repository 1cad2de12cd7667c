"""What a person or a system can get wrong about runs.

RunError
├── UnknownAgent        no agent is registered under that key
├── EmptyInput          there is nothing for the agent to read
├── QueueFull           too many runs wait for a worker
├── ConversationBusy    the conversation has an unfinished run
├── MessageRefused      the unfinished run takes no message now
├── NotOpen             the run has ended already
├── NotResumable        the run has not failed, or its state was cleaned up
├── NotForkable         no fork can begin there
└── ViewRefused         a saved view has no name of its own, or there are too many

Each message is a sentence fit for the page.
"""

from __future__ import annotations


class RunError(Exception):
    """Base of what can be wrong with a request about runs."""


class UnknownAgent(RunError):
    pass


class EmptyInput(RunError):
    pass


class QueueFull(RunError):
    """The same is worth another try once some of the queue has run."""

    RETRY_AFTER_S = 30


class ConversationBusy(RunError):
    pass


class MessageRefused(RunError):
    pass


class NotOpen(RunError):
    pass


class NotResumable(RunError):
    pass


class NotForkable(RunError):
    pass


class ViewRefused(RunError):
    pass

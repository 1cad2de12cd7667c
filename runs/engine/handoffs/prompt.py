"""What an agent that takes part in handoffs should be told about them."""

RECOMMENDED_PROMPT_PREFIX = """\
# How you work
You are one of several agents that share this conversation. Each has its own \
instructions and tools. When another agent is the right one for what the user needs, \
give the conversation to it by calling its handoff function, which is usually named \
`transfer_to_<agent_name>`. Handoffs happen out of the user's sight: neither announce \
nor mention them.
"""


def prompt_with_handoff_instructions(prompt: str) -> str:
    """Return `prompt` after the words about handoffs."""
    return f"{RECOMMENDED_PROMPT_PREFIX}\n\n{prompt}"

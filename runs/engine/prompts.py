"""Prompts that the model's server keeps, named by an agent."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NotRequired, TypeAlias, TypedDict

from openai.types.responses.response_prompt_param import ResponsePromptParam, Variables

from .context import RunContextWrapper
from .errors import UserError
from .tools.tool import settled

if TYPE_CHECKING:
    from .agent import Agent


class Prompt(TypedDict):
    """Which prompt, and what goes into its blanks."""

    id: str
    version: NotRequired[str]
    variables: NotRequired[dict[str, Variables]]


@dataclass
class GenerateDynamicPromptData:
    """What a function that chooses a prompt is called with."""

    context: RunContextWrapper[Any]
    agent: Agent[Any]


DynamicPromptFunction: TypeAlias = Callable[
    [GenerateDynamicPromptData], Prompt | Awaitable[Prompt]
]


async def prompt_payload(
    agent: Agent[Any], ctx: RunContextWrapper[Any]
) -> ResponsePromptParam | None:
    """Return the agent's prompt as a request takes it; None when it has none.

    Raises UserError for a prompt without an id, or a function that gives no prompt.
    """
    prompt: Any = getattr(agent, "prompt", None)
    if prompt is None:
        return None
    if not isinstance(prompt, dict):
        prompt = await settled(prompt(GenerateDynamicPromptData(ctx, agent)))
    if not isinstance(prompt, dict) or not prompt.get("id"):
        raise UserError(
            f"The prompt of agent {agent.name!r} is {prompt!r}; it must be a dict with "
            "an id."
        )
    return {
        "id": prompt["id"],
        "version": prompt.get("version"),
        "variables": prompt.get("variables"),
    }

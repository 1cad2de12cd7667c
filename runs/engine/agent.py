"""Who answers: instructions, tools and a model."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic

from .config import ModelSettings
from .context import RunContextWrapper, TContext
from .digest import schema_hash
from .errors import UserError
from .tools import FunctionTool

if TYPE_CHECKING:
    from .models.interface import Model

Instructions = (
    str
    | Callable[[RunContextWrapper[TContext], "Agent[TContext]"], str | Awaitable[str]]
)


@dataclass
class Agent(Generic[TContext]):
    """A model with instructions and tools."""

    name: str
    instructions: Instructions[TContext] | None = None
    """Text, or a sync or async callable of (context, agent) that gives it."""
    tools: list[FunctionTool] = field(default_factory=list)
    model: str | Model | None = None
    """A model, or the name of one; None means the provider's default."""
    model_settings: ModelSettings = field(default_factory=ModelSettings)
    handoff_description: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise TypeError(f"Agent name {self.name!r} must be a text of some length.")
        for tool in self.tools:
            if not isinstance(tool, FunctionTool):
                raise TypeError(
                    f"Agent {self.name!r} was given the tool {tool!r}; "
                    "decorate the function with @function_tool."
                )

    def clone(self, **changes: Any) -> Agent[TContext]:
        """Return a copy with `changes`; lists that are not changed are shared."""
        return dataclasses.replace(self, **changes)

    async def get_system_prompt(
        self, context: RunContextWrapper[TContext]
    ) -> str | None:
        """Return the instructions for this run."""
        if self.instructions is None or isinstance(self.instructions, str):
            return self.instructions
        found = self.instructions(context, self)
        return await found if inspect.isawaitable(found) else found

    async def get_all_tools(
        self, context: RunContextWrapper[TContext]
    ) -> list[FunctionTool]:
        """Return the tools enabled in this run. Raises UserError on equal names."""
        enabled = [tool for tool in self.tools if await tool.enabled(context, self)]
        names = [tool.name for tool in enabled]
        if twice := {name for name in names if names.count(name) > 1}:
            raise UserError(
                f"Agent {self.name!r} has several tools named {', '.join(twice)}; "
                "give each a name of its own with name_override."
            )
        return enabled

    def definition_digest(self) -> str:
        """Return the SHA-256, in hex, of what the agent is: to notice a change."""
        definition = [
            self.name,
            self.instructions if isinstance(self.instructions, str) else None,
            self.model if isinstance(self.model, str) else None,
            [schema_hash(tool.name, tool.params_json_schema) for tool in self.tools],
        ]
        return hashlib.sha256(json.dumps(definition).encode()).hexdigest()

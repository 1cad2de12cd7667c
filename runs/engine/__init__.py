"""Placet's agent runtime: agents, tools, runs that pause for people and go on.

It knows nothing of Django. `Runner.run(agent, "hi")` works alone in a script.
"""

from .agent import Agent
from .calls import (
    Call,
    Claim,
    ClaimStatus,
    OpenCall,
    Outcome,
    OutcomeKind,
    Review,
    Risk,
    Verdict,
    VerdictKind,
)
from .config import (
    DEFAULT_MAX_TURNS,
    ModelRetryBackoffSettings,
    ModelRetrySettings,
    ModelSettings,
    RunConfig,
    ToolErrorFormatterArgs,
)
from .context import RunContextWrapper, TContext, ToolContext
from .digest import MalformedArguments, call_digest, parse_arguments
from .errors import (
    AgentsException,
    ClaimRefused,
    InvalidRunState,
    LeaseLost,
    MaxTurnsExceeded,
    ModelBehaviorError,
    ModelCallError,
    RunInterrupted,
    RunStateVersionError,
    RunStopped,
    UserError,
)
from .events import (
    AgentUpdatedStreamEvent,
    RawResponsesStreamEvent,
    RunItemStreamEvent,
    StreamEvent,
    TurnStartedStreamEvent,
)
from .items import (
    InputItem,
    ItemHelpers,
    MessageOutputItem,
    OtherItem,
    ReasoningItem,
    RunItem,
    ToolApprovalItem,
    ToolCallItem,
    ToolCallOutputItem,
)
from .models import (
    Model,
    ModelProvider,
    ModelResponse,
    ModelTracing,
    OpenAIChatCompletionsModel,
    OpenAIProvider,
    OpenAIResponsesModel,
    TResponseInputItem,
    TResponseOutputItem,
    TResponseStreamEvent,
)
from .ports import (
    Clock,
    Gate,
    InMemoryGate,
    InMemoryJournal,
    Journal,
    LogEntry,
    NoJournal,
    Ports,
    StateGate,
    SystemClock,
)
from .result import RunResult, RunResultBase, RunResultStreaming
from .run import Runner
from .schema import FuncSchema, function_schema, generate_func_documentation
from .serialize import (
    CURRENT_SCHEMA_VERSION,
    SCHEMA_VERSION_SUMMARIES,
    SUPPORTED_SCHEMA_VERSIONS,
)
from .state import RunState
from .strict_schema import ensure_strict_json_schema
from .tools import FunctionTool, default_tool_error_function, function_tool
from .usage import (
    InputTokensDetails,
    OutputTokensDetails,
    RequestUsage,
    Usage,
)

__all__ = [name for name in dir() if name[0].isupper() and not name.startswith("_")]
__all__ += [
    "call_digest",
    "default_tool_error_function",
    "ensure_strict_json_schema",
    "function_schema",
    "function_tool",
    "generate_func_documentation",
    "parse_arguments",
]

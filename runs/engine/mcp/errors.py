"""What can go wrong with an MCP server.

UserError
├── MCPPackageMissing      the package `mcp` is not installed, or too old
└── MCPServerUnavailable   the server cannot be reached, has ended, or answers badly
    └── MCPServerTimeout   it did not answer in time; what it did is not known

An error that the server itself answers with is the package's own `MCPError`.
"""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

from ..errors import UserError

_NAME_PREFIXES = ("sse: ", "streamable_http: ")


class MCPPackageMissing(UserError, ImportError):
    """The package `mcp` is not installed, or is too old."""

    def __init__(self, found: str) -> None:
        super().__init__(
            f"MCP servers need the package mcp, version 2 ({found}); "
            "install it with `pip install 'placet[mcp]'`."
        )


class MCPServerUnavailable(UserError):
    """The server cannot be reached, has ended, or answers what is not MCP."""

    def __init__(self, server: str, what: str) -> None:
        self.server = public_name(server)
        super().__init__(f"MCP server {self.server!r} {what}")


class MCPServerTimeout(MCPServerUnavailable):
    """The server did not answer in time; what it did is not known."""


def public_name(server: str) -> str:
    """Return a server's name without what may be secret in a URL.

    Names made from a URL lose its user, password, query and fragment.
    """
    prefix = next((start for start in _NAME_PREFIXES if server.startswith(start)), "")
    url = server.removeprefix(prefix)
    if not prefix and not url.startswith(("http://", "https://")):
        return server
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return f"{prefix}<invalid-url>"
    if parts.scheme not in ("http", "https") or not host:
        return f"{prefix}<invalid-url>"
    return prefix + urlunsplit((parts.scheme, host, parts.path, "", ""))


def first_cause(error: BaseException) -> BaseException:
    """Return the first error inside nested exception groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def reason(error: BaseException) -> str:
    """Return what happened in a few words, without addresses that hold secrets."""
    error = first_cause(error)
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status is not None:
        # The text of an HTTP error repeats the URL with its query.
        return f"HTTP status {status}"
    return f"{type(error).__name__}: {error}".removesuffix(": ")

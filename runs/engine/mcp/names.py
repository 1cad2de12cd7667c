"""Names that a model API takes for tools of any server.

APIs take up to 64 letters, digits, `_` and `-`. MCP allows more, and a hostile server
sends anything.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Collection, Sequence

from .errors import public_name

MAX_NAME_LENGTH = 64
_HASH_LENGTH = 8
_TAKEN_BY_APIS = re.compile(rf"[A-Za-z0-9_-]{{1,{MAX_NAME_LENGTH}}}")


def model_name(tool: str) -> str:
    """Return the tool's own name, or a safe one, always the same, in its place."""
    if _TAKEN_BY_APIS.fullmatch(tool):
        return tool
    return _hashed(_safe(tool, "tool"), seed=tool)


def prefixed_names(
    tools: Sequence[tuple[str, str]], reserved: Collection[str]
) -> list[str]:
    """Return `mcp_<server>__<tool>` for each (server, tool), all different.

    Where that is too long, reserved, or meant by several, a hash of both names ends it,
    so a name does not depend on the order in which servers are listed.
    """
    pairs = [(public_name(server), tool) for server, tool in tools]
    bases = [f"mcp_{_safe(s, 'server')}__{_safe(t, 'tool')}" for s, t in pairs]
    shared = Counter(bases)
    wanted: list[tuple[str, str, int]] = []
    for index, (base, (server, tool)) in enumerate(zip(bases, pairs, strict=True)):
        seed = f"{server}\0{tool}"
        fits = len(base) <= MAX_NAME_LENGTH and shared[base] == 1
        keeps = fits and base not in reserved
        wanted.append((base if keeps else _hashed(base, seed=seed), seed, index))
    names = [""] * len(tools)
    used = set(reserved)
    for name, seed, index in sorted(wanted):
        attempt = 0
        while name in used:
            attempt += 1
            name = _hashed(bases[index], seed=f"{seed}\0{attempt}")
        used.add(name)
        names[index] = name
    return names


def _safe(text: str, default: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "_", text).strip("_-") or default


def _hashed(base: str, *, seed: str) -> str:
    # Not for secrecy: the names are those of the SDK, which takes SHA-1.
    digest = hashlib.sha1(
        seed.encode("utf-8", "surrogatepass"), usedforsecurity=False
    ).hexdigest()[:_HASH_LENGTH]
    stem = base[: MAX_NAME_LENGTH - _HASH_LENGTH - 1].rstrip("_-") or "mcp"
    return f"{stem}_{digest}"

"""What really happened, told outside the database: one line, one write, one sync.

began    a tool's body has begun
effects  what tools did to the world
acks     what somebody was told has been done
asks     what the model was asked
mails    what a mail server has taken
marks    who was killed where, told by the dying
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

_folder = Path()


def keep_in(folder: Path) -> None:
    """Keep the journal of this process and its children in `folder`."""
    global _folder
    folder.mkdir(parents=True, exist_ok=True)
    _folder = folder


def tell(file: str, /, **line: Any) -> None:
    """Append a line; it is there for good once this returns."""
    text = json.dumps({**line, "at": time.time(), "pid": os.getpid()})
    opened = os.open(_folder / file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(opened, f"{text}\n".encode())
        os.fsync(opened)
    finally:
        os.close(opened)


def told(file: str) -> list[dict[str, Any]]:
    """Return the lines told so far, in their order."""
    try:
        lines = (_folder / file).read_text().splitlines()
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in lines]


def set_sign(name: str) -> None:
    """Set up a sign that every process sees, as an open gate."""
    (_folder / f"sign-{name}").touch()


def take_sign_away(name: str) -> None:
    (_folder / f"sign-{name}").unlink(missing_ok=True)


def has_sign(name: str) -> bool:
    return (_folder / f"sign-{name}").exists()

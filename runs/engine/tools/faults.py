"""What is wrong with a value, said so that a model can mend it."""

from __future__ import annotations

from pydantic import ValidationError

MAX_FAULTS = 10
MAX_FAULT_CHARS = 300


def faults_of(error: ValidationError, *, root: str) -> str:
    """Return the faults that `error` lists, short enough for a model to read.

    `root` names the value as a whole. At most MAX_FAULTS are spelled out.
    """
    faults = [
        f"{'.'.join(map(str, fault['loc'])) or root}: {fault['msg']}"
        for fault in error.errors(
            include_url=False, include_input=False, include_context=False
        )
    ]
    said = [fault[:MAX_FAULT_CHARS] for fault in faults[:MAX_FAULTS]]
    more = [f"and {len(faults) - MAX_FAULTS} more"] if len(faults) > MAX_FAULTS else []
    return "; ".join(said + more)

"""What the processes that drive runs tell of themselves, for people to see.

Nothing else reads these rows: whether a run's holder is alive, its lease says.
"""

from __future__ import annotations

import os
import socket
from datetime import timedelta

from django.db.models import Q
from django.utils import timezone

from ..models import Worker
from ..transactions import write

LEFT_KEPT = timedelta(hours=1)
SILENT_KEPT = timedelta(days=1)


@write
def enter(name: str, *, concurrency: int) -> None:
    """Record that this process works under `name`; rows of long-gone ones go."""
    now = timezone.now()
    Worker.objects.filter(
        Q(left_at__lt=now - LEFT_KEPT) | Q(seen_at__lt=now - SILENT_KEPT)
    ).delete()
    Worker.objects.update_or_create(
        name=name,
        defaults={
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "concurrency": concurrency,
            "started_at": now,
            "seen_at": now,
            "left_at": None,
        },
    )


@write
def beat(name: str) -> bool:
    """Record that the process lives. False when its row is gone: enter again."""
    living = Worker.objects.filter(name=name)
    return bool(living.update(seen_at=timezone.now(), left_at=None))


@write
def leave(name: str) -> None:
    """Record that the process has ended in order."""
    now = timezone.now()
    Worker.objects.filter(name=name).update(seen_at=now, left_at=now)

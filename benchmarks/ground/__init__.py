"""An installation of its own for a benchmark: Django set up on a fresh database."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[2]))

MEMORY = Path("/dev/shm")  # noqa: S108  a file system in memory, for folders of our own


def set_up(*, in_memory: bool = False, **environment: str) -> Path:
    """Set Django up on a fresh SQLite database, migrated; return its data folder.

    Call it before anything of Django's models is imported.
    """
    parent = MEMORY if in_memory and MEMORY.is_dir() else None
    folder = Path(tempfile.mkdtemp(prefix="placet-bench-", dir=parent))
    os.environ |= {
        "PLACET_DATA_DIR": str(folder),
        "PLACET_SECRET_KEY": "only-for-benchmarks-" + "x" * 40,
        "PLACET_LOG_LEVEL": "WARNING",
        "DJANGO_SETTINGS_MODULE": "config.settings",
        **environment,
    }
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)
    return folder


def sync_ms(folder: Path, *, times: int = 50) -> float:
    """Return the median milliseconds that a write of 4 kB takes to reach the disk."""
    taken = []
    with (folder / "probe").open("wb", buffering=0) as probe:
        for _ in range(times):
            begin = time.perf_counter()
            probe.write(b"x" * 4096)
            os.fsync(probe.fileno())
            taken.append((time.perf_counter() - begin) * 1e3)
    (folder / "probe").unlink()
    return median(taken)


def postgresql(name: str) -> str | None:
    """Return the address of an empty database called `name`, or None without a server.

    The server is that of TEST_DATABASE_URL.
    """
    import psycopg

    server = os.environ.get(
        "TEST_DATABASE_URL", "postgresql://postgres@127.0.0.1:5432/postgres"
    )
    base, _, _ = server.rpartition("/")
    try:
        with psycopg.connect(f"{base}/postgres", autocommit=True) as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
            connection.execute(f"CREATE DATABASE {name}")
    except psycopg.OperationalError as error:
        print(f"  left out: PostgreSQL is not reachable: {error}")
        return None
    return f"{base}/{name}"


def drop(address: str) -> None:
    """Drop a database that `postgresql` made."""
    import psycopg

    base, _, name = address.rpartition("/")
    with psycopg.connect(f"{base}/postgres", autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

"""Another process of the same installation: this run's database, and its Redis."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from django.db import connection

from . import servers

ROOT = Path(__file__).parents[1]
TIMEOUT_S = 300


def manage(*command: str) -> str:
    """Run a management command on the PostgreSQL of this run; return its output."""
    done = subprocess.run(
        [sys.executable, "manage.py", *command],
        cwd=ROOT,
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "DATABASE_URL": servers.database_url(connection.settings_dict["NAME"]),
            "REDIS_URL": servers.REDIS_URL,
            "PLACET_REDIS_PREFIX": servers.REDIS_PREFIX,
            "PLACET_APPS": "demo,tests.shop",
        },
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        timeout=TIMEOUT_S,
    )
    return done.stdout

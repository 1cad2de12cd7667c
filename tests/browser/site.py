"""A whole Placet in a process of its own, with a model's server beside it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from http.client import HTTPConnection
from pathlib import Path

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 300


class Site:
    """`manage.py serve` with the demo's agents and people, on data of its own.

    The agents ask the model server at `model_url`; `kill` and `start` keep the data
    and the port.
    """

    def __init__(self, data: Path, model_url: str) -> None:
        self.environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "PLACET_DATA_DIR": str(data),
            "PLACET_DEMO": "true",
            "OPENAI_API_KEY": "test",
            "OPENAI_BASE_URL": model_url,
            "PYTHONUNBUFFERED": "1",
        }
        self.port = 0
        self.manage("migrate", "-v0")
        self.manage("shell", "-v0", "-c", PEOPLE)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def manage(self, *command: str, check: bool = True) -> str:
        """Run a management command; return what it printed."""
        done = subprocess.run(
            [sys.executable, "manage.py", *command],
            cwd=ROOT,
            env=self.environment,
            check=check,
            stdout=subprocess.PIPE,
            text=True,
            timeout=TIMEOUT_S,
        )
        return done.stdout

    def start(self) -> None:
        """Start the server and return once it listens."""
        self.process = subprocess.Popen(
            [sys.executable, "manage.py", "serve", "--port", str(self.port)],
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)/", line)
        assert found, line
        self.port = int(found[1])

    def kill(self) -> None:
        """End the server as a power cut would; its port is kept for the next start."""
        self.process.kill()
        assert self.process.wait(TIMEOUT_S) == -signal.SIGKILL
        self.process.communicate()

    def stop(self) -> int:
        """End the server as Ctrl-C does; return its exit code."""
        self.process.send_signal(signal.SIGINT)
        self.process.communicate(timeout=TIMEOUT_S)
        return self.process.returncode

    def health(self) -> int:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_S)
        connection.request("GET", "/healthz")
        status = connection.getresponse().status
        connection.close()
        return status


PEOPLE = """
from django.contrib.auth.models import Group, User
for name, role in (("ada", "reviewers"), ("bob", "operators")):
    person = User.objects.create_user(name, password=name)
    person.groups.add(Group.objects.get(name=role))
User.objects.create_superuser("admin", password="admin")
"""

"""`manage.py serve` as a process of its own, on a database of its own."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .browser import TIMEOUT_S, Browser

ROOT = Path(__file__).parents[2]
Serve = Callable[..., "Served"]


class Served:
    """A server that listens."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)/", line)
        assert found, line + process.stdout.read()
        self.port = int(found[1])

    def end(self, number: signal.Signals) -> tuple[int, str]:
        """Send a signal; return the exit code and what was written since the start."""
        self.process.send_signal(number)
        rest, _ = self.process.communicate(timeout=TIMEOUT_S)
        return self.process.returncode, rest


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the environment of a migrated installation of its own."""
    environment = {
        **os.environ,
        "PLACET_DATA_DIR": str(tmp_path_factory.mktemp("data")),
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "PYTHONWARNINGS": "error",
        "PYTHONUNBUFFERED": "1",
    }
    command = [sys.executable, "manage.py", "migrate", "-v0"]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, timeout=TIMEOUT_S)
    return environment


@pytest.fixture
def serve(environment: dict[str, str]) -> Iterator[Serve]:
    started: list[subprocess.Popen[str]] = []

    def start(*options: str, prefix: tuple[str, ...] = ()) -> Served:
        command = [*prefix, sys.executable, "manage.py", "serve", "--port", "0"]
        process = subprocess.Popen(
            [*command, *options],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        return Served(process)

    yield start
    for process in started:
        process.kill()
        process.communicate()


def session_cookie(environment: dict[str, str]) -> str:
    """Sign a reviewer in, in the server's database; return the cookie."""
    script = (
        "from django.contrib.auth.models import User\n"
        "from django.test import Client\n"
        "user, _ = User.objects.get_or_create(username='ada', is_superuser=True)\n"
        "client = Client()\n"
        "client.force_login(user)\n"
        "print(client.cookies['sessionid'].value)\n"
    )
    made = subprocess.run(
        [sys.executable, "manage.py", "shell", "-v0", "-c", script],
        cwd=ROOT,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    return f"sessionid={made.stdout.strip().splitlines()[-1]}"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_server_with_code_0(
    serve: Serve, number: signal.Signals
) -> None:
    assert serve().end(number) == (0, "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_server_where_sigint_was_ignored_at_its_start(
    serve: Serve, number: signal.Signals
) -> None:
    ignoring = ("sh", "-c", "trap '' INT; exec \"$@\"", "sh")

    assert serve(prefix=ignoring).end(number) == (0, "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_server_with_a_socket_open(
    serve: Serve, environment: dict[str, str], number: signal.Signals
) -> None:
    server = serve()
    browser = Browser(server.port, "/ws/queue/", session_cookie(environment))
    first = browser.read()

    ended = server.end(number)

    assert browser.status == 101
    assert 'id="news"' in first
    assert ended == (0, "")
    assert browser.read() == ""
    browser.close()


def test_a_stranger_is_refused_before_the_socket_opens(serve: Serve) -> None:
    server = serve("--no-runners")

    browser = Browser(server.port, "/ws/queue/", "sessionid=forged")

    assert browser.status == 403
    browser.close()


def test_a_port_in_use_is_said_plainly(environment: dict[str, str]) -> None:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        ended = subprocess.run(
            [sys.executable, "manage.py", "serve", "--port", str(port)],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )

    assert ended.returncode == 1
    assert ended.stderr == (
        f"CommandError: Cannot listen on 127.0.0.1:{port}: Address already in use. "
        "Choose a free port with --port.\n"
    )


@pytest.mark.parametrize("command", ["serve", "worker"])
def test_a_database_without_its_tables_is_said_plainly(
    environment: dict[str, str], tmp_path: Path, command: str
) -> None:
    ended = subprocess.run(
        [sys.executable, "manage.py", command],
        cwd=ROOT,
        env={**environment, "PLACET_DATA_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )

    assert ended.returncode == 1
    assert "run: python manage.py migrate" in ended.stderr


def test_static_files_come_from_the_same_process(serve: Serve) -> None:
    server = serve("--no-runners")

    answers = [
        http_status(server.port, path)
        for path in ("/static/live.js", "/static/admin/css/base.css", "/static/none.js")
    ]

    assert answers == [200, 200, 404]


def http_status(port: int, path: str) -> int:
    with socket.create_connection(("127.0.0.1", port), TIMEOUT_S) as connection:
        connection.sendall(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
        return int(connection.makefile("rb").readline().split()[1])


def test_a_worker_ends_on_a_signal(environment: dict[str, str]) -> None:
    with subprocess.Popen(
        [sys.executable, "manage.py", "worker"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "Placet works (Ctrl-C ends it)\n"

        worker.send_signal(signal.SIGINT)
        rest, _ = worker.communicate(timeout=TIMEOUT_S)

    assert (worker.returncode, rest) == (0, "")


def test_runserver_says_that_it_has_no_runners(environment: dict[str, str]) -> None:
    command = [sys.executable, "manage.py", "runserver", "--noreload", "127.0.0.1:0"]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        said = server.stdout.readline()
        server.terminate()

    assert "no runners" in said

"""`make cluster`: real processes on a real PostgreSQL and a real Redis."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from http.cookiejar import CookieJar
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, build_opener

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from demo import cluster

from . import servers

ROOT = Path(__file__).parents[1]
TIMEOUT_S = 120  # five processes start at once
MEMBERS = ["web-1", "web-2", "worker-1", "worker-2", "worker-3"]
T = TypeVar("T")


class Cluster:
    """The command in a process of its own, and what it has printed so far."""

    def __init__(self, environment: dict[str, str], port: int = 0) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "demo.cluster", "--port", str(port)],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._text = ""
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Return the first match in what was printed, once it is there."""
        found: list[re.Match[str]] = []

        def seen() -> bool:
            found.extend(re.finditer(pattern, self._text))
            return bool(found)

        with self._news:
            assert self._news.wait_for(seen, TIMEOUT_S), self._text
        return found[0]

    def ctrl_c(self) -> None:
        """Signal the whole group, as a terminal does, and the process once more.

        So does `timeout`; both together are one wish.
        """
        os.killpg(self.process.pid, signal.SIGINT)
        self.wait_for("ends in order")
        self.process.send_signal(signal.SIGINT)

    def end(self) -> tuple[int, str]:
        """Return the exit code and all that was printed, once it has ended."""
        code = self.process.wait(TIMEOUT_S)
        self._reader.join(TIMEOUT_S)
        return code, self._text

    def pids(self) -> dict[str, int]:
        found = re.findall(r"^(\S+) +\| process (\d+)$", self._text, re.MULTILINE)
        return {name: int(pid) for name, pid in found}

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                with self._news:
                    self._text += line
                    self._news.notify_all()


class Visitor:
    """A browser without a screen; its cookies are good for all ports of the host."""

    def __init__(self, url: str, name: str) -> None:
        self._cookies = CookieJar()
        self._browser = build_opener(HTTPCookieProcessor(self._cookies))
        self.get(f"{url}sign-in/")
        self.post(f"{url}sign-in/", username=name, password=name)

    def get(self, url: str) -> str:
        with self._browser.open(url, timeout=TIMEOUT_S) as answer:
            return str(answer.read().decode())

    def post(self, url: str, **fields: str) -> str:
        """Fill in the form at `url`; return the address it leads to."""
        token = next(c.value for c in self._cookies if c.name == "csrftoken")
        sent = urlencode({**fields, "csrfmiddlewaretoken": token or ""}).encode()
        with self._browser.open(url, sent, timeout=TIMEOUT_S) as answer:
            return str(answer.url)


def until(look: Callable[[], T | None]) -> T:
    """Return what `look` gives once it gives something; another process is at work."""
    end = time.monotonic() + TIMEOUT_S
    while time.monotonic() < end:
        if found := look():
            return found
        time.sleep(0.1)
    raise AssertionError("nothing came within the time")


@pytest.fixture(scope="module")
def services() -> None:
    """Leave the test out where there is no PostgreSQL or Redis, save in CI."""
    if fault := servers.postgresql_fault() or servers.redis_fault():
        if servers.REQUIRED:
            pytest.fail(fault)
        pytest.skip(fault)


@pytest.fixture
def environment(services: None, tmp_path: Path) -> Iterator[dict[str, str]]:
    """Return an environment that names a database which is not there yet."""
    name = f"placet_cluster_{uuid.uuid4().hex[:12]}"
    yield {
        **{k: v for k, v in os.environ.items() if not k.startswith("OPENAI_")},
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "DATABASE_URL": make_url(name),
        "REDIS_URL": servers.REDIS_URL,
        "PLACET_DATA_DIR": str(tmp_path),
        "PLACET_SECRET_KEY": "",
    }
    with psycopg.connect(make_url("postgres"), autocommit=True) as server:
        drop = SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(Identifier(name))
        server.execute(drop)


def make_url(name: str) -> str:
    """Return the address of another database on the tests' server."""
    return re.sub(r"^(\w+://[^/?]+)(/[^?]*)?", rf"\1/{name}", servers.DATABASE_URL)


@pytest.fixture
def start(environment: dict[str, str]) -> Iterator[Callable[..., Cluster]]:
    started: list[Cluster] = []

    def start(port: int = 0) -> Cluster:
        started.append(Cluster(environment, port))
        return started[-1]

    yield start
    for each in started:
        for pid in (*each.pids().values(), each.process.pid):
            if each.process.poll() is None:
                os.kill(pid, signal.SIGKILL)
        each.end()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_run_goes_through_the_whole_set_and_ctrl_c_ends_it(
    start: Callable[..., Cluster], environment: dict[str, str]
) -> None:
    running = start()
    running.wait_for("all are up")
    web_1, web_2 = (
        running.wait_for(rf"web-{n} +\| Placet serves on (\S+)")[1] for n in (1, 2)
    )
    bob, ada = Visitor(web_1, "bob"), Visitor(web_1, "ada")
    pids = running.pids()
    styles = [bob.get(f"{web}static/placet.css") for web in (web_1, web_2)]

    page = bob.post(
        f"{web_1}conversations/new/", agent="support", text="Refund €77 for order 1043"
    ).replace(web_1, web_2)
    request = until(
        lambda: re.search(r'action="/(requests/[^"]+/decide/)"', ada.get(page))
    )[1]
    digest = re.search(r'name="digest" value="(\w+)"', ada.get(page))
    assert digest
    os.kill(pids["worker-1"], signal.SIGKILL)
    running.wait_for(r"worker-1 +\| ended with code -9")
    before = refunds(environment)
    ada.post(f"{web_2}{request}", verdict="approve", digest=digest[1], view="page")
    until(lambda: "Refunded 77.00 EUR for order 1043" in bob.get(page))
    after = refunds(environment)
    running.ctrl_c()
    code, printed = running.end()

    assert list(pids) == MEMBERS
    assert styles == [(ROOT / "static" / "placet.css").read_text()] * 2
    assert (before, after) == ([], [77])
    assert code == 0
    assert re.findall(r"ended with code (\S+)", printed) == ["-9", "0", "0", "0", "0"]
    assert [name for name, pid in pids.items() if alive(pid)] == []


def test_a_second_ctrl_c_ends_what_will_not_end(start: Callable[..., Cluster]) -> None:
    running = start()
    running.wait_for("all are up")
    os.kill(running.pids()["worker-2"], signal.SIGSTOP)

    running.ctrl_c()
    for name in ("web-1", "web-2", "worker-1", "worker-3"):
        running.wait_for(rf"{name} +\| ended with code 0")
    still_there = running.process.poll() is None

    asked_at = time.monotonic()
    until(lambda: time.monotonic() - asked_at > cluster.SAME_SIGNAL_S)
    running.process.send_signal(signal.SIGINT)
    code, printed = running.end()

    assert still_there
    assert code == 0
    assert re.findall(r"worker-2 +\| ended with code (\S+)", printed) == ["-9"]


def refunds(environment: dict[str, str]) -> list[float]:
    with psycopg.connect(environment["DATABASE_URL"]) as database:
        rows = database.execute("SELECT amount_eur FROM demo_effect").fetchall()
    return [float(amount) for (amount,) in rows]


def test_one_that_does_not_start_ends_the_others(
    start: Callable[..., Cluster],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        running = start(taken.getsockname()[1] - 1)
        code, printed = running.end()

    assert code == 1
    assert "Cannot listen on" in printed
    assert [name for name, pid in running.pids().items() if alive(pid)] == []


def test_a_missing_redis_is_told_with_what_to_do() -> None:
    with pytest.raises(
        SystemExit, match=r"REDIS_URL leads to no Redis(.|\n)*make demo"
    ):
        cluster.require_redis("redis://127.0.0.1:1/0")


def test_a_missing_database_server_is_told_with_what_to_do() -> None:
    with pytest.raises(SystemExit, match=r"DATABASE_URL leads to no(.|\n)*make demo"):
        cluster.require_database("postgresql://127.0.0.1:1/placet")


def test_a_database_of_something_else_gets_no_demo_people(
    environment: dict[str, str],
) -> None:
    url = environment["DATABASE_URL"]
    cluster.make_database(url)
    with psycopg.connect(url) as database:
        database.execute("CREATE TABLE orders (id integer)")

    with pytest.raises(SystemExit, match="Name an empty database"):
        cluster.require_database(url)

"""Pages, sockets and runners in one process, on one event loop."""

from __future__ import annotations

import asyncio
import logging
import signal
from argparse import ArgumentParser
from typing import Any

from runs.live.server import Server  # isort: skip  # first: it installs the reactor
from channels.routing import get_default_application
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from twisted.internet import reactor as installed_reactor

from runs.executor import Executor
from runs.live.hub import get_hub
from runs.management.migrated import require_migrations
from runs.sweeper import Sweeper

logger = logging.getLogger(__name__)
LAST_WAIT_S = 5.0

reactor: Any = installed_reactor  # typed as a module; it is an object


class Command(BaseCommand):
    help = "Serve the pages and sockets, and run the runs, until SIGINT or SIGTERM."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--host", default="127.0.0.1")
        parser.add_argument("--port", type=int, default=8000, help="0: any free one.")
        parser.add_argument(
            "--no-runners",
            action="store_true",
            help="Pages and sockets only; `manage.py worker` runs the runs.",
        )
        parser.add_argument(
            "--concurrency",
            type=int,
            default=settings.PLACET_CONCURRENCY,
            help="How many runs at once.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        require_migrations()
        runners = None if options["no_runners"] else Executor(options["concurrency"])
        serving = Serving(runners)
        server = Server(
            get_default_application(),
            host=options["host"],
            port=options["port"],
            ready=serving.begin,
            listening=self._say,
        )
        serving.run(server)
        if server.error:
            raise CommandError(
                f"Cannot listen on {options['host']}:{options['port']}: "
                f"{server.error}. Choose a free port with --port."
            )
        if serving.failed:
            raise CommandError("The runners did not start; the log above says why.")

    def _say(self, host: str, port: int) -> None:
        shown = f"[{host}]" if ":" in host else host
        self.stdout.write(f"Placet serves on http://{shown}:{port}/ (Ctrl-C ends it)")
        self.stdout.flush()


class Serving:
    """The life of one server process: start, signals, the way out."""

    def __init__(self, runners: Executor | None) -> None:
        self.failed = False
        self._runners = runners
        self._sweeper: Sweeper | None = None
        # Daphne's reactor runs on this loop, and so does everything of ours.
        self._loop: asyncio.AbstractEventLoop = reactor._asyncioEventloop
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False

    def run(self, server: Server) -> None:
        """Serve until a signal, then leave nothing behind on the loop.

        Handlers are our own: Daphne's do not end a process that inherited an ignored
        SIGINT, as one started with `&` by a shell.
        """
        for number in (signal.SIGINT, signal.SIGTERM):
            self._loop.add_signal_handler(number, self._signalled)
        server.run()
        asyncio.set_event_loop(self._loop)
        self._drain()
        asyncio.set_event_loop(None)

    def begin(self) -> None:
        self._spawn(self._start())

    async def _start(self) -> None:
        try:
            await get_hub().start()
            if self._runners is not None:
                await self._runners.start()
            else:
                self._sweeper = Sweeper()
                self._sweeper.start()
        except Exception:
            logger.exception("The runners did not start.")
            self.failed = True
            self._stop_reactor()

    def _signalled(self) -> None:
        """End in order; a second signal ends at once."""
        if self._stopping:
            self._stop_reactor()
            return
        self._stopping = True
        self._spawn(self._stop())

    async def _stop(self) -> None:
        try:
            if self._runners is not None:
                await self._runners.stop()
            if self._sweeper is not None:
                await asyncio.to_thread(self._sweeper.stop)
            await get_hub().stop()
        except Exception:
            logger.exception("The runners did not stop in order.")
        finally:
            self._stop_reactor()

    def _stop_reactor(self) -> None:
        if reactor.running:
            reactor.stop()

    def _spawn(self, coroutine: Any) -> None:
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _drain(self) -> None:
        """Cancel and await what is left; an open socket would crash the exit else."""
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(_all(tasks))
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()


async def _all(tasks: set[asyncio.Task[Any]]) -> None:
    """Return once they have ended; one that will not is left to the process's end."""
    if tasks:
        await asyncio.wait(tasks, timeout=LAST_WAIT_S)

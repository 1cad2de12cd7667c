"""A run cancelled, stopped or killed at any point: nothing left, lost, or twice."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from runs.engine import (
    InMemoryJournal,
    JournalFailed,
    Ports,
    RunConfig,
    Runner,
    RunStopped,
)

from .hostile_runs import (
    Disk,
    ListSession,
    SlowHooks,
    World,
    check_whole,
    decide,
    left_tasks,
)

LONGEST = 2_000


async def rounds(task: asyncio.Task[Any], count: int) -> int:
    """Let the loop go round until `task` has ended; return what is left of `count`."""
    while count and not task.done():
        await asyncio.sleep(0)
        count -= 1
    return count


class Broken:
    """A run with everything in it that is broken off once, after so many rounds."""

    def __init__(self, world: World, after_rounds: int, streamed: bool) -> None:
        self.left, self.streamed = after_rounds, streamed
        self.world, self.session = world, ListSession()
        world.done.clear()
        self.journal = InMemoryJournal()
        self.state = self.world.state()
        self.was_broken = False

    def start(self) -> tuple[asyncio.Task[Any], Any]:
        options: Any = {
            "hooks": SlowHooks(),
            "session": self.session,
            "ports": Ports(journal=self.journal),
            "run_config": RunConfig(tracing_disabled=True),
        }
        if self.streamed:
            result = Runner.run_streamed(self.world.root, self.state, **options)
            self.state = result.state
            return result.run_loop_task, result
        run = Runner.run(self.world.root, self.state, **options)
        return asyncio.ensure_future(run), None

    async def to_rest(self, stop: bool) -> None:
        """Drive one stretch to its end, or to where it is broken off."""
        task, result = self.start()
        if not self.was_broken:
            self.left = await rounds(task, self.left)
            if not task.done():
                self.was_broken = True
                result.stop() if stop else task.cancel()
        await asyncio.wait({task}, timeout=60)

        assert task.done()
        assert left_tasks() == []
        if not task.cancelled() and not isinstance(task.exception(), RunStopped):
            task.result()

    async def to_end(self, stop: bool = False) -> None:
        for _ in range(20):
            await self.to_rest(stop)
            # What is there can be stored, read, and is equal to what was read.
            stored = json.dumps(self.state.to_json())
            self.state = await self.world.read(stored)
            assert json.dumps(self.state.to_json()) == stored
            if self.state.is_done:
                return
            decide(self.state)
        raise AssertionError("The run does not end.")


# Every second or third round, of runs that differ: together they meet every await.
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_run_cancelled_anywhere_leaves_no_task_and_goes_on(
    streamed: bool,
) -> None:
    world = World()
    for after_rounds in range(int(streamed), LONGEST, 2):
        run = Broken(world, after_rounds, streamed)

        await run.to_end()

        assert run.state.final_output == "end"
        assert max(run.world.done.values()) == 1
        check_whole([item.raw for item in run.state.all_items])
        if not run.was_broken:
            assert set(run.world.done.values()) == {1}
            break


async def test_a_run_stopped_anywhere_leaves_no_task_and_stays_readable() -> None:
    world = World()
    for after_rounds in range(0, LONGEST, 3):
        run = Broken(world, after_rounds, streamed=True)

        await run.to_end(stop=True)

        assert run.state.final_output == "end"
        assert set(run.world.done.values()) == {1}
        check_whole([item.raw for item in run.state.all_items])
        check_whole(run.session.items)
        if not run.was_broken:
            break


@pytest.mark.parametrize("keeps_last", [False, True])
async def test_a_crash_at_any_write_loses_no_output_and_repeats_no_effect(
    keeps_last: bool,
) -> None:
    for crash_at in range(1, LONGEST):
        world = World()
        disk = Disk(world.state())
        disk.crash_at, disk.keeps_last = crash_at, keeps_last
        crashed = False
        try:
            await Runner.run(world.root, disk.load(world.root), ports=disk.ports())
        except JournalFailed:
            crashed = True
        assert left_tasks() == []
        known = {row for row in disk.rows if "_output" in row}
        disk.crash_at = None

        for _ in range(10):
            result = await Runner.run(
                world.root, disk.load(world.root), ports=disk.ports()
            )
            if result.state.is_done:
                break

        assert result.final_output == "end"
        assert max(world.done.values()) == 1
        assert known <= set(disk.rows)
        loaded = disk.load(world.root)
        check_whole([item.raw for item in loaded.all_items])
        assert loaded.model_input() == result.state.model_input()
        if not crashed:
            assert set(world.done.values()) == {1}
            break


async def test_one_saved_state_resumed_in_two_places_runs_each_effect_once() -> None:
    world, journal = World(), InMemoryJournal()
    ports = Ports(journal=journal)
    paused = await Runner.run(world.root, "go", ports=ports)
    stored = decide(paused.to_state()).to_string()

    states = [await world.read(stored) for _ in range(3)]
    await asyncio.gather(
        *(Runner.run(world.root, state, ports=ports) for state in states)
    )

    assert max(world.done.values()) == 1
    assert left_tasks() == []

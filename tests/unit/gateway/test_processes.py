"""Children of the gateway: started again when they die, and not after they were told to stop."""

import asyncio
import sys

from jevons.gateway import processes
from jevons.gateway.processes import Child


async def until(holds):
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 - it happens in another process
            await asyncio.sleep(0.01)


async def died_once(child):
    """The task that keeps `child`, once its first process has died."""
    task = asyncio.create_task(child.run())
    await until(lambda: child.restarts)
    return task


def child(tmp_path):
    return Child("c", [sys.executable, "-c", "import sys; open(sys.argv[1], 'a').write('x')", str(tmp_path / "starts")])


async def test_a_child_that_died_is_not_started_again_once_it_was_told_to_stop(tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "BACKOFF_S", (0.1, 0.2))
    one = child(tmp_path)
    task = await died_once(one)
    await one.stop(1.0)
    async with asyncio.timeout(20):
        await task
    assert (tmp_path / "starts").read_text() == "x"


async def test_a_child_that_died_is_started_again(tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "BACKOFF_S", (0.01, 0.02))
    one = child(tmp_path)
    task = await died_once(one)
    await until(lambda: (tmp_path / "starts").read_text() != "x")
    await one.stop(5.0)
    async with asyncio.timeout(20):
        await task

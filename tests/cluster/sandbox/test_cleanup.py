"""A whole control plane beside another one, and its owner killed: nothing of it is left, and the other does not notice."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jevons.sandbox import Sandbox
from jevons.sandbox.watchdog import marked

pytestmark = pytest.mark.cluster

OWNER = """
import asyncio
from jevons.sandbox import Sandbox

async def main():
    async with Sandbox.start(engines=False) as box:
        print(box.dir, box.slot.index, flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


@pytest.fixture
def owner() -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    yield process
    process.kill()
    process.stdout.close()
    process.wait()


async def test_sigkill_of_the_owner_ends_every_process_and_removes_the_folder(sandbox: Sandbox, owner: subprocess.Popen[str]) -> None:
    assert owner.stdout is not None
    folder, slot = (await asyncio.to_thread(owner.stdout.readline)).split()
    assert int(slot) != sandbox.slot.index
    assert len(marked(folder)) >= 6  # etcd, API server, controller manager, scheduler, kwok, Prometheus

    owner.send_signal(signal.SIGKILL)

    deadline = time.monotonic() + 15
    while marked(folder) or await asyncio.to_thread(Path(folder).exists):
        assert time.monotonic() < deadline, f"still there: {marked(folder)}"
        await asyncio.sleep(0.05)
    assert await sandbox.kubectl("get", "--raw", "/readyz") == "ok"

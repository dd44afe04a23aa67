"""`jevons sandbox up` beside another sandbox, and killed: nothing of it is left, and the other does not notice."""

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


@pytest.fixture
def up() -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "jevons", "sandbox", "up", "--no-gateway"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    yield process
    process.kill()
    process.stdout.close()
    process.wait()


async def printed(process: subprocess.Popen[str]) -> str:
    """What `up` says when it is up, to the line about Ctrl-C."""
    assert process.stdout is not None
    said = ""
    while "Ctrl-C" not in said:
        line = await asyncio.to_thread(process.stdout.readline)
        assert line, f"ended after {said!r}"
        said += line
    return said


async def test_sigkill_of_up_ends_every_process_and_removes_the_folder(sandbox: Sandbox, up: subprocess.Popen[str]) -> None:
    said = await printed(up)
    folder = said.split("KUBECONFIG=")[1].split("/kubeconfig")[0]
    assert sandbox.api_url not in said
    assert "Prometheus  http://127.0.0.1:" in said
    assert len(marked(folder)) >= 7  # etcd, API server, controller manager, scheduler, kwok, Prometheus, fleet

    up.send_signal(signal.SIGKILL)

    deadline = time.monotonic() + 60
    while marked(folder) or await asyncio.to_thread(Path(folder).exists):
        assert time.monotonic() < deadline, f"still there: {marked(folder)}"
        await asyncio.sleep(0.05)
    assert await sandbox.kubectl("get", "--raw", "/readyz") == "ok"

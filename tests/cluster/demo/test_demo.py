"""The demo as a newcomer runs it, without a terminal: what it prints at the end is what it promises."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
import tempfile
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.cluster, pytest.mark.envoy, pytest.mark.timeout(420)]
COMMAND = (sys.executable, "-m", "jevons", "sandbox", "demo")


async def test_the_demo_keeps_what_it_promises(tmp_path: Path) -> None:
    began = time.monotonic()
    file = tmp_path / "summary.json"
    process = await asyncio.create_subprocess_exec(*COMMAND, "--json", str(file), stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    assert process.returncode == 0
    assert time.monotonic() - began < 300, "under five minutes with the tools at hand"
    summary = json.loads(file.read_text())
    print(out.decode())
    assert summary["requests"] >= 500
    assert summary["cold_starts"]["count"] >= 1
    assert summary["useful"] >= 0.95 * summary["requests"]
    assert summary["usd_per_1k_useful"] < summary["baseline"]["usd_per_1k_useful"]
    assert summary["baseline"]["name"] == "always-large-static-at-peak"
    assert summary["budget"]["kept"] is True
    assert 0 < summary["share_small"] < 1
    assert b"Modelled" in out


async def test_ctrl_c_ends_the_demo_and_everything_it_started() -> None:
    process = await asyncio.create_subprocess_exec(
        *COMMAND, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr is not None
    async for line in process.stderr:
        if b"sending" in line:
            break
    mine = sandboxes_of(process.pid)
    assert len(mine) == 1
    await asyncio.sleep(3)
    process.send_signal(signal.SIGINT)
    rest, _ = await asyncio.wait_for(asyncio.gather(process.stderr.read(), process.wait()), 40)
    assert b"everything it started is gone" in rest, rest
    assert not mine & sandboxes()
    assert processes_of(mine) == []


def sandboxes() -> set[Path]:
    """Folders of all sandboxes on this machine."""
    return set(Path(tempfile.gettempdir()).glob("jevons-sandbox-*"))


def sandboxes_of(pid: int) -> set[Path]:
    """Folders that a child of that process carries the mark of: others on this machine may start sandboxes meanwhile."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    words = [word for child in children for word in Path(f"/proc/{child}/cmdline").read_text().split("\0")]
    return {folder for folder in sandboxes() if str(folder) in words}


def processes_of(folders: set[Path]) -> list[Path]:
    """Processes that carry the mark of one of these sandboxes."""
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            text = environ.read_bytes()
            found += [environ for folder in folders if str(folder).encode() in text]
    return found

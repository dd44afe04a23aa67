"""R9: the API server itself stops for half a minute, frozen or killed: the operator acts again within 80 s of its return, and asks little of it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from jevons.sandbox import KubectlError, Sandbox
from jevons.sandbox.processes import Program

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

OUTAGE_S = 30.0


@pytest.fixture
def programs() -> Iterator[list[Program]]:
    """What a test starts in place of what it killed; they end with the sandbox, and are collected here."""
    started: list[Program] = []
    yield started
    for program in started:
        program.kill()


@pytest_asyncio.fixture
async def sandbox(tools, programs) -> AsyncIterator[Sandbox]:
    """A cluster of its own: the session's has others to serve."""
    async with Sandbox.start(tools=tools, engines=False) as box:
        yield box


def per_second(line, since: float, until: float) -> tuple[float, Counter]:
    """Requests per second in a stretch, and of whom for what."""
    asked = [(agent.split("/")[0], what) for at, agent, what in line.asked if since <= at < until]
    return len(asked) / (until - since), Counter(asked)


def command_of(pid: int) -> list[str]:
    """How that process was started."""
    words = [word.decode() for word in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0") if word]
    return [str(Path(f"/proc/{pid}/exe").resolve()), *words[1:]]


async def outage(sandbox: Sandbox, how: str, programs: list[Program]) -> None:
    """The API server is away for OUTAGE_S; then it is started again."""
    pid = sandbox.cluster.component_pid("kube-apiserver")
    if how == "frozen":
        sandbox.cluster.pause("kube-apiserver")
        await asyncio.sleep(OUTAGE_S)
        sandbox.cluster.resume("kube-apiserver")
        return
    again = Program("kube-apiserver-again", command_of(pid), folder=sandbox.dir)
    os.kill(pid, signal.SIGKILL)
    await asyncio.sleep(OUTAGE_S)
    again.spawn()
    programs.append(again)


@pytest.mark.parametrize("how", ["frozen", "killed"])
async def test_the_operator_acts_again_soon_after_the_api_server_is_back(*, sandbox, line, assistant, eventually, through, how, programs):
    async def child(name: str) -> object:
        return await sandbox.get("deployment", f"{name}-small", namespace=assistant.namespace)

    async def answers() -> bool:
        try:
            return await sandbox.kubectl("get", "--raw", "/readyz", timeout_s=2.0) == "ok"
        except KubectlError:
            return False

    await assistant("before")
    async with through() as process:
        await eventually(lambda: child("before"), within_s=30)
        await asyncio.sleep(20.0)  # the watches are open, and the list soon after the start is over
        steady_from = time.monotonic()
        await asyncio.sleep(30.0)
        gone_at = time.monotonic()
        await outage(sandbox, how, programs)
        back_at = time.monotonic()
        assert process.returncode is None
        await eventually(answers, within_s=60)
        ready_at = time.monotonic()
        await assistant("after")
        await eventually(lambda: child("after"), within_s=80)
        acted_s = time.monotonic() - ready_at
        await asyncio.sleep(max(0.0, ready_at + 60.0 - time.monotonic()))
        assert process.returncode is None
        stretches = {
            "steady": (steady_from, gone_at),
            "outage": (gone_at, back_at),
            "return": (back_at, ready_at + 30.0),
            "afterwards": (ready_at + 30.0, ready_at + 60.0),
        }
        rates = {}
        for name, (since, until) in stretches.items():
            rates[name], of_whom = per_second(line, since, until)
            sys.stdout.write(f"R9 {how}, {name}: {rates[name]:.2f} requests/s: {of_whom.most_common(3)}\n")
        sys.stdout.write(f"R9 {how}: acting again {acted_s:.1f} s after the API server was ready\n")
        assert acted_s <= 80.0
        assert rates["steady"] <= 1.0
        assert rates["outage"] <= 2.5, "most of it in its first seconds: watches that try again"
        assert rates["afterwards"] <= 2.0

"""A program is ready when it says so, and its words survive it."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from jevons.sandbox.processes import NotReadyError, Program, SandboxError, announcement

SERVES = "import json, time; print('hello'); print(json.dumps({'ready': True, 'ports': {'metrics': 7}}), flush=True); time.sleep(600)"


@pytest.fixture
def program(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Program]:
    made = Program("it", [sys.executable, "-I", "-c", getattr(request, "param", SERVES)], folder=tmp_path)
    yield made
    made.kill()


async def test_it_is_ready_when_it_prints_so(program: Program) -> None:
    await program.start()
    assert program.alive
    assert announcement(program.printed()) == {"ready": True, "ports": {"metrics": 7}}


@pytest.mark.parametrize("program", ["import sys; sys.exit('no such option')"], indirect=True)
async def test_one_that_ends_at_once_raises_with_its_last_words(program: Program) -> None:
    with pytest.raises(NotReadyError, match="no such option"):
        await program.start()


@pytest.mark.parametrize("program", ["import time; time.sleep(600)"], indirect=True)
async def test_a_silent_one_raises_after_the_time_given(program: Program) -> None:
    with pytest.raises(NotReadyError, match="not ready after"):
        await program.start(timeout_s=0.2)


async def test_sigterm_ends_it(program: Program) -> None:
    await program.start()
    assert await program.stop() == -signal.SIGTERM
    assert not program.alive


async def test_a_paused_one_can_be_stopped(program: Program) -> None:
    await program.start()
    program.pause()
    assert await program.stop() == -signal.SIGTERM


@pytest.mark.parametrize(
    "program", ["import signal, time; signal.signal(15, signal.SIG_IGN); print('{\"ready\": true}', flush=True); time.sleep(600)"], indirect=True
)
async def test_one_that_ignores_sigterm_is_killed(program: Program) -> None:
    await program.start()
    assert await program.stop(timeout_s=0.2) == -signal.SIGKILL


async def test_a_restart_waits_for_the_new_one_to_say_ready(program: Program) -> None:
    await program.start()
    before = program.pid
    program.kill()
    await program.restart()
    assert program.alive
    assert program.pid != before
    assert program.printed().count("ready") == 1


def test_one_never_started_has_no_pid(program: Program) -> None:
    with pytest.raises(SandboxError, match="was not started"):
        _ = program.pid


def test_lines_that_are_no_announcement_are_passed_over() -> None:
    assert announcement('plain\n{"broken\n{"ready": false}\n') is None

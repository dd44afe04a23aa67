"""However the program that started a sandbox ends, nothing of the sandbox is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jevons.sandbox import slots
from jevons.sandbox.box import scratch
from jevons.sandbox.watchdog import MARK, marked

OWNER = """
import signal, subprocess, sys, os, time
from jevons.sandbox.box import scratch
from jevons.sandbox.watchdog import MARK
signal.signal(signal.SIGINT, signal.default_int_handler)  # as in a terminal: a suite in the background of a script hands down "ignored"
with scratch() as (folder, slot):
    # a child that leaves a daemon behind, as kwokctl does
    daemon = "import os, time; os.setsid(); os.fork() and os._exit(0); time.sleep(600)"
    subprocess.run([sys.executable, "-I", "-c", daemon], env={**os.environ, MARK: str(folder)}, start_new_session=False, check=True)
    print(folder, slot.index, flush=True)
    {then}
"""


@pytest.fixture(autouse=True)
def own_slots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


@pytest.fixture
def owner(request: pytest.FixtureRequest) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A program that owns a sandbox with a daemon in it, and the sandbox's folder."""
    then = getattr(request, "param", "time.sleep(600)")
    process = subprocess.Popen([sys.executable, "-c", OWNER.replace("{then}", then)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    folder = Path(process.stdout.readline().split()[0])
    assert folder.is_dir()
    yield process, folder
    process.kill()
    process.stdout.close()
    process.wait()


def gone(folder: Path, *, within_s: float = 10.0) -> bool:
    deadline = time.monotonic() + within_s
    while folder.exists() or marked(str(folder)):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_owner_leaves_nothing(owner: tuple[subprocess.Popen[str], Path], number: signal.Signals) -> None:
    process, folder = owner
    assert marked(str(folder))
    process.send_signal(number)
    assert gone(folder)


@pytest.mark.parametrize("owner", ["raise RuntimeError"], indirect=True)
def test_a_crashed_owner_leaves_nothing(owner: tuple[subprocess.Popen[str], Path]) -> None:
    _, folder = owner
    assert gone(folder)


def test_what_owner_and_watchdog_left_is_swept_by_whoever_takes_the_slot_next(owner: tuple[subprocess.Popen[str], Path]) -> None:
    process, folder = owner
    children = subprocess.run(["ps", "--ppid", str(process.pid), "-o", "pid="], capture_output=True, text=True, check=True).stdout.split()
    process.send_signal(signal.SIGSTOP)  # so that it cannot see the watchdog go
    for child in children:
        os.kill(int(child), signal.SIGKILL)
    process.kill()
    process.wait()
    assert folder.is_dir()
    assert marked(str(folder))
    while (slot := slots.take()).index != 0:  # the kernel frees a killed process's lock a moment later
        slot.release()
    try:
        assert gone(folder)
    finally:
        slot.release()


def test_the_ordinary_end_waits_until_nothing_is_left() -> None:
    with scratch() as (folder, _slot):
        sleeper = subprocess.Popen(["sleep", "600"], env={**os.environ, MARK: str(folder)})
    assert sleeper.wait(timeout=10) == -signal.SIGKILL
    assert not folder.exists()


def test_logs_are_kept_where_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JEVONS_SANDBOX_LOGS", str(tmp_path / "kept"))
    with scratch() as (folder, _slot):
        (folder / "logs").mkdir()
        (folder / "logs" / "fleet.log").write_text("hello")
    assert (tmp_path / "kept" / folder.name / "fleet.log").read_text() == "hello"


def test_a_process_without_the_mark_is_left_alone(tmp_path: Path) -> None:
    with scratch() as (folder, _slot), subprocess.Popen(["sleep", "600"], env={**os.environ, MARK: f"{folder}-another"}) as other:
        assert other.pid not in marked(str(folder))
        other.kill()

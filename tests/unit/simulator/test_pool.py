"""Workers end with the command that wanted their results, however it ended."""

import multiprocessing
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jevons.simulator.protocol.pool import local

COMMAND = """
import os, pathlib, signal, sys, time
from jevons.simulator.protocol.pool import local

def never_done(folder):
    pathlib.Path(folder, str(os.getpid())).touch()
    time.sleep(600)

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a script's background jobs begin with Ctrl-C ignored
    with local(2) as runner:
        runner(never_done, [sys.argv[1]] * 2, lambda: None)
"""


def until(holds, what):
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end, what
        time.sleep(0.02)


def ended(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_no_worker_outlives_a_command_that_is_stopped_in_the_middle_of_its_jobs(tmp_path, number):
    script, busy = tmp_path / "command.py", tmp_path / "busy"
    script.write_text(COMMAND)
    busy.mkdir()
    command = subprocess.Popen([sys.executable, script, busy], stderr=subprocess.DEVNULL)
    try:
        until(lambda: len(list(busy.iterdir())) == 2, "two workers work")
        command.send_signal(number)
        assert command.wait(30) != 0
        until(lambda: all(ended(path.name) for path in busy.iterdir()), "both ended")
    finally:
        command.kill()
        command.wait()


def test_a_job_that_fails_ends_those_that_are_not_done_and_says_why():
    with pytest.raises(TypeError, match="'str'"), local(2) as runner:
        runner(time.sleep, [600, "a while"], lambda: None)
    assert multiprocessing.active_children() == []


def test_results_come_in_the_order_of_the_jobs():
    done = []
    with local(2) as runner:
        assert runner(abs, list(range(-20, 0)), lambda: done.append(1)) == list(range(20, 0, -1))
    assert len(done) == 20

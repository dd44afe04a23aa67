"""Ends a sandbox when the program that started it is gone, whatever ended it: Ctrl-C, a crash, or SIGKILL.

kwokctl leaves its children behind as daemons, the gateway has children of its own, and a killed parent cleans up nothing. So every process of a
sandbox carries its folder in the environment (`JEVONS_SANDBOX`, inherited by whatever it starts), and this program, in a session of its own, waits
for the end of its standard input, which the parent holds open. Then it kills all that carry the mark, deletes the folder and exits. The ordinary end
takes the same way: the parent closes the pipe and waits. It is a file of its own, standard library only, so that it starts in milliseconds and fits
in 10 MB.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import time
from pathlib import Path

MARK = "JEVONS_SANDBOX"
"""The environment variable that every process of a sandbox carries; its value is the sandbox's folder."""


def marked(folder: str) -> list[int]:
    """Process ids (not our own) that carry the mark of `folder`; processes of other users cannot be read and are not ours."""
    mark = f"{MARK}={folder}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            # a zombie has an empty environment: it is dead, and its parent's to collect
            if mark in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
    return found


def sweep(folder: str, *, patience_s: float = 10.0) -> list[int]:
    """Kill everything marked and delete the folder; returns what still lives after `patience_s` (nothing, unless the kernel holds it).

    A process forked between the look and the kill is found by the next look.
    """
    deadline = time.monotonic() + patience_s
    while (alive := marked(folder)) and time.monotonic() < deadline:
        for pid in alive:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)
    shutil.rmtree(folder, ignore_errors=True)
    return alive


def main() -> None:
    """`watchdog.py FOLDER`: wait for the end of standard input, then sweep. Exit code 1 when something could not be ended."""
    folder = sys.argv[1]
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)
    while os.read(0, 4096):
        pass
    sys.exit(1 if sweep(folder) else 0)


if __name__ == "__main__":
    main()

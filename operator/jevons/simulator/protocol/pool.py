"""Jobs on the cores of this machine: results come in the order of the jobs, whatever order they are done in.

A worker ends with the command that wanted its results, however that ended: it reads a pipe whose other end the command alone holds, which closes
with an error, with Ctrl-C, and with the process itself (SIGTERM, SIGKILL). An executor alone would wait for jobs that nobody wants any more, or,
killed, leave its workers to wait for the next one.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any, TypeVar

Given = TypeVar("Given")
Runner = Callable[[Callable[[Any], Any], Sequence[Any], Callable[[], None]], list[Any]]
"""A pool: (function, jobs, called once per job done) -> results in order. A distributed engine is another one of these."""


@contextmanager
def local(jobs: int) -> Iterator[Runner]:
    """A pool of `jobs` processes; 1 = this process, without any other. Its processes end with the block, also after an error or Ctrl-C."""
    if jobs <= 1:
        yield _inline
        return
    context = multiprocessing.get_context("spawn")
    ends, wanted = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_work_while_wanted, initargs=(ends,))
    try:
        yield lambda function, given, done: _spread(pool, function, given, done)
    except BaseException:
        wanted.close()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        wanted.close()
        ends.close()


def _work_while_wanted(ends: Connection) -> None:
    """First thing in a worker. Ctrl-C reaches it, too, as one of the terminal's group: what it means is the command's to say."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end, args=(ends,), daemon=True).start()


def _end(ends: Connection) -> None:
    """Waits for the end of the pipe, through which nothing ever comes, and ends this process in the middle of whatever it does."""
    ends.poll(None)
    os._exit(1)


def _inline(function: Callable[[Any], Any], given: Sequence[Any], done: Callable[[], None]) -> list[Any]:
    results = []
    for one in given:
        results.append(function(one))
        done()
    return results


def _spread(pool: ProcessPoolExecutor, function: Callable[[Any], Any], given: Sequence[Any], done: Callable[[], None]) -> list[Any]:
    futures: list[Future[Any]] = [pool.submit(function, one) for one in given]
    waiting = set(futures)
    while waiting:
        finished, waiting = wait(waiting, return_when=FIRST_COMPLETED)
        for future in finished:
            future.result()
            done()
    return [future.result() for future in futures]

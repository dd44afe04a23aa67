"""Jobs on the cores of this machine: results come in the order of the jobs, whatever order they are done in."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
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
    pool = ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"))
    try:
        yield lambda function, given, done: _spread(pool, function, given, done)
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    finally:
        pool.shutdown(cancel_futures=True)


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

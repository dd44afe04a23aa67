"""Jobs on a Dask cluster that somebody runs already: another `pool.Runner`, with the same results as the local one.

    dask scheduler --host 10.0.0.1                                           once
    dask worker tcp://10.0.0.1:8786 --nworkers -1 --nthreads 1               on every machine
    jevons bench autoscale ... --cluster tcp://10.0.0.1:8786

A job is a plain function of a plain description, so it does not matter who runs it. What a description names must be the same everywhere: this
package (checked by version) and the folder of traces (checked; a shared volume, or a copy at the same path). Another worker does the jobs of one
that dies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jevons import __version__
from jevons.simulator.protocol.pool import Runner

if TYPE_CHECKING:
    from distributed import Client

CONNECT_S = 10.0


class ClusterError(Exception):
    """The cluster is not there, or not fit for the work; the message says what to do."""


@contextmanager
def cluster(address: str, *, folders: Sequence[Path] = ()) -> Iterator[Runner]:
    """The workers of the scheduler at `address`, which go on when the block ends. Jobs still under way then are cancelled.

    folders: what every worker must be able to read. Raises ClusterError naming what is not reached, or what a worker lacks.
    """
    from distributed import Client

    try:
        client = Client(address, timeout=CONNECT_S, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise ClusterError(f"no Dask scheduler at {address}: {error}") from error
    with client:
        _check(client, address, [str(folder.absolute()) for folder in folders])
        yield lambda function, given, done: _spread(client, function, given, done)


def _check(client: Client, address: str, folders: list[str]) -> None:
    threads = client.nthreads()
    if not threads:
        raise ClusterError(f"the scheduler at {address} has no workers; start some: dask worker {address} --nthreads 1")
    if crowded := sorted(worker for worker, count in threads.items() if count > 1):
        raise ClusterError(f"worker {crowded[0]} has {threads[crowded[0]]} threads: a job is a process' work; start workers with --nthreads 1")
    for worker, found in client.run(_ready, folders).items():
        version, missing = found
        if version != __version__:
            raise ClusterError(f"worker {worker} has jevons {version}, here is {__version__}: results would not be the same")
        if missing:
            raise ClusterError(f"worker {worker} cannot read {missing[0]}: give every machine the same folder at the same path")


def _ready(folders: Sequence[str]) -> tuple[str, list[str]]:
    """Runs on a worker."""
    return __version__, [folder for folder in folders if not Path(folder).exists()]


def _spread(client: Client, function: Callable[[Any], Any], given: Sequence[Any], done: Callable[[], None]) -> list[Any]:
    from distributed import as_completed

    futures = client.map(function, given, pure=False)
    try:
        for future in as_completed(futures, loop=client.loop):
            future.result()
            done()
        return list(client.gather(futures))
    except BaseException:
        client.cancel(futures)
        raise

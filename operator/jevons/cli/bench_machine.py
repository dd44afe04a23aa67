"""What every command around the simulator asks of the machine: its cores or a cluster's, and the extras that it needs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from jevons.simulator.protocol.pool import Runner

EXTRA = ("numba", "matplotlib")
JsonFile = Annotated[Path | None, typer.Option("--json", help="write the figures there")]
Jobs = Annotated[int | None, typer.Option(help="processes; default: one per core", min=1)]
Cluster = Annotated[str, typer.Option("--cluster", metavar="ADDRESS", help="run on this Dask scheduler's workers instead, e.g. tcp://10.0.0.1:8786")]


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def need_extra() -> None:
    """Raises BadParameter with the command to type when numba or matplotlib is not installed."""
    if missing := [name for name in EXTRA if find_spec(name) is None]:
        raise typer.BadParameter(f"{' and '.join(missing)} not installed; run: pip install 'jevons[bench]'")


@contextmanager
def pool(jobs: int | None, address: str = "", *, folders: Sequence[Path] = (), most: int | None = None) -> Iterator[Runner]:
    """Processes here (`jobs`, by default one per core, at most `most`), or the workers of the Dask scheduler at `address`, which must read `folders`.

    The results are the same. Raises BadParameter for a cluster that is not there or not fit.
    """
    if not address:
        from jevons.simulator.protocol.pool import local

        count = jobs or cores()
        with local(count if most is None else min(count, most)) as runner:
            yield runner
        return
    if jobs is not None:
        raise typer.BadParameter("--cluster runs on the cluster's workers: leave --jobs out")
    if find_spec("distributed") is None:
        raise typer.BadParameter("distributed not installed; run: pip install 'jevons[distributed]'")
    from jevons.simulator.protocol.pool_cluster import ClusterError, cluster

    try:
        with cluster(address, folders=folders) as runner:
            yield runner
    except ClusterError as error:
        raise typer.BadParameter(str(error), param_hint="--cluster") from error

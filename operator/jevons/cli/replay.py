"""`jevons replay`: decide recorded passes again with this version's code, and say whether it decides the same, byte for byte.

    jevons replay /var/lib/jevons                                       all that an operator has on record
    kubectl exec -n jevons-system POD -- tar c -C /var/lib/jevons passes | tar x && jevons replay passes

Ends with 1 when anything differs. Nothing is applied, and no cluster is asked.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from jevons import __version__
from jevons.cli.recordings import passes
from jevons.cli.written import write_json
from jevons.core.recording import Difference, Pass, replayed
from jevons.solver.highs import NAME, solve


def command(
    recording: Annotated[Path, typer.Argument(help="folder of recorded passes, the operator's --data-dir, or one file of it", exists=True)],
    most: Annotated[int, typer.Option(help="differences shown of each pass", min=1)] = 10,
    json_file: Annotated[Path | None, typer.Option("--json", help="write the differences there")] = None,
) -> None:
    """Decide recorded passes again with the present code: byte-equal, or what differs."""
    began = time.monotonic()
    times: list[float] = []
    differing: list[tuple[float, list[Difference]]] = []
    ruled, others = 0, set[str]()
    try:
        for one in passes(recording):
            times.append(one.at_s)
            found = replayed(one, solve)
            if found and not one.solver and not replayed(one):
                found, ruled = [], ruled + 1
            if found:
                others.update([] if one.solver == NAME else [_by(one)])
                differing.append((one.at_s, found))
                _show(one.at_s, found, most)
    except (ValueError, OSError) as error:
        raise SystemExit(f"replay: {error}") from None
    if json_file is not None:
        rows = [{"at": stamp(at_s), "differences": [asdict(each) for each in found]} for at_s, found in differing]
        write_json(json_file, {"passes": len(times), "differing": rows})
    if not times:
        raise SystemExit(f"replay: {recording}: not one whole pass is on record")
    span = f"{len(times)} passes, {stamp(times[0])} to {stamp(times[-1])}, decided again in {time.monotonic() - began:.1f} s"
    if ruled:
        print(f"{ruled} passes were decided without a solver (routes by rule), and again so")
    for other in sorted(others):
        print(f"recorded by {other}; this is release {__version__} with {NAME}:")
        print("  of deployments with several variants, other routes and replicas are expected")
    if differing:
        print(f"{span}: {len(differing)} differ")
        raise typer.Exit(1)
    print(f"{span}: byte-equal")


def _by(one: Pass) -> str:
    """Who decided it."""
    solver = f"with {one.solver}" if one.solver else "before routes and replicas were chosen together by a solver"
    return f"release {one.release or '(unknown)'} {solver}"


def stamp(at_s: float) -> str:
    """A second since the epoch, for people and files."""
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="milliseconds")


def _show(at_s: float, found: list[Difference], most: int) -> None:
    print(f"{stamp(at_s)}: {len(found)} differences")
    for each in found[:most]:
        print(f"  {each.path}: recorded {each.recorded}, now {each.now}")
    if len(found) > most:
        print(f"  ... and {len(found) - most} more; --most shows them, --json has all")

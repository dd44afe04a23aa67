"""What `jevons regret` and `jevons advise` are asked about: a manifest with a trace, or a stretch of what an operator recorded."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from jevons.core.recording import Pass
    from jevons.core.spec import Key
    from jevons.simulator.recorded import Recorded
    from jevons.simulator.regret import Asked

Files = Annotated[list[Path] | None, typer.Option("--file", "-f", help="manifests: the InferenceDeployment and its AcceleratorClasses")]
Trace = Annotated[Path | None, typer.Option(help="CSV of TIMESTAMP,ContextTokens,GeneratedTokens, may be .gz")]
Recording = Annotated[Path | None, typer.Option(help="recorded passes instead: the operator's --data-dir, or a file", exists=True)]
Which = Annotated[str, typer.Option("--deployment", help="which one, where there are several: a name, of a recording namespace/name")]
Hours = Annotated[float, typer.Option(help="of a recording: so many until its end", min=0.01)]
Load = Annotated[int, typer.Option(help="of a trace: this many copies of the traffic at once", min=1)]


def one_source(files: list[Path] | None, trace: Path | None, recording: Path | None) -> None:
    """Raises BadParameter unless exactly one of both is given, and whole."""
    if (recording is None) == (trace is None) or (trace is not None and not files) or (recording is not None and files):
        raise typer.BadParameter("give -f MANIFEST and --trace FILE, or --recording PATH")


def from_trace(files: list[Path], trace: Path, deployment: str, *, load: int, seed: int) -> Asked:
    """Of manifests and a trace. Raises ValueError, OSError or yaml's error for what cannot be read."""
    from jevons.cli.simulate import curve_of_the_router, read_manifests, read_trace
    from jevons.simulator.regret import Asked

    written, accelerators = read_manifests(files, deployment)
    requests = read_trace(trace, written, multiplier=1.0, load=load, prompts=None, seed=seed)
    return Asked(written, accelerators, requests, curve_of_the_router(), seed)


def from_recording(recording: Path, deployment: str, *, hours: float, seed: int) -> tuple[Recorded, list[Pass], Key]:
    """Of the last `hours` of a recording, with the passes themselves. Raises ValueError or OSError."""
    from jevons.cli.recordings import passes
    from jevons.core.spec import Key
    from jevons.simulator.recorded import keys, recorded

    found = list(passes(recording))
    if not found:
        raise ValueError(f"{recording}: not one whole pass is on record")
    found = [one for one in found if one.at_s >= found[-1].at_s - hours * 3600.0]
    known = keys(found)
    if not deployment and len(known) != 1:
        raise ValueError(f"{recording}: {len(known)} deployments; name one with --deployment: {', '.join(map(str, known))}")
    key = Key(*deployment.split("/", 1)) if "/" in deployment else next((one for one in known if deployment in {"", one.name}), None)
    if key is None or key not in known:
        raise ValueError(f"--deployment: {deployment!r} is not in {recording}; there: {', '.join(map(str, known))}")
    return recorded(found, key, seed=seed), found, key


def told(was: Recorded, usd: float) -> str:
    """What a recording's replay is made of, and how near its bill is."""
    begin, end = (datetime.fromtimestamp(at_s, UTC).isoformat(timespec="minutes") for at_s in (was.from_s, was.until_s))
    return (
        f"recorded {begin} to {end}: the ledger says {was.spent_usd:,.2f} USD; its arrivals played again cost {usd:,.2f} USD. "
        "Arrivals are placed at random between passes, lengths drawn around their means"
        + (f"; {was.unknown_s / 60:.0f} min without passes are left out" if was.unknown_s else "")
    )

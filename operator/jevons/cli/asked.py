"""What `jevons regret` and `jevons advise` are asked about: a manifest with a trace, or a stretch of what an operator recorded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from jevons.core.snapshot import DeploymentState
    from jevons.simulator.recorded import Recorded
    from jevons.simulator.regret import Asked

Files = Annotated[list[Path] | None, typer.Option("--file", "-f", help="manifests: the InferenceDeployment and its AcceleratorClasses")]
Trace = Annotated[Path | None, typer.Option(help="CSV of TIMESTAMP,ContextTokens,GeneratedTokens, may be .gz")]
Recording = Annotated[Path | None, typer.Option(help="recorded passes instead: the operator's --data-dir, or a file", exists=True)]
Which = Annotated[str, typer.Option("--deployment", help="which one, where there are several: a name, of a recording namespace/name")]
Hours = Annotated[float, typer.Option(help="of a recording: so many until its end", min=0.01)]
Seed = Annotated[int, typer.Option(help="of everything that is drawn")]
Load = Annotated[int, typer.Option(help="of a trace: this many copies of the traffic at once", min=1)]


if TYPE_CHECKING:
    Watch = Callable[[DeploymentState], None]


@dataclass(frozen=True, slots=True)
class Source:
    """What was named: manifests and a trace, or a recording. Raises BadParameter unless exactly one of both is given, and whole."""

    files: list[Path] | None
    trace: Path | None
    recording: Path | None
    deployment: str
    hours: float
    load: int
    seed: int

    def __post_init__(self) -> None:
        """Before anything is read."""
        by_trace = self.trace is not None
        if (self.recording is None) == (not by_trace) or (by_trace and not self.files) or (self.recording is not None and self.files):
            raise typer.BadParameter("give -f MANIFEST and --trace FILE, or --recording PATH")

    def read(self, watch: Watch = lambda _state: None) -> tuple[Asked, Recorded | None]:
        """What is asked, and the recording that it is of, if it is. Raises ValueError, OSError or yaml's error for what cannot be read."""
        if self.recording is None:
            return _from_trace(self.files or [], self.trace or Path(), self.deployment, load=self.load, seed=self.seed), None
        was = _from_recording(self.recording, self.deployment, hours=self.hours, seed=self.seed, watch=watch)
        return was.asked, was


def _from_trace(files: list[Path], trace: Path, deployment: str, *, load: int, seed: int) -> Asked:
    """Of manifests and a trace. Raises ValueError, OSError or yaml's error for what cannot be read."""
    from jevons.cli.simulate import curve_of_the_router, read_manifests, read_trace
    from jevons.simulator.regret import Asked

    written, accelerators = read_manifests(files, deployment)
    requests = read_trace(trace, written, multiplier=1.0, load=load, prompts=None, seed=seed)
    return Asked(written, accelerators, requests, curve_of_the_router(), seed)


def _from_recording(recording: Path, deployment: str, *, hours: float, seed: int, watch: Watch = lambda _state: None) -> Recorded:
    """Of the last `hours` of a recording; `watch` is shown the deployment as each pass saw it. Raises ValueError or OSError."""
    from jevons.cli.recordings import end, passes
    from jevons.core.spec import Key
    from jevons.simulator.recorded import recorded

    until_s, known = end(recording)
    if not deployment and len(known) != 1:
        raise ValueError(f"{recording}: {len(known)} deployments; name one with --deployment: {', '.join(sorted(known))}")
    found = [one for one in known if deployment in {"", one, one.split("/", 1)[1]}]
    if len(found) != 1:
        there = "is not in" if not found else "is several in"
        raise ValueError(f"--deployment: {deployment!r} {there} {recording}; there: {', '.join(sorted(known))}")
    key = Key(*found[0].split("/", 1))
    return recorded(passes(recording, only=key, since_s=until_s - hours * 3600.0), key, seed=seed, watch=watch)


def told(was: Recorded, usd: float) -> str:
    """What a recording's replay is made of, and how near its bill is."""
    begin, end = (datetime.fromtimestamp(at_s, UTC).isoformat(timespec="minutes") for at_s in (was.from_s, was.until_s))
    return (
        f"recorded {begin} to {end}: the ledger says {was.spent_usd:,.2f} USD; its arrivals played again cost {usd:,.2f} USD. "
        "Arrivals are placed at random between passes, lengths drawn around their means"
        + (f"; {was.unknown_s / 60:.0f} min without passes are left out" if was.unknown_s else "")
    )

"""`jevons regret`: what would perfect knowledge of the traffic have saved, and which part of the controller lost it?

    jevons regret -f examples/assistant.yaml -f examples/accelerators.yaml --trace examples/data/azure_conv_sample.csv
    jevons regret --recording passes --deployment prod/assistant            yesterday, from what the operator recorded

Everything is replayed in the simulator; nothing is applied. `simulator/regret.py` says how the bill is taken apart.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml
from rich.table import Table

from jevons.cli.asked import Files, Hours, Load, Recording, Seed, Source, Trace, Which, told
from jevons.cli.bench_machine import Cluster, Jobs, JsonFile, need_extra, pool
from jevons.cli.written import write_json

if TYPE_CHECKING:
    from rich.console import Console

    from jevons.simulator.recorded import Recorded
    from jevons.simulator.regret import Asked, Loss, Regret

MEANING = {
    "over-delivery": "more answers were kept than promised: capacity and headroom beyond the promise",
    "forecast": "the rate one startup time ahead is known",
    "capacity": "a replica's speed is known; the margin that follows the answers stands still",
    "keeping": "a replica stays exactly when it is needed again before its rent equals a start and what is late",
    "routing": "of each request it is known whether the cheaper variant answers it right",
    "all parts": "all of these at once",
    "starts in no time": "not the controller's: replicas start within a second",
    "no replicas.min": "not the controller's: every minimum is 0",
    "no budget": "not the controller's: nothing is held back for money",
}


def command(  # noqa: PLR0917 - typer: one parameter per option
    files: Files = None,
    trace: Trace = None,
    recording: Recording = None,
    deployment: Which = "",
    hours: Hours = 24.0,
    load: Load = 1,
    quick: Annotated[bool, typer.Option("--quick", help="fewer points of each front and fewer schedules: a third of the time")] = False,
    jobs: Jobs = None,
    cluster: Cluster = "",
    seed: Seed = 0,
    json_file: JsonFile = None,
) -> None:
    """Say what perfect knowledge of the traffic would have saved, and which part of the controller lost it."""
    need_extra()
    source = Source(files, trace, recording, deployment, hours, load, seed)
    from jevons.cli.bench_show import console as console_of
    from jevons.cli.bench_show import progress
    from jevons.simulator.regret import regret

    console = console_of()
    try:
        asked, was = source.read()
        with progress(console) as bars, pool(jobs, cluster) as runner:
            found = regret(asked, runner, bars, quick=quick)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise SystemExit(f"regret: {error}") from None
    if was is not None:
        console.print(told(was, found.written.usd), markup=False)
    _show(console, asked, found)
    if json_file is not None:
        write_json(json_file, _as_json(asked, found, was))


def _show(console: Console, asked: Asked, found: Regret) -> None:
    console.print(
        f"{asked.written.key.name}: {len(asked.requests):,} requests in {found.hours:.2f} h; {found.promised:.0%} promised, "
        f"{found.written.attained:.1%} kept for {found.written.usd:,.2f} USD. All figures at {found.target:.1%} kept.",
        markup=False,
        highlight=False,
    )
    table = Table(box=None, pad_edge=False)
    for title, side in (("", "left"), ("USD", "right"), ("saved", "right"), ("of the bill", "right"), ("what is known", "left")):
        table.add_column(title, justify=side)  # type: ignore[arg-type]
    table.add_row("as written", f"{found.written.usd:,.2f}", "", "", "")
    for loss in found.losses:
        table.add_row(loss.name, _usd(loss.usd), _usd(loss.saved_usd), _share(loss, found), MEANING[loss.name])
    avoidable = found.avoidable_usd
    share = "" if avoidable is None else f"{avoidable / found.written.usd:.1%}"
    table.add_row(
        "foresight", _usd(found.foresight_usd), _usd(avoidable), share, "the whole future: the cheapest schedule found that keeps the target"
    )
    if found.target < found.promised:
        missed = "what keeping the promise costs who knows the whole future"
        table.add_row("foresight, promise kept", _usd(found.foresight_at_promise_usd), "", "", missed)
    console.print(table, highlight=False)
    console.print(
        "Modelled. `saved` of a part is against the controller at the same attainment (its own promise swept), of over-delivery and foresight "
        "against as written; parts overlap, so their sum is not the whole. Negative: the rule is better off without knowing this alone.",
        markup=False,
        highlight=False,
    )


def _usd(usd: float | None) -> str:
    return "unreached" if usd is None else f"{usd:,.2f}"


def _share(loss: Loss, found: Regret) -> str:
    return "" if loss.saved_usd is None else f"{loss.saved_usd / found.written.usd:.1%}"


def _as_json(asked: Asked, found: Regret, was: Recorded | None) -> dict[str, Any]:
    made = {
        "deployment": str(asked.written.key),
        "requests": len(asked.requests),
        "hours": found.hours,
        "promised": found.promised,
        "kept": found.written.attained,
        "target": found.target,
        "usd": found.written.usd,
        "usd_at_target": found.front_usd,
        "foresight_usd": found.foresight_usd,
        "foresight_at_promise_usd": found.foresight_at_promise_usd,
        "avoidable_usd": found.avoidable_usd,
        "losses": [{**asdict(loss), "meaning": MEANING[loss.name]} for loss in found.losses],
    }
    if was is not None:
        made["recorded"] = {"from_s": was.from_s, "until_s": was.until_s, "ledger_usd": str(was.spent_usd), "unknown_s": was.unknown_s}
    return made

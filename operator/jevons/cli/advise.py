"""`jevons advise`: which engine settings, precision or accelerator would save money on this traffic, each tried in the simulator first.

    jevons advise -f examples/assistant.yaml -f examples/accelerators.yaml --trace examples/data/azure_conv_sample.csv
    jevons advise --recording passes --deployment prod/assistant            on what the operator measured
    jevons advise --recording passes --deployment prod/assistant --publish  and `kubectl describe infd` shows it

It changes nothing: what is advised is for you to put into the pod template and into `capacity`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer
import yaml
from rich.table import Table

from jevons.cli.asked import Files, Hours, Load, Recording, Seed, Source, Trace, Which, told
from jevons.cli.bench_machine import Cluster, Jobs, JsonFile, need_extra, pool
from jevons.cli.written import write_json

if TYPE_CHECKING:
    from rich.console import Console

    from jevons.core.snapshot import DeploymentState
    from jevons.simulator.advice import Advice, Priced
    from jevons.simulator.regret import Asked

FLAGS = {
    "max batched tokens": "--max-num-batched-tokens {then}, and capacity.maxNumBatchedTokens: {then}",
    "max sequences": "--max-num-seqs {then}, and capacity.maxNumSeqs: {then}",
    "context limit": "--max-model-len {then}, and contextLength: {then}; longer requests are refused",
    "precision": "a quantised checkpoint; it answers otherwise: measure its quality first, and set `quality`",
    "accelerator": "another pool; its profile is a prior: measure a replica first",
}


def command(  # noqa: PLR0917 - typer: one parameter per option
    files: Files = None,
    trace: Trace = None,
    recording: Recording = None,
    deployment: Which = "",
    hours: Hours = 24.0,
    load: Load = 1,
    setting: Annotated[list[str] | None, typer.Option(help=f"only this: {', '.join(FLAGS)} (may be repeated)")] = None,
    jobs: Jobs = None,
    cluster: Cluster = "",
    seed: Seed = 0,
    json_file: JsonFile = None,
    publish: Annotated[bool, typer.Option("--publish", help="of a recording: write it into status.advice, where kubectl describe shows it")] = False,
    kubeconfig: Annotated[str | None, typer.Option(envvar="KUBECONFIG", help="for --publish; default: ~/.kube/config, or the pod's account")] = None,
) -> None:
    """Recommend engine settings, precision and accelerator by what each would save, tried in the simulator; never acts."""
    need_extra()
    source = Source(files, trace, recording, deployment, hours, load, seed)
    if publish and recording is None:
        raise typer.BadParameter("--publish: advice on an object is on its own traffic; give --recording")
    if unknown := sorted(set(setting or ()) - FLAGS.keys()):
        raise typer.BadParameter(f"--setting: {unknown[0]!r} is none of {', '.join(FLAGS)}")
    from jevons.api.profiles import table
    from jevons.cli.bench_show import console as console_of
    from jevons.cli.bench_show import progress
    from jevons.simulator.advice import advice
    from jevons.simulator.advice_ways import machines, ways_of

    console, gauges = console_of(), Gauges()
    try:
        asked, was = source.read(gauges.watch)
        others, notes = machines(asked.written, asked.accelerators, table())
        ways = [one for one in (*ways_of(asked.written, asked.requests), *others) if not setting or one.setting in setting]
        with progress(console) as bars, pool(jobs, cluster) as runner:
            found = advice(asked, ways, runner, bars)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise SystemExit(f"advise: {error}") from None
    if was is not None:
        console.print(told(was, found.usd), markup=False)
        for line in gauges.told():
            console.print(line, markup=False)
    _show(console, asked, found, notes)
    if json_file is not None:
        write_json(json_file, _as_json(asked, found, notes))
    if publish and was is not None:
        from jevons.cli import advised

        advised.publish(found, was, kubeconfig)
        console.print(f"published: kubectl describe infd -n {asked.written.key.namespace} {asked.written.key.name}", markup=False)


class Gauges:
    """What the operator read of each variant's engines, on average over ready pods with work: batch, queue, KV use, bandwidth, utilisation."""

    NAMES: ClassVar[Mapping[str, str]] = {
        "running": "running",
        "waiting": "waiting",
        "kv_used": "KV used",
        "dram_active": "memory bandwidth used",
        "gpu_util": "GPU used",
    }

    def __init__(self) -> None:
        self._sums: dict[str, dict[str, tuple[float, int]]] = {}

    def watch(self, state: DeploymentState) -> None:
        """One pass."""
        from jevons.core.observed import Known

        for variant, seen in state.variants.items():
            for pod in seen.pods:
                busy = pod.signals.running
                if not pod.ready or not isinstance(busy, Known) or busy.value <= 0:
                    continue
                sums = self._sums.setdefault(variant, {})
                for field in self.NAMES:
                    value = getattr(pod.signals, field)
                    if isinstance(value, Known):
                        total, count = sums.get(field, (0.0, 0))
                        sums[field] = (total + value.value, count + 1)

    def told(self) -> list[str]:
        """A line per variant that worked."""
        lines = []
        for variant, sums in self._sums.items():
            means = {field: total / count for field, (total, count) in sums.items()}
            texts = [
                f"{self.NAMES[field]} {mean:.1f}" if field in {"running", "waiting"} else f"{self.NAMES[field]} {mean:.0%}"
                for field, mean in means.items()
            ]
            lines.append(f"measured on busy pods of {variant}: {', '.join(texts)}")
        return lines


def _show(console: Console, asked: Asked, found: Advice, notes: Sequence[str]) -> None:
    kept = found.written.attained
    bill = "not reached" if found.written.usd is None else f"{found.written.usd:,.2f} USD"
    console.print(
        f"{asked.written.key.name}: {len(asked.requests):,} requests in {found.hours:.2f} h; {asked.written.objectives.percentile:g} % promised, "
        f"{kept:.1%} kept as written. All figures at {found.target:.1%} kept; as written that costs {bill}.",
        markup=False,
        highlight=False,
    )
    table = Table(box=None, pad_edge=False)
    for title in ("variant", "setting", "now", "then", "USD", "saved", "$ a month", "static 95 %", "static 99 %"):
        table.add_column(title, justify="left" if title in {"variant", "setting", "now", "then"} else "right")
    table.add_row("", "as written", "", "", *_figures(found.written, found))
    for one in found.tried:
        if one.way is not None:
            style = "bold" if one in found.advised else None
            table.add_row(one.way.variant, one.way.setting, one.way.now, one.way.then, *_figures(one, found), style=style)
    if found.together is not None:
        table.add_row("", "all advised", "", "", *_figures(found.together, found), style="bold")
    console.print(table, highlight=False)
    for one in found.advised:
        if one.way is not None:
            do = FLAGS[one.way.setting].format(then=one.way.then)
            console.print(f"advised: {one.way.variant}: {one.way.setting} {one.way.now} -> {one.way.then}: {do}", markup=False, highlight=False)
    if not found.advised:
        console.print("advised: nothing; no setting saves 2 % or more on this traffic", markup=False)
    for note in notes:
        console.print(f"note: {note}", markup=False)
    console.print(
        "Modelled: replicas behave as their profile says. static: the smallest fleet of the best variant alone that keeps so many of all requests, "
        "without a controller. A setting that moves a bottleneck pays once: see `all advised` for several.",
        markup=False,
        highlight=False,
    )


def _figures(one: Priced, found: Advice) -> tuple[str, ...]:
    month = 720.0 / found.hours if found.hours else 0.0
    saved = None if one.saved is None or found.written.usd is None else one.saved * found.written.usd
    static = one.static or ("", "")
    return (
        "unreached" if one.usd is None else f"{one.usd:,.2f}",
        "" if one.way is None and one is found.written else "-" if one.saved is None else f"{one.saved:+.1%}",
        "" if saved is None or one is found.written else f"{saved * month:+,.0f}",
        *("none" if count is None else str(count) for count in static),
    )


def _as_json(asked: Asked, found: Advice, notes: Sequence[str]) -> dict[str, Any]:
    def row(one: Priced | None) -> dict[str, Any] | None:
        if one is None:
            return None
        way = None if one.way is None else {"variant": one.way.variant, "setting": one.way.setting, "now": one.way.now, "then": one.way.then}
        figures = {name: value for name, value in asdict(one).items() if name not in {"way", "static"}}
        return {"way": way, **figures, "static_95": one.static[0] if one.static else None, "static_99": one.static[1] if one.static else None}

    return {
        "deployment": str(asked.written.key),
        "requests": len(asked.requests),
        "hours": found.hours,
        "target": found.target,
        "usd": found.usd,
        "written": row(found.written),
        "tried": [row(one) for one in found.tried],
        "advised": [row(one) for one in found.advised],
        "together": row(found.together),
        "notes": list(notes),
    }

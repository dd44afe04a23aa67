"""`jevons simulate`: what would this manifest cost and do on this traffic, before it is applied?

    jevons simulate -f examples/assistant.yaml -f examples/accelerators.yaml --trace examples/data/azure_conv_sample.csv
    jevons simulate -f ... --trace ... --share documents=0.3          three of ten requests are of the class `documents`
    jevons simulate --scenario inference-paradox

The operator's own decision code runs on the manifest; the engine model plays the replicas. Nothing is applied and no cluster is asked.
"""

from __future__ import annotations

import csv
import gzip
import io
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml
from rich.console import Console
from rich.table import Table

from jevons.cli.asked import Files, Seed, Trace
from jevons.cli.bench_machine import JsonFile, need_extra
from jevons.cli.written import write_json

if TYPE_CHECKING:
    from jevons.core.snapshot import RouterCurve
    from jevons.core.spec import AcceleratorClass, Deployment
    from jevons.simulator.scenario import Requests
    from jevons.simulator.whatif import Answer

SCENARIOS = ("inference-paradox",)


def command(  # noqa: PLR0917 - typer: one parameter per option
    files: Files = None,
    trace: Trace = None,
    deployment: Annotated[str, typer.Option(help="which InferenceDeployment, where the manifests hold several")] = "",
    multiplier: Annotated[float, typer.Option(help="tokens per task, times today's: an agent instead of a chat", min=1.0)] = 1.0,
    load: Annotated[int, typer.Option(help="this many copies of the traffic at once, each shifted by a random part of its length", min=1)] = 1,
    prompts: Annotated[Path | None, typer.Option(help="CSV with a column `prompt`: router scores are drawn from them")] = None,
    scenario: Annotated[str, typer.Option(help=f"a worked example instead of a manifest: {', '.join(SCENARIOS)}")] = "",
    hit_rate: Annotated[float, typer.Option(help="of the response cache in the worked example", min=0.0, max=0.99)] = 0.4,
    share: Annotated[
        list[str] | None, typer.Option(help="NAME=0.3: that part of the requests, at random, is of the request class (may be repeated)")
    ] = None,
    seed: Seed = 0,
    json_file: JsonFile = None,
    plot: Annotated[Path | None, typer.Option(help="draw replicas over time into this .png or .svg")] = None,
) -> None:
    """Run an InferenceDeployment on a trace without a cluster: cost, promise, replicas, beside simpler ways to run it."""
    need_extra()
    if scenario:
        if scenario not in SCENARIOS:
            raise typer.BadParameter(f"--scenario: {scenario!r} is none of {', '.join(SCENARIOS)}")
        _paradox(hit_rate, seed, json_file)
        return
    if not files or trace is None:
        raise typer.BadParameter("give -f MANIFEST and --trace FILE, or --scenario NAME")
    try:
        written, accelerators = read_manifests(files, deployment)
        requests = read_trace(trace, written, multiplier=multiplier, load=load, prompts=prompts, seed=seed, shares=shares_of(share or []))
        answers = _compared(written, accelerators, requests, seed)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise SystemExit(f"simulate: {error}") from None
    promise = written.objectives
    print(
        f"{written.key.name} on {trace}: {len(requests):,} requests in {float(requests.at_s[-1]) / 3600:.2f} h"
        f" (x{load} traffic, x{multiplier:g} tokens per task); promise {promise.percentile:g} % within {promise.ttft_s:g} s"
        f" and {promise.itl_s * 1000:g} ms per token"
    )
    _show(answers)
    _show_classes(answers, requests, written)
    if json_file is not None:
        write_json(json_file, [_as_json(answer) for answer in answers])
    if plot is not None:
        _plot(plot, answers, written.key.name)


def read_manifests(files: list[Path], name: str = "") -> tuple[Deployment, dict[str, AcceleratorClass]]:
    """The InferenceDeployment (the one called `name`, or the only one) and the classes, prices as they are today. ValueError says what is missing."""
    from jevons.api.resolve import resolve_accelerator, resolve_deployment
    from jevons.core.money import accelerator_usd_per_h
    from jevons.core.spec import Price

    found: dict[str, Deployment] = {}
    documents: dict[str, dict[str, Any]] = {}
    accelerators: dict[str, AcceleratorClass] = {}
    now = time.time()
    for path in files:
        for document in _documents(path):
            kind = document.get("kind") if isinstance(document, dict) else None
            if kind == "InferenceDeployment":
                deployment = resolve_deployment(document)
                found[deployment.key.name], documents[deployment.key.name] = deployment, document
            elif kind == "AcceleratorClass":
                one = resolve_accelerator(document)
                usd = accelerator_usd_per_h(one, now)
                accelerators[one.name] = replace(one, prices=() if usd is None else (Price(0.0, usd),))
    if name and name not in found:
        raise ValueError(f"--deployment: {name!r} is not in {_listed(files)}; there: {', '.join(sorted(found)) or 'no InferenceDeployment'}")
    if not found or (not name and len(found) > 1):
        raise ValueError(f"{_listed(files)}: one InferenceDeployment is needed, found {len(found)}; name one with --deployment")
    chosen = name or next(iter(found))
    return _occupying(found[chosen], documents[chosen], accelerators), accelerators


def _documents(path: Path) -> list[Any]:
    """The file's documents. Raises YAMLError, which names the file."""
    with path.open(encoding="utf-8") as stream:
        return list(yaml.safe_load_all(stream))


def _occupying(written: Deployment, document: dict[str, Any], accelerators: dict[str, AcceleratorClass]) -> Deployment:
    """With what each replica occupies where the variant leaves it out: read from its pod template as the operator reads it, or a ValueError.

    The operator has to go on where nothing says how many (it takes one); a bill of a fleet that nobody wrote down is worth nothing.
    """
    from jevons.cluster.accelerators import class_of
    from jevons.cluster.records import pod_template

    variants = []
    for variant, raw in zip(written.variants, document["spec"]["variants"], strict=True):
        template = pod_template(raw["template"]) if raw.get("template") else None
        name, problem = variant.accelerator_class, ""
        if not name:
            name, problem = class_of(template, accelerators, (), "")
        count = variant.accelerator_count
        if not count and template is not None and name in accelerators:
            count = template.requests.get(accelerators[name].resource_name, 0)
        if problem or not count:
            raise ValueError(f"spec.variants[{variant.name}].accelerator: {problem or 'no pod template requests any; set accelerator.count'}")
        variants.append(replace(variant, accelerator_class=name, accelerator_count=count))
    return replace(written, variants=tuple(variants))


def _listed(files: list[Path]) -> str:
    return ", ".join(str(path) for path in files)


def shares_of(given: list[str]) -> dict[str, float]:
    """NAME=0.3 as a name and a part of all. Raises BadParameter for anything else."""
    found: dict[str, float] = {}
    for text in given:
        name, _, number = text.partition("=")
        try:
            part = float(number)
        except ValueError:
            part = -1.0
        if not name or not 0.0 <= part <= 1.0 or name in found:
            raise typer.BadParameter(f"--share: {text!r} is not NAME=PART with a part from 0 to 1, each name once")
        found[name] = part
    return found


def read_trace(
    trace: Path, written: Deployment, *, multiplier: float, load: int, prompts: Path | None, seed: int, shares: dict[str, float] | None = None
) -> Requests:
    """The traffic as it shall be played. shares: part of the requests by name of class; None = all are of the default class, whoever they are."""
    from jevons.simulator.classes import classed, names
    from jevons.simulator.traces import read_log
    from jevons.simulator.whatif import copies, multiplied, scored

    requests = copies(read_log(trace, None if shares is None else names(written)), load, seed=seed)
    if multiplier > 1.0:
        requests = multiplied(requests, multiplier, pace_s=written.objectives.itl_s, ttft_s=written.objectives.ttft_s)
    if shares is not None:
        requests = classed(requests, written, shares, seed=seed)
    return scored(requests, _scores(prompts), seed=seed) if len(written.variants) > 1 else requests


def _scores(prompts: Path | None) -> list[float]:
    """What the classifier says of the prompts; without a file evenly spread, which is what its scores are among the prompts it was trained on."""
    from jevons.classifier.features import read_request
    from jevons.classifier.model import Classifier

    if prompts is None:
        return [(rank + 0.5) / 100 for rank in range(100)]
    classifier, content = Classifier.load_default(), prompts.read_bytes()
    text = (gzip.decompress(content) if prompts.suffix == ".gz" else content).decode("utf-8")
    rows = list(csv.DictReader(io.StringIO(text)))
    if not rows or "prompt" not in rows[0]:
        raise ValueError(f"{prompts}: needs a column `prompt` and at least one row")
    asked = [read_request({"messages": [{"role": "user", "content": row["prompt"]}]}) for row in rows]
    return [classifier.score(text, features=features) for text, features in asked]


def _compared(written: Deployment, accelerators: dict[str, AcceleratorClass], requests: Requests, seed: int) -> list[Answer]:
    from jevons.simulator.whatif import compare

    return compare(written, accelerators, requests, curve=curve_of_the_router(), seed=seed)


def curve_of_the_router() -> RouterCurve:
    """The calibration that ships with the classifier's weights."""
    from jevons.classifier.model import read_curve
    from jevons.core.snapshot import RouterCurve

    return RouterCurve(*read_curve())


def _show(answers: list[Answer]) -> None:
    table = Table(box=None, pad_edge=False)
    for title in (
        "",
        "kept",
        "small",
        "refused",
        "$ per 1k useful",
        "$ in all",
        "$ per month",
        "GPU-h",
        "starting",
        "first token p95",
        "peak",
        "moves",
    ):
        table.add_column(title, justify="left" if not title else "right")
    for one in answers:
        table.add_row(
            one.name,
            f"{one.useful / one.offered:.1%}",
            f"{one.small / one.offered:.1%}",
            str(one.refused),
            "none useful" if one.usd_per_1k_useful is None else f"{one.usd_per_1k_useful:,.2f}",
            f"{one.usd:,.2f}",
            f"{one.usd_per_month:,.0f}",
            f"{one.gpu_hours:,.2f}",
            f"{one.starting_gpu_hours:,.2f}",
            f"{one.ttft_p95_s:.2f} s",
            str(one.peak_replicas),
            str(one.scale_events),
        )
    Console(width=170).print(table, highlight=False)
    if not any(one.name.startswith("always-large") for one in answers):
        from jevons.simulator.whatif import MOST_STATIC

        print(f"No static fleet of up to {MOST_STATIC} replicas of the best variant keeps the promise on this traffic: there is no line for it.")
    print("Modelled: engine model from the variants' profiles; $ per month is this traffic all month long. `kept` counts every request offered.")


def _show_classes(answers: list[Answer], requests: Requests, written: Deployment) -> None:
    """Figures of each request class, where the traffic is of several."""
    from jevons.simulator.classes import unmatched

    if missing := unmatched(requests, written):
        print(
            f"Matched by a header, which a trace does not hold: nobody here is taken for {', '.join(missing)}."
            f" A column Class in the trace or --share {missing[0]}=PART says who is."
        )
    if len(answers[0].classes) < 2:
        return
    table = Table(box=None, pad_edge=False)
    for title in ("", "class", "offered", "kept", "wait p95", "first token p95"):
        table.add_column(title, justify="left" if title in {"", "class"} else "right")
    for answer in answers:
        for name, one in zip((answer.name, *[""] * len(answer.classes)), answer.classes, strict=False):
            waits = (f"{seconds:.2f} s" for seconds in (one.wait_p95_s, one.ttft_p95_s))
            table.add_row(name, one.name, f"{one.offered:,}", f"{one.useful / one.offered:.1%}", *waits)
    Console(width=170).print(table, highlight=False)
    print("`wait`: in front of the replicas; who can wait is kept when the first token comes inside the objective after the end of its patience.")


def _as_json(answer: Answer) -> dict[str, Any]:
    return {
        **asdict(answer),
        "usd_per_1k_useful": answer.usd_per_1k_useful,
        "usd_per_month": answer.usd_per_month,
        "attainment": answer.useful / answer.offered,
    }


def _plot(path: Path, answers: list[Answer], title: str) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(10, 4), layout="constrained")
    for one in answers:
        axes.step([at / 60 for at, _, _ in one.replicas], [ready for _, ready, _ in one.replicas], where="post", label=one.name)
    axes.set_xlabel("minutes")
    axes.set_ylabel("ready replicas")
    axes.set_title(f"{title} (modelled)")
    axes.legend()
    figure.savefig(path)
    plt.close(figure)


def _paradox(hit_rate: float, seed: int, json_file: Path | None) -> None:
    from jevons.api.profiles import table as profiles
    from jevons.simulator import paradox

    rows = paradox.rows(profiles(), hit_rate=hit_rate, seed=seed)
    table = Table(box=None, pad_edge=False, title="1,000,000 requests a day on a 70B model, A100 at $10 per GPU-hour, 720 h", title_justify="left")
    for title in (
        "step",
        "article: GPUs",
        "$ per month",
        "$ per 1k",
        "our model, promise kept: GPUs",
        "$ per month",
        "$ per 1k",
        "merely keeping up: GPUs",
    ):
        table.add_column(title, justify="left" if title == "step" else "right")
    for row in rows:
        bill, per_1k = row.model_usd_per_month, row.model_usd_per_1k
        table.add_row(
            row.step.name,
            _gpus(row.step.gpus),
            f"{row.usd_per_month:,}",
            f"{row.usd_per_1k:.2f}",
            _gpus(row.model_gpus),
            "" if bill is None else f"{bill:,}",
            "" if per_1k is None else f"{per_1k:.2f}",
            _gpus(row.keeping_up_gpus),
        )
    Console(width=170).print(table, highlight=False)
    print("Assumptions of our column (the article states none):")
    for sentence in paradox.ASSUMPTIONS:
        print(f"  - {sentence}")
    print(f"  - response cache: {hit_rate:.0%} hits (the article's figure is 40 %)")
    if json_file is not None:
        write_json(json_file, [asdict(row) for row in rows])


def _gpus(pair: tuple[int, int] | None) -> str:
    if pair is None:
        return "unreached"
    return f"{pair[0]} + {pair[1]}" if pair[1] else str(pair[0])

"""`jevons evaluate-router`: the request classifier beside a shuffled control at the same share, always-small, always-large, random and the oracle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from jevons.cli.written import write_json


def command(
    data: Annotated[Path, typer.Option(help="CSV or CSV.gz: prompt or request, small_correct, large_correct", exists=True, dir_okay=False)],
    weights: Annotated[Path | None, typer.Option(help="an .npz made by `jevons train` (default: the shipped weights)")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="also write the figures here")] = None,
    small_cost: Annotated[
        float | None, typer.Option(help="cost of a small answer as a share of a large one, to print the cost saved", min=0, max=1)
    ] = None,
) -> None:
    """Evaluate the request classifier on the test fold of labelled requests."""
    from jevons.classifier import Classifier, ClassifierError, dataset, evaluate

    try:
        classifier = Classifier.load(weights) if weights else Classifier.load_default()
        report = evaluate.evaluate(classifier, dataset.read(data), small_cost=small_cost)
    except (ClassifierError, ValueError) as error:
        raise typer.BadParameter(str(error)) from error
    report["latency"] = {f"{words} words": evaluate.latency(classifier, "word " * words) for words in (30, 400, 8000)}
    if json_file:
        write_json(json_file, report)
    print("\n".join(as_lines(report)))


def as_lines(report: dict[str, Any]) -> list[str]:
    """The report as a table for people; every figure has its control beside it."""
    router, planned, shuffled = report["router"], report["planned"], report["shuffled"]
    (low, high), (least, most) = router["apgr_ci95"], router["share_small_ci95"]
    lines = [
        f"{report['rows']} requests, {report['split']}",
        f"{'':14} {'APGR':>7} {'CPT50':>7} {'CPT80':>7} {'CPT95':>7} {'small at 95 %':>14}",
    ]
    lines += [
        f"{name:14} {row['apgr']:7.3f} {row['cpt50']:7.1%} {row['cpt80']:7.1%} {row['cpt95']:7.1%} {row['share_small']:14.1%}"
        for name, row in (("router", router), ("random", report["random"]), ("oracle", report["oracle"]))
    ]
    bounds = shuffled["quality_ci95"]
    lines += [
        f"router's 95 % intervals: APGR {low:.3f} .. {high:.3f}, share small {least:.1%} .. {most:.1%}",
        f"always-small {report['always_small']['quality']:.1%} right, always-large {report['always_large']['quality']:.1%}",
        (
            f"planned beforehand for 95 %: {planned['share_small']:.1%} small (score >= {planned['threshold']:.2f}), {planned['quality']:.1%} right, "
            f"{planned['quality_kept']:.1%} of always-large"
        ),
        f"shuffled, same share: {shuffled['quality']:.1%} right ({bounds[0]:.1%} .. {bounds[1]:.1%}), {shuffled['quality_kept']:.1%} of always-large",
    ]
    if "cost_saved" in planned:
        lines.append(f"cost saved at that point: {planned['cost_saved']:.1%} of always-large (assumes the given cost ratio)")
    lines += [
        f"score of {size}: p50 {row['p50_ms']:.3f} ms, p99 {row['p99_ms']:.3f} ms (CPU {row['cpu_p99_ms']:.3f} ms)"
        for size, row in report.get("latency", {}).items()
    ]
    return lines

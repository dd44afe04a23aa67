"""What the demo measured, and what a static fleet would have cost on the same input.

Every figure names where it comes from. Measured: requests and waits by the load generator, useful answers by the gateway's accounting, GPU-seconds
and dollars by the operator's ledger. Modelled: the baseline, a fleet of a fixed size of the best variant only, as small as still keeps its promise on
the very same arrivals (found with the engine model of `jevons.simulator`), paid for the same stretch of time. Pure: values in, values out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from jevons.core.spec import Objectives, Profile
from jevons.sandbox.load import percentile
from jevons.simulator.static import fewest_replicas, run
from jevons.simulator.workload import Arrival

BASELINE = "always-large-static-at-peak"
PROMISE = 0.95
"""Share of answers that the baseline's fleet must keep inside the objectives."""
MOST_REPLICAS = 32


@dataclass(frozen=True, slots=True)
class StaticModel:
    """What the baseline keeps running for one model: its best variant. `usd_per_h` of one replica."""

    name: str
    profile: Profile
    objectives: Objectives
    usd_per_h: Decimal
    accelerators: int


@dataclass(frozen=True, slots=True)
class Baseline:
    """The static fleet: replicas per model, money and useful answers over `seconds`."""

    replicas: Mapping[str, int]
    usd: Decimal
    gpu_hours: float
    useful: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Measured:
    """What the run itself showed. Counts are of requests; waits of requests that found their model asleep [s]."""

    requests: int
    answered: int
    useful: int
    small: int
    routed: int
    """Requests for the model that has a small variant, the denominator of `small`."""
    cold_starts: int
    cold_waits_s: tuple[float, ...]
    usd: Decimal
    gpu_hours: float
    budget_usd: Decimal
    spent_usd: Decimal
    seconds: float
    ttft_p50_s: float | None = None
    ttft_p95_s: float | None = None
    commented: int = 0
    """Streams that were kept alive by comments while they waited."""
    reasons: Mapping[str, int] = field(default_factory=dict)
    statuses: Mapping[int, int] = field(default_factory=dict)
    by_model: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Deployment -> (requests, useful answers) by the gateway's accounting."""
    replicas: Mapping[str, Sequence[tuple[float, int]]] = field(default_factory=dict)
    """Variant -> (second of the run, ready replicas), one entry per change."""


def per_thousand(usd: Decimal, useful: int) -> float | None:
    """USD per 1,000 useful answers, None when there were none."""
    return float(usd / useful * 1000) if useful else None


def static_baseline(arrivals: Sequence[Arrival], models: Mapping[str, StaticModel], *, seconds: float) -> Baseline:
    """The smallest static fleet that keeps `PROMISE` on `arrivals` (each names its model), kept and paid for `seconds`.

    A model that was asked for nothing still holds one replica: a static fleet cannot sleep.
    """
    replicas: dict[str, int] = {}
    useful = 0
    usd = Decimal(0)
    gpu_seconds = 0.0
    for name, model in models.items():
        mine = [arrival for arrival in arrivals if arrival.model == name]
        replicas[name], met = _smallest(mine, model)
        useful += met
        usd += model.usd_per_h * replicas[name] * Decimal(str(seconds)) / 3600
        gpu_seconds += model.accelerators * replicas[name] * seconds
    return Baseline(replicas, usd, gpu_seconds / 3600, useful, seconds)


def _smallest(arrivals: Sequence[Arrival], model: StaticModel) -> tuple[int, int]:
    """(replicas, answers inside the objectives)."""
    if not arrivals:
        return 1, 0
    found = fewest_replicas(arrivals, profile=model.profile, objectives=model.objectives, attainment=PROMISE, most=MOST_REPLICAS)
    replicas = MOST_REPLICAS if found is None else found
    return replicas, sum(one.met(model.objectives) for one in run(arrivals, replicas=replicas, profile=model.profile))


def as_json(measured: Measured, baseline: Baseline) -> dict[str, Any]:
    """The summary as `make demo ARGS="--json FILE"` writes it; null where a figure was not measured."""
    return {
        "requests": measured.requests,
        "answered": measured.answered,
        "useful": measured.useful,
        "useful_share": round(measured.useful / measured.requests, 4) if measured.requests else None,
        "share_small": round(measured.small / measured.routed, 4) if measured.routed else None,
        "share_small_of": measured.routed,
        "cold_starts": {
            "count": measured.cold_starts,
            "waiting_requests": len(measured.cold_waits_s),
            "wait_p50_s": _rounded(percentile(measured.cold_waits_s, 50)),
            "wait_p95_s": _rounded(percentile(measured.cold_waits_s, 95)),
            "streams_kept_alive": measured.commented,
        },
        "ttft_p50_s": _rounded(measured.ttft_p50_s),
        "ttft_p95_s": _rounded(measured.ttft_p95_s),
        "gpu_hours": round(measured.gpu_hours, 5),
        "usd": round(float(measured.usd), 4),
        "usd_per_1k_useful": _rounded(per_thousand(measured.usd, measured.useful)),
        "seconds": round(measured.seconds, 1),
        "baseline": {
            "name": BASELINE,
            "kind": "Modelled",
            "usd": round(float(baseline.usd), 4),
            "usd_per_1k_useful": _rounded(per_thousand(baseline.usd, baseline.useful)),
            "gpu_hours": round(baseline.gpu_hours, 5),
            "useful": baseline.useful,
            "seconds": round(baseline.seconds, 1),
            "replicas": dict(baseline.replicas),
        },
        "budget": {
            "amount_usd": float(measured.budget_usd),
            "spent_usd": round(float(measured.spent_usd), 4),
            "kept": measured.spent_usd <= measured.budget_usd,
        },
        "by_model": {name: {"requests": requests, "useful": useful} for name, (requests, useful) in sorted(measured.by_model.items())},
        "reasons": dict(sorted(measured.reasons.items())),
        "statuses": {str(code): count for code, count in sorted(measured.statuses.items())},
        "replicas": {name: [[round(at, 1), count] for at, count in series] for name, series in measured.replicas.items()},
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def as_text(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The summary as rows of (what, figure with its denominator) for a person."""
    base, budget, cold = summary["baseline"], summary["budget"], summary["cold_starts"]
    rows = [
        ("requests", f"{summary['requests']} sent, {summary['answered']} answered, {summary['useful']} useful ({_percent(summary['useful_share'])})"),
        ("sent small", f"{_percent(summary['share_small'])} of {summary['share_small_of']} requests for the model that has a small variant"),
        (
            "cold starts",
            (
                f"{cold['count']}; {cold['waiting_requests']} requests waited p50 {_seconds(cold['wait_p50_s'])}, "
                f"p95 {_seconds(cold['wait_p95_s'])}, "
                f"{cold['streams_kept_alive']} streams kept alive by comments"
            ),
        ),
        ("first token", f"p50 {_seconds(summary['ttft_p50_s'])}, p95 {_seconds(summary['ttft_p95_s'])} (warm requests)"),
        ("held", f"{summary['gpu_hours']:.3f} GPU-hours, ${summary['usd']:.2f} in {summary['seconds']:.0f} s (measured by the ledger)"),
        ("useful answers", f"{_money(summary['usd_per_1k_useful'])} per 1,000"),
        (
            "baseline",
            (
                f"{_money(base['usd_per_1k_useful'])} per 1,000, ${base['usd']:.2f}, {base['gpu_hours']:.3f} GPU-hours: "
                f"{base['name']} on the same input "
                f"({base['kind']}: {sum(base['replicas'].values())} replicas of the best variants, {base['useful']} useful)"
            ),
        ),
        ("budget", f"${budget['spent_usd']:.2f} of ${budget['amount_usd']:.2f} this period: {'kept' if budget['kept'] else 'NOT kept'}"),
    ]
    ours, theirs = summary["usd_per_1k_useful"], base["usd_per_1k_useful"]
    if ours and theirs:
        rows.append(("against it", f"{ours / theirs:.2f} of the baseline's cost per useful answer (measured over modelled)"))
    return rows


def _percent(share: float | None) -> str:
    return "not measured" if share is None else f"{100 * share:.1f} %"


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} s"


def _money(value: float | None) -> str:
    return "-" if value is None else f"${value:.2f}"

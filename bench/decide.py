"""Decisions per second at five variants, beside the rule everybody compares with (the HPA's ceil(current * value / target)) on the same snapshot.

Run: `python -m bench.decide [--json FILE]`. Time on one core, no solver, with the garbage collector as the operator sets it. 200 deployments whose
arrivals and readings move from pass to pass, while specs stay the objects they are (what an operator sees), in three cases:

    steady        what is decided is carried out, so that the fleet settles; memory and ledger are carried over. Target: 10,000/s.
    tight_budget  a budget that presses and caps: every deployment is planned at five pressures
    cold          the first pass of a process: nothing learned, nothing cached

Processor time is given beside wall time: on a machine that does other work it is the fairer figure.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TypeAlias

from jevons.controller.wiring import rare_collections
from jevons.core.decide import decide
from jevons.core.ledger import Ledger
from jevons.core.memory import Memory
from jevons.core.observed import Known
from jevons.core.snapshot import (
    ClassDemand,
    DeploymentState,
    Inventory,
    Pod,
    PodSignals,
    RouterCurve,
    Snapshot,
    TargetState,
    VariantState,
)
from jevons.core.spec import AcceleratorClass, BudgetSpec, Deployment, Key, Period, Price, Profile, Variant

NOW = 1_767_261_600.0
TARGET_PER_S = 10_000.0
DEPLOYMENTS = 200
PROFILES = (
    Profile(0.028269, 0.0001517, 0.00005662, 0.02069, 0.151782, 0.0016515, 458_846),
    Profile(0.028421, 0.0002817, 0.00007144, 0.01869, 0.290687, 0.0039495, 222_581),
    Profile(0.02537, 0.000141, 0.00008, 0.0203, 0.1233, 0.0016, 305_000),
    Profile(0.012143, 0.000087, 0.00008002, 0.00848, 0.053391, 0.0016387, 435_647),
    Profile(0.006818, 0.0001177, 0.00006133, 0.00699, 0.059733, 0.0016988, 515_356),
)
QUALITIES = (1.0, 0.98, 0.9, 0.72, 0.7)
COUNTS = (4, 2, 2, 1, 1)


PODS = (2, 1, 1, 1, 1)
"""Of each variant at the beginning."""
RUNNING = (8.0, 5.0, 6.0, 7.0, 8.0)
"""Requests on each variant, over all its pods."""
SETTLED = 8
"""Passes after which the fleet stands still."""

Counts: TypeAlias = Mapping[tuple[Key, str], int]


@cache
def spec(index: int, budget: BudgetSpec | None) -> Deployment:
    """Five variants; the same object in every pass."""
    key = Key(f"team-{index % 10}", f"model-{index}")
    variants = tuple(
        Variant(f"v{i}", f"m{i}", "a100", quality=QUALITIES[i], accelerator_count=COUNTS[i], profile=PROFILES[i], startup_s=60.0 + 30.0 * i)
        for i in range(5)
    )
    return Deployment(key, f"uid-{index}", 1, NOW - 86_400.0, key.name, variants, budget=budget)


def deployment(index: int, now: float, budget: BudgetSpec | None, counts: Counts) -> DeploymentState:
    """About 6 requests/s; readings that move by a tenth."""
    made = spec(index, budget)
    key, states = made.key, {}
    for i, variant in enumerate(made.variants):
        count = counts.get((key, variant.name), PODS[i])
        running = RUNNING[i] * (1.0 + 0.1 * math.sin(now / 40.0 + index + i)) / max(1, count)
        pods = tuple(
            Pod(
                f"{key.name}-{i}-{k}",
                f"{key.name}-{i}-{k}",
                NOW - 7200.0,
                NOW - 7200.0,
                NOW - 7000.0,
                "node",
                signals=PodSignals(
                    running=Known(running, now),
                    waiting=Known(0.0, now),
                    kv_used=Known(0.02 * running, now),
                    gpu_util=Known(0.5 + 0.01 * running, now),
                    generation_tokens_per_s=Known(40.0 * running, now),
                ),
            )
            for k in range(count)
        )
        states[variant.name] = VariantState(TargetState(True, count, "uid"), pods, "app=x")
    rate = 6.0 + (index % 7) * 0.3 + math.sin(now / 60.0 + index) * 0.5
    scores = tuple(5.0 + (b * index) % 7 + 0.02 * math.sin(now / 50.0 + b) for b in range(20))
    demand = (ClassDemand("default", Known(rate, now), Known(1155.0, now), Known(211.0, now), scores),)
    return DeploymentState(made, states, demand, last_arrival_at_s=now)


def world(now: float, budget: BudgetSpec | None, counts: Counts = MappingProxyType({})) -> Snapshot:
    """The fleet at `now`; `counts`: pods by deployment and variant, where they are not those of the beginning."""
    states = [deployment(index, now, budget, counts) for index in range(DEPLOYMENTS)]
    return Snapshot(
        deployments={item.spec.key: item for item in states},
        accelerators={"a100": AcceleratorClass("a100", prices=(Price(0.0, Decimal("3.67")),))},
        inventory={"a100": Known(Inventory(400, 3200, 2000), now)},
        metrics=Known(None, now),
        started_at_s=NOW - 3600.0,
        router=RouterCurve(tuple(0.2 + 0.03 * i for i in range(20)), tuple(0.5 + 0.0155 * i for i in range(20))),
    )


def hpa(snapshot: Snapshot) -> int:
    """The baseline: per variant ceil(current * running per pod / 16), and nothing else."""
    total = 0
    for state in snapshot.deployments.values():
        for variant in state.variants.values():
            values = [pod.signals.running.value for pod in variant.pods if isinstance(pod.signals.running, Known)]
            total += math.ceil(len(values) * (sum(values) / len(values)) / 16.0) if values else 0
    return total


def measure(budget: BudgetSpec | None, passes: int, *, follow: bool = False, cold: bool = False) -> dict[str, float]:
    """Decisions per second over some passes, snapshots made outside the clock.

    follow: what is decided is carried out before the next pass. cold: every pass begins without memory, ledger and caches.
    """
    rates, cpu_rates, baseline = [], [], []
    memory, ledger, counts = Memory(), Ledger(), dict[tuple[Key, str], int]()
    warm_up = 0 if cold else SETTLED if follow else 1
    for index in range(passes + warm_up):
        now = NOW + 15.0 * index
        snapshot = replace(world(now, budget, counts), memory=memory, ledger=ledger)
        if cold:
            forget()
        began, cpu_began = time.perf_counter(), time.process_time()
        decision = decide(snapshot, now)
        took, cpu_took = time.perf_counter() - began, time.process_time() - cpu_began
        if not cold:
            memory, ledger = decision.memory, decision.ledger
        if follow:
            counts = {(key, each.variant): each.desired or 0 for key, made in decision.deployments.items() for each in made.replicas}
        began = time.perf_counter()
        hpa(snapshot)
        hpa_took = time.perf_counter() - began
        if index >= warm_up:
            rates.append(DEPLOYMENTS / took)
            cpu_rates.append(DEPLOYMENTS / cpu_took)
            baseline.append(DEPLOYMENTS / hpa_took)
    return {
        "decisions_per_s": statistics.median(rates),
        "best_pass_per_s": max(rates),
        "worst_pass_per_s": min(rates),
        "decisions_per_cpu_s": statistics.median(cpu_rates),
        "hpa_formula_per_s": statistics.median(baseline),
        "target_per_s": TARGET_PER_S,
    }


def forget() -> None:
    """Empty every cache of the core."""
    for name, module in list(sys.modules.items()):
        if name.startswith("jevons.core."):
            for each in vars(module).values():
                if hasattr(each, "cache_clear"):
                    each.cache_clear()


def main() -> None:
    """Print the cases, and write them as JSON when asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", help="write the figures here")
    parser.add_argument("--passes", type=int, default=40)
    options = parser.parse_args()
    rare_collections()
    results = {
        "steady": measure(None, options.passes, follow=True),
        "tight_budget": measure(BudgetSpec(Decimal(600), Period.DAY), options.passes),
        "cold": measure(None, max(1, options.passes // 8), cold=True),
    }
    for name, figures in results.items():
        print(f"{name}: " + ", ".join(f"{key} {value:,.0f}" for key, value in figures.items()))
    if options.json:
        Path(options.json).write_text(json.dumps(results, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()

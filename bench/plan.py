"""Routes and replicas chosen together: 100 deployments, each with 10 variants on 10 kinds of accelerators and 10 request classes.

Run: `python -m bench.plan [--json FILE]`. Wall and processor time of passes of `decide` with the solver, memory and ledger carried over: from cold
(no deployment has a plan; a pass solves a few and the rest follow the rule meanwhile), when all stand, and when five deployments' demand has left the
range of their plans. Beside it, the same passes without the solver. Target: a pass in which five are solved again takes less than 1 s.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Collection
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from bench.decide import NOW, PROFILES, QUALITIES
from jevons.controller.wiring import rare_collections
from jevons.core.decide import decide
from jevons.core.ledger import Ledger
from jevons.core.memory import Memory
from jevons.core.milp import Answer, Model, Solver
from jevons.core.observed import Known
from jevons.core.snapshot import ClassDemand, DeploymentState, Inventory, Pod, PodSignals, RouterCurve, Snapshot, TargetState, VariantState
from jevons.core.spec import AcceleratorClass, Deployment, Key, Objectives, Price, RequestClass, Variant
from jevons.core.speed import slower
from jevons.solver import highs

DEPLOYMENTS, CLASSES, ACCELERATORS = 100, 10, 10
CHANGED = 5
TARGET_S = 1.0
PRICES = (3.67, 3.4, 6.98, 1.86, 0.8, 2.74, 5.07, 12.3, 10.6, 2.4)


def deployment(index: int, now: float, *, busier: bool) -> DeploymentState:
    """Ten variants, of which three have pods, and ten classes of different lengths."""
    key = Key(f"team-{index % 10}", f"model-{index}")
    variants = tuple(
        Variant(
            f"v{i}",
            f"m{i}",
            f"acc{i}",
            quality=QUALITIES[i % 5],
            accelerator_count=1 + i % 3,
            profile=slower(PROFILES[i % 5], 1.0 + 0.07 * (i + index % 3)),
            startup_s=60.0 + 20.0 * i,
        )
        for i in range(ACCELERATORS)
    )
    states = {}
    for i, variant in enumerate(variants):
        signals = PodSignals(running=Known(4.0, now), waiting=Known(0.0, now), kv_used=Known(0.2, now), gpu_util=Known(0.6, now))
        pods = tuple(
            Pod(f"{key.name}-{i}-{k}", f"{key.name}-{i}-{k}", NOW - 7200.0, NOW - 7200.0, NOW - 7000.0, "n", signals=signals) for k in range(i < 3)
        )
        states[variant.name] = VariantState(TargetState(True, len(pods), "uid"), pods, "app=x")
    classes = tuple(RequestClass(f"c{i}", objectives=Objectives(95.0, 2.0, 0.06)) for i in range(CLASSES - 1))
    spec = Deployment(key, f"uid-{index}", 1, NOW - 86_400.0, key.name, variants, classes=classes)
    rate = (0.3 + 0.02 * (index % 9)) * (3.0 if busier else 1.0)
    names = [*(each.name for each in classes), "default"]
    demand = tuple(
        ClassDemand(
            name, Known(rate * (1 + i % 3), now), Known(300.0 + 150.0 * i, now), Known(100.0 + 30.0 * i, now), tuple(1.0 + b for b in range(20))
        )
        for i, name in enumerate(names)
    )
    return DeploymentState(spec, states, demand, last_arrival_at_s=now)


def world(now: float, busier: Collection[int] = ()) -> Snapshot:
    """The fleet at `now`."""
    states = [deployment(index, now, busier=index in busier) for index in range(DEPLOYMENTS)]
    names = [f"acc{i}" for i in range(ACCELERATORS)]
    return Snapshot(
        deployments={item.spec.key: item for item in states},
        accelerators={name: AcceleratorClass(name, prices=(Price(0.0, Decimal(str(price))),)) for name, price in zip(names, PRICES, strict=True)},
        inventory={name: Known(Inventory(200, 1600, 800), now) for name in names},
        metrics=Known(None, now),
        started_at_s=NOW - 3600.0,
        router=RouterCurve(tuple(0.2 + 0.03 * i for i in range(20)), tuple(0.5 + 0.0155 * i for i in range(20))),
    )


class Timed:
    """The solver, with what each programme takes [s of processor time]."""

    def __init__(self) -> None:
        self.took: list[float] = []

    def __call__(self, model: Model) -> Answer | None:
        """See `core.milp.Solver`."""
        began = time.process_time()
        answer = highs.solve(model)
        self.took.append(time.process_time() - began)
        return answer


class Fleet:
    """Passes with memory and ledger carried over."""

    def __init__(self, solver: Solver | None) -> None:
        self.solver, self.memory, self.ledger, self.now = solver, Memory(), Ledger(), NOW

    def turn(self, busier: Collection[int] = ()) -> tuple[float, float]:
        """Wall and processor seconds of one pass; the snapshot is made outside the clock."""
        self.now += 15.0
        snapshot = replace(world(self.now, busier), memory=self.memory, ledger=self.ledger)
        began, cpu_began = time.perf_counter(), time.process_time()
        made = decide(snapshot, self.now, self.solver)
        took = time.perf_counter() - began, time.process_time() - cpu_began
        self.memory, self.ledger = made.memory, made.ledger
        return took

    @property
    def planned(self) -> int:
        """Deployments with a plan."""
        return sum(memory.course is not None for memory in self.memory.deployments.values())


def measure() -> dict[str, Any]:
    """Cold, standing, five changed."""
    timed = Timed()
    fleet, plain = Fleet(timed), Fleet(None)
    cold = []
    for _ in range(9):  # traffic that has just begun is not planned on
        fleet.turn()
    while fleet.planned < DEPLOYMENTS and len(cold) < 200:
        cold.append(fleet.turn())
    programmes, settled = len(timed.took), 0
    while settled < 3 and len(cold) < 240:  # trends settle, and with them what is planned on them
        before = len(timed.took)
        fleet.turn()
        settled = settled + 1 if len(timed.took) == before else 0
    for _ in range(3):
        plain.turn()
    standing = [fleet.turn() for _ in range(5)]
    ruled = [plain.turn() for _ in range(5)]
    changed, solved = [], []
    for turn in range(5):
        before = len(timed.took)
        changed.append(fleet.turn(range(turn * CHANGED, (turn + 1) * CHANGED)))
        solved.append(len(timed.took) - before)
    milliseconds = sorted(1000.0 * each for each in timed.took)
    return {
        "cold_passes": len(cold),
        "cold_pass_max_s": max(wall for wall, _ in cold),
        "cold_pass_cpu_p50_s": statistics.median(cpu for _, cpu in cold),
        "cold_programmes": programmes,
        "standing_pass_s": statistics.median(wall for wall, _ in standing),
        "standing_pass_cpu_s": statistics.median(cpu for _, cpu in standing),
        "without_solver_pass_s": statistics.median(wall for wall, _ in ruled),
        "without_solver_pass_cpu_s": statistics.median(cpu for _, cpu in ruled),
        "changed_pass_s": statistics.median(wall for wall, _ in changed),
        "changed_pass_cpu_s": statistics.median(cpu for _, cpu in changed),
        "changed_pass_max_s": max(wall for wall, _ in changed),
        "changed_programmes": statistics.median(solved),
        "programme_p50_ms": statistics.median(milliseconds),
        "programme_p99_ms": milliseconds[int(0.99 * (len(milliseconds) - 1))],
        "target_s": TARGET_S,
    }


def main() -> None:
    """Print the figures, and write them as JSON when asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", help="write the figures here")
    options = parser.parse_args()
    rare_collections()
    figures = measure()
    print(", ".join(f"{key} {value:,.3g}" for key, value in figures.items()))
    if options.json:
        Path(options.json).write_text(json.dumps(figures, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()

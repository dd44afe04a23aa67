"""A tiny cluster in closed loop with the decision: pods take their startup time, drain when told to go, and cost all the while."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from core_worlds import LARGE, SMALL, demand, pod, state, world

from jevons.core.decide import decide
from jevons.core.ledger import Ledger
from jevons.core.memory import Memory
from jevons.core.milp import Solver
from jevons.core.observed import Known
from jevons.core.snapshot import Decision, Held, Pod, Snapshot, TargetState, VariantState
from jevons.core.spec import Deployment, Key

DRAIN_S = 30.0


@dataclass
class Plant:
    """Deployments with their pods; `rates` are arrivals [1/s] of the default class."""

    specs: dict[Key, Deployment]
    now: float
    rates: dict[Key, float] = field(default_factory=dict)
    pods: dict[tuple[Key, str], list[Pod]] = field(default_factory=dict)
    ending: dict[str, float] = field(default_factory=dict)
    replicas: dict[tuple[Key, str], int] = field(default_factory=dict)
    memory: Memory = Memory()
    ledger: Ledger = Ledger()
    changes: dict[str, object] = field(default_factory=dict)
    """Of the snapshot: shared budgets, accelerator classes, metrics."""
    born: int = 0
    last: Decision | None = None
    started_at_s: float | None = None
    solver: Solver | None = None

    def snapshot(self) -> Snapshot:
        """The world now."""
        states = []
        for key, spec in self.specs.items():
            rate = self.rates.get(key, 0.0)
            variants = {
                v.name: VariantState(TargetState(True, self.replicas.get((key, v.name), 0), "uid"), tuple(self._seen(key, v.name, rate)), "app=x")
                for v in spec.variants
            }
            asleep = not any(item.ready for v in spec.variants for item in self.pods.get((key, v.name), []))
            held = (Held(spec.variants[-1].name, 1 + int(rate * 5), self.now - 5.0),) if asleep and rate > 0 else ()
            states.append(state(spec, variants, demand=(demand(rate, self.now),), held=held, last_arrival_at_s=self.now if rate > 0 else None))
        started = self.started_at_s if self.started_at_s is not None else self.now - 86_400.0
        base = world(*states, now=self.now, metrics=Known(None, self.now), started_at_s=started, memory=self.memory, ledger=self.ledger)
        return replace(base, **self.changes)

    def _seen(self, key: Key, variant: str, rate: float) -> list[Pod]:
        running = rate / max(1, sum(len(self.pods.get((key, v.name), [])) for v in self.specs[key].variants)) * 3.0
        return [
            replace(
                pod(item.uid, self.now, running=running if item.ready else 0.0, util=0.5 if running else 0.0),
                created_at_s=item.created_at_s,
                scheduled_at_s=item.scheduled_at_s,
                ready_at_s=item.ready_at_s,
                terminating=item.terminating,
            )
            for item in self.pods.get((key, variant), [])
        ]

    def step(self, dt_s: float = 15.0) -> Decision:
        """Time passes, pods come and go, then one pass decides and is carried out."""
        self.now += dt_s
        for (key, variant), pods in self.pods.items():
            startup_s = self.specs[key].variant(variant).startup_s
            self.pods[key, variant] = [
                replace(item, ready_at_s=item.created_at_s + startup_s)
                if item.ready_at_s is None and self.now - item.created_at_s >= startup_s
                else item
                for item in pods
                if self.ending.get(item.uid, math.inf) > self.now
            ]
        decision = decide(self.snapshot(), self.now, self.solver)
        self.memory, self.ledger, self.last = decision.memory, decision.ledger, decision
        for key, made in decision.deployments.items():
            for target in made.replicas:
                if target.desired is not None:
                    self._scale(key, target.variant, target.desired)
        return decision

    def _scale(self, key: Key, variant: str, desired: int) -> None:
        self.replicas[key, variant] = desired
        pods = self.pods.setdefault((key, variant), [])
        alive = [item for item in pods if not item.terminating]
        for _ in range(desired - len(alive)):
            self.born += 1
            pods.append(Pod(f"p{self.born}", f"p{self.born}", self.now, self.now, None, "node"))
        for item in alive[desired:]:
            pods[pods.index(item)] = replace(item, terminating=True)
            self.ending[item.uid] = self.now + DRAIN_S

    def usd_per_h(self, price: float = 3.67) -> float:
        """What all pods cost now."""
        return sum(self.specs[key].variant(variant).accelerator_count * price * len(pods) for (key, variant), pods in self.pods.items())

    def restart(self) -> None:
        """The operator's process begins anew from its checkpoints."""
        self.memory = Memory.from_json({key: self.memory.to_json(key) for key in self.memory.deployments})
        self.ledger = Ledger.from_json({key: self.ledger.to_json(key) for key in self.ledger.accounts})
        self.started_at_s = self.now


def assistant(**changes: object) -> Deployment:
    """Large and small with short startups."""
    from core_worlds import deployment

    return deployment(replace(LARGE, startup_s=30.0), replace(SMALL, startup_s=15.0), **changes)

"""Who spends the month's money: Jevons under its budget, and three yardsticks.

* `jevons`: `core.decide` every five minutes with `spec.budget` (Cap); its ledger is billed every minute, as in life.
* `linear`: what Jevons wants without a budget, but never more spent than the share of the month that has gone by. The dearest replicas go first.
* `cap-only`: what Jevons wants without a budget until the money is gone, then nothing.
* `constant`: the best constant shadow price in hindsight: in every step whichever replicas and split give the most useful answers less price times
  cost, at the one price with which the whole month costs the budget. It knows every step's arrivals, starts and stops at no cost, and keeps no spare.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

import numpy as np

from jevons.core.decide import decide
from jevons.core.ledger import Ledger
from jevons.core.memory import Memory
from jevons.core.metering import accrue
from jevons.core.observed import Known
from jevons.core.snapshot import (
    SCORE_BINS,
    ClassDemand,
    DeploymentDecision,
    DeploymentState,
    Held,
    Pod,
    PodSignals,
    Snapshot,
    TargetState,
    VariantState,
)
from jevons.core.spec import DEFAULT_CLASS, AcceleratorClass, BudgetSpec, Deployment, Key, Objectives, Price, Rung, Variant
from jevons.core.usable import GRID
from jevons.simulator.protocol.budget_world import (
    INPUT_TOKENS,
    ITL_S,
    MOST,
    OUTPUT_TOKENS,
    PRICE_STEP,
    STARTUP_S,
    STEP_S,
    TTFT_S,
    Kind,
    Month,
    Spent,
    in_time,
    kinds,
    step_of,
    worth,
)
from jevons.simulator.scenario import Floats

KEY = Key("simulator", "month")
BILL_S = 60.0
LEVELS = tuple(np.round(np.linspace(0.0, 1.0, 11), 3).tolist())
"""Shares of requests to the cheap variant that the constant price may choose from."""


@dataclass(frozen=True, slots=True)
class Wish:
    """One step's decision: replicas (large, small), and the split: share by score, and of the others by chance."""

    replicas: tuple[int, int]
    share: float
    degraded: float


@dataclass(slots=True)
class Operator:
    """Jevons on the month. `amount_usd` None = without a budget."""

    month: Month
    amount_usd: float | None
    wishes: list[Wish] = field(default_factory=list)
    metered_usd: float = 0.0
    """By its own ledger."""
    _last: Wish = field(default_factory=lambda: Wish((0, 0), 0.0, 0.0))

    def run(self) -> Spent:
        """The whole period, after what came before it."""
        pods: dict[str, list[Pod]] = {kind.name: [] for kind in kinds()}
        memory, ledger, spec = Memory(), Ledger(), self._spec()
        usd, useful, replicas = (np.zeros(self.month.steps), np.zeros(self.month.steps), np.zeros((self.month.steps, 2)))
        before, born = (0, 0), 0
        for at in range(-len(self.month.past), self.month.steps):
            now, prices = self.month.begin_s + at * STEP_S, self._prices(at)
            snapshot = Snapshot(
                {KEY: self._state(spec, pods, at)},
                prices,
                metrics=Known(None, now),
                started_at_s=self.month.begin_s - len(self.month.past) * STEP_S,
                router=self.month.router,
                memory=memory,
                ledger=ledger,
            )
            answer = decide(snapshot, now)
            memory, ledger = answer.memory, answer.ledger
            wish = self._last = _wish(answer.deployments[KEY])
            for kind, count in zip(kinds(), wish.replicas, strict=True):
                kept = pods[kind.name][:count]
                pods[kind.name] = kept + [_new(kind, born + place, now) for place in range(count - len(kept))]
                born += count - len(kept)
            if at >= 0:
                self.wishes.append(wish)
                usd[at], useful[at] = step_of(self.month, at, wish.replicas, before, wish.share, wish.degraded)
                replicas[at] = wish.replicas
            before = wish.replicas
            for part in range(1, round(STEP_S / BILL_S)):
                seen = Snapshot({KEY: self._state(spec, pods, at)}, prices)
                ledger = accrue(ledger, seen, now + part * BILL_S)
        last = Snapshot({KEY: self._state(spec, pods, self.month.steps - 1)}, prices)
        account = accrue(ledger, last, self.month.end_s).accounts[KEY]
        self.metered_usd = float(account.usd - account.before(self.month.begin_s).usd)
        return Spent(usd, useful, replicas)

    def _spec(self) -> Deployment:
        budget = None
        if self.amount_usd is not None:
            budget = BudgetSpec(Decimal(f"{self.amount_usd:.2f}"), self.month.period, when_exceeded=Rung.CAP)
        variants = tuple(
            Variant(
                kind.name,
                kind.name,
                kind.name,
                kind.quality,
                accelerator_count=kind.accelerators,
                profile=kind.profile,
                startup_s=STARTUP_S,
                max_replicas=MOST,
            )
            for kind in kinds()
        )
        objectives = Objectives(ttft_s=TTFT_S, itl_s=ITL_S)
        return Deployment(KEY, "month", 1, self.month.begin_s, "month", variants, objectives=objectives, budget=budget)

    def _rate(self, at: int) -> float:
        """Of the step before [1/s]."""
        past = self.month.past
        if at <= 0 and len(past):
            return float(past[max(0, at + len(past) - 1)])
        return float(self.month.arrived[max(0, at - 1)])

    def _prices(self, at: int) -> dict[str, AcceleratorClass]:
        """As written down by step `at`: what rises is known from its second on, and not before."""
        first = [(kind, Price(0.0, Decimal(f"{kind.usd_per_gpu_h:.6f}"))) for kind in kinds()]
        if at < 0 or self.month.price[at] <= 1.0:
            return {kind.name: AcceleratorClass(kind.name, prices=(price,)) for kind, price in first}
        step_s = self.month.begin_s + STEP_S * int(np.argmax(self.month.price > 1.0))
        risen = {kind.name: Price(step_s, Decimal(f"{PRICE_STEP * kind.usd_per_gpu_h:.6f}")) for kind in kinds()}
        return {kind.name: AcceleratorClass(kind.name, prices=(price, risen[kind.name])) for kind, price in first}

    def _state(self, spec: Deployment, pods: Mapping[str, list[Pod]], at: int) -> DeploymentState:
        """What was seen by the step's beginning: the rate of the step before; where nothing runs, a minute of it waits for the cheapest variant."""
        now, rate, wish = self.month.begin_s + at * STEP_S, self._rate(at), self._last
        to_small = wish.share + (1.0 - wish.share) * wish.degraded
        parts = (1.0 - to_small, to_small)
        variants = {
            kind.name: VariantState(
                TargetState(True, len(pods[kind.name]), kind.name), tuple(_seen(kind, pods[kind.name], rate * part, now)), kind.name
            )
            for kind, part in zip(kinds(), parts, strict=True)
        }
        demand = ClassDemand(DEFAULT_CLASS, Known(rate, now), Known(INPUT_TOKENS, now), Known(OUTPUT_TOKENS, now), (100.0,) * SCORE_BINS)
        asleep = rate > 0 and not any(pods.values())
        held = (Held(kinds()[1].name, max(1, round(rate * BILL_S)), now - BILL_S),) if asleep else ()
        return DeploymentState(spec, variants, (demand,), held, last_arrival_at_s=now if rate > 0 else None)


def _new(kind: Kind, number: int, now: float) -> Pod:
    return Pod(f"{kind.name}-{number}", f"{kind.name}-{number}", now, now, now + STARTUP_S)


def _seen(kind: Kind, pods: list[Pod], per_s: float, now: float) -> list[Pod]:
    """Pods with what their engines say at that rate: requests under way, none queued."""
    one = kind.one
    load = min(per_s / max(1, len(pods)) / one.requests_per_s, 1.0)
    running = float(np.interp(load, GRID, one.inside.batches)) * min(1.0, load / GRID[0]) if one.inside is not None else 0.0
    signals = PodSignals(running=Known(round(running, 2), now), waiting=Known(0.0, now), kv_used=Known(0.0, now), gpu_util=Known(load, now))
    return [
        Pod(
            pod.name,
            pod.uid,
            pod.created_at_s,
            pod.scheduled_at_s,
            pod.ready_at_s if pod.ready_at_s is not None and pod.ready_at_s <= now else None,
            signals=signals,
        )
        for pod in pods
    ]


def _wish(decision: DeploymentDecision) -> Wish:
    """Raises RuntimeError for a decision that broke: its month would be worth nothing."""
    if not decision.routing.classes:
        raise RuntimeError(f"{decision.reason}: {decision.message}")
    counts = {target.variant: target.desired or 0 for target in decision.replicas}
    route = decision.routing.classes[0]
    threshold = dict(route.min_score).get("small", 1.0)
    large, small = kinds()
    return Wish((counts.get(large.name, 0), counts.get(small.name, 0)), round(1.0 - threshold, 3), round(route.degraded_share, 3))


def linear(month: Month, wishes: list[Wish], amount_usd: float) -> Spent:
    """Never more than the share of the month that will have gone by at the step's end."""
    return _limited(month, wishes, [amount_usd * (at + 1) / month.steps for at in range(month.steps)])


def cap_only(month: Month, wishes: list[Wish], amount_usd: float) -> Spent:
    """Until it is gone."""
    return _limited(month, wishes, [amount_usd] * month.steps)


def _limited(month: Month, wishes: list[Wish], allowed: list[float]) -> Spent:
    usd, useful, replicas = np.zeros(month.steps), np.zeros(month.steps), np.zeros((month.steps, 2))
    before, spent = (0, 0), 0.0
    for at, wish in enumerate(wishes):
        counts = _affordable(wish.replicas, (allowed[at] - spent) * 3600.0 / STEP_S / float(month.price[at]))
        usd[at], useful[at] = step_of(month, at, counts, before, wish.share, wish.degraded)
        spent += usd[at]
        replicas[at] = before = counts
    return Spent(usd, useful, replicas)


def _affordable(wanted: tuple[int, int], usd_per_h: float) -> tuple[int, int]:
    """The wanted replicas less those that the rate does not carry, the dearest first."""
    large, small = kinds()
    kept_large, kept_small = wanted
    while kept_large and kept_large * large.usd_per_h + kept_small * small.usd_per_h > usd_per_h + 1e-9:
        kept_large -= 1
    while kept_small and kept_large * large.usd_per_h + kept_small * small.usd_per_h > usd_per_h + 1e-9:
        kept_small -= 1
    return kept_large, kept_small


def constant(month: Month, amount_usd: float) -> Spent:
    """The best constant shadow price at the budget, between the two prices that are next to it (their months mixed so that the sum is the budget)."""
    gains = [_gain(month, kind) for kind in kinds()]

    def at(price: float) -> Spent:
        return _priced(month, gains, price)

    low, high = 0.0, 1.0
    if at(low).total_usd <= amount_usd:
        return at(low)
    while at(high).total_usd > amount_usd:
        low, high = high, 4.0 * high
    for _ in range(40):
        middle = (low + high) / 2.0
        low, high = (middle, high) if at(middle).total_usd > amount_usd else (low, middle)
    dear, cheap = at(low), at(high)
    gap = dear.total_usd - cheap.total_usd
    weight = (amount_usd - cheap.total_usd) / gap if gap > 0 else 0.0
    return Spent(
        *(
            weight * one + (1.0 - weight) * other
            for one, other in ((dear.usd, cheap.usd), (dear.useful, cheap.useful), (dear.replicas, cheap.replicas))
        )
    )


def _gain(month: Month, kind: Kind) -> Floats:
    """[steps, levels, replicas]: useful answers of a step by the share of requests that go small and the replicas of this kind."""
    counts = np.arange(MOST + 1, dtype=np.float64)
    tables = []
    for level in LEVELS:
        part = level if kind is kinds()[1] else 1.0 - level
        right = worth(month.router, level, 0.0)[1 if kind is kinds()[0] else 0]
        tables.append(in_time(kind, (month.arrived * part)[:, None], counts[None, :]) * right * STEP_S)
    return np.stack(tables, axis=1)


def _priced(month: Month, gains: list[Floats], price: float) -> Spent:
    """Every step's best, at `price` useful answers per USD."""
    steps = np.arange(month.steps)
    counts, values, costs = [], [], []
    for kind, gain in zip(kinds(), gains, strict=True):
        usd = kind.usd_per_h * month.price[:, None, None] * STEP_S / 3600.0 * np.arange(MOST + 1)[None, None, :]
        best = np.argmax(gain - price * usd, axis=2)
        counts.append(best)
        values.append(np.take_along_axis(gain, best[:, :, None], axis=2)[:, :, 0])
        costs.append(kind.usd_per_h * month.price[:, None] * STEP_S / 3600.0 * best)
    level = np.argmax(values[0] + values[1] - price * (costs[0] + costs[1]), axis=1)
    return Spent(
        (costs[0] + costs[1])[steps, level],
        (values[0] + values[1])[steps, level],
        np.stack([counts[0][steps, level], counts[1][steps, level]], axis=1).astype(np.float64),
    )

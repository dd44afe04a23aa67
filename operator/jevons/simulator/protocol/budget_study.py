"""Benchmark B3: a budget for a month in which demand doubles and prices rise by 48 % half way. What is overspent, forfeited, and bought with it?

The amount is a share (`tightness`) of what the month would cost without a budget, steps included; nobody is told that. Overspent and forfeited are
shares of the amount; useful answers are compared with the best constant shadow price at the same amount (`budget_policies.constant`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from jevons.core.snapshot import RouterCurve
from jevons.core.spec import Period
from jevons.simulator.protocol.budget_policies import Operator, cap_only, constant, linear
from jevons.simulator.protocol.budget_world import STEP_S, Month, Spent, month, season_of
from jevons.simulator.scenario import Floats
from jevons.simulator.traces import discover

POLICIES = ("jevons", "linear", "cap-only", "constant")
MAX_MISSED, MAX_OVERSPENT, MIN_USEFUL = 0.03, 0.01, 0.95
"""Overspent and forfeited; overspent; useful answers over the best constant price's."""


@dataclass(frozen=True, slots=True)
class BudgetJob:
    """One month at every tightness. `data` None: the synthetic season."""

    data: Path | None
    router: RouterCurve
    seed: int
    tightness: tuple[float, ...]
    period: Period = Period.MONTH
    past_days: int = 0


@dataclass(frozen=True, slots=True)
class Purse:
    """How one competitor did with one amount. Shares of the amount, of the answers asked for, and of the best constant price's useful answers."""

    seed: int
    tightness: float
    policy: str
    amount_usd: float
    spent_usd: float
    metered_usd: float | None
    """By Jevons' own ledger."""
    overspent: float
    forfeited: float
    useful: float
    useful_share: float
    over_constant: float
    mean_large: float
    mean_small: float
    dark_hours: float
    """With requests and without replicas."""

    @property
    def missed(self) -> float:
        """Overspent and forfeited."""
        return self.overspent + self.forfeited

    @property
    def met(self) -> bool:
        """All three targets."""
        return self.missed <= MAX_MISSED and self.overspent <= MAX_OVERSPENT and self.over_constant >= MIN_USEFUL


@lru_cache(maxsize=1)
def season(data: Path | None) -> tuple[Floats, str]:
    """Of the folder's client model, or the synthetic one."""
    return season_of(None if data is None else discover(data))


def work(job: BudgetJob) -> list[Purse]:
    """Every policy at every tightness. Equal jobs give equal results."""
    of = month(season(job.data), job.router, seed=job.seed, period=job.period, past_days=job.past_days)
    free = Operator(of, None)
    wanted = free.run()
    rows = []
    for tightness in job.tightness:
        amount = tightness * wanted.total_usd
        ours = Operator(of, amount)
        found: dict[str, Spent] = {
            "jevons": ours.run(),
            "linear": linear(of, free.wishes, amount),
            "cap-only": cap_only(of, free.wishes, amount),
            "constant": constant(of, amount),
        }
        for policy in POLICIES:
            metered = ours.metered_usd if policy == "jevons" else None
            rows.append(purse(job.seed, tightness, policy, of, amount, found[policy], best=found["constant"], metered=metered))
    return rows


def purse(seed: int, tightness: float, policy: str, of: Month, amount: float, spent: Spent, *, best: Spent, metered: float | None) -> Purse:  # noqa: PLR0917  one row
    """The figures of one run."""
    asked = float(of.arrived.sum()) * STEP_S
    dark = (spent.replicas.sum(axis=1) == 0) & (of.arrived > 0)
    return Purse(
        seed=seed,
        tightness=tightness,
        policy=policy,
        amount_usd=amount,
        spent_usd=spent.total_usd,
        metered_usd=metered,
        overspent=max(0.0, spent.total_usd / amount - 1.0),
        forfeited=max(0.0, 1.0 - spent.total_usd / amount),
        useful=spent.total_useful,
        useful_share=spent.total_useful / asked,
        over_constant=spent.total_useful / best.total_useful,
        mean_large=float(spent.replicas[:, 0].mean()),
        mean_small=float(spent.replicas[:, 1].mean()),
        dark_hours=float(dark.sum()) * STEP_S / 3600.0,
    )


@dataclass(frozen=True, slots=True)
class Summary:
    """Over seeds: means, and the worst seed of each gated figure."""

    tightness: float
    policy: str
    missed: float
    worst_missed: float
    overspent: float
    worst_overspent: float
    over_constant: float
    worst_over_constant: float
    useful_share: float
    dark_hours: float

    @property
    def met(self) -> bool:
        """All three targets, for the worst seed."""
        return self.worst_missed <= MAX_MISSED and self.worst_overspent <= MAX_OVERSPENT and self.worst_over_constant >= MIN_USEFUL


def summaries(rows: Sequence[Purse]) -> list[Summary]:
    """One per tightness and policy."""
    made = []
    for tightness in sorted({row.tightness for row in rows}):
        for policy in POLICIES:
            mine = [row for row in rows if row.tightness == tightness and row.policy == policy]
            made.append(
                Summary(
                    tightness,
                    policy,
                    missed=float(np.mean([row.missed for row in mine])),
                    worst_missed=max(row.missed for row in mine),
                    overspent=float(np.mean([row.overspent for row in mine])),
                    worst_overspent=max(row.overspent for row in mine),
                    over_constant=float(np.mean([row.over_constant for row in mine])),
                    worst_over_constant=min(row.over_constant for row in mine),
                    useful_share=float(np.mean([row.useful_share for row in mine])),
                    dark_hours=float(np.mean([row.dark_hours for row in mine])),
                )
            )
    return made

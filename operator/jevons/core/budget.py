"""Money for a period: how hard to push, how much may run, and when nothing more may.

Each pass solves anew from what is spent, what remains of the period and what it is expected to cost: nothing is integrated, so a price or rate step
is felt at once and a restart changes nothing. The expected cost is not the present rate times the time left (that would throttle every noon): the
present rate fades into what the hours of the week to come usually cost (`season.py`), at the level of late. The pressure (the budget's shadow price,
scaled to 0..1) is solved so that spent + expected cost at that pressure equals the amount. What it cannot save, Cap takes: replicas are let go, the
dearest first, until what is left of the amount carries them; in the end the last one goes, in time for its drain to be paid. The rungs are
api.md's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from jevons.core.periods import bounds
from jevons.core.spec import BudgetSpec, Period, Rung
from jevons.core.value import value

STOP_S = 90.0
"""Reserve: what runs now keeps costing this long (a pass that comes late decides to stop it, it drains, and the next late pass sees it gone)."""
RUN_S = 120.0
"""A replica that cannot run at least this long after its start is not started."""
FADE_SHARE, FADE_MAX_S = 1.0 / 8.0, 3600.0
"""The present rate fades into the long-run mean with this share of the period, at most an hour."""
MEAN_SHARE, MEAN_MAX_S = 0.25, 86_400.0
"""The long-run mean looks back this share of the period, at most a day."""
LEVEL_S = 21_600.0
"""And at most this long where the hours of a day are known: a difference from their shape is news."""
ALERT_SHARE = 0.9
PRESSURE_STEPS = 4
RAISE_SHARE, RAISE_S = 0.10, 300.0
"""Near the cap, replicas are only added when this share of the rest's cost, and this long of theirs, is left over: else they would come and go."""
LENGTHS_S = {Period.HOUR: 3600.0, Period.DAY: 86_400.0, Period.WEEK: 604_800.0, Period.MONTH: 2_592_000.0}


@value
class Standing:
    """Where a budget stands: USD and seconds."""

    name: str
    """Of the InferenceBudget; empty = the deployment's own."""
    rung_allowed: Rung
    amount: float
    spent: float
    start_s: float
    end_s: float
    left_s: float
    time_zone: str = "UTC"

    @property
    def available(self) -> float:
        """USD of the amount that are not spent; negative when overspent."""
        return self.amount - self.spent


@value
class Pace:
    """What a budget asks for now."""

    standing: Standing
    expected_usd: float
    """Cost of the rest of the period without pressure."""
    pressure: float
    weighted_s: float
    """The rest of the period in seconds at the wanted rate: a rate that is expected to fade needs money for less than the time left."""
    running_usd_per_h: float
    """What is being paid now, drains included."""

    @property
    def binds(self) -> bool:
        """Replicas may be capped."""
        return self.standing.rung_allowed.level >= Rung.CAP.level

    @property
    def forecast_usd(self) -> float:
        """Spend at the period's end, if nothing is done about it."""
        return self.standing.spent + self.expected_usd

    @property
    def over(self) -> bool:
        """The forecast is above the amount."""
        return self.forecast_usd > self.standing.amount * (1.0 + 1e-9)

    @property
    def cap_usd_per_h(self) -> float:
        """The hourly rate that what is left carries; infinite where Cap is not allowed."""
        return max(0.0, self.standing.available) * 3600.0 / (self.weighted_s + STOP_S) if self.binds else math.inf

    def carries(self, usd_per_h: float, raised_usd_per_h: float) -> bool:
        """Whether what is left pays for replicas of this rate, of which `raised` would be new, and for stopping what runs."""
        rest = usd_per_h * self.weighted_s + max(usd_per_h, self.running_usd_per_h) * STOP_S
        if raised_usd_per_h > 0.0:
            rest += RAISE_SHARE * usd_per_h * self.weighted_s + raised_usd_per_h * min(RAISE_S, self.standing.left_s)
        return rest <= max(0.0, self.standing.available) * 3600.0 * (1.0 + 1e-9)

    def starts(self, usd_per_h: float, startup_s: float) -> bool:
        """Whether what is left pays for one start at this rate, a while of serving, and the stop."""
        run_s = min(startup_s + RUN_S, self.standing.left_s)
        return usd_per_h * run_s + max(usd_per_h, self.running_usd_per_h) * STOP_S <= max(0.0, self.standing.available) * 3600.0


def standing(spec: BudgetSpec, name: str, spent: Decimal, now: float) -> Standing:
    """Raises ValueError for an amount that is no amount, or an unknown time zone."""
    if not spec.amount_usd.is_finite() or spec.amount_usd < 0:
        raise ValueError(f"spec.budget.amount: {spec.amount_usd} is not an amount of money")
    start_s, end_s = bounds(spec.period, spec.time_zone, now)
    return Standing(name, spec.when_exceeded, float(spec.amount_usd), float(spent), start_s, end_s, end_s - now, spec.time_zone)


def fade_s(period_s: float) -> float:
    """How long the present rate is expected to last [s]."""
    return min(FADE_MAX_S, period_s * FADE_SHARE)


def mean_tau_s(periods: Iterable[Period], *, days: int = 0) -> float:
    """Time constant [s] of the long-run mean, for the shortest of the periods that apply; days: how many whole ones have taught the season."""
    return min(LEVEL_S if days else MEAN_MAX_S, MEAN_SHARE * min((LENGTHS_S[period] for period in periods), default=math.inf))


def expected_usd(
    left_s: float, period_s: float, wanted_usd_per_h: float, level_usd_per_h: float, *, shape: float = 1.0, rest_h: float | None = None
) -> float:
    """Cost of the rest of a period: the present rate fades into what the season says of the hours to come.

    level: what is wanted on the average of a week. shape: what the season says of now, relative to that; rest_h: the time left in mean hours
    (`season.Shape`), None = no season is known. Example: 12 h left of a day, 10 USD/h wanted now, 4 USD/h in the mean -> 10 * 1 + 4 * 11 = 54 USD
    (test_worked_examples.py::test_a_noon_peak_is_not_the_day).
    """
    tau_s = fade_s(period_s)
    present_h = tau_s * -math.expm1(-left_s / tau_s) / 3600.0
    rest_h = left_s / 3600.0 if rest_h is None else rest_h
    return max(0.0, level_usd_per_h * rest_h + (wanted_usd_per_h - level_usd_per_h * shape) * present_h)


def pace(at: Standing, expected: float, *, wanted_usd_per_h: float, running_usd_per_h: float, saving: float) -> Pace:
    """Solve for the pressure, and weigh the time left.

    expected: USD that the rest of the period costs without pressure; wanted: the plan's cost without pressure now; running: what is being paid now;
    saving (0..1): the part of the cost that full pressure saves. Example: 100 USD, 40 spent, 80 expected, full pressure saves half, no reserve ->
    pressure 0.5
    (test_worked_examples.py::test_pressure_makes_the_forecast_meet_the_amount).
    """
    reserve = wanted_usd_per_h * STOP_S / 3600.0 if at.rung_allowed.level >= Rung.CAP.level else 0.0
    overrun = at.spent + expected + reserve - at.amount
    pressure = 0.0
    if overrun > 1e-9 and at.rung_allowed.level >= Rung.DEGRADE.level:
        pressure = 1.0 if expected <= 0.0 else min(1.0, overrun / (expected * max(saving, 0.05)))
    weighted_s = min(at.left_s, expected / wanted_usd_per_h * 3600.0) if wanted_usd_per_h > 0 else at.left_s
    return Pace(at, expected, pressure, weighted_s, running_usd_per_h)


def step(pressure: float) -> int:
    """Pressure as one of PRESSURE_STEPS + 1 steps, rounded up: plans are compared at steps, so that they do not flap."""
    return min(PRESSURE_STEPS, math.ceil(pressure * PRESSURE_STEPS - 1e-9))


@dataclass(slots=True)
class Line:
    """Replicas of one variant that a cap may let go. `fixed` ones (foreign, held) only count."""

    owner: str
    variant: str
    replicas: int
    current: int
    usd_per_h: float
    priority: int
    """0 goes first."""
    cheapest: bool
    """The owner's cheapest variant that can serve: it goes last."""
    startup_s: float
    fixed: bool = False


def shed(lines: list[Line], pace: Pace) -> bool:
    """Let replicas go in place until the cap carries the rest; True when any went.

    The order does not depend on the cap, so a lower amount never leaves more replicas. Second replicas go before last ones, low priority before high,
    dear before cheap. The very last replica of the scope stays while the money available pays for it, however the rest is paced. Example: 3 large at
    14.68 and 2 small at 3.67 USD/h under a cap of 23 USD/h -> 1 large and 2 small (test_worked_examples.py::test_the_dearest_goes_first).
    """
    total = raised = 0.0
    for line in lines:
        total += line.replicas * line.usd_per_h
        if line.replicas > line.current and not line.fixed:
            raised += (line.replicas - line.current) * line.usd_per_h
    if pace.carries(total, raised):
        return False
    going = sorted(
        [line for line in lines if line.replicas > 0 and not line.fixed and line.usd_per_h > 0],
        key=lambda line: (line.priority, line.cheapest, -line.usd_per_h, line.owner, line.variant),
    )
    went = False
    for least in (1, 0):  # down to one replica of each line first, then the last ones
        for line in going:
            while line.replicas > least:
                if pace.carries(total, raised):
                    return went
                if line is going[-1] and least == 0 and _last_stays(line, total, pace):
                    return went
                total -= line.usd_per_h
                raised -= line.usd_per_h if line.replicas > line.current else 0.0
                line.replicas -= 1
                went = True
    return went


def _last_stays(line: Line, total_usd_per_h: float, pace: Pace) -> bool:
    """Whether the money left pays for the last replica: for a while if it would have to start, for the next pass and the stop if it runs."""
    if line.current < 1:
        return pace.starts(total_usd_per_h, line.startup_s)
    return max(total_usd_per_h, pace.running_usd_per_h) * STOP_S <= max(0.0, pace.standing.available) * 3600.0

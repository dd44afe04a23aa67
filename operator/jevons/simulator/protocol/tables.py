"""A cell's result as a table of text: our cost over everybody's, with intervals, at each attainment. Where we lose is in it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from jevons.simulator.protocol.bootstrap import Interval, cost_interval
from jevons.simulator.protocol.cell import Cell
from jevons.simulator.protocol.front import TARGETS
from jevons.simulator.protocol.policies import JEVONS, LARGE, MIN_QUALITY, ROUTED
from jevons.simulator.protocol.reference import Bound
from jevons.simulator.protocol.report import Ratio, Routing, tier_name
from jevons.simulator.protocol.study import Found

UNREACHED = "-"


def title(cell: Cell) -> str:
    """What the table is of, and its denominators."""
    mix = "; all may mix " + ", ".join(f"{one.label} (${one.usd_per_h:.2f}/h)" for one in cell.mix) if cell.mix else ""
    return (
        f"{cell.trace}, fleet of {cell.fleet} (static needs {cell.needed}, bound {cell.max_replicas}), startup {cell.startup_s:g} s, "
        f"{cell.machine.name} at ${cell.machine.usd_per_h:.2f}/h, TTFT {cell.objectives.ttft_s:g} s, ITL {1000 * cell.objectives.itl_s:g} ms; "
        f"{cell.note}{mix}{'; each with its own dispatcher' if cell.own_dispatcher else ''}"
    )


def headings() -> list[str]:
    """Of the columns."""
    return ["policy", "tier", *(f"$ {target:.0%}" for target in TARGETS), *(f"ours/it {target:.0%}" for target in TARGETS), "plain 95%"]


def lines(cell: Cell, found: Found, made: Sequence[Ratio]) -> Iterator[list[str]]:
    """One per competitor and bound. `plain`: the ratio when worst windows do not bind."""
    of = {(one.policy, one.tier, one.target, one.worst_window): one for one in made if one.cell == cell}
    ours = found.of(cell, JEVONS, None)
    our_cost = [cost_interval(ours.points, target) if ours is not None else Interval(math.nan) for target in TARGETS]
    yield [JEVONS, tier_name(JEVONS, None), *map(dollars, our_cost), *[""] * (len(TARGETS) + 1)]
    for policy, tier in dict.fromkeys((one.policy, one.tier) for one in made if one.cell == cell):
        mine = [of[policy, tier, target, True] for target in TARGETS]
        yield [
            policy,
            tier_name(policy, tier),
            *(dollars(one.theirs) for one in mine),
            *(times(one.interval) for one in mine),
            times(of[policy, tier, 0.95, False].interval),
        ]
    for floor in found.floors:
        if floor.cell == cell:
            for name in ("lp", "c_lo"):
                cost = [_cost([getattr(bounds, name)[at] for bounds in floor.bounds]) for at in range(len(TARGETS))]
                over = [one.value / bound if bound > 0 else math.nan for one, bound in zip(our_cost, cost, strict=True)]
                yield [
                    name.replace("_", "-"),
                    "lower bound",
                    *(f"{one:.3g}" if math.isfinite(one) else UNREACHED for one in cost),
                    *(f"{one:.2f}" if math.isfinite(one) and one > 0 else "" for one in over),
                    "",
                ]


def routing_headings() -> list[str]:
    """Of the columns of the second table."""
    return ["router", *(f"$ {target:.0%}" for target in TARGETS), *(f"routed/large {target:.0%}" for target in TARGETS), "quality"]


def routing_title(cell: Cell) -> str:
    """What the second table is of."""
    if cell.pair is None:
        return ""
    return f"{cell.trace}: {ROUTED} ({cell.pair.large.name} and {cell.pair.small.name}) beside {LARGE}, at {MIN_QUALITY:.0%} of its quality"


def routing_lines(cell: Cell, made: Sequence[Routing]) -> Iterator[list[str]]:
    """One for the large model alone, one per router. $: per 1,000 right answers in time; quality: at 95 %, relative to the large model's."""
    of = {(one.router, one.target): one for one in made if one.cell == cell}
    for at, router in enumerate(dict.fromkeys(router for router, _ in of)):
        mine = [of[router, target] for target in TARGETS]
        if not at:
            yield [LARGE, *(dollars(one.large) for one in mine), *[""] * len(TARGETS), "1"]
        yield [router, *(dollars(one.ours) for one in mine), *(times(one.ratio) for one in mine), f"{of[router, 0.95].quality:.3f}"]


def _cost(bounds: Sequence[Bound]) -> float:
    """USD per 1,000 offered over all seeds."""
    return 1000.0 * sum(one.usd for one in bounds) / sum(one.offered for one in bounds)


def dollars(cost: Interval) -> str:
    """A cost; a dash where the target is unreached."""
    return UNREACHED if math.isnan(cost.value) else f"{cost.value:.3g}"


def times(ratio: Interval) -> str:
    """A ratio with its interval; infinity and zero in words."""
    if math.isnan(ratio.value):
        return "neither"
    if ratio.value == 0:
        return "only ours"
    if math.isinf(ratio.value):
        return "only it"
    high = "inf" if math.isinf(ratio.high) else f"{ratio.high:.2f}"
    return f"{ratio.value:.2f} [{ratio.low:.2f} {high}]"

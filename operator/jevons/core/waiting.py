"""Work that can wait: what a class of tier Flex or Batch changes in sizing, and what its waiting costs.

A fleet that keeps a promise has headroom, and headroom is idle most of the time. Requests that can wait are held at the gateway and fill it: they
go to a pod with little to do, or at once when their patience is over (`patience_s`, published with the plan). So they need no headroom for what may
come, only that all the work there is, theirs in the mean of ten minutes, leaves a fleet no fuller than its promise bears while load is even. Nothing
is started from zero for them before their patience is over; then they are held requests like any other.

In the programme the share f of a class that waits costs psi(age): LEAST of what a replica for it would cost while nobody has waited long, all of it
when the oldest has waited out its patience. Capacity that is there anyway is cheaper than that from the beginning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jevons.core.spec import Deployment, Tier

if TYPE_CHECKING:
    from jevons.core.ground import Promises
    from jevons.core.plan import VariantPlan

SHARE = {Tier.INTERACTIVE: 0.0, Tier.FLEX: 0.3, Tier.BATCH: 0.8}
"""Patience, of the time that `scaling.wake.timeout` leaves beside a start."""
PRESSED = 0.95
"""And under full budget pressure."""
STARTS = 1.5
"""So many starts must still fit between the end of patience and the timeout."""
FILLED = 0.9
"""How full a fleet may be with work that fills gaps, where no profile says what a replica bears."""
IDLE = 0.5
"""A pod with less outstanding than this part of what it serves inside the objectives has room for work that can wait."""
LEAST = 0.1


def patience_s(spec: Deployment, name: str, pressure: float = 0.0) -> float:
    """How long requests of that class may wait for idle capacity [s]; 0 = not at all.

    Example: Flex, a wake timeout of 600 s, starts of 240 s -> 0.3 * (600 - 360) = 72 s (test_waiting.py::test_patience_leaves_time_for_a_start).
    """
    if not spec.classes:
        return 0.0
    share = 0.0
    for one in spec.classes:
        if one.name == name:
            share = SHARE[one.tier]
            break
    if not share:
        return 0.0
    slowest_s = max([variant.startup_s for variant in spec.variants], default=0.0)
    return (share + (PRESSED - share) * min(1.0, max(0.0, pressure))) * max(0.0, spec.scaling.wake_timeout_s - STARTS * slowest_s)


def needed(item: VariantPlan, promises: Promises) -> float:
    """Replicas for the work that can wait where there is no other; settles what one replica serves and runs, too."""
    total = sum([work for work, _, _ in item.patient]) or 1.0
    item.concurrency = max(1.0, sum([work / total * one.concurrency for work, one, _ in item.patient]))
    item.fluid_per_s = sum([work / total * one.requests_per_s for work, one, _ in item.patient])
    replicas = filled(item, promises)
    item.capacity_per_s = item.per_s / replicas if replicas > 0.0 and item.per_s > 0.0 else item.fluid_per_s
    return replicas


def filled(item: VariantPlan, promises: Promises) -> float:
    """Replicas that all of its work fills as far as the promises bear it, load being even; 0 where nothing can wait."""
    if not item.patient:
        return 0.0
    replicas = 0.0
    for work, one, percentile in (*item.parts, *item.patient):
        replicas += work / (one.inside.kept(promises.of(percentile)).shares[0] if one.inside is not None else FILLED)
    return replicas


def price(age_s: float, patient_s: float) -> float:
    """psi: what waiting costs over what a replica for it would, when the oldest has waited for `age_s`."""
    return LEAST + (1.0 - LEAST) * min(1.0, max(0.0, age_s) / patient_s) if patient_s > 0.0 else 1.0


def idle_tokens(item: VariantPlan, tokens: float) -> float:
    """Outstanding work of a pod [tokens] below which it has room for requests that can wait; `tokens`: of a request, in and out."""
    return float(f"{IDLE * item.concurrency * tokens:.2g}")

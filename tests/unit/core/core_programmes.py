"""What a programme of three tiers costs, worked out forwards: by the instant at which the call comes, with no induction."""

from __future__ import annotations

import math

from jevons.core import hazard, tiers
from jevons.core.hazard import EDGES, END_S


def cost_of(plan, ends, startup_s, loss_s, rest):
    """What a programme costs, worked out forwards: by the step in which the call comes."""
    loaded, resting = plan
    lead = {tiers.RESTING: hazard.lead_s(rest.wake_s), tiers.GONE: hazard.lead_s(startup_s)}
    paid = {tiers.RESTING: hazard.lead_s(rest.wake_s), tiers.GONE: startup_s}
    late = {tiers.RESTING: rest.loss_s, tiers.GONE: loss_s}

    def state(age_s):
        if hazard.window(loaded, age_s):
            return tiers.LOADED
        return tiers.RESTING if hazard.window(resting, age_s) else tiers.GONE

    def until(call_s):
        """Cost when the call comes at that age."""
        total, at_s = 0.0, 0.0
        begins = sorted({0.0, *(edge for span in (*loaded, *resting) for edge in span if edge < call_s)})
        for begin_s, end_s in zip(begins, [*begins[1:], call_s], strict=True):
            at_s = max(begin_s, at_s)
            here = state(begin_s)
            if here == tiers.RESTING and begin_s > 0.0 and state(begin_s - 1e-6) == tiers.LOADED:
                total += (1.0 - rest.holding) * tiers.LIE_S
            if here == tiers.LOADED and begin_s > 0.0:
                before = state(begin_s - 1e-6)
                ready_s = begin_s + lead[before]
                total += paid[before]
                if call_s < ready_s:
                    return total + late[before]
                at_s = ready_s
            total += max(0.0, end_s - at_s) * (1.0, rest.holding, 0.0)[here]
        found = state(min(call_s, END_S - 1e-6))
        return total + (0.0, rest.wake_s + rest.loss_s, startup_s + loss_s)[found]

    total, points = 0.0, 40
    for at, chance in enumerate(ends):
        if chance:
            width_s = EDGES[at + 1] - EDGES[at]
            total += chance / points * sum(until(EDGES[at] + width_s * (point + 0.5) / points) for point in range(points))
    return total + max(0.0, 1.0 - math.fsum(ends)) * until(END_S)

"""Is a replica as fast as its profile says?

A profile is a prior, and may be wrong by a factor. What an engine runs tells: by Little's law a replica that takes r requests/s runs
B = r (n f a / (1 - r f Q) + f P) of them, where f multiplies every time of the profile (n output tokens at pace a, Q = P + n (b + c ctx) seconds
of engine time per request, P of them prefill). Solved for f, that is one estimate; `slowness`, their mean in logarithms, scales the profile from then
on. Of the profile's six coefficients only this product can be told from gauges every 15 s, so only it is learned.

The first minutes count most: a profile is worth PRIOR minutes of a full replica, and each estimate moves the belief by its share of all that was
seen, so one that is three times wrong is found out within some ten minutes. Then the belief drifts: being too optimistic breaks promises and is
corrected QUICK_S fast; being too pessimistic costs money and is corrected slowly. Where little runs, or arrivals are bursty (the gauge is of this
instant, the rate of the last minute), an estimate weighs little, and so a lightly loaded replica keeps its prior for long. A gauge that lies moves
the estimate within FASTEST..SLOWEST.
"""

# ruff: noqa: FURB136  min costs eight times what a comparison does
from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache

from jevons.core.spec import Profile
from jevons.core.within import within

QUICK_S, SLOW_S = 180.0, 900.0
ENOUGH = 20.0
"""So many requests at once make an estimate count in full."""
BURSTY = 20.0
"""At this index of dispersion it counts a quarter."""
SETTLED_S = 30.0
"""A pod that became ready so lately does not yet run what it will."""
EVERY_S, LONGEST_STEP_S = 60.0, 60.0
"""Estimates are made this often: the rate is a mean over the last minute anyway."""
FASTEST, SLOWEST = 1.0 / 3.5, 3.5
LEAST, MOST = math.log(FASTEST), math.log(SLOWEST)
BIAS = 0.05
"""Of the logarithm of an estimate when the profile is right (engine model, six traces): fluctuations run more than their mean would."""
SURELY = 0.2
"""An overload this much beyond the belief is no fluctuation."""
JUMP = 3.5
"""One estimate is at most this factor from the present belief."""
PRIOR, FIRM = 2.0, 15.0
"""Minutes of a full replica that the profile counts for before anything was seen, and how many of those seen are kept in mind."""
STEPS = 14.0
"""The scale is used in steps of 2^(1/14), about 5 %, so that plans do not flap."""


@lru_cache(maxsize=4096)
def scaled(profile: Profile, step: int) -> Profile:
    """The profile of an engine for which everything takes 2^(step/14) times as long."""
    if not step:
        return profile
    return slower(profile, math.pow(2.0, step / STEPS))


def slower(profile: Profile, factor: float) -> Profile:
    """The profile of an engine that takes `factor` times as long for everything, with the same memory."""
    return replace(
        profile,
        itl_a_s=profile.itl_a_s * factor,
        itl_b_s=profile.itl_b_s * factor,
        itl_c_s=profile.itl_c_s * factor,
        prefill_p0_s=profile.prefill_p0_s * factor,
        prefill_p1_s=profile.prefill_p1_s * factor,
        prefill_p2_s=profile.prefill_p2_s * factor,
    )


def step(slowness: float) -> int:
    """The step of `scaled` for a logarithm of the factor, towards the prior: what is within a step of it is the prior."""
    return math.trunc(slowness / math.log(2.0) * STEPS)


def estimate(running: float, per_s: float, *, alone_s: float, engine_s: float, prefill_s: float) -> float:
    """The factor on all times at which a replica that takes `per_s` [1/s] runs `running` requests.

    alone_s: n a; engine_s: Q; prefill_s: P, means per request by the profile. Example: a replica at 1/s whose requests take 5 s alone, 0.5 s of
    engine time and 0.2 s of prefill runs 10.2 if the profile is right (test_worked_examples.py::test_a_full_replica_tells_how_slow_it_is).
    """
    first, second, last = per_s * engine_s * prefill_s, prefill_s + running * engine_s + alone_s, running / per_s
    discriminant = second * second - 4.0 * first * last
    return 2.0 * last / (second + (math.sqrt(discriminant) if discriminant > 0.0 else 0.0))


def learned(slowness: float, known: float, factor: float, *, running: float, overloaded: bool, dispersion: float, dt_s: float) -> tuple[float, float]:
    """`slowness`, and what is `known` of it, after one estimate.

    factor: relative to the scale in use. overloaded: more runs than the objectives allow. Example: profile right and nothing seen, a full replica
    that takes a third of the time for one minute -> a third of the way there (test_worked_examples.py::test_a_wrong_profile_is_found_out_soon).
    """
    moved = math.log(within(1.0 / JUMP, factor, JUMP)) - BIAS
    step_s = dt_s if dt_s < LONGEST_STEP_S else LONGEST_STEP_S
    sure = (running / ENOUGH if running < ENOUGH else 1.0) / (1.0 + (dispersion - 1.0) / BURSTY) ** 2
    weight = -math.expm1(-step_s / (QUICK_S if overloaded and moved > SURELY else SLOW_S)) * sure
    seen = sure * step_s / 60.0
    first = seen / (PRIOR + known + seen)
    weight = max(weight, first)
    return within(LEAST, slowness + weight * moved, MOST), within(0.0, known + seen, FIRM)

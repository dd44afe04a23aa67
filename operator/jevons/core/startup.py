"""How long does a start of this variant take? What its own starts took, once there are enough of them; until then what the spec says.

A replica that is ordered now helps when it is ready, and most must be ready by then: so it is a high quantile of the last starts that counts, not
their mean. A start is timed from the pod's creation (a node that must be made first is part of it) to its first readiness, and only where we watched
it: a pod that came back from a crash, or that we first met when it was old, tells nothing about starting. Each of the first observations replaces one
of ENOUGH that say what the spec says, so two slow starts out of eight are believed at once, and fast ones when seven agree.

A start on a node that served the variant before finds image and weights there, and is a class of its own (weights on the node). Which class the
next start will be nobody can say before it is scheduled, but the last ones tell how often it is which: the quantile is taken over both classes, each
weighed by that. Once a pod has its node, its class is known, and its own starts say how long it may take.

Clocks differ between machines (creation is the API server's, readiness the kubelet's, `now` ours), so a start is cut to what we saw ourselves: not
created before we could have seen it, not ready before we last saw it unready. What is believed stays within FACTOR of the spec, whatever was seen.
"""

from __future__ import annotations

import math
from functools import lru_cache

from jevons.core.health import Health, Starting

QUANTILE = 0.8
ENOUGH = 8
"""So many starts stand for themselves; fewer are filled up with the spec's value."""
KEEP = 24
"""The last starts that count."""
FACTOR = 8.0
YOUNG_S = 60.0
"""A pod that is older when first seen is not timed."""
WATCHED = 32
"""Pods timed at once, at most."""
STEPS = 7.0
"""The result moves in steps of 2^(1/7), about 10 %, so that plans do not flap."""


RECENT = 0.8
"""Weight of each start beside the one after it, when the next one's class is guessed."""
HOMES = 32
"""Nodes remembered."""


def expected_s(health: Health, spec_s: float) -> float:
    """Seconds within which a start is expected to be ready; the spec's value while too few starts were seen.

    Example: the spec says 60 s, two starts took 240 s each -> 240 s; seven took 15 s each -> 15 s, six of them -> still 60 s
    (test_startup.py::test_slow_starts_are_believed_sooner_than_fast_ones).
    """
    if not health.starts_s:
        return spec_s
    return _mixed_s(health.starts_s, health.at_home, spec_s) if health.at_home else _quantile_s(health.starts_s, spec_s)


def on_node_s(health: Health, spec_s: float, node: str | None) -> float:
    """The same for a pod that has its node: by the starts of its class, once there was one.

    Example: the spec says 240 s; of 24 starts 8 took 240 s on fresh nodes and 16 took 30 s where the variant had run before -> 30 s on such a node,
    240 s on another (test_startup.py::test_a_start_on_a_node_that_served_the_variant_before_is_a_class_of_its_own).
    """
    if node is None or not health.at_home:
        return expected_s(health, spec_s)
    known = node in health.homes
    timed = health.starts_s[-len(health.at_home) :]
    mine = tuple([seconds for seconds, home in zip(timed, health.at_home, strict=False) if home == known])
    return _quantile_s(mine, spec_s) if mine else expected_s(health, spec_s)


def wake_s(health: Health, spec_s: float) -> float:
    """Seconds within which a sleeping replica is expected to be awake, by the same rule: its own wakes, or the spec's value."""
    return _quantile_s(health.wakes_s, spec_s) if health.wakes_s else spec_s


@lru_cache(maxsize=4096)
def _mixed_s(starts_s: tuple[float, ...], at_home: tuple[bool, ...], spec_s: float) -> float:
    """The quantile with both classes weighed by how often they came lately; the plain one where there is one class, or few starts."""
    at_home = at_home[-KEEP:]
    timed = starts_s[-len(at_home) :]
    if len(timed) < max(ENOUGH, len(at_home)) or len(set(at_home)) < 2 or spec_s <= 0.0:
        return _quantile_s(starts_s, spec_s)
    recency = [RECENT ** (len(timed) - 1 - place) for place in range(len(timed))]
    home = sum([weight for weight, known in zip(recency, at_home, strict=True) if known]) / sum(recency)
    share = {True: home / sum(at_home), False: (1.0 - home) / (len(at_home) - sum(at_home))}
    below = 0.0
    for seconds, known in sorted(zip(timed, at_home, strict=True)):
        below += share[known]
        if below >= QUANTILE - 1e-9:
            return _stepped_s(seconds, spec_s)
    return _stepped_s(max(timed), spec_s)


def housed(homes: tuple[str, ...], nodes: tuple[str, ...]) -> tuple[str, ...]:
    """The nodes that know the variant, after a pod was seen ready on each of `nodes`; the same object when nothing is new."""
    if not nodes or homes[-len(nodes) :] == nodes:
        return homes
    return tuple(dict.fromkeys([*reversed(nodes), *reversed(homes)]))[:HOMES][::-1]


@lru_cache(maxsize=4096)
def _quantile_s(starts_s: tuple[float, ...], spec_s: float) -> float:
    if spec_s <= 0.0:
        return spec_s
    bounded = [min(spec_s * FACTOR, max(spec_s / FACTOR, seconds)) for seconds in starts_s[-KEEP:]]
    bounded.extend(spec_s for _ in range(ENOUGH - len(bounded)))
    bounded.sort()
    return _stepped_s(bounded[math.ceil(QUANTILE * len(bounded) - 1e-9) - 1], spec_s)


def _stepped_s(found: float, spec_s: float) -> float:
    """Within FACTOR of the spec's value, and in steps."""
    found = min(spec_s * FACTOR, max(spec_s / FACTOR, found))
    return spec_s * math.pow(2.0, round(math.log2(found / spec_s) * STEPS) / STEPS)


def watched(starting: tuple[Starting, ...], uid: str, created_s: float, now: float) -> Starting | None:
    """The entry of a pod that is not ready now; None when its start is not timed."""
    for known, since_s, _ in starting:
        if known == uid:
            return (uid, since_s, now)
    return (uid, min(created_s, now), now) if now - created_s <= YOUNG_S else None


def taken_s(starting: tuple[Starting, ...], uid: str, ready_s: float, now: float) -> float | None:
    """Seconds that the start took of a pod that is ready now; None when it was not timed."""
    for known, since_s, unready_s in starting:
        if known == uid:
            return min(max(ready_s, unready_s), now) - since_s
    return None

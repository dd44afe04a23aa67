"""Fleets in which every pod is at work, summed up in a third of the time: that is what most pods are in most passes.

`demand.pods_of` looks at whatever a pod can be: starting, stuck, asleep, unread, somebody else's. Here are only pods that are ready, have requests,
run a GPU that is not quiet and were read whole; the sums are the same ones, in the same order. A fleet with any other pod in it is not summed here.
"""

# ruff: noqa: PLR1730  max and min cost eight times what a comparison does
from __future__ import annotations

import math

from jevons.core.demand import ABSURD, QUEUE, ROOM_S, Seen
from jevons.core.health import Health
from jevons.core.idle import QUIET_UTIL
from jevons.core.observed import Known
from jevons.core.snapshot import Pod
from jevons.core.spec import Variant

INFINITE = math.inf


def summed(variant: Variant, pods: tuple[Pod, ...], health: Health, now: float, max_age_s: float) -> Seen | None:
    """What `demand.pods_of` says of these pods; None where that has to be asked, since one of them is not at work or their past matters."""
    if variant.profile is None or variant.sleep is not None or not pods or not health.homes or health.starting or health.stalled:
        return None
    running = waiting = newest_s = 0.0
    oldest_s = roomiest = INFINITE
    queueing = 0
    spot: tuple[str, ...] = ()
    for pod in pods:
        signals, ready_s = pod.signals, pod.ready_at_s
        ran, waits, util = signals.running, signals.waiting, signals.gpu_util
        if ready_s is None or pod.scheduled_at_s is None or pod.terminating or pod.failed or pod.marked_at_s is not None:
            return None
        if type(ran) is not Known or type(waits) is not Known or type(util) is not Known:
            return None
        ran_at_s, runs, waited = ran.at_s, ran.value, waits.value
        if not (now - ran_at_s <= max_age_s and now - waits.at_s <= max_age_s and now - util.at_s <= max_age_s):
            return None
        if not (QUIET_UTIL < util.value < ABSURD and runs >= 0.0 and waited >= 0.0 and 0.0 < runs + waited < ABSURD):
            return None
        running += runs
        waiting += waited
        if waited:
            queueing += waited >= QUEUE
        elif runs < roomiest and now - ready_s >= ROOM_S:
            roomiest = runs
        if ready_s > newest_s:
            newest_s = ready_s
        if ran_at_s < oldest_s:
            oldest_s = ran_at_s
        if pod.spot:
            spot += (pod.uid,)
    seen = Seen()
    seen.ready = seen.pods = seen.queued = len(pods)
    seen.spot, seen.queueing, seen.running, seen.waiting = spot, queueing, running, waiting
    seen.roomiest = roomiest if roomiest < INFINITE else None
    seen.busy, seen.working, seen.quiet, seen.gpu = True, True, False, "GPUBusy"
    seen.newest_ready_s, seen.oldest_sample_s = newest_s, oldest_s
    return seen

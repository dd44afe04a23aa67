"""Steps 7 and 8: where does the request go?

A warm variant: the pod with the least load (sequences in flight, and what their tokens add: `core/load.py`), preferring the pod that has seen
this prompt's beginning (its KV cache holds the prefix) as long as that one would be at most a quarter busier than an average pod; a second pod for
the retry; the waiting room last, so that a pod that died a moment ago costs milliseconds and never an error. A cold variant: the waiting room alone,
with headers that tell it what to wake and until when.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence

from jevons.core.load import Work
from jevons.gateway.table import Pod

BOUND = 1.25
NEARLY_IDLE = 2.0
"""Load of a pod that keeps its prompts however idle the others are: one request of 3,000 tokens."""
PREFIX_BYTES = 1_024
TRIED_PODS = 2
"""Work whose answer has not begun is given to one other pod; after that it waits in the room."""


def order(pods: Sequence[Pod], booked: Sequence[Work], failing: Sequence[bool], *, own: Work, prefix: str, draw: Callable[[], float]) -> list[Pod]:
    """Pods to try in order, at most `TRIED_PODS`.

    `booked`: work outstanding on each pod; `failing`: whether it failed within the last seconds; `own`: work of this request; `prefix`: what to be
    loyal to (or empty); `draw` breaks ties.
    Example: 3 sequences of 100 tokens each and 1 sequence of 900, no prefix -> loads 3.1 and 1.3 -> the second, then the first.
    """
    if len(pods) == 1:
        return list(pods)
    loads = [work.load for work in booked]
    ranked = sorted(range(len(pods)), key=lambda i: (failing[i], loads[i], draw()))
    if prefix:
        loyal = max(range(len(pods)), key=lambda i: zlib.crc32(f"{prefix}\0{pods[i].address}".encode()))
        if not failing[loyal] and loads[loyal] + own.load <= loyal_limit(loads, own.load):
            ranked = [loyal, *(i for i in ranked if i != loyal)]
    return [pods[i] for i in ranked[:TRIED_PODS]]


def loyal_limit(loads: Sequence[float], own: float) -> float:
    """Up to which load, the request's own share in it, its prefix binds it to a pod: `BOUND` of what an average pod would have with it.

    The share is on both sides. Bounded by the plain mean of all work, a prefix would bind nobody while every pod has one or two requests.
    """
    return max(BOUND * (sum(loads) / len(loads) + own), NEARLY_IDLE + own)


def prefix_of(tenant: str, variant: str, text: str) -> str:
    """What requests that share a KV-cache prefix have in common; tenants never share one. Empty for prompts too short to matter."""
    if len(text) < PREFIX_BYTES:
        return ""
    return f"{tenant}\0{variant}\0{zlib.crc32(text[:PREFIX_BYTES].encode())}"

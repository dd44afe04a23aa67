"""Steps 7 and 8: where does the request go?

A warm variant: the pod with the least outstanding token work, preferring the pod that has seen this prompt's beginning (its KV cache holds
the prefix) as long as that one is at most a quarter busier than the average; a second pod for the retry; the waiting room last, so that a
pod that died a moment ago costs milliseconds and never an error. A cold variant: the waiting room alone, with headers that tell it what to
wake and until when.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from jevons.gateway.table import Pod

BOUND = 1.25
PREFIX_BYTES = 1_024
TRIED_PODS = 2
"""Work whose answer has not begun is given to one other pod; after that it waits in the room."""


@dataclass(frozen=True, slots=True)
class Load:
    """Readings of one pod: tokens of work outstanding, and whether it failed within the last seconds."""

    tokens: float
    failing: bool = False


def order(pods: Sequence[Pod], loads: Sequence[Load], *, work: float, prefix: str, draw: Callable[[], float]) -> list[Pod]:
    """Pods to try in order, at most `TRIED_PODS`. `work`: tokens of this request; `prefix`: what to be loyal to (or empty); `draw` breaks ties.

    Example: loads 100 and 900 tokens, no prefix -> the first, then the second.
    """
    if len(pods) == 1:
        return list(pods)
    ranked = sorted(range(len(pods)), key=lambda i: (loads[i].failing, loads[i].tokens, draw()))
    if prefix:
        limit = BOUND * (sum(load.tokens for load in loads) + work) / len(pods)
        loyal = max(range(len(pods)), key=lambda i: zlib.crc32(f"{prefix}\0{pods[i].address}".encode()))
        if not loads[loyal].failing and loads[loyal].tokens + work <= max(limit, work):
            ranked = [loyal, *(i for i in ranked if i != loyal)]
    return [pods[i] for i in ranked[:TRIED_PODS]]


def prefix_of(tenant: str, variant: str, text: str) -> str:
    """What requests that share a KV-cache prefix have in common; tenants never share one. Empty for prompts too short to matter."""
    if len(text) < PREFIX_BYTES:
        return ""
    return f"{tenant}\0{variant}\0{zlib.crc32(text[:PREFIX_BYTES].encode())}"

"""The llm-d workload variant autoscaler's second analyser ("V2"): tokens wanted against tokens that replicas can hold.

A replica's capacity is the smaller of its memory (a share of its KV cache) and its compute, which is learned: the tokens in use whenever its queue
was long, averaged per variant and length of answer; before that, guessed from batch limits. Pods that are not ready count as supply for ever.
Source: llm-d/llm-d-workload-variant-autoscaler b08b1c7 (2026-02-19), internal/engines/analyzers/saturation_v2.
"""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from jevons.simulator.policies.policy import Reading, Sample

_LEARNED_FROM = 10
_FORGOTTEN_S = 86_400.0
_STORED_S = 7 * 86_400.0


@dataclass(frozen=True, slots=True)
class Need:
    """Tokens of capacity missing (`required`), or left over (`spare`); at most one is above 0 as long as the thresholds are apart."""

    required: float
    spare: float


def need(demand: float, *, supply: float, anticipated: float, up: float = 0.85, down: float = 0.70) -> Need:
    """From the demand [tokens], the capacity of ready replicas and that of ready and coming ones. Example: 20, 100, 100 -> spare 71.4."""
    return Need(max(0.0, demand / up - anticipated), max(0.0, supply - demand / down))


@dataclass(frozen=True, slots=True)
class Lengths:
    """Mean tokens of prompts and answers; zeros when nothing has been answered yet."""

    input: float = 0.0
    output: float = 0.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Of the analyser: the share of the KV cache to use and the queue that shows saturation; of the engine: its batch limits."""

    kv_share: float = 0.80
    queue: float = 5.0
    max_num_seqs: int = 256
    max_num_batched_tokens: int = 8192


def demand_of(sample: Sample, lengths: Lengths) -> float:
    """Tokens wanted of one variant: in its pods, and queued there at the mean prompt."""
    return sum(reading.kv_tokens + reading.waiting * lengths.input for reading in sample.pods if not reading.leaving)


def held_demand(sample: Sample, lengths: Lengths) -> float:
    """Tokens wanted by what waits in front of the pods: its prompts, at least at the mean, and the answers it will get."""
    return max(float(sample.held_tokens), sample.held * lengths.input) + sample.held * lengths.output


class Capacity:
    """What has been learned of one variant's replicas [tokens each]."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._learned: dict[int, deque[tuple[float, float]]] = {}
        self._stored: tuple[float, float] | None = None

    def of(self, now: float, pods: Sequence[Reading], lengths: Lengths) -> float:
        """The median over pods that report; without any, what was last known (for a week), and 0 when nothing was."""
        reporting = [reading for reading in pods if reading.kv_capacity > 0 and not reading.leaving]
        if reporting:
            median = statistics.median(self._replica(now, reading, lengths) for reading in reporting)
            self._stored = (now, median)
            return median
        if self._stored is None or now - self._stored[0] > _STORED_S:
            return 0.0
        return self._stored[1]

    def _replica(self, now: float, reading: Reading, lengths: Lengths) -> float:
        memory = reading.kv_capacity * self._limits.kv_share
        return min(memory, self._compute(now, reading, lengths) or memory)

    def _compute(self, now: float, reading: Reading, lengths: Lengths) -> float | None:
        """Tokens in use at saturation: seen now, remembered for answers of such length, or guessed; None without any of it."""
        history = self._learned.setdefault(_bucket(lengths.output), deque(maxlen=_LEARNED_FROM))
        while history and now - history[0][0] > _FORGOTTEN_S:
            history.popleft()
        if reading.waiting >= self._limits.queue:
            history.append((now, float(reading.kv_tokens)))
            return float(reading.kv_tokens)
        if history:
            return statistics.fmean(tokens for _, tokens in history)
        if lengths.input + lengths.output <= 0:
            return None
        steady = self._limits.max_num_batched_tokens * lengths.output / (lengths.input + lengths.output)
        return min(steady, self._limits.max_num_seqs) * (lengths.input + lengths.output / 2.0)


def _bucket(output: float) -> int:
    """Short, middling and long answers."""
    return 0 if output < 100 else 1 if output < 500 else 2

"""Which part of a trace is for tuning and which for the test, and the window of it that a seed sees.

A recording of half a day or more is cut in time: of seven days three are for tuning and four for the test (of what was recorded: days missing before,
after or in between move the border). A seed's window begins at a ten-minute
mark, spread evenly over the part, and lies in it whole. A short log (the Azure hours) has too little for that: its blocks of five minutes belong to
tuning and test by turns, and a seed draws blocks of its part with replacement, in random order, until its window is full. What that loses are
trends longer than a block; bursts inside blocks stay as they were.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from jevons.simulator.scenario import Requests
from jevons.simulator.traces import Log, Trace, Zoo, columns
from jevons.simulator.traces_clients import WINDOW_S, ClientModel
from jevons.simulator.traces_synthetic import Synthetic, synthetic

FIT_SHARE = 3 / 7
LONG_S = 12 * 3600.0
BLOCK_S = 300.0
GOLDEN = 0.6180339887498949
FRESH = 10_000
"""Added to the seeds of shapes in the test, so that no arrival is seen twice."""
LOPSIDED = 0.15
LEAST = 100
"""A window with fewer requests is passed over for the next one."""


class Split(StrEnum):
    """A part of a trace."""

    FIT = "fit"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class Window:
    """`length_s` of a part, which is scored; the burn-in comes before it, from the same part."""

    split: Split
    seed: int
    length_s: float


@dataclass(frozen=True, slots=True)
class Span:
    """From where to where something was recorded [s], and the border between tuning and test; at ten-minute marks."""

    begin_s: float
    border_s: float
    end_s: float

    @classmethod
    def of(cls, begin_s: float, end_s: float) -> Span:
        """Three sevenths for tuning."""
        return cls(begin_s, begin_s + round((end_s - begin_s) * FIT_SHARE / WINDOW_S) * WINDOW_S, end_s)

    def part(self, split: Split) -> tuple[float, float]:
        """From and to of a part."""
        return (self.begin_s, self.border_s) if split is Split.FIT else (self.border_s, self.end_s)


def span(trace: Log | ClientModel) -> Span:
    """What was recorded of a trace. Where a gap takes nearly all of one part, the border goes to three sevenths of what is left."""
    if not isinstance(trace, ClientModel):
        return Span.of(0.0, trace.duration_s)
    windows = np.flatnonzero(trace.recorded)
    made = Span.of(float(windows[0] * WINDOW_S), float((windows[-1] + 1) * WINDOW_S))
    if abs((windows * WINDOW_S < made.border_s).mean() - FIT_SHARE) > LOPSIDED:
        return Span(made.begin_s, float(windows[round(FIT_SHARE * len(windows))] * WINDOW_S), made.end_s)
    return made


def room_s(trace: Trace | Synthetic, split: Split) -> float:
    """The longest window, burn-in included, that a part has room for; infinite where windows are made of blocks, or of nothing."""
    if isinstance(trace, Synthetic | Zoo) or (isinstance(trace, Log) and trace.duration_s < LONG_S):
        return math.inf
    begin, end = span(trace).part(split)
    if isinstance(trace, Log):
        return end - begin
    return WINDOW_S * longest(trace.recorded[int(begin // WINDOW_S) : int(end // WINDOW_S)])


def longest(flags: NDArray[np.bool_]) -> int:
    """Length of the longest run of True. Example: T F T T -> 2."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], flags, [False])).astype(np.int8)))
    return int((edges[1::2] - edges[::2]).max(initial=0))


def starts(of: Span, window: Window, *, whole_s: float) -> list[float]:
    """Where the seed's window of `whole_s` may begin, in order of preference. Raises ValueError when the part is too short."""
    begin, end = of.part(window.split)
    count = int((end - begin - whole_s) // WINDOW_S) + 1
    if count < 1:
        raise ValueError(f"a window of {whole_s:.0f} s does not fit into the {window.split} part of {end - begin:.0f} s; take a longer recording")
    first = int((window.seed * GOLDEN + 0.5) % 1.0 * count)
    return [begin + WINDOW_S * ((first + step) % count) for step in range(count)]


def blocks(duration_s: float, window: Window, *, whole_s: float) -> list[float]:
    """Where the blocks begin that make up the seed's window of a short log, in order."""
    count = max(2, int(duration_s // BLOCK_S))
    length = min(BLOCK_S, duration_s / count)
    mine = np.arange(0 if window.split is Split.FIT else 1, count, 2)
    drawn = np.random.default_rng([window.seed, 6, window.split is Split.TEST]).choice(mine, int(np.ceil(whole_s / length)))
    return [float(number * length) for number in drawn]


def requests_of(trace: Trace | Synthetic, clients: Sequence[int], window: Window, *, burn_in_s: float, peak_rps: float = 0.0) -> Requests:
    """The requests of the burn-in and the window, from 0 on. clients: of a client model; peak_rps: of a shape.

    Raises ValueError for a trace that has no LLM calls, or too few.
    """
    whole_s = burn_in_s + window.length_s
    if isinstance(trace, Synthetic):
        seed = window.seed if window.split is Split.FIT else FRESH + window.seed
        return synthetic(trace.shape, peak_rps=peak_rps, length_s=whole_s, seed=seed)
    if isinstance(trace, ClientModel):
        for start_s in starts(span(trace), window, whole_s=whole_s):
            first, last = int(start_s // WINDOW_S), int(np.ceil((start_s + whole_s) / WINDOW_S))
            if not trace.recorded[first:last].all():
                continue
            found = trace.sample(clients, start_s=start_s, length_s=whole_s, seed=window.seed)
            if (found.at_s >= burn_in_s).sum() >= LEAST:
                return found
        raise ValueError(
            f"{trace.name}: no window of {whole_s:.0f} s without gaps and with {LEAST} requests in its {window.split} part; "
            "take a fuller or longer recording"
        )
    if isinstance(trace, Zoo):
        raise ValueError(f"{trace.name}: calls without tokens; only logs of LLM requests and client models have windows")  # noqa: TRY004  # bad data
    if trace.duration_s >= LONG_S:
        for start_s in starts(span(trace), window, whole_s=whole_s):
            found = cut(trace.requests, start_s, whole_s)
            if (found.at_s >= burn_in_s).sum() >= LEAST:
                return found
        raise ValueError(f"{trace.name}: no window of {whole_s:.0f} s with {LEAST} requests in its {window.split} part; take a fuller recording")
    count = max(2, int(trace.duration_s // BLOCK_S))
    length = min(BLOCK_S, trace.duration_s / count)
    pieces = [cut(trace.requests, start_s, length) for start_s in blocks(trace.duration_s, window, whole_s=whole_s)]
    joined = columns(
        np.concatenate([piece.at_s + number * length for number, piece in enumerate(pieces)]),
        np.concatenate([piece.input_tokens for piece in pieces]),
        np.concatenate([piece.output_tokens for piece in pieces]),
    )
    found = cut(joined, 0.0, whole_s)
    if (count := int((found.at_s >= burn_in_s).sum())) < LEAST:
        minutes = window.length_s / 60
        raise ValueError(f"{trace.name}: {count} requests in a window of {minutes:g} min, at least {LEAST} are needed; take a fuller recording")
    return found


def cut(requests: Requests, start_s: float, length_s: float) -> Requests:
    """Those that arrive in [start_s, start_s + length_s), counted from `start_s`."""
    first, last = np.searchsorted(requests.at_s, (start_s, start_s + length_s))
    return columns(requests.at_s[first:last] - start_s, requests.input_tokens[first:last], requests.output_tokens[first:last])

"""Requests over time: the public traces as arrivals, and what people do to them (a slice, compressed in time).

An arrival is only its instant and its sizes; who answers, and how fast, is not its business. Logs are read by `traces.read_arrivals`.
"""

from __future__ import annotations

import csv
import gzip
import random
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TextIO


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request of `input_tokens` and `output_tokens` arrives at `at_s` [s from the start] for `model` (empty: the only one there is)."""

    at_s: float
    input_tokens: int
    output_tokens: int
    model: str = ""


@contextmanager
def opened(path: Path) -> Iterator[TextIO]:
    """A text file, unzipped when its name ends in .gz; a byte order mark at its beginning is not part of it."""
    with gzip.open(path, "rt", encoding="utf-8-sig", newline="") if path.suffix == ".gz" else path.open(encoding="utf-8-sig", newline="") as file:
        yield file


def load_zoo(path: Path, *, seed: int, sizes: Sequence[Arrival]) -> list[Arrival]:
    """A model zoo (`model_id,minute,count`): each call at a random instant of its minute.

    The trace knows only counts, so sizes are drawn from `sizes`.
    """
    chance = random.Random(seed)
    arrivals: list[Arrival] = []
    with opened(path) as file:
        for row in csv.DictReader(file):
            for _ in range(int(row["count"])):
                size = chance.choice(sizes)
                at_s = (int(row["minute"]) + chance.random()) * 60.0
                arrivals.append(Arrival(at_s, size.input_tokens, size.output_tokens, row["model_id"]))
    return sorted(arrivals, key=lambda arrival: arrival.at_s)


def compressed(arrivals: Iterable[Arrival], factor: float) -> list[Arrival]:
    """The same arrivals `factor` times as fast: an hour at factor 60 is a minute. Sizes stay. `factor` > 0."""
    if factor <= 0:
        raise ValueError(f"factor: {factor} must be above 0")
    return [replace(arrival, at_s=arrival.at_s / factor) for arrival in arrivals]


def window(arrivals: Iterable[Arrival], *, start_s: float, length_s: float) -> list[Arrival]:
    """The arrivals in [start_s, start_s + length_s), counted from `start_s`."""
    return [replace(arrival, at_s=arrival.at_s - start_s) for arrival in arrivals if start_s <= arrival.at_s < start_s + length_s]

"""ServeGen: a model's clients as distributions, and requests drawn from them.

Per client and 10-minute window: rate, and family and shape of the gaps between arrivals (G: gamma, W: Weibull). Per client and 6 hours: quantiles of
input and output tokens. For less load take fewer clients at their own rate: thinning would take the bursts away, slowing would exaggerate them.

What is assumed where the data says nothing:
* Each window's arrivals are a stretch of the *stationary* renewal process with the window's gaps: the first gap of a window is the rest of one
  that began before it (length-biased, cut at a uniform point). Beginning each window with an arrival instead would add (cv^2 - 1) / 2 requests to
  each of them, which doubles the rate of a bursty client. A gap in progress goes on across the border, in units of mean gaps, when the shape is
  the same on both sides.
* Input and output tokens of a request are independent. Between quantiles the distribution is linear, above the 99th log-linear, below the first flat.
* A client without lengths in some 6 hours has those of its nearest 6 hours with any; one without any has, request by request, those of another client
  of the model, drawn in proportion to mean rates.
* Windows in which no client has a rate are gaps of the recording: `recorded` is False there.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from jevons.simulator.scenario import Floats, Requests

WINDOW_S = 600.0
LENGTHS_S = 21600.0
LAST_WINDOW = 60_000
"""A year of windows: a number above that is none."""
QUANTILES = np.array([0.0, 0.01, 0.05, 0.10, 0.25, 0.50, 0.75, 0.90, 0.95, 0.99, 1.0])
_NAMES = ("p1", "p1", "p5", "p10", "p25", "p50", "p75", "p90", "p95", "p99", "p100")


@dataclass(frozen=True)
class ClientModel:
    """The clients of one model. rate [1/s], weibull and shape: [clients, windows]; shape is 1 (Poisson) where none was fitted.

    lengths[client][k] = (input quantiles, output quantiles) in the k-th 6 hours, at `QUANTILES`; clients without any are absent.
    """

    name: str
    clients: tuple[str, ...]
    rate: Floats
    weibull: NDArray[np.bool_]
    shape: Floats
    lengths: Mapping[int, Mapping[int, tuple[Floats, Floats]]]

    @property
    def duration_s(self) -> float:
        """Of the recording."""
        return float(self.rate.shape[1] * WINDOW_S)

    @cached_property
    def recorded(self) -> NDArray[np.bool_]:
        """Per window: whether any client has a rate."""
        return np.asarray((self.rate > 0).any(axis=0))

    @cached_property
    def mean_rate(self) -> Floats:
        """Per client, over recorded windows [1/s]."""
        return np.asarray(self.rate[:, self.recorded].mean(axis=1), np.float64)

    @cached_property
    def cv2(self) -> Floats:
        """Squared coefficient of variation of the gaps, by client and window."""
        table = np.array([math.exp(math.lgamma(1.0 + 2.0 / k) - 2.0 * math.lgamma(1.0 + 1.0 / k)) - 1.0 for k in self.shape[self.weibull]])
        squares = 1.0 / self.shape
        squares[self.weibull] = table
        return squares

    @cached_property
    def donors(self) -> tuple[NDArray[np.int64], Floats]:
        """Clients with lengths, and the chance of each to lend them."""
        having = np.array(sorted(self.lengths), np.int64)
        weight = self.mean_rate[having] + 1e-12
        return having, np.asarray(weight / weight.sum(), np.float64)

    def mean_tokens(self) -> Floats:
        """Mean input and output tokens per client, [clients, 2]: those of its quantiles, or the donors' mean."""
        grid = (np.arange(200) + 0.5) / 200
        means = np.full((len(self.clients), 2), np.nan)
        for client, bins in self.lengths.items():
            means[client] = np.mean([[np.mean(_inverse(given, grid)), np.mean(_inverse(wanted, grid))] for given, wanted in bins.values()], axis=0)
        having, chance = self.donors
        means[np.isnan(means[:, 0])] = chance @ means[having]
        return means

    def sample(self, clients: Sequence[int], *, start_s: float, length_s: float, seed: int) -> Requests:
        """Requests of `clients` in [start_s, start_s + length_s) of the recording, counted from `start_s`. Equal arguments, equal requests."""
        parts = [(client, self._arrivals(client, start_s, length_s, np.random.default_rng([seed, 1, client]))) for client in sorted(clients)]
        at_s = np.concatenate([at for _, at in parts]) if parts else np.empty(0)
        owner = np.repeat([client for client, _ in parts], [len(at) for _, at in parts]).astype(np.int64)
        order = np.argsort(at_s, kind="stable")
        at_s, owner = at_s[order], owner[order]
        given, wanted = self._sizes(owner, start_s + at_s, np.random.default_rng([seed, 2]))
        zeros = np.zeros(len(at_s), np.int32)
        return Requests(at_s, given, wanted, zeros, zeros.astype(np.float32))

    def _arrivals(self, client: int, start_s: float, length_s: float, chance: np.random.Generator) -> Floats:
        """Instants of one client, from `start_s`."""
        first, last = int(start_s // WINDOW_S), int(np.ceil((start_s + length_s) / WINDOW_S))
        times: list[Floats] = []
        ahead, law = 0.0, (False, -1.0)
        for window in range(first, min(last, self.rate.shape[1])):
            rate = float(self.rate[client, window])
            if rate <= 0:
                continue
            here = (bool(self.weibull[client, window]), float(self.shape[client, window]))
            if here != law:
                ahead, law = _residual(*here, chance), here
            marks, ahead = _renewal(*here, ahead, rate * WINDOW_S, chance)
            times.append(window * WINDOW_S + marks / rate - start_s)
        every = np.concatenate(times) if times else np.empty(0)
        return np.asarray(every[(every >= 0) & (every < length_s)], np.float64)

    def _sizes(self, owner: NDArray[np.int64], at_s: Floats, chance: np.random.Generator) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Input and output tokens of requests by their client and instant."""
        having, share = self.donors
        orphans = ~np.isin(owner, having)
        owner = owner.copy()
        owner[orphans] = chance.choice(having, int(orphans.sum()), p=share)
        bins = (at_s // LENGTHS_S).astype(np.int64)
        uniform = chance.random((2, len(owner)))
        tokens = np.ones((2, len(owner)))
        key = owner * 100_000 + bins
        order = np.argsort(key, kind="stable")
        starts = np.flatnonzero(np.diff(key[order], prepend=-1))
        for group in np.split(order, starts[1:]) if len(order) else ():
            known = self.lengths[int(owner[group[0]])]
            nearest = min(known, key=lambda number: (abs(number - bins[group[0]]), number))
            for side in range(2):
                tokens[side, group] = _inverse(known[nearest][side], uniform[side, group])
        rounded = np.maximum(np.rint(tokens), 1).astype(np.int32)
        return rounded[0], rounded[1]


def read_client_model(name: str, rates: Iterable[Mapping[str, str]], lengths: Iterable[Mapping[str, str]]) -> ClientModel:
    """From the rows of the two files. Raises ValueError for what is no such row, and when there is no rate or no length at all."""
    rows = [_rate(number, row) for number, row in enumerate(rates, start=2)]
    if not rows:
        raise ValueError("no rates below the header; take the files out of the folder, or fill them")
    clients = tuple(dict.fromkeys(row[0] for row in rows))
    index = {client: number for number, client in enumerate(clients)}
    cells = (len(clients), max(row[1] for row in rows) + 1)
    rate, weibull, shape = np.zeros(cells), np.zeros(cells, np.bool_), np.ones(cells)
    for client, window, rps, is_weibull, fitted in rows:
        at = index[client], window
        rate[at], weibull[at], shape[at] = rps, is_weibull, fitted
    if not rate.any():
        raise ValueError("no client has a rate above 0; take the files out of the folder")
    quantiles: dict[int, dict[int, tuple[Floats, Floats]]] = {}
    for number, row in enumerate(lengths, start=2):
        try:
            if row["client"] in index:
                given, wanted = (np.array([float(row[f"{side}_{point}"]) for point in _NAMES]) for side in ("in", "out"))
                if np.isfinite(given).all() and np.isfinite(wanted).all():
                    quantiles.setdefault(index[row["client"]], {})[int(float(row["t_start_s"]) // LENGTHS_S)] = (given, wanted)
        except KeyError as error:
            raise ValueError(f"no column {error.args[0]} among the lengths; it is needed") from error
        except (TypeError, ValueError) as error:
            raise ValueError(f"line {number} of the lengths: {error}; mend or delete it") from error
    if not quantiles:
        raise ValueError("no client that has a rate has token lengths; add some")
    return ClientModel(name, clients, rate, weibull, shape, quantiles)


def _rate(number: int, row: Mapping[str, str]) -> tuple[str, int, float, bool, float]:
    """Client, window, rate [1/s], whether its gaps are Weibull, and their shape. A rate that is not finite is none."""
    try:
        window, rps, cv = int(row["window"]), float(row["rate_rps"]), float(row["cv"] or 1.0)
        family, fitted = (row.get("family") or "").upper(), float(row.get("shape") or 1.0)
    except (TypeError, ValueError) as error:
        raise ValueError(f"line {number} of the rates: {error}; mend or delete it") from error
    shape = fitted if family else 1.0 / max(cv if math.isfinite(cv) else 1.0, 0.05) ** 2
    if not 0 <= window < LAST_WINDOW or rps < 0 or not (math.isfinite(shape) and shape > 0):
        raise ValueError(f"line {number} of the rates: window {window}, rate {rps:g}, shape {shape:g}: below 0 or out of reach; mend or delete it")
    return row["client"], window, rps if math.isfinite(rps) else 0.0, family.startswith("W"), shape


def _renewal(weibull: bool, shape: float, ahead: float, length: float, chance: np.random.Generator) -> tuple[Floats, float]:
    """Arrivals of a renewal process with mean gap 1 in [0, length), the first at `ahead`; and how far after `length` the next one is."""
    marks, reached = [], ahead
    while reached < length:
        count = int((length - reached) * 1.2) + 16
        steps = reached + np.concatenate(([0.0], np.cumsum(_gaps(weibull, shape, count, chance))))
        marks.append(steps[:-1])
        reached = float(steps[-1])
    every = np.concatenate([*marks, [reached]])
    inside = int(np.searchsorted(every, length))
    return every[:inside], float(every[inside] - length)


def _gaps(weibull: bool, shape: float, count: int, chance: np.random.Generator) -> Floats:
    """Gaps with mean 1."""
    return np.asarray(chance.weibull(shape, count) / _weibull_mean(shape) if weibull else chance.gamma(shape, 1.0 / shape, count), np.float64)


def _residual(weibull: bool, shape: float, chance: np.random.Generator) -> float:
    """From a random instant to the next arrival of the stationary process with mean gap 1: a uniform part of a length-biased gap.

    A length-biased gamma gap has shape + 1; of a length-biased Weibull gap x, x^shape is gamma distributed with 1 + 1/shape.
    """
    if weibull:
        return float(chance.random() * chance.gamma(1.0 + 1.0 / shape) ** (1.0 / shape) / _weibull_mean(shape))
    return float(chance.random() * chance.gamma(shape + 1.0) / shape)


def _weibull_mean(shape: float) -> float:
    return math.exp(math.lgamma(1.0 + 1.0 / shape))


def _inverse(quantiles: Floats, uniform: Floats) -> Floats:
    """Inverse CDF through `quantiles` at `QUANTILES`."""
    values = np.interp(uniform, QUANTILES, quantiles)
    top = uniform > QUANTILES[-2]
    low, high = max(quantiles[-2], 1.0), max(quantiles[-1], 1.0)
    values[top] = low * (high / low) ** ((uniform[top] - QUANTILES[-2]) / (1.0 - QUANTILES[-2]))
    return np.asarray(values, np.float64)

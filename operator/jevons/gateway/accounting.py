"""Counts every finished request once: from access-log records to totals, which Prometheus scrapes and a checkpoint keeps.

A request is *useful* when it completed, was not cut short, was inside its class's objectives, and was routed by a policy whose quality holds
(see `useful`). Answers that broke off report no usage; their tokens are the data events that passed times the tokens per event that this
variant's complete answers have shown. `Totals` are plain numbers with a JSON form: the tailer stores them together with its place in the log, so
a killed process repeats nothing and skips nothing, and counters do not fall back to zero. Labels are bounded: names come from the table,
and of teams, which clients may name freely, the first `TEAMS_MAX` of a deployment have their own label and the rest are `other`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any

from jevons.gateway.access_log import Record, Refused

TEAMS_MAX = 50
REMEMBERED = 16_384
FORGOTTEN_AFTER_S = 86_400.0
"""Series of a deployment that is no more stay for a day: long enough to be scraped, and for one that is made anew."""
COLD_START_MS = 500.0
"""A shorter wait was a pod that could not be reached, not one that had to start."""
CLIENT_CLOSED = 499

COMPLETE = frozenset({"stop", "tool_calls"})
ALPHA = 0.02

TTFT_S = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0)
ITL_S = (0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0)
WAIT_S = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 45.0, 60.0, 90.0, 120.0, 180.0, 300.0, 600.0)
GAP_S = (0.025, 0.05, 0.1, 0.25)

COUNTERS: dict[str, tuple[str, ...]] = {
    "arrivals": ("class",),
    "input_tokens": ("class", "variant"),
    "output_tokens": ("class", "variant"),
    "requests": ("class", "variant", "reason", "code", "team"),
    "useful": ("class", "variant"),
    "cold_starts": ("variant",),
    "score": ("class", "bin"),
    "refusals": ("code",),
}
HISTOGRAMS: dict[str, tuple[tuple[str, ...], tuple[float, ...]]] = {
    "ttft_seconds": (("class", "variant", "cold"), TTFT_S),
    "itl_seconds": (("class", "variant", "cold"), ITL_S),
    "wait_seconds": (("variant",), WAIT_S),
    "gap_seconds": (("class", "variant"), GAP_S),
}
"""name -> (labels beside namespace and deployment, upper bounds [s]).

`gap_seconds`: gaps between data events, each at its bucket's bound (stalls inside a stream).
"""

Labels = tuple[str, ...]


@dataclass(slots=True)
class Totals:
    """Counter values by metric and label values; histograms as bucket counts (the last is +Inf, none cumulative) and a sum."""

    counters: dict[str, dict[Labels, float]] = field(default_factory=lambda: {name: {} for name in COUNTERS})
    buckets: dict[str, dict[Labels, list[int]]] = field(default_factory=lambda: {name: {} for name in HISTOGRAMS})
    sums: dict[str, dict[Labels, float]] = field(default_factory=lambda: {name: {} for name in HISTOGRAMS})

    def add(self, name: str, labels: Labels, value: float = 1.0) -> None:
        """Raise a counter."""
        series = self.counters[name]
        series[labels] = series.get(labels, 0.0) + value

    def observe(self, name: str, labels: Labels, value: float, times: int = 1) -> None:
        """Put `value` [s] into a histogram, `times` times."""
        bounds = HISTOGRAMS[name][1]
        counts = self.buckets[name].setdefault(labels, [0] * (len(bounds) + 1))
        counts[bisect_left(bounds, value)] += times
        self.sums[name][labels] = self.sums[name].get(labels, 0.0) + value * times

    def deployments(self) -> set[Labels]:
        """Those (namespace, name) that have series."""
        every: list[Iterable[Labels]] = [*self.counters.values(), *self.buckets.values()]
        return {labels[:2] for series in every for labels in series}

    def drop(self, deployments: AbstractSet[Labels]) -> None:
        """Let go of all series of these (namespace, name)."""
        every: tuple[dict[str, dict[Labels, Any]], ...] = (self.counters, self.buckets, self.sums)
        for family in every:
            for name, series in family.items():
                family[name] = {labels: value for labels, value in series.items() if labels[:2] not in deployments}

    def dump(self) -> dict[str, Any]:
        """As JSON-able data."""
        return {
            "counters": {name: [[*labels, value] for labels, value in series.items()] for name, series in self.counters.items()},
            "histograms": {
                name: [[*labels, self.sums[name][labels], counts] for labels, counts in series.items()] for name, series in self.buckets.items()
            },
        }

    @classmethod
    def load(cls, data: dict[str, Any]) -> Totals:
        """From `dump`'s data. A histogram whose bounds have changed begins anew. KeyError, TypeError or ValueError when it is not that."""
        totals = cls()
        for name in COUNTERS:
            for *labels, value in data["counters"].get(name, []):
                totals.counters[name][tuple(labels)] = float(value)
        for name, (_, bounds) in HISTOGRAMS.items():
            for *labels, total, counts in data["histograms"].get(name, []):
                if len(counts) == len(bounds) + 1:
                    totals.buckets[name][tuple(labels)] = [int(count) for count in counts]
                    totals.sums[name][tuple(labels)] = float(total)
        return totals


@dataclass(slots=True)
class Accounting:
    """The counting of one gateway pod. `per_event`: tokens per data event by `namespace/name@variant`, learned from complete streams."""

    totals: Totals = field(default_factory=Totals)
    per_event: dict[str, float] = field(default_factory=dict)
    gone: dict[Labels, float] = field(default_factory=dict)
    """Deployments (namespace, name) that have series and exist no more, by when that was first seen [s since the epoch]."""
    _seen: OrderedDict[str, None] = field(default_factory=OrderedDict)
    _teams: dict[Labels, set[str]] = field(default_factory=dict)
    _waits: dict[Labels, list[tuple[float, float]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for namespace, deployment, *_, team in self.totals.counters["requests"]:
            if team != "other":
                self._teams.setdefault((namespace, deployment), set()).add(team)

    def count(self, record: Record) -> bool:
        """Count one record; False when it is none of its own (a redirect's line) or was counted already."""
        if record.redirected or record.id in self._seen:
            return False
        self._seen[record.id] = None
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        where = (record.namespace, record.deployment)
        served = (*where, record.klass, record.variant)
        totals = self.totals
        totals.add("arrivals", (*where, record.klass))
        if record.score_bin is not None:
            totals.add("score", (*where, record.klass, f"{record.score_bin:02d}"))
        code = record.code or CLIENT_CLOSED
        totals.add("requests", (*served, record.reason, str(code), self._team(record)))
        if record.error:
            totals.add("refusals", (*where, record.error))
        tokens_in, tokens_out = self.tokens(record)
        totals.add("input_tokens", served, tokens_in)
        totals.add("output_tokens", served, tokens_out)
        totals.add("useful", served, 1.0 if useful(record) else 0.0)
        self._latency(record, served, tokens_out)
        self._wait(record, where)
        return True

    def refused(self, one: Refused) -> None:
        """Count a request that no picker routed."""
        self.totals.add("refusals", (one.namespace, one.deployment, one.code))

    def forget(self, existing: AbstractSet[Labels], now_s: float) -> None:
        """Let go of deployments that are not among `existing` (namespace, name) and have not been for a day. Refusals without a model always stay."""
        known = self.totals.deployments()
        self.gone = {where: self.gone.get(where, now_s) for where in known - existing - {("", "")}}
        old = {where for where, since in self.gone.items() if now_s - since >= FORGOTTEN_AFTER_S}
        if not old:
            return
        self.totals.drop(old)
        self.gone = {where: since for where, since in self.gone.items() if where not in old}
        self._teams = {where: teams for where, teams in self._teams.items() if where not in old}
        self._waits = {labels: spans for labels, spans in self._waits.items() if labels[:2] not in old}
        gone = {f"{namespace}/{name}" for namespace, name in old}
        self.per_event = {name: value for name, value in self.per_event.items() if name.partition("@")[0] not in gone}

    def tokens(self, record: Record) -> tuple[float, float]:
        """Input and output tokens of one request: the engine's own count, else an estimate when an answer began, else nothing."""
        name = f"{record.namespace}/{record.deployment}@{record.variant}"
        if record.completion_tokens is not None and record.events and not record.aborted:
            seen = record.completion_tokens / record.events
            known = self.per_event.setdefault(name, seen)
            self.per_event[name] = known + ALPHA * (seen - known)
        passed = record.events * self.per_event.get(name, 1.0)
        if record.prompt_tokens is not None:
            said = float(record.completion_tokens or 0)
            return float(record.prompt_tokens), max(said, passed) if record.aborted else said
        if record.code != 200 or (record.aborted and not record.events):
            return 0.0, 0.0
        return record.estimated_in or 0.0, passed

    def _team(self, record: Record) -> str:
        team = record.team[:63]
        known = self._teams.setdefault((record.namespace, record.deployment), set())
        if team in known:
            return team
        if len(known) >= TEAMS_MAX:
            return "other"
        known.add(team)
        return team

    def _latency(self, record: Record, served: Labels, tokens_out: float) -> None:
        cold = "true" if record.cold else "false"
        first = ttft_ms(record)
        if first is not None:
            self.totals.observe("ttft_seconds", (*served, cold), first / 1000)
        gap = itl_ms(record, tokens_out)
        if gap is not None:
            self.totals.observe("itl_seconds", (*served, cold), gap / 1000)
        for upper, times in zip((*GAP_S, 2 * GAP_S[-1]), record.gaps, strict=True):
            if times:
                self.totals.observe("gap_seconds", served, upper, times)

    def _wait(self, record: Record, where: Labels) -> None:
        """A wait for a variant to start. Waits that overlap in time are one cold start, whatever order their requests end in."""
        if not record.cold or record.arrived_ms is None or (record.wait_ms or 0.0) < COLD_START_MS:
            return
        wait = record.wait_ms or 0.0
        label = (*where, record.variant)
        self.totals.observe("wait_seconds", label, wait / 1000)
        begin, end = record.arrived_ms, record.arrived_ms + wait
        spans = self._waits.setdefault(label, [])
        touching = [span for span in spans if span[0] <= end and begin <= span[1]]
        if not touching:
            self.totals.add("cold_starts", label)
        merged = (min([begin, *(one[0] for one in touching)]), max([end, *(one[1] for one in touching)]))
        self._waits[label] = [*(span for span in spans if span not in touching), merged][-8:]

    def dump(self) -> dict[str, Any]:
        """Everything that must not be forgotten, as JSON-able data."""
        waits = [[*labels, spans] for labels, spans in self._waits.items()]
        gone = [[*where, since] for where, since in self.gone.items()]
        return {"totals": self.totals.dump(), "per_event": self.per_event, "waits": waits, "gone": gone}

    @classmethod
    def load(cls, data: dict[str, Any]) -> Accounting:
        """From `dump`'s data. KeyError, TypeError or ValueError when it is not that."""
        per_event = {str(name): float(value) for name, value in data["per_event"].items()}
        accounting = cls(totals=Totals.load(data["totals"]), per_event=per_event)
        accounting.gone = {(namespace, name): float(since) for namespace, name, since in data.get("gone", [])}
        accounting._waits = {tuple(labels): [(begin, end) for begin, end in spans] for *labels, spans in data["waits"]}
        return accounting


def ttft_ms(record: Record) -> float | None:
    """Arrival to first data event; None for answers that were not streamed, or never began."""
    if record.first_ms is None or record.arrived_ms is None:
        return None
    return max(0.0, record.first_ms - record.arrived_ms)


def itl_ms(record: Record, tokens_out: float) -> float | None:
    """Mean time per token of an answer after its first; None for answers of one token, or not streamed. `tokens_out`: of all choices together."""
    each = tokens_out / record.choices
    if record.first_ms is None or record.last_ms is None or record.events < 2 or each <= 1:
        return None
    return (record.last_ms - record.first_ms) / (each - 1)


def completed(record: Record) -> bool:
    """Whether the answer came to its own end. `length` is one when the client itself had set that length; our ceilings cut answers short."""
    if record.code != 200 or record.aborted:
        return False
    if record.finish == "length":
        return record.limit_by_client
    if record.finish:
        return record.finish in COMPLETE
    return record.done or record.events == 0  # no reason given: embeddings, and engines that say none


def useful(record: Record) -> bool:
    """Completed, inside its class's objectives, by a policy whose quality holds.

    Streamed: first token within the TTFT objective, counted from arrival (a cold start is a late answer), and mean gap within the ITL objective.
    Not streamed: whole answer within TTFT + ITL x tokens. Example: 2,000 ms and 60 ms, 100 tokens -> 8,000 ms (test_accounting_useful.py).
    """
    if not completed(record) or not record.quality_ok:
        return False
    ttft_limit = record.ttft_objective_ms if record.ttft_objective_ms is not None else float("inf")
    itl_limit = record.itl_objective_ms if record.itl_objective_ms is not None else float("inf")
    first = ttft_ms(record)
    tokens = float(record.completion_tokens or record.events)
    if first is None:
        arrived = record.arrived_ms if record.arrived_ms is not None else record.start_ms
        return record.start_ms + record.duration_ms - arrived <= ttft_limit + (itl_limit * tokens / record.choices if tokens else 0.0)
    gap = itl_ms(record, tokens)
    return first <= ttft_limit and (gap is None or gap <= itl_limit)

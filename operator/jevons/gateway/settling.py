"""What a finished request gives back: the work counted on its pod, what its engine's usage teaches about lengths, what its session really cost.

Called by the tailer for every line of the access log, also for the line of a request that left through the waiting room: its pick had been
counted too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from jevons.gateway.access_log import Record
from jevons.gateway.inflight import Inflight
from jevons.gateway.sessions import SessionTable
from jevons.gateway.table import Table, Variant
from jevons.gateway.tokens import TokenEstimator

_POD_FAILED = frozenset({"UF", "UC", "URX", "UPE", "LR"})


@dataclass(slots=True)
class Settling:
    """The tailer's rows of the shared files, and the token estimator that pickers read. `table` gives the last table (for prices)."""

    inflight: Inflight
    sessions: SessionTable
    table: Callable[[], Table]
    tokens: TokenEstimator = field(default_factory=TokenEstimator)

    def __call__(self, record: Record, counted: bool) -> None:
        """Settle one record. `counted`: it was a request of its own, seen for the first time."""
        ended_s = (record.start_ms + record.duration_ms) / 1000
        if record.picked:
            arrived_s = (record.arrived_ms if record.arrived_ms is not None else record.start_ms) / 1000
            self.inflight.done(record.picked, record.work, arrived_s)
            elsewhere = record.attempts > 1 and bool(record.upstream) and record.upstream != record.picked
            if elsewhere or not _POD_FAILED.isdisjoint(record.flags.split(",")):
                self.inflight.failed(record.picked, ended_s)
        usd = self._usd(record) if counted else 0.0 if record.redirected else None
        more = 0.0 if usd is None else usd - record.reserved_usd
        relayed = counted and not record.picked and record.events > 0  # by the waiting room: no picker has noted this call
        if record.session is not None and (more or relayed):
            self.sessions.note(record.session, ended_s, quality=self._quality(record) if relayed else 0.0, usd=more, calls=int(relayed))
        if counted and record.raw_tokens and record.prompt_tokens and not record.aborted:
            name = f"{record.namespace}/{record.deployment}@{record.variant}"
            answer = (record.completion_tokens or 0) / record.choices  # usage is of all of them together
            self.tokens.observe(name, raw=record.raw_tokens, prompt_tokens=record.prompt_tokens, completion_tokens=answer)

    def _variant(self, record: Record) -> Variant | None:
        model = self.table().models.get(f"{record.namespace}/{record.deployment}")
        return model.variant(record.variant) if model else None

    def _quality(self, record: Record) -> float:
        variant = self._variant(record)
        return variant.quality if variant else 0.0

    def _usd(self, record: Record) -> float | None:
        """What the request cost; None when its variant has no price, or its tokens are not known."""
        variant = self._variant(record)
        if variant is None or variant.usd_per_1k is None:
            return None
        if record.prompt_tokens is None:
            return 0.0 if record.code != 200 else None
        return variant.usd_per_1k * (record.prompt_tokens + (record.completion_tokens or 0)) / 1000

"""One pass over Prometheus: from answers to `Metrics`, in which every value is known with its time, or unknown with its reason.

The `MetricSource` of ports.py. It never raises: a source that is down, slow, lying or half there is `health` and `Unknown`. A thread that hangs (a
DNS look-up has no deadline) is left behind, and no second one is started beside it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeAlias

import structlog

from jevons.core.observed import Known, Observed, Unknown
from jevons.core.snapshot import PodSignals
from jevons.ports import Metrics
from jevons.signals import dcgm, demand, queries
from jevons.signals.engines import TABLES
from jevons.signals.engines.table import EngineTable, Series
from jevons.signals.prometheus import MetricsUnavailable, Prometheus
from jevons.signals.samples import SeriesData, Times, combine, distinct, grown_at_s, latest, mean, parse, rate

HARD_DEADLINE_S = 5.0
PodKey: TypeAlias = tuple[str, str]
Read: TypeAlias = Callable[[SeriesData, Times], Observed[float]]
Fold: TypeAlias = Callable[[Sequence[float]], float]

log = structlog.get_logger(__name__)


def nothing(reason: str, detail: str, asked: int = 0) -> Metrics:
    """What is known when nobody answered."""
    return Metrics(health=Unknown(reason, detail), pods={}, demand={}, outcomes={}, held={}, queries=asked)


class PrometheusReader:
    """Reads all signals of the cluster. `scrape_interval_s` dates what is stale (two intervals)."""

    def __init__(self, prometheus: Prometheus, *, scrape_interval_s: float = 15.0, clock: Callable[[], float] = time.time) -> None:
        self._prometheus, self._clock = prometheus, clock
        self._stale_after_s = 2.0 * scrape_interval_s
        self._queries = queries.build(scrape_interval_s)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="prometheus")
        self._running: Future[list[list[dict[str, Any]] | MetricsUnavailable]] | None = None

    async def read(self) -> Metrics:
        """Never raises; ends within 5 s."""
        if self._running is not None and not self._running.done():
            return nothing("SourceDown", "the last question still hangs")
        self._running = self._thread.submit(self._prometheus.ask, self._queries.all)
        asked = len(self._queries.all)
        try:
            answers = await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(self._running)), HARD_DEADLINE_S)
            metrics = join(answers, clock_s=self._clock(), stale_after_s=self._stale_after_s)
        except TimeoutError:
            return nothing("SourceDown", f"no answer within {HARD_DEADLINE_S:.0f} s", asked)
        except MetricsUnavailable as error:
            return nothing("SourceDown", str(error), 1)
        except Exception as error:  # noqa: BLE001  whatever a broken answer makes the library do, the pass goes on without it
            log.warning("Prometheus could not be read", error=repr(error))
            return nothing("SourceDown", repr(error)[:200], asked)
        return metrics

    def close(self) -> None:
        """Give the thread up without waiting for it."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._prometheus.close()


def join(answers: Sequence[list[dict[str, Any]] | MetricsUnavailable], *, clock_s: float, stale_after_s: float) -> Metrics:
    """`Metrics` from the answers to the queries of a pass, in their order."""
    failed = [answer for answer in answers if isinstance(answer, MetricsUnavailable)]
    gauges, counters, gpus, gateways, rates, scores, totals = (
        None if isinstance(answer, MetricsUnavailable) else parse(answer) for answer in answers
    )
    now_s = demand.prometheus_now(gateways or [])
    times = Times(now_s=clock_s if now_s is None else now_s, skew_s=0.0 if now_s is None else clock_s - now_s, stale_after_s=stale_after_s)
    alive = demand.liveness(gateways, times)
    return Metrics(
        health=Unknown("Partial", str(failed[0])) if failed else Known(None, clock_s),
        pods=_pods(gauges or [], counters or [], gpus or [], times),
        demand=demand.classes(rates or [], scores or [], alive, times),
        outcomes=demand.outcomes(totals or [], alive, times),
        held=demand.held(totals or [], times),
        queries=len(answers),
    )


def _pods(gauges: list[SeriesData], counters: list[SeriesData], gpus: list[SeriesData], times: Times) -> dict[PodKey, PodSignals]:
    """Signals by pod, of engines and GPUs together."""
    engines: dict[PodKey, list[SeriesData]] = {}
    for series in [*gauges, *counters]:
        if series.labels.get("__name__") and series.labels.get("namespace") and series.labels.get("pod"):
            engines.setdefault((series.labels["namespace"], series.labels["pod"]), []).append(series)
    devices: dict[PodKey, list[SeriesData]] = {}
    for series in gpus:
        if (pod := dcgm.holder(series.labels)) is not None:
            devices.setdefault(pod, []).append(series)
    return {pod: _signals(engines.get(pod, []), devices.get(pod, []), times) for pod in engines.keys() | devices.keys()}


def _signals(engine: list[SeriesData], devices: list[SeriesData], times: Times) -> PodSignals:
    by_name: dict[str, list[SeriesData]] = {}
    for series in engine:
        by_name.setdefault(series.labels["__name__"], []).append(series)
    table = next((table for table in TABLES if any(series.name in by_name for series in table.gauges + table.counters)), None)
    gpu = {name: [series for series in devices if series.labels.get("__name__") == name] for name in dcgm.NAMES}
    util = _fold(gpu[dcgm.UTIL], latest, mean, times)
    return PodSignals(
        running=_signal(table, "running", by_name, times),
        waiting=_signal(table, "waiting", by_name, times),
        kv_used=_signal(table, "kv_used", by_name, times, fold=mean),
        prompt_tokens_per_s=_signal(table, "prompt_tokens", by_name, times, read=rate),
        generation_tokens_per_s=_signal(table, "generation_tokens", by_name, times, read=rate),
        tokens_at_s=_tokens_at_s(table, by_name, times),
        gpu_util=Known(min(1.0, util.value / 100.0), util.at_s) if isinstance(util, Known) else util,
        dram_active=_fold(gpu[dcgm.DRAM], latest, mean, times),
        power_watts=_fold(gpu[dcgm.POWER], latest, sum, times),
    )


def _tokens_at_s(table: EngineTable | None, by_name: Mapping[str, list[SeriesData]], times: Times) -> Observed[float]:
    """When the pod's token counters last grew, by all of those that its engine has."""
    each = [_signal(table, field, by_name, times, read=grown_at_s, fold=max) for field in ("prompt_tokens", "generation_tokens")]
    exposed = [one for one in each if not (isinstance(one, Unknown) and one.reason == "NotExposed")]
    return combine(exposed, max) if exposed else each[0]


def _signal(
    table: EngineTable | None, field: str, by_name: Mapping[str, list[SeriesData]], times: Times, *, read: Read = latest, fold: Fold = sum
) -> Observed[float]:
    """One engine signal: the first of its series that the pod has."""
    if table is None:
        return Unknown("NoData")
    carriers: tuple[Series, ...] = getattr(table, field)
    for carrier in carriers:
        found = [series for series in by_name.get(carrier.name, []) if all(series.labels.get(key) == value for key, value in carrier.labels)]
        if found:
            return _fold(found, read, fold, times)
    return Unknown("NoData") if carriers else Unknown("NotExposed", f"{table.engine} has no such metric")


def _fold(found: Sequence[SeriesData], read: Read, fold: Fold, times: Times) -> Observed[float]:
    """Several series of one pod (engines of a data-parallel group, GPUs) as one reading."""
    series = distinct(found)
    return series if isinstance(series, Unknown) else combine([read(each, times) for each in series], fold)

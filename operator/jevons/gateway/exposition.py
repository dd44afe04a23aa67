"""The gateway's metrics as Prometheus scrapes them: what accounting counted, what the waiting room holds, how old the table is.

Names and labels are the contract of docs/designs/0001-the-house.md; `namespace` and `deployment` are those of the InferenceDeployment. The waiting
room is another process: it leaves its counts in `held.json`, and what it has not renewed for 10 s is not believed any more.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import orjson
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from jevons.gateway.accounting import COUNTERS, HISTOGRAMS, Totals

PREFIX = "jevons_gateway_"
HELD_MAX_AGE_S = 10.0

_HELP = {
    "arrivals": "Requests that were routed, by request class.",
    "input_tokens": "Prompt tokens, by the engines' own count where there is one.",
    "output_tokens": "Answer tokens; of answers that broke off, an estimate.",
    "requests": "Finished requests. Code 499: the client left before there was a status.",
    "useful": "Requests completed, not cut short, inside their class's objectives, by a policy whose quality holds.",
    "cold_starts": "Times that requests waited for a variant to start.",
    "refusals": "Requests that the gateway itself refused, by the error's code; `deployment` is empty when no model was recognised in the request.",
    "score": "Requests by the classifier's score, in 20 bins.",
    "ttft_seconds": "Arrival to first data event of a stream.",
    "itl_seconds": "Mean time per token after the first, per request.",
    "wait_seconds": "Time in the waiting room, of requests that waited for a start.",
    "gap_seconds": "Gaps between data events of a stream, each counted at the bound of its bucket.",
}


@dataclass(slots=True, eq=False)
class GatewayCollector(Collector):
    """Register it with a `prometheus_client` registry. `table_age`: seconds since the table was last known to be true; None = there is none."""

    totals: Callable[[], Totals]
    held_file: Path
    table_age: Callable[[], float | None]
    clock: Callable[[], float] = time.time

    def describe(self) -> list[Metric]:
        """Nothing: series come and go."""
        return []

    def collect(self) -> Iterator[Metric]:
        """All families, once per scrape."""
        totals = self.totals()
        for name, labels in COUNTERS.items():
            counter = CounterMetricFamily(PREFIX + name, _HELP[name], labels=["namespace", "deployment", *labels])
            for values, value in totals.counters[name].items():
                counter.add_metric(values, value)
            yield counter
        for name, (labels, bounds) in HISTOGRAMS.items():
            histogram = HistogramMetricFamily(PREFIX + name, _HELP[name], labels=["namespace", "deployment", *labels])
            uppers = [*(str(bound) for bound in bounds), "+Inf"]
            for values, counts in totals.buckets[name].items():
                histogram.add_metric(values, list(zip(uppers, accumulate(counts), strict=True)), sum_value=totals.sums[name][values])
            yield histogram
        yield self._held()
        age = self.table_age()
        if age is not None:
            yield GaugeMetricFamily(PREFIX + "table_age_seconds", "Age of what the pickers know.", value=age)

    def _held(self) -> Metric:
        gauge = GaugeMetricFamily(PREFIX + "held", "Requests that wait for a variant to start.", labels=["namespace", "deployment", "variant"])
        try:
            said = orjson.loads(self.held_file.read_bytes())
            if self.clock() - said["at"] <= HELD_MAX_AGE_S:
                for model, variants in said["held"].items():
                    namespace, _, deployment = model.partition("/")
                    for variant, count in variants.items():
                        gauge.add_metric([namespace, deployment, variant], count)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return gauge  # no room has said anything: no data, not zero
        return gauge

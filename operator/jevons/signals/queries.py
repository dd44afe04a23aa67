"""The queries of one pass: seven for the whole cluster, whatever runs in it.

They are built from constants of this package and numbers alone: no name, label or selector of any user's object is ever part of a query, so there
is nothing to inject into. Range selectors are used where the age of a sample matters, because an instant vector is stamped with the time of the
question.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from jevons.signals import dcgm
from jevons.signals.engines import TABLES

ARRIVALS = "jevons_gateway_arrivals_total"
INPUT_TOKENS = "jevons_gateway_input_tokens_total"
OUTPUT_TOKENS = "jevons_gateway_output_tokens_total"
REQUESTS = "jevons_gateway_requests_total"
USEFUL = "jevons_gateway_useful_total"
HELD = "jevons_gateway_held"
SCORES = "jevons_gateway_score_total"
ALIVE = "jevons_gateway_table_age_seconds"
"""One series per gateway, whatever it serves."""


@dataclass(frozen=True, slots=True)
class Queries:
    """The queries of a pass, by what they answer."""

    gauges: str
    counters: str
    gpus: str
    gateways: str
    rates: str
    scores: str
    totals: str

    @property
    def all(self) -> tuple[str, ...]:
        """In the order in which they are asked."""
        return (self.gauges, self.counters, self.gpus, self.gateways, self.rates, self.scores, self.totals)


def build(scrape_interval_s: float) -> Queries:
    """The queries for a scrape interval [s].

    What pods say looks back 4 intervals, so that an idle pod is seen idle; gateways' rates at least a minute.
    """
    look, rate = f"{_whole(4 * scrape_interval_s)}s", f"{_whole(max(60.0, 4 * scrape_interval_s))}s"
    by, by_class = "namespace, deployment", "namespace, deployment, class"
    return Queries(
        gauges=f"{_any_of(series.name for table in TABLES for series in table.gauges)}[{look}]",
        counters=f"{_any_of(series.name for table in TABLES for series in table.counters)}[{look}]",
        gpus=f"{_any_of(dcgm.NAMES)}[{look}]",
        gateways=_union(
            {
                "now": "vector(time())",
                "fresh": f"timestamp({ALIVE})",
                "down": f"up == 0 and on (instance, job) last_over_time({ALIVE}[5m])",
            }
        ),
        rates=_union({name: f"sum by ({by_class}) (rate({name}[{rate}]))" for name in (ARRIVALS, INPUT_TOKENS, OUTPUT_TOKENS)}),
        scores=f"sum by ({by_class}, bin) (increase({SCORES}[10m])) > 0",
        totals=_union(
            {name: f"sum by ({by}) ({name})" for name in (REQUESTS, USEFUL, INPUT_TOKENS, OUTPUT_TOKENS)} | {HELD: f"sum by ({by}, variant) ({HELD})"}
        ),
    )


def _whole(seconds: float) -> int:
    return max(1, round(seconds))


def _any_of(names: Iterable[str]) -> str:
    """A selector of several metric names."""
    return '{__name__=~"' + "|".join(dict.fromkeys(names)) + '"}'


def _union(parts: dict[str, str]) -> str:
    """Several expressions in one vector, told apart by the label `series`."""
    return " or ".join(f'label_replace({expression}, "series", "{name}", "", "")' for name, expression in parts.items())

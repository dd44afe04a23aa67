"""What is asked of a deployment, from the two that can tell: the gateways' streams, and Prometheus, which also sees gateways whose stream is cut.

Neither is the whole truth alone: a gateway may stream and not be scraped, or be scraped and not reach the demand port.
"""

from __future__ import annotations

from dataclasses import replace

from jevons.core.observed import Known, Unknown
from jevons.core.snapshot import ClassDemand, DeploymentState, Held
from jevons.ports import Demand, Metrics


def with_demand(state: DeploymentState, metrics: Metrics, stream: Demand | None) -> DeploymentState:
    """Join a deployment with its demand: streams first (they are seconds old), Prometheus for what no stream reports, the larger where both do.

    What Prometheus says of held requests may be a scrape old, so beside streams it counts only while one of them is missed. Then the others
    cannot say either when a request last arrived, nor that a class has none.
    """
    key = state.spec.key
    classes = {demand.name: demand for demand in metrics.demand.get(key, ())}
    for demand in stream.classes if stream else ():
        classes[demand.name] = _larger(demand, classes.get(demand.name))
    whole = stream is not None and not stream.partial
    return replace(
        state,
        demand=tuple(classes.values()),
        held=_all_held(stream, metrics.held.get(key, ())),
        last_arrival_at_s=stream.last_arrival_at_s if stream is not None and whole else None,
        outcomes=metrics.outcomes.get(key, Unknown("NoData")),
    )


def _all_held(stream: Demand | None, scraped: tuple[Held, ...]) -> tuple[Held, ...]:
    """Requests that wait, by variant: each is in a stream or, when its gateway's is missed, in what was scraped of all gateways."""
    if stream is None:
        return scraped
    if not stream.partial:
        return stream.held
    held = {entry.variant: entry for entry in stream.held}
    for entry in scraped:
        known = held.get(entry.variant)
        if known is None or entry.count > known.count:
            held[entry.variant] = entry if known is None else replace(known, count=entry.count)
    return tuple(held.values())


def _larger(stream: ClassDemand, scraped: ClassDemand | None) -> ClassDemand:
    """The reading with more arrivals: a gateway whose stream is cut shows up in Prometheus alone, one that is not scraped in its stream alone."""
    if scraped is None or not isinstance(scraped.arrivals_per_s, Known):
        return stream
    if isinstance(stream.arrivals_per_s, Known) and stream.arrivals_per_s.value >= scraped.arrivals_per_s.value:
        return stream if stream.scores else replace(stream, scores=scraped.scores)
    return scraped if scraped.scores else replace(scraped, scores=stream.scores)

"""What gateways stream and what Prometheus scraped of them, as one demand."""

from __future__ import annotations

import pytest

from jevons.cluster.arrivals import with_demand
from jevons.core.demand import class_loads
from jevons.core.forecast import Trend
from jevons.core.memory import DeploymentMemory
from jevons.core.observed import Known
from jevons.core.snapshot import ClassDemand, DeploymentState, Held
from jevons.core.spec import Deployment, Key, Variant
from jevons.ports import Demand, Metrics

NOW = 1_767_261_600.0
KEY = Key("a", "assistant")
SPEC = Deployment(KEY, "u", 1, 0.0, model="assistant", variants=(Variant(name="large", served_model="large", accelerator_class="a100"),))


def joined(streams: Demand | None, **scraped: object) -> DeploymentState:
    read = {"pods": {}, "demand": {}, "outcomes": {}, "held": {}} | {name: {KEY: value} for name, value in scraped.items()}
    return with_demand(DeploymentState(spec=SPEC, variants={}), Metrics(health=Known(None, NOW), **read), streams)


@pytest.mark.parametrize(
    ("streams", "expected"),
    [
        (None, {"large": 3, "small": 2}),
        (Demand(held=(Held("large", 1, NOW - 9),)), {"large": 1}),
        (Demand(held=(Held("large", 1, NOW - 9),), partial=True), {"large": 3, "small": 2}),
        (Demand(held=(Held("large", 7, NOW - 9),), partial=True), {"large": 7, "small": 2}),
    ],
)
def test_held_requests_of_a_gateway_that_is_missed_are_those_that_were_scraped(streams, expected):
    held = joined(streams, held=(Held("large", 3, NOW), Held("small", 2, NOW))).held
    assert {entry.variant: entry.count for entry in held} == expected
    assert streams is None or held[0].oldest_at_s == NOW - 9, "the stream knows since when"


@pytest.mark.parametrize(("partial", "unknown"), [(False, ""), (True, "NoData")])
def test_while_a_gateway_is_missed_the_others_cannot_say_that_a_class_has_no_requests(partial, unknown):
    chat = ClassDemand("chat", Known(1.0, NOW), Known(100.0, NOW), Known(10.0, NOW))
    state = joined(Demand(classes=(chat,), last_arrival_at_s=NOW - 1, partial=partial))
    memory = DeploymentMemory(trends={"chat": Trend(1.0, NOW - 15), "documents": Trend(2.0, NOW - 15)})
    assert class_loads(state, memory, NOW, 35.0, 60.0)[2] == unknown
    assert state.last_arrival_at_s == (None if partial else NOW - 1)

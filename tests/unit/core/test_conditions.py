"""What the object says about itself, and what the pickers are told."""

from __future__ import annotations

from dataclasses import replace

import pytest
from core_worlds import CURVE, KEY, LARGE, NOW, SMALL, demand, deployment, held, pod, state, variant_state, world

from jevons.core.conditions import TYPES
from jevons.core.decide import decide
from jevons.core.observed import Known, Unknown
from jevons.core.snapshot import Inventory
from jevons.core.spec import Key, Objectives, Promotion, RequestClass, RoutingMode, RoutingSpec, ScalingMode, ScalingSpec

BOTH = {"large": variant_state(pod("l", running=3.0)), "small": variant_state(pod("s", running=2.0))}


def decided(snapshot, key=KEY):
    return decide(snapshot, NOW).deployments[key]


def said(snapshot, kind):
    found = next(item for item in decided(snapshot).conditions if item.type == kind)
    return found.status, found.reason


def test_all_nine_conditions_are_always_said():
    for snapshot in (world(state(deployment(), BOTH)), world(state(deployment(), {})), world(state(replace(deployment(), budget="no"), BOTH))):
        assert {item.type for item in decided(snapshot).conditions} == set(TYPES)


def test_a_taken_name_and_an_invalid_spec_stop_that_object_alone():
    taken = state(deployment(), BOTH, name_taken_by=Key("team-b", "assistant"), demand=(demand(40.0),))
    assert said(world(taken), "Accepted") == ("False", "NameTaken")
    invalid = state(deployment(), BOTH, invalid="spec.variants[large].replicas: min 4 is above max 2; raise max or lower min")
    assert said(world(invalid), "Accepted") == ("False", "InvalidSpec")
    for snapshot in (world(taken), world(invalid)):
        assert {target.desired for target in decided(snapshot).replicas} == {None}


def test_an_object_that_could_not_be_read_at_all_is_refused():
    nothing = state(replace(deployment(), variants=()), {}, invalid="spec.variants: missing")
    assert said(world(nothing), "Accepted") == ("False", "InvalidSpec")
    assert decided(world(nothing)).reason == "InvalidSpec"


def test_an_unknown_accelerator_class_is_named():
    snapshot = world(state(deployment(), BOTH), accelerators={})
    assert said(snapshot, "ResolvedRefs") == ("False", "AcceleratorClassNotFound")
    assert {target.desired for target in decided(snapshot).replicas} == {None}


def test_nodes_that_cannot_be_seen_make_capacity_unknown():
    assert said(world(state(deployment(), BOTH), inventory={}), "CapacityAvailable")[0] == "Unknown"
    assert said(world(state(deployment(), BOTH), inventory={"a100": Known(Inventory(1, 8, 8), NOW)}), "CapacityAvailable")[0] == "True"


def test_prometheus_down_is_said():
    assert said(world(state(deployment(), BOTH), metrics=Unknown("SourceDown")), "MetricsAvailable") == ("False", "SourceDown")


def test_objectives_out_of_reach_are_said():
    spec = deployment(objectives=Objectives(itl_s=0.020))
    assert said(world(state(spec, BOTH, demand=(demand(1.0),))), "ObjectivesMet") == ("False", "ObjectivesUnreachable")


@pytest.mark.parametrize(
    ("variants", "held_for", "expected"),
    [(BOTH, 0, ("True", "Serving")), ({"small": variant_state()}, 0, ("True", "Asleep")), ({"small": variant_state()}, 2, ("False", "Waking"))],
)
def test_ready_says_serving_asleep_or_waking(variants, held_for, expected):
    spec = deployment() if len(variants) == 2 else deployment(SMALL)
    assert said(world(state(spec, variants, held=(held("small", held_for),) if held_for else ())), "Ready") == expected


def test_simple_requests_get_a_real_share_of_the_small_variant_and_quality_is_kept():
    routing = decided(world(state(deployment(), BOTH, demand=(demand(3.0),)))).routing
    route = routing.classes[-1]
    assert [name for name, _ in route.min_score] == ["small"]
    assert 0.4 < route.min_score[0][1] < 0.8
    assert route.expected_quality >= 0.95
    assert (routing.best, routing.wake) == ("large", "small")


def test_every_class_is_routed_before_its_first_request():
    spec = deployment(classes=(RequestClass("chat", min_quality=0.8), RequestClass("code", min_quality=1.0)))
    routes = {route.name: dict(route.min_score) for route in decided(world(state(spec, BOTH))).routing.classes}
    assert list(routes) == ["chat", "code", "default"]
    assert routes["chat"]["small"] < routes["default"]["small"]
    assert "small" not in routes["code"]


def test_a_shadow_variant_and_routing_off_send_everything_to_the_best():
    shadow = deployment(LARGE, replace(SMALL, promotion=Promotion.SHADOW))
    off = deployment(routing=RoutingSpec(mode=RoutingMode.OFF))
    for spec in (shadow, off):
        routing = decided(world(state(spec, BOTH, demand=(demand(3.0),)))).routing
        assert routing.classes[-1].min_score == ()
    assert [route.state for route in decided(world(state(shadow, BOTH))).routing.variants] == ["Ready", "Shadow"]


def test_without_a_classifier_the_router_says_so():
    assert said(world(state(deployment(), BOTH), router=None), "RouterCalibrated") == ("False", "NoCurve")
    assert said(world(state(deployment(), BOTH, demand=(demand(3.0),)), router=CURVE), "RouterCalibrated") == ("True", "Calibrated")


def test_the_decision_explains_itself():
    found = decided(world(state(deployment(), BOTH, demand=(demand(9.0, NOW - 4.0),))))
    assert ("arrivals[default]", "9/s, 9/s at startup time", 4.0) in found.explanation.inputs
    assert found.explanation.alternatives[0][2] == "chosen"
    assert found.events[0].reason == "Demand"
    assert len(found.id) == 12


def test_paused_decides_no_replicas():
    spec = deployment(scaling=ScalingSpec(mode=ScalingMode.PAUSED))
    assert {(target.desired, target.reason) for target in decided(world(state(spec, BOTH, demand=(demand(40.0),)))).replicas} == {(None, "Paused")}

"""One saturated pod beside idle ones is a routing problem: it orders no replicas, and lets none go."""

from __future__ import annotations

from dataclasses import replace

import pytest
from core_worlds import KEY, NOW, SMALL, demand, deployment, pod, state, variant_state, world

from jevons.core.decide import decide

UNMEASURED = replace(SMALL, profile=None)


def decided(variant, *pods, rate=5.0, heard=True):
    seen = state(deployment(variant), {"small": variant_state(*pods)}, demand=(demand(rate),) if heard else ())
    return decide(world(replace(seen, last_arrival_at_s=NOW if heard else None)), NOW).deployments[KEY]


def saturated(uid):
    return pod(uid, running=80.0, waiting=1600.0, util=0.99)


@pytest.mark.parametrize("variant", [SMALL, UNMEASURED], ids=["measured", "unmeasured"])
@pytest.mark.parametrize("heard", [True, False], ids=["through the gateway", "beside it"])
def test_a_queue_on_one_pod_beside_idle_ones_orders_nothing_and_lets_nobody_go(variant, heard):
    pods = [pod("a", running=6.0, waiting=400.0), pod("b", running=1.0), pod("c", running=1.0)]
    made = decided(variant, *pods, rate=2.0, heard=heard)
    assert made.replicas[0].desired == 3
    assert any("queue beside idle ones" in bound for bound in made.explanation.binding)


@pytest.mark.parametrize("variant", [SMALL, UNMEASURED], ids=["measured", "unmeasured"])
@pytest.mark.parametrize("heard", [True, False], ids=["through the gateway", "beside it"])
def test_the_same_queue_on_all_of_them_orders_more(variant, heard):
    assert decided(variant, *map(saturated, "abc"), heard=heard).replicas[0].desired > 3


def test_a_pod_that_has_just_become_ready_is_no_idle_one():
    fresh = replace(pod("c"), ready_at_s=NOW - 10.0)
    made = decided(SMALL, saturated("a"), saturated("b"), fresh)
    assert made.replicas[0].desired > 3
    assert decided(SMALL, saturated("a"), saturated("b"), replace(fresh, ready_at_s=NOW - 90.0)).replicas[0].desired == 3


def test_arrivals_that_need_more_replicas_get_them_hot_spot_or_not():
    assert decided(SMALL, saturated("a"), pod("b", running=1.0), rate=30.0).replicas[0].desired > 3

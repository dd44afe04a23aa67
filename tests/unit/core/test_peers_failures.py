"""What other autoscalers were seen to get wrong, and what ours does there. The rows are those of the study of peers, by the peer's name."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from functools import cache

import pytest
from core_worlds import KEY, NOW, SMALL, SMALL_PROFILE, blind, busy, demand, deployment, held, pod, state, variant_state, world

from jevons.core import capacity, coordination
from jevons.core.decide import decide
from jevons.core.memory import Memory
from jevons.core.observed import Known, Unknown
from jevons.core.spec import AcceleratorClass, Price
from jevons.core.speed import slower
from jevons.solver import highs

ONE = deployment(replace(SMALL, max_replicas=64))
AT_ONCE = capacity.served(SMALL_PROFILE, capacity.tokens(1155, 1), capacity.tokens(211, 1), 0.06, 2.0).concurrency


def desired(snapshot, now=NOW):
    return {target.variant: target.desired for target in decide(snapshot, now).deployments[KEY].replicas}


def alone(pods, **changes):
    return state(ONE, {"small": variant_state(*pods)}, last_arrival_at_s=NOW, **changes)


@cache
def rate_for(replicas: int) -> float:
    """Arrivals [1/s] for which a fleet of that size is ordered, in the middle of their range."""

    def least(size: int) -> float:
        low, high = 0.0, 1000.0
        while high - low > 0.01:
            middle = (low + high) / 2.0
            low, high = (low, middle) if need_at(middle) >= size else (middle, high)
        return high

    return (least(replicas) + least(replicas + 1)) / 2.0


def need_at(per_s: float) -> int:
    return desired(world(alone([pod("a", running=1.0)], demand=(demand(per_s),))))["small"]


class Passes:
    """Passes 15 s apart over one variant whose pods become ready when told; memory is carried."""

    def __init__(self, ready: int, loading: int = 0):
        self.now, self.memory = NOW, Memory()
        self.ready, self.loading, self.want = ready, loading, ready + loading

    def step(self, per_s: float, *, running: float = 1.0, waiting: float = 0.0, variant=SMALL, dt_s: float = 15.0) -> int:
        self.now += dt_s
        pods = [pod(f"r{i}", self.now, running=running, waiting=waiting) for i in range(self.ready)]
        pods += [pod(f"l{i}", self.now, created_at_s=self.now - 10.0, ready_at_s=None) for i in range(self.loading)]
        spec = deployment(replace(variant, max_replicas=64))
        item = state(spec, {"small": variant_state(*pods)}, demand=(demand(per_s, self.now),), last_arrival_at_s=self.now)
        made = decide(world(item, now=self.now, memory=self.memory), self.now)
        self.memory, self.want = made.memory, made.deployments[KEY].replicas[0].desired
        return self.want


@pytest.mark.parametrize("pods", [4, 5, 8])
def test_aibrix_pod_source_pods_above_their_target_raise_replicas_and_never_lower_them(pods):
    item = alone([pod(f"p{i}", running=1.5 * AT_ONCE) for i in range(pods)], demand=(demand(0.0),))
    assert desired(world(item))["small"] >= 1.5 * pods


def test_aibrix_stabiliser_one_low_recommendation_does_not_undo_five_minutes_of_high_ones():
    fleet = Passes(ready=10)
    slow = replace(SMALL, startup_s=240.0)
    high, low, now = rate_for(10), rate_for(4), rate_for(8)
    assert fleet.step(high, variant=slow) == 10
    for per_s in (high, high, low, high, now):
        assert fleet.step(per_s, variant=slow, dt_s=60.0) >= 10


def test_aibrix_apa_pods_that_load_are_not_ordered_again_and_again():
    fleet = Passes(ready=2)
    fleet.loading = max(0, fleet.step(0.0, running=2.0 * AT_ONCE) - 2)
    first = fleet.want
    assert first >= 4
    assert [fleet.step(0.0, running=2.0 * AT_ONCE) for _ in range(5)] == [first] * 5


def unplaceable(name):
    return pod(name, created_at_s=NOW - 600.0, scheduled_at_s=None, ready_at_s=None, node=None, unschedulable=True)


def test_wva_pending_pods_without_a_node_are_no_supply_and_another_variant_stands_in():
    other = replace(SMALL, name="other", accelerator_count=2, startup_s=60.0)
    need = rate_for(3)
    for age_s, expected in ((30.0, 0), (600.0, 2)):
        waiting = [replace(unplaceable(name), created_at_s=NOW - age_s) for name in "bc"]
        pods = {"small": variant_state(pod("a", running=20.0), *waiting), "other": variant_state()}
        snapshot = world(state(deployment(SMALL, other), pods, demand=(demand(need),), last_arrival_at_s=NOW))
        assert desired(snapshot) == {"small": 3, "other": expected}


def test_wva_one_variants_pending_pod_does_not_freeze_the_others():
    loading = pod("l", created_at_s=NOW - 10.0, ready_at_s=None)
    pods = {"large": variant_state(pod("a"), pod("b"), loading), "small": variant_state(pod("s", running=20.0))}
    snapshot = world(state(deployment(), pods, demand=(demand(30.0),), last_arrival_at_s=NOW))
    assert desired(snapshot)["small"] > 1


def test_wva_hot_spot_one_saturated_pod_beside_idle_ones_is_neither_a_reason_to_grow_nor_safe_to_shrink():
    hot = pod("hot", running=60.0, waiting=40.0)
    hot = replace(hot, signals=replace(hot.signals, kv_used=Known(0.95, NOW)))
    snapshot = world(alone([hot, pod("b", running=2.0), pod("c", running=2.0)], demand=(demand(2.0),)))
    memory = decide(snapshot, NOW).memory
    calm = replace(snapshot, memory=memory, metrics=Known(None, NOW))
    assert desired(calm)["small"] == 3
    assert decide(calm, NOW).deployments[KEY].replicas[0].reason == "Queueing"


def test_keda_a_vanished_metric_holds_what_there_is():
    fleet = [blind(name) for name in "abc"]
    for gone in (Unknown("NoData"), Unknown("SourceDown")):
        for age_s in (0.0, 300.0, 3600.0):
            now = NOW + age_s
            item = state(ONE, {"small": variant_state(*fleet)}, demand=(demand(0.0, arrivals_per_s=gone),), last_arrival_at_s=NOW - 10.0)
            assert desired(world(item, now=now, metrics=Unknown("SourceDown")), now)["small"] == 3


def test_kubeai_a_step_is_answered_in_the_first_pass_that_sees_it():
    fleet = Passes(ready=1)
    for _ in range(40):
        assert fleet.step(0.2) == 1
    assert fleet.step(rate_for(5)) >= 4  # `rate_for` is of traffic nobody knows, which gets more headroom


BIG = replace(SMALL, name="big", quality=1.0, accelerator_class="dear", startup_s=60.0, max_replicas=9)
LITTLE = replace(BIG, name="little", accelerator_class="cheap", profile=slower(SMALL_PROFILE, 3.0))
DEAR_AND_CHEAP = {name: AcceleratorClass(name, prices=(Price(0.0, Decimal(usd)),)) for name, usd in (("dear", 10), ("cheap", 4))}
"""A replica that does about three times as much for 2.5 times the price: per request the dear one is the cheaper, when it is full."""


@cache
def served(variant, replicas: int) -> float:
    """The most arrivals [1/s] for which so many replicas of the variant alone are asked."""

    def need(per_s: float) -> int:
        item = state(deployment(variant), {variant.name: variant_state(pod("a", running=1.0))}, demand=(demand(per_s),), last_arrival_at_s=NOW)
        return desired(world(item, accelerators=DEAR_AND_CHEAP))[variant.name]

    low, high = 0.0, 1000.0
    while high - low > 0.01:
        middle = (low + high) / 2.0
        low, high = (low, middle) if need(middle) > replicas else (middle, high)
    return low


class Mix:
    """Passes over a dear and a cheap variant of one quality, whose pods start in time and run what is routed to them."""

    def __init__(self, **ready: int):
        self.now, self.memory, self.ready = NOW, Memory(), ready
        self.started: dict[str, tuple[int, float]] = {}
        self.takes = "big"

    def step(self, per_s: float) -> dict[str, int]:
        self.now += 15.0
        for name, (count, at_s) in list(self.started.items()):
            if self.now - at_s >= 60.0:
                self.ready[name] += count
                del self.started[name]
        pods = {}
        for name, count in self.ready.items():
            running = busy(BIG if name == "big" else LITTLE, self.share(name) * per_s / max(1, count))
            new, at_s = self.started.get(name, (0, 0.0))
            pods[name] = [pod(f"{name}{index}", self.now, running=running) for index in range(count)]
            pods[name] += [pod(f"{name}-new{index}", self.now, created_at_s=at_s, ready_at_s=None) for index in range(new)]
        waiting = () if any(self.ready.values()) else (held("little", 3, self.now),)
        variants = {name: variant_state(*listed) for name, listed in pods.items()}
        item = state(deployment(BIG, LITTLE), variants, demand=(demand(per_s, self.now),), held=waiting, last_arrival_at_s=self.now)
        snapshot = world(item, now=self.now, memory=self.memory, accelerators=DEAR_AND_CHEAP, inventory={})
        made = decide(snapshot, self.now, highs.solve)
        self.memory, self.made = made.memory, made.deployments[KEY]
        wanted = {target.variant: target.desired for target in self.made.replicas}
        for name, count in wanted.items():
            have = self.ready[name] + self.started.get(name, (0, 0.0))[0]
            if count > have:
                self.started[name] = (count - self.ready[name], self.now)
            elif count < have:
                self.ready[name], _ = min(self.ready[name], count), self.started.pop(name, None)
        return wanted

    def share(self, name: str) -> float:
        """Of the score range that the last plan sends to the variant (everything to the big one before there is a plan)."""
        if not hasattr(self, "made"):
            return float(name == "big")
        upper = 1.0
        for variant, score in (*self.made.routing.classes[-1].min_score, (self.made.routing.best, 0.0)):
            if variant == name:
                return upper - score
            upper = score
        return 0.0


def test_wva_optimiser_a_small_need_is_not_given_the_big_variant():
    fleet = Mix(big=0, little=0)
    for _ in range(40):
        wanted = fleet.step(0.8 * served(LITTLE, 1))
    assert wanted == {"big": 0, "little": 1}
    assert fleet.share("little") == 1.0


def test_wva_optimiser_a_remainder_is_filled_up_with_the_small_variant(monkeypatch):
    monkeypatch.setattr(coordination, "YOUNG_S", 0.0)  # this traffic is nobody's first
    fleet = Mix(big=1, little=0)
    for _ in range(12):
        wanted = fleet.step(served(BIG, 1) + 0.5 * served(LITTLE, 1))
    assert wanted == {"big": 1, "little": 1}
    assert 0.0 < fleet.share("little") < 0.5


def test_wva_low_load_swaps_the_big_variant_for_the_small_one():
    fleet = Mix(big=1, little=0)
    seen = [fleet.step(0.6 * served(LITTLE, 1)) for _ in range(60)]
    assert seen[-1] == {"big": 0, "little": 1}
    # and nobody is left without a ready replica meanwhile
    assert all(wanted["big"] or fleet.ready["little"] for wanted in seen)

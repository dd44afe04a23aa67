"""Work that can wait: it fills the headroom of others, starts nothing from zero before its patience is over, and is priced by age."""

from __future__ import annotations

from dataclasses import replace

import pytest
from core_worlds import KEY, LARGE, LARGE_PROFILE, NOW, SMALL, demand, deployment, pod, state, variant_state, world

from jevons.core import capacity, framing, waiting
from jevons.core.decide import decide
from jevons.core.facts import gather
from jevons.core.ground import ground_of
from jevons.core.memory import DeploymentMemory, Memory, Trend
from jevons.core.metering import Tariff
from jevons.core.shadowprices import ShadowPrices
from jevons.core.snapshot import Held, RouterCurve
from jevons.core.spec import Objectives, RequestClass, ScalingSpec, Tier

CHAT = RequestClass("chat", objectives=Objectives(95.0, 2.0, 0.06))
DOCUMENTS = RequestClass("documents", objectives=Objectives(95.0, 10.0, 0.06), tier=Tier.FLEX)
NIGHTLY = replace(DOCUMENTS, name="nightly", tier=Tier.BATCH)
INTERACTIVE = replace(DOCUMENTS, tier=Tier.INTERACTIVE)


def facing(*variants, classes=(CHAT, DOCUMENTS), rates=(), large=0, small=0, held=(), **changes):
    """A world in which classes have had these rates for long."""
    spec = deployment(*variants, classes=classes, **changes)
    names = [variant.name for variant in spec.variants]
    pods = {
        "large": [pod(f"l{i}", running=4.0, util=0.6) for i in range(large)],
        "small": [pod(f"s{i}", running=4.0, util=0.6) for i in range(small)],
    }
    loads = tuple(demand(per_s, name=one.name) for one, per_s in zip(classes, rates, strict=False))
    trends = {one.name: Trend(per_s, NOW - 15.0, per_s, base=per_s, since_s=NOW - 7200.0) for one, per_s in zip(classes, rates, strict=False)}
    memory = Memory({KEY: DeploymentMemory(trends=trends)})
    item = state(spec, {name: variant_state(*pods[name]) for name in names}, demand=loads, held=held, last_arrival_at_s=NOW if rates else None)
    return world(item, memory=memory)


def desired(snapshot):
    return {target.variant: target.desired for target in decide(snapshot, NOW).deployments[KEY].replicas}


@pytest.mark.parametrize(("one", "patience_s"), [(DOCUMENTS, 72.0), (NIGHTLY, 192.0), (CHAT, 0.0)])
def test_patience_leaves_time_for_a_start(one, patience_s):
    spec = deployment(replace(LARGE, startup_s=240.0), SMALL, classes=(one,), scaling=ScalingSpec(wake_timeout_s=600.0))
    assert waiting.patience_s(spec, one.name) == pytest.approx(patience_s)
    assert waiting.patience_s(spec, one.name, 1.0) == pytest.approx(228.0 if patience_s else 0.0)
    assert waiting.patience_s(spec, "default") == 0.0
    slow = replace(spec, variants=(replace(LARGE, startup_s=500.0),))
    assert waiting.patience_s(slow, one.name) == 0.0


def test_it_fills_the_headroom_and_asks_for_none_of_its_own():
    many = replace(LARGE, max_replicas=40)
    alone = desired(facing(many, classes=(CHAT,), rates=(6.0,), large=1))["large"]
    waits = desired(facing(many, rates=(6.0, 0.4), large=1))["large"]
    hurries = desired(facing(many, classes=(CHAT, INTERACTIVE), rates=(6.0, 6.0), large=1))["large"]
    patient = desired(facing(many, rates=(6.0, 6.0), large=1))["large"]
    assert waits == alone
    assert alone < patient < hurries


def test_it_fills_a_fleet_no_further_than_the_promise_bears():
    many = replace(LARGE, max_replicas=40)
    loose, strict = (replace(NIGHTLY, objectives=Objectives(percentile, 10.0, 0.06)) for percentile in (60.0, 99.0))
    few, more = (desired(facing(many, classes=(one,), rates=(9.0,), large=1))["large"] for one in (loose, strict))
    assert few < more


def test_it_never_fills_a_fleet_beyond_what_the_engines_do():
    bound = replace(LARGE, max_replicas=60, profile=replace(LARGE_PROFILE, max_num_seqs=32))
    lax = replace(NIGHTLY, objectives=Objectives(80.0, 60.0, 1.0))
    most = capacity.of_replica(bound.profile, capacity.tokens(1155.0, 0.0), capacity.tokens(211.0, 0.0), lax.objectives.itl_s, lax.objectives.ttft_s)
    assert most.bound == "MaxSequences"
    assert desired(facing(bound, classes=(lax,), rates=(20.0 * most.requests_per_s,), large=1))["large"] >= 20


def test_nothing_starts_from_zero_before_its_patience_is_over():
    assert desired(facing(SMALL, rates=(0.0, 0.05), held=(Held("small", 0, NOW - 20.0, patient=3),)))["small"] == 0
    assert desired(facing(SMALL, rates=(0.0, 0.05), held=(Held("small", 1, NOW - 90.0, patient=2),)))["small"] == 1
    assert desired(facing(SMALL, rates=(0.0, 9.0), held=(Held("small", 0, NOW - 20.0, patient=300),)))["small"] == 0
    assert desired(facing(SMALL, classes=(CHAT, INTERACTIVE), rates=(0.0, 9.0), held=(Held("small", 3, NOW - 2.0),)))["small"] == 2


def test_what_runs_stays_for_it():
    assert desired(facing(SMALL, rates=(0.0, 0.5), small=1))["small"] == 1


def test_gateways_are_told_how_long_and_what_is_idle():
    plan = decide(facing(LARGE, rates=(3.0, 0.4), large=2), NOW).deployments[KEY].routing
    told = {route.name: route.patience_s for route in plan.classes}
    assert told == {"chat": 0.0, "documents": pytest.approx(0.3 * (600.0 - 180.0)), "default": 0.0}
    # half of what a replica serves at once, 1,366 tokens each
    assert 0.3 * 10.0 * 1366.0 < plan.variants[0].idle_tokens < 0.7 * 30.0 * 1366.0
    plain = decide(facing(LARGE, classes=(CHAT,), rates=(3.0,), large=2), NOW).deployments[KEY].routing
    assert plain.variants[0].idle_tokens is None


def test_in_the_programme_its_waiting_is_priced_by_the_age_of_the_oldest():
    def usd_per_h(*held):
        snapshot = facing(rates=(3.0, 0.4), large=2, small=1, held=held)
        facts = gather(snapshot, snapshot.deployments[KEY], snapshot.memory.deployments[KEY], Tariff(snapshot.accelerators, NOW))
        ground = ground_of(facts, RouterCurve((0.5,) * 20, (0.9,) * 20))
        problem = framing.problem(ground, ShadowPrices(), {})
        chat, documents = problem.groups
        assert chat.waiting_usd_per_h is None
        replica = min(offer.usd_per_h * work for offer, work in zip(problem.offers, documents.work, strict=True))
        return documents.waiting_usd_per_h / replica

    assert usd_per_h() == pytest.approx(0.1)
    assert usd_per_h(Held("large", 0, NOW - 63.0, patient=1)) == pytest.approx(0.55)
    assert usd_per_h(Held("large", 0, NOW - 500.0, patient=1)) == pytest.approx(1.0)
    assert usd_per_h(Held("large", 4, NOW - 500.0)) == pytest.approx(0.1)

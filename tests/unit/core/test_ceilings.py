"""An AcceleratorClass' `limit` and power bound what all deployments hold together, one of a single variant included."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from core_worlds import A100, KEY, LARGE, NOW, SMALL, demand, deployment, held, pod, state, variant_state, world

from jevons.core import attainment
from jevons.core.decide import decide
from jevons.core.memory import DeploymentMemory, Memory, VariantMemory
from jevons.core.observed import Known, Unknown
from jevons.core.snapshot import Inventory, Outcomes, PodSignals
from jevons.core.spec import AcceleratorClass, Key, Price, Priority, RequestClass, ScalingMode, ScalingSpec

OTHER = Key("team-b", "helper")


def one(count, *, key=KEY, per_s=200.0, variant=SMALL, running=60.0, leaving=0, waiting=0, **changes):
    """A deployment of one variant with `count` busy replicas, that would like more than there is."""
    pods = [pod(f"{key.name}{i}", running=running, util=0.9) for i in range(count)]
    pods += [replace(pod(f"{key.name}-gone{i}", running=running), terminating=True) for i in range(leaving)]
    return state(
        deployment(variant, key=key, **changes),
        {variant.name: variant_state(*pods, replicas=count)},
        demand=(demand(per_s),) if per_s else (demand(0.0),),
        held=(held(variant.name, waiting),) if waiting else (),
        last_arrival_at_s=NOW - 1.0 if per_s or waiting else NOW - 9000.0,
    )


def made(*items, accelerator, **changes):
    return decide(world(*items, accelerators={"a100": accelerator}, **{"inventory": {}, **changes}), NOW)


def desired(decision, key=KEY):
    return decision.deployments[key].replicas[0].desired


def condition(decision, name, key=KEY):
    return next(found for found in decision.deployments[key].conditions if found.type == name)


def test_one_variant_never_asks_for_more_than_the_limit_of_its_class():
    assert desired(made(one(2), accelerator=A100)) > 5
    decision = made(one(2), accelerator=replace(A100, limit=5))
    target = decision.deployments[KEY].replicas[0]
    assert (target.desired, target.reason) == (5, "AcceleratorLimit")
    assert "room for 5 of small" in target.message
    told = condition(decision, "CapacityAvailable")
    assert (told.status, told.reason) == ("False", "AcceleratorLimit")
    assert "a100: no more than 5 by its limit" in told.message
    assert "AcceleratorClass a100: no more than 5 by its limit" in decision.deployments[KEY].explanation.binding


def test_a_replica_of_four_accelerators_counts_four():
    assert desired(made(one(1, variant=LARGE), accelerator=replace(A100, limit=11))) == 2


def test_a_limit_of_nothing_lets_nothing_run_and_says_so():
    decision = made(one(0, waiting=3), accelerator=replace(A100, limit=0))
    assert desired(decision) == 0
    assert condition(decision, "Ready").reason == "AcceleratorLimit"
    assert decision.deployments[KEY].routing.variants[0].state == "Unavailable"
    # also while nobody asks: a request would wake nothing
    told = condition(made(one(0, per_s=0.0), accelerator=replace(A100, limit=0)), "Ready")
    assert (told.status, told.reason) == ("False", "AcceleratorLimit")
    assert "a100 has no room for a replica at all" in told.message


def test_while_others_hold_all_there_is_requests_wait_and_the_condition_says_so():
    decision = made(one(1, key=OTHER), one(0, waiting=3), accelerator=replace(A100, limit=1))
    assert (desired(decision), desired(decision, OTHER)) == (0, 1)
    assert condition(decision, "Ready").reason == "AcceleratorLimit"
    assert "3 requests wait" in condition(decision, "Ready").message
    # pickers go on holding what waits: there may be room before its time is over
    assert decision.deployments[KEY].routing.variants[0].state == "Asleep"


@pytest.mark.parametrize("limit", [0, 1])
def test_a_request_wakes_the_variant_that_has_room(limit):
    """The cheaper one's class is closed, or full."""
    spare = AcceleratorClass("spare", prices=(Price(0.0, Decimal(1)),), limit=limit)
    cheap = replace(SMALL, name="cheap", accelerator_class="spare")
    item = state(
        deployment(cheap, SMALL),
        {"cheap": variant_state(), "small": variant_state()},
        demand=(demand(0.0),),
        held=(held("cheap", 2),),
        last_arrival_at_s=NOW - 1.0,
    )
    full = one(1, key=OTHER, variant=cheap)
    decision = decide(world(item, full, accelerators={"a100": A100, "spare": spare}, inventory={}), NOW)
    assert [(target.variant, target.desired) for target in decision.deployments[KEY].replicas] == [("cheap", 0), ("small", 1)]
    assert decision.deployments[KEY].routing.wake == "small"


def test_replicas_max_of_nothing_is_no_sleep():
    decision = made(one(0, per_s=0.0, variant=replace(SMALL, max_replicas=0)), accelerator=A100)
    told = condition(decision, "Ready")
    assert (told.status, told.reason) == ("False", "Maximum")
    assert decision.deployments[KEY].routing.variants[0].state == "Unavailable"


def test_a_lowered_limit_takes_what_runs_beyond_it():
    assert desired(made(one(6), accelerator=replace(A100, limit=4))) == 4


def test_while_nothing_may_go_down_a_limit_holds_back_starts_alone():
    down = {"metrics": Unknown("SourceDown"), "metrics_down_since_s": NOW - 60.0}
    assert desired(made(one(6), accelerator=replace(A100, limit=4), **down)) == 6


def test_what_nobody_needs_makes_room_for_a_model_that_is_waited_for():
    spare = one(4, per_s=0.0, running=0.0)
    memory = Memory({KEY: DeploymentMemory({"small": VariantMemory(needs=((NOW - 5.0, 4),), work_at_s=NOW - 5.0)})})
    waited = one(0, key=OTHER, per_s=0.0, waiting=2)
    full = replace(A100, limit=4)
    decision = made(spare, waited, accelerator=full, memory=memory)
    # the other starts when the accelerator is free
    assert (desired(decision), desired(decision, OTHER)) == (3, 0)
    decision = made(one(3, per_s=0.0, running=0.0, leaving=1), waited, accelerator=full, memory=memory)
    assert (desired(decision), desired(decision, OTHER)) == (3, 0)
    decision = made(one(3, per_s=0.0, running=0.0), waited, accelerator=full, memory=memory)
    assert (desired(decision), desired(decision, OTHER)) == (3, 1)


def test_a_second_replica_makes_room_for_somebody_elses_first():
    decision = made(one(4), one(0, key=OTHER, per_s=0.0, waiting=2), accelerator=replace(A100, limit=4))
    assert (desired(decision), desired(decision, OTHER)) == (3, 0)


def test_who_runs_keeps_what_another_would_have_to_start():
    decision = made(one(3), one(3, key=OTHER), accelerator=replace(A100, limit=6))
    assert (desired(decision), desired(decision, OTHER)) == (3, 3)


def test_what_is_left_goes_to_the_smaller_of_two_fleets():
    decision = made(one(1), one(3, key=OTHER), accelerator=replace(A100, limit=6))
    assert (desired(decision), desired(decision, OTHER)) == (3, 3)


def test_the_higher_priority_comes_first():
    classes = (RequestClass("default", priority=Priority.HIGH),)
    decision = made(one(2), one(2, key=OTHER, classes=classes), accelerator=replace(A100, limit=4))
    # its last replica stays; what the lower one lets go is the other's once it is gone
    assert (desired(decision), desired(decision, OTHER)) == (1, 2)
    decision = made(one(1, leaving=0), one(2, key=OTHER, classes=classes), accelerator=replace(A100, limit=4))
    assert (desired(decision), desired(decision, OTHER)) == (1, 3)


def test_what_is_not_ours_to_move_counts():
    recommend = one(3, key=OTHER, scaling=ScalingSpec(mode=ScalingMode.RECOMMEND))
    decision = made(one(1), recommend, accelerator=replace(A100, limit=5))
    assert desired(decision) == 2
    assert desired(decision, OTHER) is None


def test_an_object_that_cannot_be_decided_still_holds_what_it_has():
    broken = one(3, key=OTHER, variant=replace(SMALL, min_replicas="two"))
    decision = made(one(1), broken, accelerator=replace(A100, limit=5))
    assert decision.deployments[OTHER].reason == "InternalError"
    assert desired(decision) == 2


def test_power_bounds_a_deployment_of_one_variant():
    hungry = replace(A100, limit_watts=2_000.0, peak_watts=400.0, idle_watts=60.0)
    decision = made(one(2), accelerator=hungry)
    assert desired(decision) == 5
    assert "by its power of 2000 W" in condition(decision, "CapacityAvailable").message
    assert desired(made(one(7), accelerator=hungry)) == 5
    # four idle ones beside them draw, too: (2000 - 8 * 60) / 340
    assert desired(made(one(2), accelerator=hungry, inventory={"a100": Known(Inventory(1, 8, 2), NOW)})) == 4


def test_a_reading_of_power_holds_back_starts_and_takes_nothing_that_runs():
    item = one(3)
    seen = item.variants["small"]
    drawing = [replace(each, signals=replace(each.signals, power_watts=Known(900.0, NOW))) for each in seen.pods]
    item = replace(item, variants={"small": replace(seen, pods=tuple(drawing))})
    assert desired(made(item, accelerator=replace(A100, limit_watts=1_000.0))) == 3
    silent = replace(seen, pods=tuple(replace(each, signals=PodSignals(running=Known(60.0, NOW), waiting=Known(0.0, NOW))) for each in seen.pods))
    assert desired(made(replace(item, variants={"small": silent}), accelerator=replace(A100, limit_watts=1_000.0))) > 3


def test_being_late_at_a_limit_asks_for_no_more_headroom():
    """The dual of the promise only moves while more replicas could have helped."""
    memories = {}
    for limit in (2, None):
        accelerator, memory = replace(A100, limit=limit), Memory()
        for step in range(8):
            now = NOW + 15.0 * step
            item = one(2, per_s=30.0)
            item = replace(item, outcomes=Known(Outcomes(450.0 * (step + 1), 200.0 * (step + 1)), now), last_arrival_at_s=now)
            memory = decide(world(item, now=now, accelerators={"a100": accelerator}, inventory={}, memory=memory), now).memory
        memories[limit] = memory.deployments[KEY].attained
    assert attainment.deviations(memories[2]) == 0.0 < attainment.deviations(memories[None])

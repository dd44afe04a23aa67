"""What must hold for every history and price of sleep: windows in order, no programme dearer than two tiers, and decisions that settle."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from itertools import pairwise

from core_programmes import cost_of
from core_worlds import KEY, NOW, SMALL, demand, deployment, held, pod, state, variant_state, world
from hypothesis import given, settings
from hypothesis import strategies as st

from jevons.core import hazard, tiers
from jevons.core.decide import decide
from jevons.core.memory import DeploymentMemory, Memory, VariantMemory
from jevons.core.spec import ScalingSpec, Sleep
from jevons.core.tiers import Rest

QUICK = settings(max_examples=40, deadline=None)
GAPS = st.lists(st.floats(20.0, 30_000.0), max_size=60)
STARTS, LOSSES = st.floats(5.0, 900.0), st.floats(0.0, 1e4)
RESTS = st.builds(Rest, st.floats(0.0, 1.0), st.floats(0.1, 60.0), st.floats(0.0, 600.0))


def history(gaps_s):
    made = ()
    for gap_s in gaps_s:
        made = hazard.with_gap(made, gap_s)
    return made


@QUICK
@given(gaps=GAPS, startup_s=STARTS, loss_s=LOSSES, rest=RESTS)
def test_windows_are_in_order_and_apart_and_begin_loaded(gaps, startup_s, loss_s, rest):
    loaded, resting = tiers.windows(startup_s, loss_s, rest, history(gaps))
    assert loaded[0][0] == 0.0
    assert loaded[0][1] >= hazard.HOLD_S
    spans = sorted([*loaded, *resting])
    assert all(begin_s < end_s <= hazard.END_S for begin_s, end_s in spans)
    assert all(before[1] <= after[0] for before, after in pairwise(spans))


@QUICK
@given(gaps=st.lists(st.floats(60.0, 15_000.0), min_size=12, max_size=40), startup_s=st.floats(20.0, 600.0), loss_s=LOSSES, rest=RESTS)
def test_a_third_tier_never_costs_more_than_two(gaps, startup_s, loss_s, rest):
    ends = hazard.chances(history(gaps), ())
    three = cost_of(tiers.programme(ends, startup_s, loss_s, rest), ends, startup_s, loss_s, rest)
    two = cost_of((hazard.programme(ends, startup_s, loss_s), ()), ends, startup_s, loss_s, rest)
    # steps are decided as wholes, and a wake is charged its lead
    assert three <= two * 1.01 + 0.05 * (startup_s + loss_s) + 1.0


KINDS = st.sampled_from(["awake", "marked", "asleep", "refused", "going", "starting"])


def replica(kind, index, now):
    uid, resting = f"p{index}", {"marked_at_s": now - 500.0}
    changes = {
        "awake": {},
        "marked": resting,
        "asleep": {**resting, "asleep": True},
        "refused": {"sleepless": True},
        "going": {"terminating": True},
        "starting": {"ready_at_s": None},
    }[kind]
    return pod(uid, now, **changes)


@QUICK
@given(
    kinds=st.lists(KINDS, max_size=4),
    rate=st.sampled_from([0.0, 0.0, 0.05, 20.0]),
    waiting=st.integers(0, 3),
    quiet_s=st.floats(0.0, 20_000.0),
    by_hand=st.booleans(),
    share=st.sampled_from(["0", "0.1", "0.9", "1"]),
    minimum=st.integers(0, 1),
)
def test_who_sleeps_is_there_is_not_needed_and_stays_so(*, kinds, rate, waiting, quiet_s, by_hand, share, minimum):
    variant = replace(SMALL, sleep=Sleep(Decimal(share), 5.0), min_replicas=minimum)
    spec = deployment(variant, scaling=ScalingSpec(idle_after_s=300.0 if by_hand else None))
    called_s = NOW if rate else NOW - quiet_s
    pods = [replica(kind, index, NOW) for index, kind in enumerate(kinds)]
    alive = sum(kind != "going" for kind in kinds)
    memory = Memory({KEY: DeploymentMemory(variants={"small": VariantMemory(work_at_s=called_s)}, last_arrival_at_s=called_s)})

    def decided(pods, memory):
        seen = state(
            spec,
            {"small": variant_state(*pods, replicas=alive)},
            demand=(demand(rate),),
            last_arrival_at_s=called_s,
            held=(held("small", waiting),) if waiting else (),
        )
        decision = decide(world(seen, memory=memory), NOW)
        return decision.deployments[KEY].replicas[0], decision.memory

    made, memory = decided(pods, memory)
    could = {one.name for one, kind in zip(pods, kinds, strict=True) if kind in {"awake", "marked", "asleep"}}
    assert set(made.asleep) <= could
    assert len(made.asleep) <= made.desired
    if waiting or minimum or rate > 1.0:
        assert made.asleep == ()
    after = [replace(one, marked_at_s=NOW - 1.0, asleep=True) if one.name in made.asleep else one for one in pods]
    if made.asleep and made.desired == alive:
        assert decided(after, memory)[0].asleep == made.asleep, "what was put to sleep is not woken by that"

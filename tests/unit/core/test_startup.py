"""How long a start takes is learned from the starts that were watched, and from nothing else."""

from __future__ import annotations

from dataclasses import replace

from core_worlds import KEY, NOW, SMALL, demand, deployment, pod, state, variant_state, world

from jevons.core import health as evidence
from jevons.core import startup
from jevons.core.decide import decide
from jevons.core.health import Health
from jevons.core.memory import DeploymentMemory, Memory, VariantMemory
from jevons.core.observed import Known
from jevons.core.snapshot import Pod

ONE = deployment(SMALL)
EMPTY = Memory()


def test_slow_starts_are_believed_sooner_than_fast_ones():
    def after(*starts_s):
        return round(startup.expected_s(Health(starts_s=starts_s), 60.0), 3)

    assert (after(240.0), after(240.0, 240.0)) == (60.0, 240.0)
    assert (after(*[15.0] * 6), after(*[15.0] * 7)) == (60.0, 15.0)


def test_whatever_was_seen_the_belief_stays_within_a_bound_of_the_spec():
    for lie in (1e-9, 0.0, 1e12):
        assert 60.0 / 8.0 <= startup.expected_s(Health(starts_s=(lie,) * 24), 60.0) <= 60.0 * 8.0


def test_a_steady_startup_time_never_moves():
    starts_s: tuple[float, ...] = ()
    for drawn in (59.0, 61.0, 60.0, 58.0, 62.0, 60.5, 59.5, 61.5):
        starts_s = (*starts_s, drawn)
        assert startup.expected_s(Health(starts_s=starts_s), 60.0) == 60.0


def lived(pods_at, seconds, *, memory=EMPTY, step_s=15.0, spec=ONE, replicas=2):
    """Memory after passes over `pods_at(now)`."""
    now = NOW
    while now <= NOW + seconds:
        seen = state(spec, {"small": variant_state(*pods_at(now), replicas=replicas)}, demand=(demand(3.0, now),), last_arrival_at_s=now)
        memory = decide(world(seen, now=now, memory=memory, metrics=Known(None, now)), now).memory
        now += step_s
    return memory


def starting(uid, created_s, ready_s, now):
    ready = ready_s is not None and now >= ready_s
    return (
        Pod(uid, uid, created_s, created_s, ready_s, "node", signals=pod(uid, now).signals)
        if ready
        else Pod(uid, uid, created_s, created_s, node="node")
    )


def health(memory):
    return memory.deployments[KEY].variants["small"].health


def test_a_start_is_timed_from_creation_to_the_first_readiness():
    memory = lived(lambda now: [pod("a", now), *([starting("b", NOW + 5.0, NOW + 130.0, now)] if now > NOW else [])], 300.0)
    assert health(memory).starts_s == (125.0,)
    assert health(memory).starting == ()


def test_a_pod_that_comes_back_from_a_crash_tells_nothing():
    def crashed(now):
        ready_s = NOW - 500.0 if now < NOW + 60.0 else NOW + 200.0
        return [starting("a", NOW - 600.0, ready_s, now) if now < NOW + 60.0 or now >= NOW + 200.0 else starting("a", NOW - 600.0, None, now)]

    assert health(lived(crashed, 300.0)).starts_s == ()


def test_skewed_clocks_do_not_stretch_what_we_saw_ourselves():
    late = lived(
        lambda now: [starting("b", NOW, NOW + 60.0, now) if now < NOW + 60.0 else replace(pod("b", now), created_at_s=NOW, ready_at_s=now + 300.0)],
        90.0,
    )
    early = lived(
        lambda now: [starting("b", NOW, None, now) if now < NOW + 60.0 else replace(pod("b", now), created_at_s=NOW, ready_at_s=NOW - 300.0)], 90.0
    )
    ahead = lived(lambda now: [starting("b", NOW + 300.0, None, now) if now < NOW + 60.0 else replace(pod("b", now), created_at_s=NOW + 300.0)], 90.0)
    for memory in (late, early, ahead):
        assert 45.0 <= health(memory).starts_s[0] <= 60.0


def test_what_was_learned_survives_a_restart_and_reaches_those_who_wait():
    memory = Memory({KEY: lived(lambda now: [pod("a", now)], 0.0).deployments[KEY]})
    for number in range(3):
        born = NOW + 1000.0 * number
        memory = lived(
            lambda now, born=born, n=number: [pod("a", now), starting(f"b{n}", born, born + 240.0, now)] if now >= born else [pod("a", now)],
            2600.0,
            memory=memory,
        )
    memory = Memory.from_json({KEY: memory.to_json(KEY)})
    assert health(memory).starts_s == (240.0,) * 3
    decision = decide(world(state(ONE, {"small": variant_state(pod("a"))}), memory=memory), NOW).deployments[KEY]
    assert decision.routing.variants[0].startup_s == 240.0
    assert ("startup[small]", "240 s by the last 3 starts; the spec says 60", None) in decision.explanation.inputs


def test_a_checkpoint_without_evidence_is_read_as_none():
    memory = lived(lambda now: [pod("a", now)], 0.0)
    text = memory.to_json(KEY).replace(',"health":[[],[],[],null,0,null,[],["node"],[],[]]', "")
    assert "health" not in text
    assert health(Memory.from_json({KEY: text})) == Health()


def classes(*starts):
    """Evidence of starts (seconds, on a node that knew the variant)."""
    return Health(starts_s=tuple(seconds for seconds, _ in starts), at_home=tuple(known for _, known in starts), homes=("old",))


def test_a_start_on_a_node_that_served_the_variant_before_is_a_class_of_its_own():
    seen = classes(*[(240.0, False)] * 8, *[(30.0, True)] * 16)
    assert startup.on_node_s(seen, 240.0, "old") == 30.0
    assert startup.on_node_s(seen, 240.0, "new") == 240.0
    assert startup.on_node_s(seen, 240.0, None) == startup.expected_s(seen, 240.0)


def test_evidence_of_before_nodes_were_told_apart_is_still_read():
    row = [[], [30.0, 40.0], [], None, 0, None]
    assert evidence.restored(row) == Health(starts_s=(30.0, 40.0))


def test_the_next_start_is_expected_in_the_class_that_starts_were_lately():
    lately_home = classes(*[(240.0, False)] * 10, *[(30.0, True)] * 10)
    lately_fresh = classes(*[(30.0, True)] * 10, *[(240.0, False)] * 10)
    without_nodes = replace(lately_home, at_home=())
    assert startup.expected_s(lately_home, 240.0) == 30.0
    assert startup.expected_s(lately_fresh, 240.0) == 240.0
    assert startup.expected_s(without_nodes, 240.0) == 240.0, "half of them were slow, and nobody knows why"


def test_whatever_the_classes_say_the_belief_stays_within_a_bound_of_the_spec():
    for lie in (1e-9, 0.0, 1e12):
        seen = classes(*[(lie, True)] * 12, *[(60.0, False)] * 12)
        for found in (startup.expected_s(seen, 60.0), startup.on_node_s(seen, 60.0, "old"), startup.on_node_s(seen, 60.0, "new")):
            assert 60.0 / 8.0 <= found <= 60.0 * 8.0


def test_starts_are_told_apart_by_their_nodes():
    def pods(now):
        there = [pod("first", now, age_s=7200.0, node="a")]
        for index, (node, took_s) in enumerate([("b", 50.0), ("b", 20.0), ("a", 20.0)]):
            created_s = NOW + 30.0 + 120.0 * index
            if created_s <= now < created_s + 100.0:
                there.append(replace(starting(f"p{index}", created_s, created_s + took_s, now), node=node))
        return there

    memory = lived(pods, 420.0)
    found = health(memory)
    assert found.at_home == (False, True, True)
    assert set(found.homes) == {"a", "b"}
    assert health(Memory.from_json({KEY: memory.to_json(KEY)})).at_home == found.at_home


def test_explain_tells_what_weights_on_the_node_made_of_a_start():
    known = classes(*[(240.0, False)] * 8, *[(30.0, True)] * 16)
    memory = Memory({KEY: DeploymentMemory(variants={"small": VariantMemory(health=known)})})
    decision = decide(world(state(deployment(replace(SMALL, startup_s=240.0)), {"small": variant_state(pod("a"))}), memory=memory), NOW)
    told = "30 s by the last 24 starts (16 on nodes that had served it: 30 s there, 240 s elsewhere); the spec says 240"
    assert ("startup[small]", told, None) in decision.deployments[KEY].explanation.inputs


def test_a_slow_start_on_a_fresh_node_is_not_taken_for_a_failed_one():
    known = classes(*[(240.0, False)] * 9, *[(30.0, True)] * 15)
    spec = deployment(replace(SMALL, startup_s=240.0, min_replicas=1))
    memory = Memory({KEY: DeploymentMemory(variants={"small": VariantMemory(work_at_s=NOW, health=known)})})
    fate = {}
    for node in ("fresh", "old"):
        now, kept = NOW, memory
        while now <= NOW + 200.0:
            seen = state(spec, {"small": variant_state(replace(starting("p", NOW, None, now), node=node), replicas=1)}, last_arrival_at_s=now)
            decision = decide(world(seen, now=now, memory=kept, metrics=Known(None, now)), now)
            kept = decision.memory
            now += 15.0
        fate[node] = kept.deployments[KEY].variants["small"].failed_starts
        told = decision.deployments[KEY].routing.variants[0].startup_s
        assert told == (240.0 if node == "fresh" else 30.0)
    assert fate == {"fresh": 0, "old": 1}

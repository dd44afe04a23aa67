"""`scaling.mode` on the real API server: Recommend publishes everything and touches nothing, Paused keeps all as it is."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.cluster


def touched(leader):
    """Writes to anything but our own status, events and checkpoints."""
    return [(method, path) for method, path in leader.writes if not path.endswith(("/status", "/events")) and "/configmaps" not in path]


@pytest.mark.parametrize("mode", ["Recommend", "Paused"])
async def test_neither_touches_a_workload(operators, assistant, mode):
    await assistant(scaling={"mode": mode})
    leader = await operators.start()
    leader.holds("assistant", "large", 5)
    await leader.passes(4)

    status = (await leader.infd("assistant"))["status"]
    assert touched(leader) == []
    assert await leader.replicas("assistant-target") == 1
    assert await leader.replicas("assistant-small") is None, "not even an empty child"
    assert {entry["type"] for entry in status["conditions"]} >= {"Accepted", "ResolvedRefs", "Ready", "WithinBudget"}
    assert [entry["name"] for entry in status["variants"]] == ["large", "small"]
    assert status["routing"]["variants"][0]["selector"] == "app=assistant"
    assert [entry["reason"] for entry in status["variants"]] == [mode, mode]


async def test_recommend_says_what_enforce_would_do_and_enforce_then_does_it(operators, assistant):
    await assistant(scaling={"mode": "Recommend"})
    leader = await operators.start()
    leader.holds("assistant", "small", 1)
    await leader.passes(2)
    wanted = {entry["name"]: entry["desired"] for entry in (await leader.infd("assistant"))["status"]["variants"]}
    assert wanted["small"] == 1

    await assistant(target=False, scaling={"mode": "Enforce"})
    await leader.passes(2)
    assert await leader.replicas("assistant-small") == 1


async def test_paused_in_the_middle_leaves_replicas_as_they_are(operators, assistant):
    await assistant()
    leader = await operators.start()
    leader.holds("assistant", "small", 1)
    await leader.passes(2)
    await assistant(target=False, scaling={"mode": "Paused"})
    leader.signals.demand.clear()
    writes = len(leader.writes)
    await leader.passes(3)
    assert [path for _, path in leader.writes[writes:] if path.endswith("/scale")] == []
    assert await leader.replicas("assistant-small") == 1

"""R12: someone else who moves replicas is respected and reported; a target that an autoscaler manages is never written."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.cluster


async def test_a_humans_scale_is_respected_and_reported(operators, assistant, sandbox, namespace):
    await assistant()
    leader = await operators.start()
    leader.holds("assistant", "small", 1)
    await leader.passes(2)
    assert await leader.replicas("assistant-small") == 1

    await sandbox.kubectl("scale", "deploy/assistant-small", "--replicas=3", "-n", namespace)
    before = len(leader.writes)
    await leader.passes(4)

    assert await leader.replicas("assistant-small") == 3
    assert [path for _, path in leader.writes[before:] if path.endswith("scale")] == []
    contested = await leader.condition("assistant", "ScaleUncontested")
    assert contested["status"] == "Unknown"


async def test_a_humans_scale_of_a_target_is_seen_although_the_server_names_nobody(operators, assistant, sandbox, namespace):
    await assistant()
    leader = await operators.start()
    await sandbox.kubectl("scale", "deploy/assistant-target", "--replicas=0", "-n", namespace)
    leader.holds("assistant", "large", 1)
    await leader.passes(2)
    assert await leader.replicas("assistant-target") == 1
    assert (await leader.condition("assistant", "ScaleUncontested"))["status"] == "True", "our own write is ours"

    await sandbox.kubectl("scale", "deploy/assistant-target", "--replicas=3", "-n", namespace)
    await leader.passes(3)
    assert await leader.replicas("assistant-target") == 3
    assert (await leader.condition("assistant", "ScaleUncontested"))["status"] == "Unknown"

    second = await operators.start()
    await second.passes(3)
    assert await second.replicas("assistant-target") == 3, "the pause outlives a restart"


async def test_a_change_made_while_no_operator_ran_is_respected_too(operators, assistant, sandbox, namespace):
    await assistant()
    first = await operators.start()
    first.holds("assistant", "small", 1)
    await first.passes(2)
    await sandbox.kubectl("scale", "deploy/assistant-small", "--replicas=2", "-n", namespace)

    second = await operators.start()
    second.holds("assistant", "small", 1)
    await second.passes(3)
    assert await second.replicas("assistant-small") == 2
    assert (await second.condition("assistant", "ScaleUncontested"))["status"] == "Unknown"

    third = await operators.start()
    third.holds("assistant", "small", 1)
    await third.passes(3)
    assert await third.replicas("assistant-small") == 2, "the pause outlives a restart"


async def test_a_target_with_an_autoscaler_is_refused_before_the_first_write(operators, assistant, sandbox, namespace):
    await assistant()
    await sandbox.kubectl("autoscale", "deploy/assistant-target", "--max=5", "-n", namespace)
    leader = await operators.start()
    leader.holds("assistant", "large", 5)
    await leader.passes(3)
    refs = await leader.condition("assistant", "ResolvedRefs")
    assert (refs["status"], refs["reason"]) == ("False", "ManagedByAutoscaler")
    assert [path for _, path in leader.writes if "assistant-target" in path] == []

"""R8: what was deleted while nobody watched is gone after one list; duplicated, reordered and stale events change nothing."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.cluster


async def test_an_object_deleted_while_the_watch_was_cut_is_no_ghost(operators, assistant, sandbox, namespace):
    await assistant("stays")
    await assistant("goes")
    leader = await operators.start()
    await leader.passes(2)
    assert {key.name for key in leader.metrics.last.view.deployments} == {"stays", "goes"}
    body = dict(leader.lister.world.deployments.get(namespace, "goes").body)

    await sandbox.kubectl("delete", "infd/goes", "deploy/goes-target", "-n", namespace)
    await leader.passes(1, fresh=False)
    assert {key.name for key in leader.metrics.last.view.deployments} == {"stays", "goes"}, "nobody told"
    await leader.passes(1)
    assert {key.name for key in leader.metrics.last.view.deployments} == {"stays"}

    leader.lister.world.deployments.apply("MODIFIED", body)
    leader.lister.world.deployments.apply("ADDED", body)
    await leader.passes(1, fresh=False)
    assert {key.name for key in leader.metrics.last.view.deployments} == {"stays"}, "a late event brought it back"


async def test_a_target_deleted_and_made_again_is_another_one(operators, assistant, sandbox, namespace):
    await assistant()
    leader = await operators.start()
    await leader.passes(1)
    before = leader.lister.world.workloads["apps/v1", "Deployment"].get(namespace, "assistant-target").meta.uid

    await sandbox.kubectl("delete", "deploy/assistant-target", "-n", namespace)
    await leader.passes(1)
    assert (await leader.condition("assistant", "ResolvedRefs"))["reason"] == "TargetNotFound"

    await assistant()
    await leader.passes(1)
    assert leader.lister.world.workloads["apps/v1", "Deployment"].get(namespace, "assistant-target").meta.uid != before
    assert (await leader.condition("assistant", "ResolvedRefs"))["status"] == "True"

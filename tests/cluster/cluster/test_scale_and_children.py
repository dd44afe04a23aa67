"""R10 and template children: conflicts are retried with a fresh read, other people's changes void the decision, replicas are never applied."""

from __future__ import annotations

import pytest
import pytest_asyncio

from jevons.cluster import records, workloads
from jevons.cluster.connect import MERGE_PATCH
from jevons.cluster.lister import Lister, discover
from jevons.cluster.scale import set_replicas
from jevons.cluster.workloads import CHILDREN
from jevons.cluster.world import INFERENCE_DEPLOYMENTS

pytestmark = pytest.mark.cluster


@pytest_asyncio.fixture
async def lister(api, namespace):
    made = Lister(api, await discover(api, ("apps/v1/Deployment", "apps/v1/StatefulSet", "no.such/v1/Kind")), (namespace,))
    assert await made.resync()
    return made


def deployments(lister):
    return lister.world.workloads["apps/v1", "Deployment"]


@pytest_asyncio.fixture
async def target(sandbox, namespace, lister):
    await sandbox.kubectl("create", "deployment", "target", "--image=x", "--replicas=0", "-n", namespace)
    await lister.resync()
    return deployments(lister).get(namespace, "target")


async def touch(api, namespace, name, value):
    await api.request("PATCH", CHILDREN.path(namespace, name), body={"metadata": {"annotations": {"touched": value}}}, content_type=MERGE_PATCH)


async def test_a_version_that_moved_is_read_again(api, namespace, lister, target):
    await touch(api, namespace, "target", "1")
    assert await set_replicas(api, CHILDREN, deployments(lister), target, 2)
    stored = await api.get(CHILDREN.path(namespace, "target"))
    assert stored["spec"]["replicas"] == 2
    assert records.workload(stored).writer == "jevons-scaler"


async def test_replicas_that_moved_void_the_decision(api, sandbox, namespace, lister, target):
    await sandbox.kubectl("scale", "deploy/target", "--replicas=3", "-n", namespace)
    assert not await set_replicas(api, CHILDREN, deployments(lister), target, 2)
    assert (await api.get(CHILDREN.path(namespace, "target")))["spec"]["replicas"] == 3


async def test_a_target_made_again_is_not_scaled_on_the_old_ones_decision(api, sandbox, namespace, lister, target):
    await sandbox.kubectl("delete", "deploy/target", "-n", namespace)
    await sandbox.kubectl("create", "deployment", "target", "--image=x", "--replicas=0", "-n", namespace)
    assert not await set_replicas(api, CHILDREN, deployments(lister), target, 2)
    assert (await api.get(CHILDREN.path(namespace, "target")))["spec"]["replicas"] == 0


async def test_a_conflict_at_every_attempt_ends_after_three_retries(api, namespace, lister, target):
    attempts = []

    def rival(method, path):
        attempts.append(path)
        target_touch.append(len(attempts))

    target_touch: list[int] = []
    write = api.write

    async def beaten(*args, **kwargs):
        await touch(api, namespace, "target", str(len(attempts)))
        return await write(*args, **kwargs)

    api.before_write, api.write = rival, beaten
    assert not await set_replicas(api, CHILDREN, deployments(lister), target, 2)
    assert len(attempts) == 4


async def test_a_changed_template_is_applied_without_touching_replicas_and_a_removed_variant_goes(api, sandbox, namespace, lister):
    async def apply(variants):
        body = {"apiVersion": "jevons.dev/v1alpha1", "kind": "InferenceDeployment", "metadata": {"name": "m", "namespace": namespace}}
        await sandbox.apply({**body, "spec": {"model": f"{namespace}-m", "variants": variants}})
        await lister.resync()
        return lister.world.deployments.get(namespace, "m")

    def variant(name, **pod):
        return {"name": name, "template": {"spec": {"containers": [{"name": "e", "image": "x"}], **pod}}}

    owner = await apply([variant("a", hostNetwork=True), variant("b")])
    for name, template in workloads.templates(owner).items():
        child = await workloads.ensure(api, lister.world, owner, name, template)
        assert child.replicas == 0
        await lister.resync()
        assert await set_replicas(api, CHILDREN, deployments(lister), deployments(lister).get(namespace, f"m-{name}"), 1)

    owner = await apply([variant("a", priorityClassName="system-node-critical")])
    await workloads.ensure(api, lister.world, owner, "a", workloads.templates(owner)["a"])
    stored = await api.get(CHILDREN.path(namespace, "m-a"))
    assert stored["spec"]["replicas"] == 1
    assert "hostNetwork" not in stored["spec"]["template"]["spec"], "what was removed from the template is gone"
    assert stored["spec"]["template"]["spec"]["priorityClassName"] == "system-node-critical"
    writes = api.writes
    await workloads.ensure(api, lister.world, owner, "a", workloads.templates(owner)["a"])
    assert api.writes == writes, "an unchanged template is not written"

    for _ in range(200):
        await lister.resync()
        orphans = workloads.orphans(lister.world, [owner]).get(owner.meta.uid, [])
        if not orphans:
            break
        await workloads.prune(api, lister.world, orphans)
    assert deployments(lister).get(namespace, "m-b") is None
    assert deployments(lister).get(namespace, "m-a") is not None


async def test_kinds_that_the_cluster_lacks_are_left_out(api, lister):
    assert set(lister.world.workloads) == {("apps/v1", "Deployment"), ("apps/v1", "StatefulSet")}
    assert lister.world.synced
    assert INFERENCE_DEPLOYMENTS in lister.world.kinds

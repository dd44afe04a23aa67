"""A model, one variant with a targetRef and nothing else: the accelerator and its price come from the target's pods."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.cluster


@pytest.fixture
def bare(sandbox, assistant, namespace):
    """Applies a deployment whose variant names a target and no accelerator; `pod` goes into the target's pod spec."""

    async def apply(name, *, resources, node_selector=None):
        container = {"name": "engine", "image": "engine", "resources": {"limits": resources}}
        template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container], "nodeSelector": node_selector or {}}}
        deployment = {"replicas": 0, "selector": {"matchLabels": {"app": name}}, "template": template}
        target = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": deployment}
        spec = {"variants": [{"name": "large", "targetRef": {"name": name}}], "budget": {"amount": "500", "period": "Day"}}
        infd = {"apiVersion": "jevons.dev/v1alpha1", "kind": "InferenceDeployment", "metadata": {"name": name}, "spec": spec}
        await sandbox.apply(target, infd, namespace=namespace)

    return apply


async def test_it_is_what_the_pods_request_and_the_nodes_they_may_run_on(operators, bare, sandbox, namespace):
    resource = f"{namespace}.example/npu"
    price = {"effectiveFrom": "2020-01-01T00:00:00Z", "onDemand": "3"}
    for name in ("one", "two"):
        spec = {"resourceName": resource, "nodeSelector": {"acc": name}, "prices": [price]}
        await sandbox.apply(
            {"apiVersion": "jevons.dev/v1alpha1", "kind": "AcceleratorClass", "metadata": {"name": f"{namespace}-{name}"}, "spec": spec}
        )
    try:
        await bare("known", resources={resource: "2"}, node_selector={"acc": "two"})
        await bare("unclear", resources={resource: "2"})
        await bare("none", resources={"cpu": "1"})
        leader = await operators.start()
        leader.holds("known", "large", 1)
        leader.holds("unclear", "large", 1)
        await leader.passes(2)

        status = (await leader.infd("known"))["status"]
        assert status["variants"][0]["acceleratorClass"] == f"{namespace}-two"
        assert status["variants"][0]["acceleratorCount"] == 2
        assert status["model"] == "known", "the object's name when the spec gives none"
        assert await leader.replicas("known") == 1

        for name in ("unclear", "none"):
            status = (await leader.infd(name))["status"]
            assert status["reason"] == "AcceleratorUnknown"
            assert "set accelerator.className to one of" in status["message"]
            assert "acceleratorClass" not in status["variants"][0]
            assert await leader.replicas(name) == 0, "nothing is started at an unknown price"
    finally:
        await sandbox.kubectl("delete", "acceleratorclass", f"{namespace}-one", f"{namespace}-two")

"""Install, upgrade, roll back, uninstall: what runs is never touched, and what is the user's stays."""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.cluster

NO_CATALOGUE = ("--set", "catalogue.enabled=false")


def workload(name: str, replicas: int) -> dict:
    labels = {"app": name}
    pod = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "engine", "image": "engine"}]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": pod},
    }


def deployment(name: str, variant: dict) -> dict:
    return {
        "apiVersion": "jevons.dev/v1alpha1",
        "kind": "InferenceDeployment",
        "metadata": {"name": name},
        "spec": {"variants": [{"name": "only", "servedModel": "m", "accelerator": {"className": "h100-80gb"}, **variant}]},
    }


async def test_running_replicas_survive_install_upgrade_rollback_and_uninstall(release):
    box, namespace = release.box, release.namespace
    await box.apply(workload("llama", 3), namespace=namespace)
    await release.install(*NO_CATALOGUE)
    await box.apply(deployment("assistant", {"targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "llama"}}), namespace=namespace)
    before = await box.get("deployment", "llama", namespace=namespace)

    await release.upgrade(*NO_CATALOGUE, "--set", "operator.replicas=3,gateway.pickers=4")
    assert (await box.get("deployment", "jevons-operator", namespace=namespace))["spec"]["replicas"] == 3
    await release.helm("rollback", "jevons", "1", "-n", namespace)
    assert (await box.get("deployment", "jevons-operator", namespace=namespace))["spec"]["replicas"] == 2
    await release.helm("uninstall", "jevons", "-n", namespace)

    after = await box.get("deployment", "llama", namespace=namespace)
    assert (after["metadata"]["generation"], after["spec"]["replicas"]) == (before["metadata"]["generation"], 3)
    assert await box.get("infd", "assistant", namespace=namespace) is not None
    assert await box.get("crd", "inferencedeployments.jevons.dev") is not None
    left = [one["metadata"]["name"] for kind in ("clusterrole", "validatingadmissionpolicy") for one in await box.items(kind)]
    assert not [name for name in left if name.startswith(namespace)]


async def test_the_catalogue_is_made_once_and_is_the_admins_from_then_on(release):
    box, namespace = release.box, release.namespace
    mine = {"apiVersion": "jevons.dev/v1alpha1", "kind": "AcceleratorClass", "metadata": {"name": "l4"}, "spec": {"resourceName": "example.com/l4"}}
    existing = await box.get("acceleratorclass", "l4")
    if existing is None:
        await box.apply(mine)
    try:
        await release.install()
        resource = (await box.get("acceleratorclass", "l4"))["spec"]["resourceName"]
        assert resource == (existing or mine)["spec"]["resourceName"], "a class that was there was changed"
        await box.kubectl("patch", "acceleratorclass", "t4", "--type=merge", "-p", '{"spec": {"limit": 7}}')
        await release.upgrade("--set", "operator.replicas=1")
        await release.helm("rollback", "jevons", "1", "-n", namespace)
        assert (await box.get("acceleratorclass", "t4"))["spec"]["limit"] == 7
        await release.helm("uninstall", "jevons", "-n", namespace)
        assert (await box.get("acceleratorclass", "t4"))["spec"]["limit"] == 7
    finally:
        if existing is None:
            await box.kubectl("delete", "acceleratorclass", "l4")


async def test_every_object_of_the_chart_is_accepted_by_the_api_server(release):
    await release.install(*NO_CATALOGUE, "--set-string", "defaultBudget.amount=100", "--set", "watchNamespaces={" + release.namespace + "}")
    status = json.loads(await release.helm("status", "jevons", "-n", release.namespace, "-o", "json"))
    assert status["info"]["status"] == "deployed"
    assert "kubectl get infd" in status["info"]["notes"]


async def test_pods_of_the_chart_are_admitted_where_the_restricted_standard_is_enforced(release):
    box, namespace = release.box, release.namespace
    await box.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    await release.install(*NO_CATALOGUE)
    for name in ("jevons-operator", "jevons-gateway"):
        await box.kubectl("wait", f"deployment/{name}", "-n", namespace, "--for=jsonpath={.status.replicas}=2", "--timeout=30s")

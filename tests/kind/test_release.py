"""What only real kubelets show of a release: pods that start under the restricted standard, roll without losing an answer, and go."""

from __future__ import annotations

import asyncio

import pytest

from jevons.sandbox.processes import KubectlError

pytestmark = [pytest.mark.kind, pytest.mark.timeout(1800)]

SYSTEM = "jevons-system"


def ready(pod):
    return {one["type"]: one["status"] for one in pod["status"].get("conditions", [])}.get("Ready") == "True"


async def test_every_pod_of_the_chart_is_ready_where_the_restricted_standard_is_enforced(release):
    found = await release.items("pods", namespace=SYSTEM, selector="app.kubernetes.io/name=jevons")
    pods = [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]  # another test's gateways may still drain
    assert sorted(pod["metadata"]["labels"]["app.kubernetes.io/component"] for pod in pods) == ["gateway", "gateway", "operator", "operator"]
    assert all(map(ready, pods))
    for pod in pods:
        for status in [*pod["status"]["containerStatuses"], *pod["status"].get("initContainerStatuses", [])]:
            assert status["restartCount"] == 0, (pod["metadata"]["name"], status)
    with pytest.raises(KubectlError, match="violates PodSecurity"):
        await release.kubectl("run", "root", "--image=jevons:kind", "-n", SYSTEM)


async def test_prometheus_scrapes_operator_gateway_and_exporters(release, eventually):
    async def up():
        jobs = await release.query("count by (job) (up == 1)")
        return {one["metric"]["job"]: int(one["value"][1]) for one in jobs}.get("jevons") == 4

    await eventually(up)
    workers = len(await release.items("nodes", selector="jevons.dev/accelerator"))
    assert len(await release.query("count by (Hostname) (DCGM_FI_DEV_GPU_UTIL)")) == workers


async def test_an_operator_has_no_right_that_it_asks_for_in_vain(release):
    logs = await release.kubectl("logs", "-n", SYSTEM, "-l", "app.kubernetes.io/name=jevons", "--all-containers", "--tail=-1")
    refused = [line for line in logs.splitlines() if "forbidden" in line.lower()]
    assert refused == []


async def test_a_restart_of_all_gateways_loses_no_answer(release, namespace, example, client, eventually):
    deployment, workload = example("quickstart.yaml")
    deployment["spec"]["scaling"] = {"idleAfter": "10m"}
    deployment["spec"]["model"] = "steady"
    await release.apply(deployment, workload, namespace=namespace)
    assert (await eventually(lambda: _answered(client, "steady"), within_s=120)).done
    load = asyncio.create_task(client.steady("steady", per_s=4, seconds=60, prompts=["go on"], max_tokens=200))
    await release.kubectl("rollout", "restart", "deployment/jevons-gateway", "-n", SYSTEM)
    await release.kubectl("rollout", "status", "deployment/jevons-gateway", "-n", SYSTEM, "--timeout=170s", timeout_s=180)
    answers = await load
    lost = [answer for answer in answers if not answer.done]
    assert lost == [], (len(lost), lost[:3])


async def test_uninstall_leaves_definitions_objects_and_replicas(release, namespace, example, eventually):
    deployment, workload = example("quickstart.yaml")
    workload["spec"]["replicas"] = 1
    deployment["spec"]["model"] = "kept"
    await release.apply(deployment, workload, namespace=namespace)
    await release.helm("uninstall", "jevons", "-n", SYSTEM, "--wait", "--timeout=3m")
    assert await release.get("crd", "inferencedeployments.jevons.dev") is not None
    assert await release.get("infd", "chat", namespace=namespace) is not None
    assert (await release.get("deployment", "llama-8b", namespace=namespace))["spec"]["replicas"] == 1

    async def no_pods():
        return await release.items("pods", namespace=SYSTEM, selector="app.kubernetes.io/name=jevons") == []

    await eventually(no_pods)
    await release.helm("uninstall", "jevons-crds", "-n", SYSTEM)
    assert await release.get("infd", "chat", namespace=namespace) is not None


async def _answered(client, model):
    answer = await client.ask(model, "hello")
    return answer if answer.status == 200 else None

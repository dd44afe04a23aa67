"""The embedded cluster behaves like a cluster where Jevons looks at it."""

from __future__ import annotations

import json
import os
import secrets
import signal
from collections.abc import Callable
from typing import Any

import pytest

from jevons.sandbox import KubectlError, NodeSpec, Sandbox

pytestmark = pytest.mark.cluster


def deployment(name: str, *, replicas: int, gpus: int, delay: str = "0s", resource: str = "nvidia.com/gpu") -> str:
    labels = {"app": name}
    container = {"name": "engine", "image": "vllm", "resources": {"limits": {resource: str(gpus)}}}
    annotations = {"pod-ready.stage.kwok.x-k8s.io/delay": delay, "prometheus.io/scrape": "true", "prometheus.io/port": "8000"}
    template = {"metadata": {"labels": labels, "annotations": annotations}, "spec": {"containers": [container]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    return json.dumps({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec})


async def test_gpus_are_counted_by_the_real_scheduler(sandbox: Sandbox, namespace: str, eventually: Callable[..., Any]) -> None:
    node = NodeSpec(f"of-{namespace}", gpus=8, resource=f"{namespace}.example/gpu")  # this test's alone
    await sandbox.apply(node.manifest())
    await sandbox.kubectl("apply", "-n", namespace, "-f", "-", input=deployment("big", replicas=3, gpus=4, resource=node.resource))

    async def phases() -> bool:
        pods = await sandbox.items("pods", namespace=namespace)
        return sorted(pod["status"]["phase"] for pod in pods) == ["Pending", "Running", "Running"]

    await eventually(phases, within_s=30)
    await sandbox.kubectl("delete", "node", node.name)


async def test_pods_have_addresses_of_this_sandboxes_network(sandbox: Sandbox, namespace: str, eventually: Callable[..., Any]) -> None:
    await sandbox.kubectl("apply", "-n", namespace, "-f", "-", input=deployment("one", replicas=1, gpus=1))

    async def address() -> str | None:
        pods = await sandbox.items("pods", namespace=namespace)
        return pods[0]["status"].get("podIP") if pods else None

    assert (await eventually(address, within_s=30)).startswith(sandbox.slot.pod_cidr.removesuffix("0.0/16"))


async def test_a_pod_that_still_loads_has_an_address_and_is_not_ready(sandbox: Sandbox, namespace: str, eventually: Callable[..., Any]) -> None:
    await sandbox.kubectl("apply", "-n", namespace, "-f", "-", input=deployment("slow", replicas=1, gpus=1, delay="1h"))

    async def loading() -> bool:
        pods = await sandbox.items("pods", namespace=namespace)
        return bool(pods and pods[0]["status"].get("podIP") and pods[0]["status"]["phase"] == "Pending")

    await eventually(loading, within_s=30)


async def test_a_refused_command_raises_with_the_words_of_kubectl(sandbox: Sandbox) -> None:
    with pytest.raises(KubectlError, match="not found"):
        await sandbox.kubectl("get", "deployment", "nobody")


async def test_an_object_that_does_not_exist_is_none(sandbox: Sandbox) -> None:
    assert await sandbox.get("configmap", "nobody", namespace="default") is None


async def test_a_controller_manager_that_ended_by_itself_is_started_again(sandbox: Sandbox, eventually: Callable[..., Any]) -> None:
    os.kill(sandbox.cluster.component_pid("kube-controller-manager"), signal.SIGKILL)
    assert await eventually(sandbox.cluster.revive) == ["kube-controller-manager"]
    name = f"t-{secrets.token_hex(4)}"
    await sandbox.kubectl("create", "namespace", name)
    assert await eventually(lambda: sandbox.get("serviceaccount", "default", namespace=name)), "controllers work"
    assert sandbox.cluster.revive() == []
    await sandbox.kubectl("delete", "namespace", name, "--wait=false")


async def test_prometheus_finds_pods_and_names_them_as_the_queries_expect(sandbox: Sandbox, eventually: Callable[..., Any]) -> None:
    assert sandbox.prometheus is not None

    async def exporters() -> list[dict[str, str]]:
        found = await sandbox.prometheus.query('up{job="pods", namespace="jevons-system"}')
        return [series["metric"] for series in found]

    labels = await eventually(exporters, within_s=30)
    assert {"namespace", "pod", "node", "job", "instance"} <= set(labels[0])
    assert labels[0]["pod"].startswith("dcgm-exporter-")

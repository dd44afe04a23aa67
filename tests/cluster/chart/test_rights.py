"""The rights of the chart are enough: the real operator and the real gateway run with them, and the API server refuses nothing."""

from __future__ import annotations

import asyncio
import re

import pytest

from jevons.sandbox import Sandbox

pytestmark = [pytest.mark.cluster, pytest.mark.envoy]

REFUSED = re.compile(r"\b403\b|forbidden", re.IGNORECASE)
"""The status as a word: process ids and parts of seconds have these digits too."""
POD = {"metadata": {"labels": {"app": "llama"}}, "spec": {"containers": [{"name": "engine", "image": "engine"}]}}


async def until(holds, *, seconds: float = 90.0) -> None:
    for _ in range(int(seconds * 10)):
        if await holds():
            return
        await asyncio.sleep(0.1)
    pytest.fail("did not come true in time")


def infd(name: str, controller: str) -> dict:
    """One variant scales what is there, the other is Jevons' own."""
    common = {"servedModel": "m", "accelerator": {"className": "rights-test"}}
    target = {
        "name": "large",
        **common,
        "replicas": {"min": 2, "max": 3},
        "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "llama"},
    }
    own = {"name": "small", **common, "quality": "0.7", "replicas": {"min": 1, "max": 2}, "template": {"spec": POD["spec"]}}
    return {
        "apiVersion": "jevons.dev/v1alpha1",
        "kind": "InferenceDeployment",
        "metadata": {"name": name},
        "spec": {"controllerName": controller, "variants": [target, own], "budget": {"amount": "1000", "period": "Day"}},
    }


@pytest.mark.parametrize("scope", ["all", "namespaced"])
async def test_operator_and_gateway_do_their_work_with_the_charts_rights(sandbox: Sandbox, release, scope):
    box, namespace = sandbox, release.namespace
    only = () if scope == "all" else ("--watch-namespace", namespace)
    watched = () if scope == "all" else ("--set", f"watchNamespaces={{{namespace}}}")
    await release.install("--set", f"catalogue.enabled=false,controllerName={namespace}", *watched)
    price = {"effectiveFrom": "2026-01-01T00:00:00Z", "onDemand": "1"}
    await box.apply(
        {"apiVersion": "jevons.dev/v1alpha1", "kind": "AcceleratorClass", "metadata": {"name": "rights-test"}, "spec": {"prices": [price]}}
    )
    selector = {"matchLabels": POD["metadata"]["labels"]}
    target = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "llama"},
        "spec": {"replicas": 0, "selector": selector, "template": POD},
    }
    await box.apply(target, infd("assistant", namespace), namespace=namespace)
    operator, gateway = [str(await release.kubeconfig_of(f"jevons-{who}")) for who in ("operator", "gateway")]
    common = ("--controller-name", namespace, *only)

    async def replicas(name: str) -> int | None:
        found = await box.get("deployment", name, namespace=namespace)
        return None if found is None else found["spec"]["replicas"]

    async def settled() -> bool:
        return (await replicas("llama"), await replicas("assistant-small")) == (2, 1)

    async def published() -> bool:
        found = await box.get("infd", "assistant", namespace=namespace)
        return bool(found.get("status", {}).get("routing", {}).get("variants"))

    async def checkpointed() -> bool:
        return bool(await box.items("configmaps", namespace=namespace, selector="jevons.dev/checkpoint"))

    reporter = ("--demand-user", "system:serviceaccount:jevons-system:jevons-gateway")  # whose token the sandbox gives to gateways
    async with box.operator(options=["--kubeconfig", operator, "--namespace", namespace, *reporter, *common]) as op:
        await until(settled)
        await until(published)
        await until(checkpointed)
        async with box.gateway(operators=[op.demand_address], pickers=1, options=["--kubeconfig", gateway, *common]) as gw:
            refused = [line for program in (op, gw) for line in program.log.read_text().splitlines() if REFUSED.search(line)]
    lease = await box.get("lease", "jevons-operator", namespace=namespace)
    assert lease is not None
    assert refused == []

"""R17: from the version before to this one with live objects: no replica moves, and what was stored stays what it was.

`previous/` holds the two charts as `helm package` made them before definitions last changed; a release puts its own there.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from jevons.sandbox import Sandbox

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

CHART = Path(__file__).parents[3] / "helm" / "jevons"
CRD_CHART = CHART.parent / "jevons-crds"
PREVIOUS = Path(__file__).with_name("previous")
NAMESPACE = "team-a"
OURS = "jevons.dev/v1alpha1"


@pytest_asyncio.fixture
async def sandbox(tools) -> AsyncIterator[Sandbox]:
    """A cluster of its own, without the definitions of the checkout."""
    async with Sandbox.start(tools=tools, engines=False) as box:
        found = [one["metadata"]["name"] for one in await box.items("crds") if one["spec"]["group"] == "jevons.dev"]
        await box.kubectl("delete", "crd", *found)
        await box.kubectl("create", "namespace", NAMESPACE)
        yield box


def objects() -> list[dict[str, Any]]:
    """Live objects of the version before: a target, a template, a budget of each kind, a class."""
    labels = {"app": "llama"}
    container = {"name": "engine", "image": "engine", "resources": {"limits": {"nvidia.com/gpu": "1"}}}
    use = {"className": "r17", "count": 1}
    large = {"name": "large", "accelerator": use, "replicas": {"min": 2, "max": 4}, "targetRef": {"kind": "Deployment", "name": "llama"}}
    small = {"name": "small", "quality": "0.7", "accelerator": use, "template": {"spec": {"containers": [container]}}}
    spec = {"variants": [large, small], "budget": {"amount": "5000", "period": "Week"}, "scaling": {"onDelete": "Restore"}}
    shared = {"amount": "50000", "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": NAMESPACE}}}
    price = {"effectiveFrom": "2020-01-01T00:00:00Z", "onDemand": "2"}
    workload = {"replicas": 3, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}}}
    return [
        {"apiVersion": OURS, "kind": "AcceleratorClass", "metadata": {"name": "r17"}, "spec": {"prices": [price]}},
        {"apiVersion": OURS, "kind": "InferenceBudget", "metadata": {"name": "r17"}, "spec": shared},
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "llama", "namespace": NAMESPACE}, "spec": workload},
        {"apiVersion": OURS, "kind": "InferenceDeployment", "metadata": {"name": "assistant", "namespace": NAMESPACE}, "spec": spec},
    ]


def lost(before: Any, after: Any, path: str = "spec") -> Iterator[str]:
    """Paths whose value is not what it was; more fields are no loss."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key, value in before.items():
            yield from lost(value, after.get(key), f"{path}.{key}")
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for number, value in enumerate(before):
            yield from lost(value, after[number], f"{path}[{number}]")
    elif before != after:
        yield f"{path}: {before!r} -> {after!r}"


async def stored(box: Sandbox) -> dict[str, Any]:
    """The spec of each of our objects."""
    kinds = {"infd": NAMESPACE, "inferencebudget": None, "acceleratorclass": None}
    found = {kind: await box.items(kind, namespace=namespace) for kind, namespace in kinds.items()}
    return {f"{kind}/{one['metadata']['name']}": one["spec"] for kind, items in found.items() for one in items}


async def workloads(box: Sandbox) -> dict[str, tuple[int, int]]:
    """Replicas, and how often the spec was changed."""
    return {
        one["metadata"]["name"]: (one["spec"]["replicas"], one["metadata"]["generation"])
        for one in await box.items("deployment", namespace=NAMESPACE)
    }


async def test_live_objects_of_the_version_before_are_served_by_this_one_and_no_replica_moves(sandbox, eventually, release_in):
    box, release = sandbox, release_in(sandbox, "jevons")
    await release.helm("install", "jevons-crds", str(next(PREVIOUS.glob("jevons-crds-*.tgz"))), "-n", "default")
    chart = next(path for path in PREVIOUS.glob("jevons-*.tgz") if "crds" not in path.name)
    await release.helm("install", "jevons", str(chart), "-n", "jevons", "--create-namespace", "--set", "catalogue.enabled=false")
    await box.apply(*objects())

    async def status() -> dict[str, Any]:
        return (await box.get("infd", "assistant", namespace=NAMESPACE)).get("status", {})

    async def served() -> bool:
        """And all pods are told, so that nothing but the upgrade is a reason to tell anything later."""
        told = await status()
        return told.get("observedGeneration") == 1 and told["variants"][0]["ready"] == 3 and len(await workloads(box)) == 2

    async with box.operator(identity="before"):  # this program on the definitions of before: whoever upgrades in the wrong order
        await eventually(served, within_s=60)
    before, running = await stored(box), await workloads(box)
    assert running["llama"][0] == 3

    await release.helm("upgrade", "jevons-crds", str(CRD_CHART), "-n", "default")
    await release.helm("upgrade", "jevons", str(CHART), "-n", "jevons", "--reuse-values")

    async def new_definitions_are_served() -> bool:
        probe = ("--subresource=status", "--type=merge", "-p", '{"status": {"model": "probe"}}', "--dry-run=server", "-o", "jsonpath={.status.model}")
        return await box.kubectl("patch", "infd", "assistant", "-n", NAMESPACE, *probe) == "probe"

    await eventually(new_definitions_are_served)
    async with box.operator(identity="after"):

        async def is_told_in_full() -> bool:
            return (await status()).get("model") == "assistant"

        await eventually(is_told_in_full, within_s=60)
        after = await stored(box)
        assert await workloads(box) == running, "replicas, and every other field of the workloads"
        await box.apply(*objects())  # what the user has in Git is applied again
        again = await stored(box)
        assert await workloads(box) == running
        conditions = {each["type"]: each["status"] for each in (await status())["conditions"]}
        assert (conditions["Accepted"], conditions["ResolvedRefs"]) == ("True", "True")
    gone = {name: found for name, spec in before.items() if (found := [*lost(spec, after[name]), *lost(spec, again[name])])}
    assert gone == {}
    sys.stdout.write(f"R17: {running}; fields changed: {len(gone)}; status: {sorted(await status())}\n")

    await release.helm("rollback", "jevons", "1", "-n", "jevons")
    assert await workloads(box) == running
    assert await stored(box) == again, "definitions are not rolled back with the program"

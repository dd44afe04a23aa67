"""A fleet without a cluster: pods are dicts as the API server would send them, on loopback addresses of their own."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest

from jevons.sandbox.fleet import Fleet

H100 = "llama-3.1-8b/fp8/h100_sxm/1/vllm"
NETWORK = "127.210.0.0/16"
_numbers = itertools.count(1)


def pod(
    name: str = "engine",
    *,
    ready: bool = True,
    labels: dict[str, str] | None = None,
    node: str = "gpu-a",
    gpus: int = 1,
    profile: str | None = H100,
    ends_at: str | None = None,
    port: int = 8000,
    ip: str | None = None,
    **annotations: str,
) -> dict[str, Any]:
    """A pod; keyword arguments beyond the named ones are `sandbox.jevons.dev/` annotations (`max_num_seqs` for `max-num-seqs`)."""
    number = next(_numbers)
    notes = {f"sandbox.jevons.dev/{key.replace('_', '-')}": value for key, value in annotations.items()} | {"prometheus.io/port": str(port)}
    if profile is not None:
        notes["sandbox.jevons.dev/profile"] = profile
    metadata = {"uid": f"uid-{name}-{number}", "namespace": "team-a", "name": name, "labels": labels or {}, "annotations": notes}
    if ends_at is not None:
        metadata["deletionTimestamp"] = ends_at
    return {
        "metadata": metadata,
        "spec": {"nodeName": node, "containers": [{"name": "server", "resources": {"limits": {"nvidia.com/gpu": str(gpus)}} if gpus else {}}]},
        "status": {
            "podIP": ip or f"127.210.{os.getpid() % 250 + 1}.{number % 250 + 1}",
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
        },
    }


def url(item: dict[str, Any], path: str = "") -> str:
    """Where a pod answers."""
    return f"http://{item['status']['podIP']}:{item['metadata']['annotations']['prometheus.io/port']}{path}"


def node(name: str = "gpu-a", gpus: int = 4, accelerator: str = "h100-80gb") -> dict[str, Any]:
    """A node with GPUs."""
    return {"metadata": {"name": name, "labels": {"jevons.dev/accelerator": accelerator}}, "status": {"capacity": {"nvidia.com/gpu": str(gpus)}}}


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that has no event of its own; TimeoutError after thirty seconds."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - that is what this function is for
            await asyncio.sleep(0.002)


@pytest.fixture
async def fleet() -> AsyncIterator[Fleet]:
    async with Fleet(cidr=NETWORK) as fleet:
        fleet.nodes.put(node())
        yield fleet


@pytest.fixture
async def play(fleet: Fleet) -> Callable[..., Any]:
    """Give the fleet exactly these pods and wait until they are served."""

    async def give(*pods: dict[str, Any]) -> None:
        fleet.replace(pods)
        await fleet.settled()

    return give


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session:
        yield session

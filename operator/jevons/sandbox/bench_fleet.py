"""What the benchmarks of the embedded cluster share: a fleet of InferenceDeployments, the operator's own metrics, what /proc says of a process."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp

from jevons.sandbox import NodeSpec, Sandbox

NAMESPACES = 10
CLASS = "h100-80gb"
PROFILES = {"large": "llama-3.1-70b/bf16/h100_sxm/4/vllm", "small": "llama-3.1-8b/bf16/h100_sxm/1/vllm"}
NODES = tuple(NodeSpec(f"gpu-{index}", accelerator=CLASS, gpus=16) for index in range(4))
SAMPLE = re.compile(r"^(\w+)(\{[^}]*\})? ([0-9.eE+-]+|NaN)$", re.MULTILINE)


def accelerator() -> dict[str, Any]:
    """The class that every variant uses."""
    spec = {
        "nodeSelector": {"jevons.dev/accelerator": CLASS},
        "memory": "80Gi",
        "prices": [{"effectiveFrom": "2020-01-01T00:00:00Z", "onDemand": "6.88"}],
    }
    return {"apiVersion": "jevons.dev/v1alpha1", "kind": "AcceleratorClass", "metadata": {"name": CLASS}, "spec": spec}


def _variant(name: str, *, quality: str, accelerators: int, at_least: int) -> dict[str, Any]:
    annotations = {
        "prometheus.io/scrape": "true",
        "prometheus.io/port": "8000",
        "sandbox.jevons.dev/profile": PROFILES[name],
        "pod-ready.stage.kwok.x-k8s.io/delay": "2s",
    }
    container = {
        "name": "engine",
        "image": "vllm/vllm-openai:v0.14.0",
        "ports": [{"name": "http", "containerPort": 8000}],
        "resources": {"limits": {"nvidia.com/gpu": str(accelerators)}},
    }
    return {
        "name": name,
        "quality": quality,
        "promotion": "Auto",
        "accelerator": {"className": CLASS, "count": accelerators},
        "capacity": {"profile": PROFILES[name]},
        "startup": {"expected": "2s"},
        "replicas": {"min": at_least, "max": 3},
        "template": {
            "metadata": {"annotations": annotations},
            "spec": {"nodeSelector": {"jevons.dev/accelerator": CLASS}, "containers": [container]},
        },
    }


def model(index: int, *, awake: bool) -> dict[str, Any]:
    """One InferenceDeployment of two template variants under a budget of its own; `awake` keeps one small replica, else all sleep."""
    variants = [
        _variant("large", quality="1.0", accelerators=4, at_least=0),
        _variant("small", quality="0.7", accelerators=1, at_least=int(awake)),
    ]
    return {
        "apiVersion": "jevons.dev/v1alpha1",
        "kind": "InferenceDeployment",
        "metadata": {"name": f"m{index}", "namespace": f"bench-{index % NAMESPACES}"},
        "spec": {"model": f"model-{index}", "variants": variants, "budget": {"amount": "500", "period": "Day"}},
    }


async def applied(box: Sandbox, count: int, *, awake: int) -> None:
    """`count` InferenceDeployments in ten namespaces, `awake` of them with one replica."""
    spaces = [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": f"bench-{index}"}} for index in range(NAMESPACES)]
    await box.apply(*spaces, accelerator())
    models = [model(index, awake=index < awake) for index in range(count)]
    await asyncio.gather(*(box.apply(*models[part::4]) for part in range(min(4, count))))


async def metrics(url: str) -> dict[str, float]:
    """Every sample of a metrics page by `name{labels}`."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as http, http.get(url) as response:
        text = await response.text()
    return {f"{name}{labels or ''}": float(value) for name, labels, value in SAMPLE.findall(text)}


async def until(check: Callable[[], Awaitable[bool]], *, what: str, within_s: float, every_s: float = 0.2) -> float:
    """Wait until `check()` holds; returns the seconds it took. Raises TimeoutError naming `what`."""
    began = time.monotonic()
    while not await check():
        if time.monotonic() - began > within_s:
            raise TimeoutError(f"{what}: not within {within_s:g} s")
        await asyncio.sleep(every_s)
    return time.monotonic() - began


async def routed(box: Sandbox) -> int:
    """How many InferenceDeployments have a routing plan in their status."""
    return sum("routing" in (item.get("status") or {}) for item in await box.items("inferencedeployments"))


def rss_mb(pid: int) -> float:
    """Resident memory of one process [MB = 10^6 bytes]."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) * 1024 / 1e6 if found else float("nan")


def cpu_s(pid: int) -> float:
    """Processor seconds of one process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

"""From a request for a sleeping model to the scale patch at the API server, through the real gateway and operator, in a fleet of 200 deployments.

    .venv/bin/python -m bench.wake [--json FILE] [--quick]

A client posts to Envoy; a picker finds nothing ready, the waiting room holds the request and says so on the demand stream, the operator decides and
patches `/scale`. The clock stops when a watch on the API server shows the raised replicas, so it includes the way to the watcher. The baseline in the
same run is the floor of that: the same patch sent straight to the API server by the bench. Every woken request must be answered with 200 in the end;
how long that took is printed too, though most of it is the start of the simulated engine (2 s).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import statistics
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp

from jevons.cluster.connect import MERGE_PATCH, Api, ApiError, Kind, connect
from jevons.sandbox import Sandbox
from jevons.sandbox.bench_fleet import NODES, applied, metrics, routed, until

DEPLOYMENTS = Kind("apps", "v1", "deployments", "Deployment")
FLOOR = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "floor", "namespace": "default"},
    "spec": {
        "replicas": 0,
        "selector": {"matchLabels": {"app": "floor"}},
        "template": {
            "metadata": {"labels": {"app": "floor"}},
            "spec": {"nodeSelector": {"none": "such"}, "containers": [{"name": "engine", "image": "engine"}]},
        },
    },
}


class Raised:
    """When each Deployment was first seen with more replicas than before (monotonic seconds), from a watch."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._replicas: dict[tuple[str, str], int] = {}
        self._at: dict[tuple[str, str], asyncio.Future[float]] = {}

    @contextlib.asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Watch for the time of an `async with`."""
        items, version = await self._api.list(DEPLOYMENTS)
        for item in items:
            self._replicas[item["metadata"]["namespace"], item["metadata"]["name"]] = item["spec"]["replicas"]
        task = asyncio.create_task(self._watch(version))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _watch(self, version: str) -> None:
        async for event in self._api.watch(DEPLOYMENTS.path(), {"resourceVersion": version}, inactivity_s=600.0):
            item = event["object"]
            where = (item["metadata"]["namespace"], item["metadata"]["name"])
            replicas = item["spec"]["replicas"]
            if replicas > self._replicas.get(where, 0) and where in self._at and not self._at[where].done():
                self._at[where].set_result(time.monotonic())
            self._replicas[where] = replicas

    def next(self, namespace: str, name: str) -> asyncio.Future[float]:
        """The second at which the replicas of that Deployment next rise."""
        self._at[namespace, name] = future = asyncio.get_running_loop().create_future()
        return future


async def wake(http: aiohttp.ClientSession, url: str, raised: Raised, item: dict[str, Any]) -> tuple[float, float]:
    """One wake-up: seconds to the scale patch, and to the whole answer."""
    meta, name = item["metadata"], item["status"]["routing"]["wake"]
    patched = raised.next(meta["namespace"], f"{meta['name']}-{name}")
    body = {"model": item["spec"]["model"], "messages": [{"role": "user", "content": "wake up, please"}], "max_tokens": 4}
    began = time.monotonic()

    async def ask() -> float:
        async with http.post(f"{url}/v1/chat/completions", json=body) as response:
            text = await response.text()
            if response.status != 200:
                raise RuntimeError(f"{meta['name']}: {response.status} {text[:300]}")
        return time.monotonic() - began

    asking = asyncio.create_task(ask())
    async with asyncio.timeout(60):
        return await patched - began, await asking


async def floor(api: Api, raised: Raised, count: int) -> list[float]:
    """Seconds from our own scale patch to the watch showing it."""
    with contextlib.suppress(ApiError):
        await api.write("POST", DEPLOYMENTS.path("default"), FLOOR)
    times = []
    for replicas in range(1, count + 1):
        await asyncio.sleep(random.uniform(0.1, 0.4))
        patched = raised.next("default", "floor")
        began = time.monotonic()
        path = DEPLOYMENTS.path("default", "floor", "scale")
        await api.write("PATCH", path, {"spec": {"replicas": replicas}}, content_type=MERGE_PATCH)
        times.append(await asyncio.wait_for(patched, 30) - began)
    await api.write("DELETE", DEPLOYMENTS.path("default", "floor"))
    return times


async def measure(deployments: int, wakes: int, period_s: float) -> dict[str, float]:
    """The whole benchmark in a sandbox of its own."""
    random.seed(11)
    awake = max(2, deployments // 10)
    async with contextlib.AsyncExitStack() as stack:
        box = await stack.enter_async_context(Sandbox.start(nodes=NODES, progress=lambda sentence: print(f"  {sentence}", file=sys.stderr)))
        await applied(box, deployments, awake=awake)
        op = await stack.enter_async_context(box.operator(period_s=period_s))
        gw = await stack.enter_async_context(box.gateway(operators=[op.demand_address]))
        api = await stack.enter_async_context(connect(str(box.kubeconfig)))
        http = await stack.enter_async_context(aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=90)))

        async def all_routed() -> bool:
            return await routed(box) == deployments

        await until(all_routed, what="a status on every deployment", within_s=300, every_s=1.0)
        await asyncio.sleep(10.0)  # lets the first pods and the checkpoints settle
        raised = Raised(api)
        items = {item["metadata"]["name"]: item for item in await box.items("inferencedeployments")}
        async with raised.watching():
            floors = await floor(api, raised, wakes)
            times, answers = [], []
            for index in range(awake, awake + wakes):
                patched_s, answered_s = await wake(http, gw.url, raised, items[f"m{index}"])
                times.append(patched_s)
                answers.append(answered_s)
                await asyncio.sleep(random.uniform(0.2, 1.2))
        page = await metrics(op.metrics_url)
    return {
        "deployments": deployments,
        "wakes": wakes,
        "patch_p50_s": statistics.median(times),
        "patch_p95_s": _p95(times),
        "patch_max_s": max(times),
        "answer_p50_s": statistics.median(answers),
        "floor_p50_s": statistics.median(floors),
        "floor_p95_s": _p95(floors),
        "operator_part_mean_s": page["jevons_wake_seconds_sum"] / max(1.0, page["jevons_wake_seconds_count"]),
    }


def _p95(values: list[float]) -> float:
    return statistics.quantiles(values, n=20, method="inclusive")[18]


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description="from a request to the scale patch")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--deployments", type=int, default=200)
    parser.add_argument("--wakes", type=int, default=15)
    parser.add_argument("--period", type=float, default=5.0, help="the operator's [s]")
    parser.add_argument("--quick", action="store_true", help="40 deployments, 6 wakes")
    options = parser.parse_args()
    deployments, wakes = (40, 6) if options.quick else (options.deployments, options.wakes)
    figures = asyncio.run(measure(deployments, wakes, options.period))
    for name, value in figures.items():
        print(f"  {name:28} {value:10.3f}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()

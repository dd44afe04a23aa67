"""The operator with many deployments on the embedded cluster: pass time, queries, writes at rest, memory; beside an idle kopf operator.

The real `jevons operator` against the real API server, scheduler and Prometheus. Each InferenceDeployment has two template variants (two Deployments,
which the operator makes), one in ten a replica that a simulated engine plays. Pass times are read off `jevons_pass_seconds` one by one, after
everything has settled. The baseline is what any operator on this framework costs before it does anything: kopf watching InferenceDeployments with an
empty handler. Writes of the Lease are heartbeats and not counted; checkpoints are counted apart (a minute of spend of a running model is one).
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

from jevons.sandbox import Sandbox
from jevons.sandbox.bench_fleet import NODES, applied, cpu_s, metrics, routed, rss_mb, until
from jevons.sandbox.services import Operator

PERIOD_S = 5.0
AT_REST_S = 15.0
"""Without a write to targets and statuses for this long, the fleet has settled."""


async def baseline_rss_mb(box: Sandbox, seconds: float) -> float:
    """Resident memory of an idle kopf operator after `seconds`."""
    command = [sys.executable, "-m", "jevons.controller.idle", str(box.kubeconfig)]
    with (box.dir / "logs" / "idle-kopf.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)  # noqa: ASYNC220  a start takes a millisecond, and nothing else runs meanwhile
        try:
            await asyncio.sleep(seconds)
            if process.poll() is not None:
                raise RuntimeError(f"the idle operator ended: {(box.dir / 'logs' / 'idle-kopf.log').read_text()[-2000:]}")
            return rss_mb(process.pid)
        finally:
            process.terminate()
            process.wait(20)


def writes(page: dict[str, float], *, checkpoints: bool) -> float:
    """Writes so far: to targets, children, statuses and events, or to the checkpoints' ConfigMaps."""
    return sum(value for name, value in page.items() if name.startswith("jevons_api_writes_total{") and ('"configmaps"' in name) == checkpoints)


async def settled(op: Operator, within_s: float) -> float:
    """Wait until nothing but checkpoints was written for AT_REST_S; returns the seconds until the last write before that."""
    began = last = time.monotonic()
    before = -1.0
    while time.monotonic() - last < AT_REST_S:
        now = writes(await metrics(op.metrics_url), checkpoints=False)
        if now != before:
            before, last = now, time.monotonic()
        if time.monotonic() - began > within_s:
            raise TimeoutError(f"the fleet did not settle within {within_s:g} s")
        await asyncio.sleep(0.25)
    return last - began


async def at_rest(op: Operator, seconds: float) -> dict[str, float]:
    """Passes one by one over some time in which nothing happens."""
    first = before = await metrics(op.metrics_url)
    cpu, began = cpu_s(op.pid), time.monotonic()
    times: list[float] = []
    while time.monotonic() - began < seconds:
        await asyncio.sleep(0.1)
        page = await metrics(op.metrics_url)
        count = page["jevons_pass_seconds_count"] - before["jevons_pass_seconds_count"]
        if count:
            took = (page["jevons_pass_seconds_sum"] - before["jevons_pass_seconds_sum"]) / count
            times.extend([took] * round(count))
            before = page
    return {
        "passes": len(times),
        "pass_p50_s": statistics.median(times),
        "pass_max_s": max(times),
        "promql_queries": before["jevons_promql_queries"],
        "writes_at_rest": writes(before, checkpoints=False) - writes(first, checkpoints=False),
        "checkpoint_writes_at_rest": writes(before, checkpoints=True) - writes(first, checkpoints=True),
        "at_rest_s": time.monotonic() - began,
        "decision_errors": before["jevons_decision_errors_total"],
        "cpu_share": (cpu_s(op.pid) - cpu) / (time.monotonic() - began),
        "rss_mb": rss_mb(op.pid),
    }


async def measure(count: int, seconds: float, progress: Callable[[str], None]) -> dict[str, float]:
    """The whole benchmark in a sandbox of its own, `seconds` of it at rest; `progress` hears what is going on."""
    async with Sandbox.start(nodes=NODES, progress=progress) as box:
        progress(f"{count} InferenceDeployments")
        await applied(box, count, awake=count // 10)
        baseline = await baseline_rss_mb(box, 15.0)
        began = time.monotonic()
        progress("an idle kopf operator was measured; the operator starts")
        async with box.operator(period_s=PERIOD_S) as op:
            serving_s = time.monotonic() - began

            async def passed() -> bool:
                return (await metrics(op.metrics_url))["jevons_passes_total"] >= 1

            await until(passed, what="the first pass", within_s=120)
            first_pass_s = time.monotonic() - began

            async def all_routed() -> bool:
                return await routed(box) == count

            await until(all_routed, what="a status on every deployment", within_s=300, every_s=1.0)
            all_routed_s = time.monotonic() - began
            progress(f"all routed after {all_routed_s:.1f} s; waiting until nothing is written")
            settled_s = time.monotonic() - began + await settled(op, 300)
            progress(f"{seconds:g} s at rest")
            figures = await at_rest(op, seconds)
    return {
        "deployments": count,
        "serving_s": serving_s,
        "first_pass_s": first_pass_s,
        "all_routed_s": all_routed_s,
        "settled_s": settled_s,
        **figures,
        "idle_kopf_rss_mb": baseline,
    }

"""Do the embedded cluster and the simulator say the same? The same arrivals in both for ten minutes: cost within 10 %, attainment within 2 points.

    python -m bench.agreement [--seconds 600] [--every 2] [--startup 30] [--json FILE]

The cluster: a real API server, kwok's nodes, Prometheus, the operator and the gateway with the real Envoy, engines played by the fleet in real time,
and a client that streams every answer. The simulator: `decide` on the same spec, the same engine model, the same scrape interval and period. Cost is
the operator's ledger from the first arrival to the last completion; attainment is what the client saw. Arrivals: the packaged part of the Azure
conversation trace, every so-many-th request, stretched to the time asked for. On a busy machine client and engines are late, and the figures say so
(`latest send`). Exits 1 when the two do not agree.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import yaml

from jevons.api.resolve import resolve_accelerator, resolve_deployment
from jevons.core.money import accelerator_usd_per_h
from jevons.core.spec import AcceleratorClass, Deployment, Objectives, Price
from jevons.sandbox import Sandbox
from jevons.sandbox.demo import EXAMPLES
from jevons.sandbox.demo_watch import Watch
from jevons.sandbox.load import Outcome, Planned, Workload, load_prompts, plan, run, summary
from jevons.sandbox.nodes import NodeSpec
from jevons.simulator.competitors import jevons
from jevons.simulator.scenario import met
from jevons.simulator.traces import columns, read_arrivals
from jevons.simulator.whatif import scenario_of
from jevons.simulator.workload import compressed
from jevons.simulator.world import simulate

PROFILE, ACCELERATOR, GPUS = "llama-3.1-70b/int4_wo/a100_sxm/1/trtllm", "a100-80gb", 16
PERIOD_S, SCRAPE_S = 5.0, 2.0
LONGEST_OUTPUT = 400
COST, POINTS = 0.10, 2.0
"""What agreement means: relative cost, points of attainment."""


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two. attainment 0..1 of all arrivals; replicas: (second, ready) at each change."""

    usd: float
    attainment: float
    ttft_p50_s: float
    ttft_p95_s: float
    replicas: tuple[tuple[float, int], ...]


def manifest(startup_s: float) -> dict[str, Any]:
    """One variant that starts in `startup_s`, one replica always, up to twelve."""
    labels = {"app": "agreement"}
    notes = {
        "prometheus.io/scrape": "true",
        "prometheus.io/port": "8000",
        "sandbox.jevons.dev/profile": PROFILE,
        "sandbox.jevons.dev/model": "model",
        "sandbox.jevons.dev/context-length": "131072",
        "pod-ready.stage.kwok.x-k8s.io/delay": f"{startup_s:g}s",
    }
    ports, limits = [{"name": "http", "containerPort": 8000}], {"limits": {"nvidia.com/gpu": "1"}}
    container = {"name": "engine", "image": "engine", "ports": ports, "resources": limits}
    pod = {"nodeSelector": {"jevons.dev/accelerator": ACCELERATOR}, "containers": [container]}
    variant = {
        "name": "main",
        "servedModel": "model",
        "contextLength": 131072,
        "accelerator": {"className": ACCELERATOR, "count": 1},
        "capacity": {"profile": PROFILE},
        "startup": {"expected": f"{startup_s:g}s"},
        "replicas": {"min": 1, "max": 12},
        "template": {"metadata": {"annotations": notes, "labels": labels}, "spec": pod},
    }
    spec = {"model": "model", "objectives": {"percentile": 95, "timeToFirstToken": "2s", "interTokenLatency": "60ms"}, "variants": [variant]}
    return {"apiVersion": "jevons.dev/v1alpha1", "kind": "InferenceDeployment", "metadata": {"name": "agreement"}, "spec": spec}


def arrivals(seconds: float, every: int) -> Workload:
    """The trace's requests; no two begin alike, so that no gateway sees a common prefix."""
    trace = read_arrivals(EXAMPLES / "data" / "azure_conv_sample.csv")[::every]
    stretched = compressed(trace, trace[-1].at_s / seconds)
    planned = plan(stretched, load_prompts(EXAMPLES / "data" / "prompts_sample.csv.gz"), model="model", longest_output=LONGEST_OUTPUT)
    return [_numbered(one, number) for number, one in enumerate(planned)]


def _numbered(one: Planned, number: int) -> Planned:
    first, *rest = one.messages
    return replace(one, messages=({**first, "content": f"{number:07d} {first['content'][8:]}"}, *rest))


def _say(words: str) -> None:
    print(f"  {words}", flush=True)


async def in_cluster(workload: Workload, document: dict[str, Any], classes: list[dict[str, Any]], objectives: Objectives) -> tuple[Side, float]:
    """Played in real time; and how late the client was at worst [s]."""
    nodes = [NodeSpec("node-1", accelerator=ACCELERATOR, gpus=GPUS)]
    async with contextlib.AsyncExitStack() as stack:
        box = await stack.enter_async_context(Sandbox.start(nodes=nodes, scrape_interval_s=SCRAPE_S, progress=_say))
        op = await stack.enter_async_context(box.operator(period_s=PERIOD_S))
        gw = await stack.enter_async_context(box.gateway(operators=[op.demand_address]))
        await box.kubectl("apply", "--server-side", "-n", "default", "-f", "-", input=yaml.safe_dump_all([*classes, document]))
        await box.kubectl("wait", "infd/agreement", "-n", "default", "--for=condition=Accepted", "--timeout=60s", timeout_s=70)
        ready = "--for=jsonpath={.status.readyReplicas}=1"
        await box.kubectl("wait", "deployment/agreement-main", "-n", "default", ready, "--timeout=120s", timeout_s=130)
        watch = Watch(operator_url=op.metrics_url, gateway_url=gw.metrics_url, budget="")
        async with aiohttp.ClientSession() as session:
            await asyncio.sleep(2 * PERIOD_S)
            before = await watch.look(session)
            watch.begin()
            watching = asyncio.create_task(watch.run(session))
            outcomes = await run(workload, gw.url)
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            await asyncio.sleep(PERIOD_S)  # the ledger bills with the next pass
            after = await watch.look(session)
            billed_s = after.at_s - max(one.ended_s for one in outcomes)
            tail = float(after.usd - before.usd) * billed_s / after.at_s if after.at_s else 0.0
            side = seen(outcomes, objectives, float(after.usd - before.usd) - tail, watch)
            return side, summary(outcomes).latest_send_s


def seen(outcomes: list[Outcome], objectives: Objectives, usd: float, watch: Watch) -> Side:
    """What the client saw and the ledger billed."""

    def good(one: Outcome) -> bool:
        if not one.ok or one.ttft_s is None or one.ttft_s > objectives.ttft_s:
            return False
        return (one.ended_s - one.sent_s - one.ttft_s) / max(one.planned.output_tokens - 1, 16) <= objectives.itl_s

    ttft = [one.ttft_s for one in outcomes if one.ttft_s is not None]
    p50, p95 = np.percentile(ttft, (50, 95))
    changes = tuple((round(at, 1), count) for at, count in watch.changes.get("agreement/main", []))
    return Side(usd, sum(map(good, outcomes)) / len(outcomes), float(p50), float(p95), changes)


def in_simulator(workload: Workload, spec: Deployment, classes: list[dict[str, Any]]) -> Side:
    """The same, simulated."""
    accelerators = {one.name: _priced(one) for one in map(resolve_accelerator, classes)}
    at_s = np.array([one.at_s for one in workload])
    requests = columns(at_s, np.array([one.input_tokens for one in workload]), np.array([one.output_tokens for one in workload]))
    scenario = replace(scenario_of(spec, accelerators, requests), scrape_s=SCRAPE_S)
    outcome = simulate(scenario, jevons(scenario, written=spec, accelerators=accelerators, period_s=PERIOD_S))
    good = met(requests, outcome, spec.objectives)
    p50, p95 = np.percentile((outcome.first_token_s - at_s)[np.isfinite(outcome.first_token_s)], (50, 95))
    changes = np.flatnonzero(np.diff(outcome.timeline[:, 1], prepend=-1))
    replicas = tuple((float(outcome.timeline[at, 0]), int(outcome.timeline[at, 1])) for at in changes)
    return Side(outcome.usd, float(good.mean()), float(p50), float(p95), replicas)


def _priced(one: AcceleratorClass) -> AcceleratorClass:
    """With today's price at all times: the simulator's clock is another one."""
    usd = accelerator_usd_per_h(one, time.time())
    return replace(one, prices=() if usd is None else (Price(0.0, usd),))


def compared(cluster: Side, simulator: Side) -> dict[str, float]:
    """How far the simulator is from the cluster."""
    return {"cost": simulator.usd / cluster.usd - 1.0, "attainment_points": 100.0 * (simulator.attainment - cluster.attainment)}


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.agreement", description="the same ten minutes in the embedded cluster and in the simulator"
    )
    parser.add_argument("--seconds", type=float, default=600.0, help="how long requests arrive")
    parser.add_argument("--every", type=int, default=2, help="so-many-th request of the trace only")
    parser.add_argument("--startup", type=float, default=30.0, help="seconds a replica takes to start")
    parser.add_argument("--simulator-only", action="store_true", help="a look at what the cluster should do")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    document = manifest(options.startup)
    classes = [one for one in yaml.safe_load_all((EXAMPLES / "accelerators.yaml").read_text()) if one]
    metadata = {"namespace": "default", "uid": "agreement", "generation": 1, "creationTimestamp": "2026-01-01T00:00:00Z"}
    spec = resolve_deployment({**document, "metadata": {**metadata, **document["metadata"]}})
    workload = arrivals(options.seconds, options.every)
    print(f"{len(workload)} requests in {options.seconds:g} s, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", flush=True)
    sides = {"simulator": in_simulator(workload, spec, classes)}
    late_s = 0.0
    if not options.simulator_only:
        sides["cluster"], late_s = asyncio.run(in_cluster(workload, document, classes, spec.objectives))
    for name, side in sides.items():
        print(
            f"{name:9}  ${side.usd:.4f}  inside {side.attainment:.2%}  first token p50 {side.ttft_p50_s:.3f} s p95 {side.ttft_p95_s:.3f} s  "
            f"ready {' '.join(f'{at:.0f}s:{count}' for at, count in side.replicas)}"
        )
    if "cluster" not in sides:
        return 0
    apart = compared(sides["cluster"], sides["simulator"])
    agree = abs(apart["cost"]) <= COST and abs(apart["attainment_points"]) <= POINTS
    print(f"the simulator's cost is {apart['cost']:+.1%}, its attainment {apart['attainment_points']:+.2f} points off; latest send {late_s:.2f} s")
    print("they agree" if agree else "they do NOT agree")
    if options.json:
        figures = {name: {field: getattr(side, field) for field in Side.__slots__} for name, side in sides.items()}
        figures |= {"apart": apart, "latest_send_s": late_s, "load": os.getloadavg()[0], "requests": len(workload), "seconds": options.seconds}
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    return int(not agree)


if __name__ == "__main__":
    sys.exit(main())

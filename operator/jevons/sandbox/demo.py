"""The demo: the main job on real input, on an embedded cluster, in under five minutes.

One assistant (a large model and an INT4 one), a zoo of ten mostly idle models and a team budget are applied as a user would apply them. The load is
a slice of the Azure LLM 2023 conversation trace with real exam questions, and the rhythm of rarely used functions for the zoo; arrivals are
compressed in time, while engines, start-up, periods and money run on the wall clock. What is seen comes from Jevons' own metrics (demo_watch.py),
what is printed at the end from the load generator, the gateway's accounting and the operator's ledger (demo_report.py).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from rich.console import Console
from rich.live import Live

from jevons.api.resolve import resolve_accelerator, resolve_deployment
from jevons.core.spec import AcceleratorClass, Deployment
from jevons.sandbox.box import Sandbox
from jevons.sandbox.demo_report import Measured, StaticModel, static_baseline
from jevons.sandbox.demo_report import as_json as summary_of
from jevons.sandbox.demo_watch import Watch, picture, sentence
from jevons.sandbox.load import Outcome, Workload, load_prompts, merged, percentile, plan, run
from jevons.sandbox.nodes import NodeSpec
from jevons.sandbox.tools import Tools
from jevons.simulator.traces import read_arrivals
from jevons.simulator.workload import Arrival, compressed, load_zoo, window

EXAMPLES = Path(__file__).parents[3] / "examples"
NAMESPACE = "team-a"
ASSISTANT, SMALL = "assistant", "small-int4"
TEAM_BUDGET = "team-a"
MANIFESTS = ("accelerators.yaml", "team-budget.yaml", "assistant.yaml", "zoo.yaml")
NODES = (
    NodeSpec("a100-1", accelerator="a100-80gb", gpus=16),
    NodeSpec("h100-1", accelerator="h100-80gb", gpus=8),
    NodeSpec("l40s-1", accelerator="l40s", gpus=4),
    NodeSpec("l4-1", accelerator="l4", gpus=4),
)
CONV_COMPRESSION, CONV_EVERY, CONV_S = 1.5, 2, 265.0
"""The first 265 s of the trace in 177 s, every second request: from one and a half to five a second."""
ZOO_COMPRESSION, ZOO_START_MIN, ZOO_MIN = 30.0, 600, 90
"""An hour and a half of a day's rhythm in 180 s."""
LONGEST_OUTPUT = 400
"""Longer answers are cut to this many tokens, so that the run ends."""
REAL_MODEL = "release-notes"
"""The zoo member that a real engine answers for: called a few times, which is what one thread can serve."""
REAL_TOKENS = 32
"""What the real engine is asked for: it answers at some 20 tokens a second."""
SETTLE_S = 4.0
"""The access log is flushed and the ledger has billed the last second."""


@dataclass(slots=True)
class Counts:
    """The load generator's own counts while it runs."""

    sent: int = 0
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def routed(self) -> list[Outcome]:
        """Answered requests for the model that has a small variant."""
        return [one for one in self.outcomes if one.planned.model == ASSISTANT and one.ok]

    @property
    def small(self) -> int:
        """Of those, how many the small variant answered."""
        return sum(one.variant == SMALL for one in self.routed)


def manifests(folder: Path = EXAMPLES) -> dict[str, list[dict[str, Any]]]:
    """Every object of the demo by file, in the order in which they are applied."""
    return {name: [found for found in yaml.safe_load_all((folder / name).read_text()) if found] for name in MANIFESTS}


def real(found: dict[str, Any]) -> None:
    """Let this InferenceDeployment's first variant be answered by a real llama.cpp server (in place)."""
    variant = found["spec"]["variants"][0]
    variant["engine"] = {"type": "LlamaCpp", "port": 8000}
    variant["servedModel"] = "SmolLM2-135M"
    notes = variant["template"]["metadata"]["annotations"]
    notes["sandbox.jevons.dev/engine"] = "llamacpp"
    notes["sandbox.jevons.dev/model"] = variant["servedModel"]


def workload(folder: Path, zoo: Sequence[str], *, real_model: str | None = None, seed: int = 1) -> Workload:
    """The demo's input: the assistant's arrivals with real questions, and the zoo's calls, given to `zoo` models in order of their first call.

    real_model: the one that a real engine answers; it is asked for short answers to the bare questions.
    """
    prompts = load_prompts(folder / "data" / "prompts_sample.csv.gz")
    trace = read_arrivals(folder / "data" / "azure_conv_sample.csv")
    chats = compressed(window(trace[::CONV_EVERY], start_s=0.0, length_s=CONV_S), CONV_COMPRESSION)
    calls = window(load_zoo(folder / "data" / "zoo_sample.csv", seed=seed, sizes=trace), start_s=ZOO_START_MIN * 60, length_s=ZOO_MIN * 60)
    names = dict(zip(dict.fromkeys(call.model for call in calls), zoo, strict=False))
    members = [Arrival(call.at_s, call.input_tokens, call.output_tokens, names[call.model]) for call in compressed(calls, ZOO_COMPRESSION)]
    asked = [call for call in members if call.model == real_model]
    simulated = [call for call in members if call.model != real_model]
    return merged(
        plan(chats, prompts, model=ASSISTANT, seed=seed, streamed=0.8, longest_output=LONGEST_OUTPUT),
        plan(simulated, prompts, model=ASSISTANT, seed=seed + 1, streamed=0.5, longest_output=LONGEST_OUTPUT),
        [replace(one, max_tokens=REAL_TOKENS) for one in plan(asked, prompts, model=ASSISTANT, padded=False, longest_output=REAL_TOKENS)],
    )


def static_models(deployments: Sequence[Deployment], classes: Mapping[str, AcceleratorClass]) -> dict[str, StaticModel]:
    """What the baseline keeps running: the best variant of every model, at its on-demand price.

    Raises ValueError for one without profile or price.
    """
    models = {}
    for spec in deployments:
        best, prices = spec.best, classes[spec.best.accelerator_class].prices
        if best.profile is None or not prices:
            raise ValueError(f"{spec.key}: the baseline needs a profile and a price for {best.name}")
        count = max(1, best.accelerator_count)  # left out: one
        models[spec.model] = StaticModel(spec.model, best.profile, spec.objectives, prices[-1].on_demand_usd_per_h * count, count)
    return models


def measured(counts: Counts, watch: Watch, *, seconds: float) -> Measured:
    """The figures of a finished run."""
    outcomes, last = counts.outcomes, watch.last
    cold = [one for one in outcomes if one.ok and (one.wait_ms or 0) > 0]
    warm = [one.ttft_s for one in outcomes if one.ok and one.ttft_s is not None and one.planned.stream and not (one.wait_ms or one.comments)]
    return Measured(
        requests=len(outcomes),
        answered=sum(one.ok for one in outcomes),
        useful=last.useful,
        small=counts.small,
        routed=len(counts.routed),
        cold_starts=last.cold_starts,
        cold_waits_s=tuple((one.wait_ms or 0.0) / 1000 for one in cold),
        usd=last.usd,
        gpu_hours=last.gpu_seconds / 3600,
        budget_usd=last.budget_usd,
        spent_usd=last.spent_usd,
        seconds=seconds,
        ttft_p50_s=percentile(warm, 50),
        ttft_p95_s=percentile(warm, 95),
        commented=sum(one.comments > 0 for one in outcomes),
        reasons=Counter(one.reason or one.error or "-" for one in outcomes),
        statuses=Counter(one.status for one in outcomes),
        by_model=last.by_model,
        replicas=watch.changes,
    )


async def demo(console: Console, *, say: Callable[[str], None], tools: Tools, llamacpp: bool = False, folder: Path = EXAMPLES) -> dict[str, Any]:
    """Run it and return the summary (demo_report.as_json). Raises SandboxError when something does not start; cleans up whatever happens."""
    files = manifests(folder)
    objects = [found for one in files.values() for found in one]
    zoo = [found["spec"]["model"] for found in files["zoo.yaml"]]
    if llamacpp:
        real(next(found for found in files["zoo.yaml"] if found["spec"]["model"] == REAL_MODEL))
    classes = {found["metadata"]["name"]: resolve_accelerator(found) for found in objects if found["kind"] == "AcceleratorClass"}
    specs = [resolve_deployment(_as_stored(found)) for found in objects if found["kind"] == "InferenceDeployment"]
    requests = workload(folder, zoo, real_model=REAL_MODEL if llamacpp else None)
    async with Sandbox.start(nodes=NODES, tools=tools, real_engines=llamacpp, progress=say) as box:
        say("starting the operator")
        async with box.operator(period_s=1.0) as op:
            await box.kubectl("create", "namespace", NAMESPACE)
            await box.kubectl("label", "namespace", NAMESPACE, "team=a")
            for name, found in files.items():
                say(f"kubectl apply -f examples/{name}")
                await box.kubectl("apply", "--server-side", "-n", NAMESPACE, "-f", "-", input=yaml.safe_dump_all(found))
            say("starting the gateway")
            async with box.gateway(operators=[op.demand_address]) as gw:
                await _serving(box, say)
                watch = Watch(operator_url=op.metrics_url, gateway_url=gw.metrics_url, budget=TEAM_BUDGET)
                counts = Counts()
                say(f"sending {len(requests)} requests to {gw.url}")
                await _load(console, watch, counts, requests, url=gw.url, say=say)
                seconds = watch.elapsed_s
                say("counting")
                async with aiohttp.ClientSession() as session:
                    await asyncio.sleep(SETTLE_S)
                    await watch.look(session)
                result = measured(counts, watch, seconds=watch.elapsed_s)
    say("modelling the static baseline on the same input")
    arrivals = [Arrival(one.at_s, one.input_tokens, one.output_tokens, one.model) for one in requests]
    baseline = await asyncio.to_thread(static_baseline, arrivals, static_models(specs, classes), seconds=seconds)
    return summary_of(result, baseline)


def _as_stored(found: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest with the metadata that an API server would have added."""
    metadata = {"namespace": NAMESPACE, "uid": found["metadata"]["name"], "generation": 1, "creationTimestamp": "2026-01-01T00:00:00Z"}
    return {**found, "metadata": {**metadata, **found["metadata"]}}


async def _serving(box: Sandbox, say: Callable[[str], None]) -> None:
    """Wait until every deployment is accepted and what must be warm is warm."""
    say("waiting until what must be warm is warm")
    await box.kubectl("wait", "infd", "--all", "-n", NAMESPACE, "--for=condition=Accepted", "--timeout=30s")
    for variant in ("large", SMALL):
        await box.kubectl(
            "wait", f"deployment/{ASSISTANT}-{variant}", "-n", NAMESPACE, "--for=jsonpath={.status.readyReplicas}=1", "--timeout=60s", timeout_s=70
        )


async def _load(console: Console, watch: Watch, counts: Counts, requests: Workload, *, url: str, say: Callable[[str], None]) -> None:
    """Send everything and show it; in a terminal a live table, elsewhere a line every ten seconds."""

    def seen(outcome: Outcome) -> None:
        counts.outcomes.append(outcome)

    watch.begin()
    async with aiohttp.ClientSession() as session:
        watching = asyncio.create_task(watch.run(session))
        sending = asyncio.create_task(run(requests, url, seen=seen))
        try:
            with Live(console=console, refresh_per_second=2, transient=True) if console.is_terminal else contextlib.nullcontext() as live:
                while not sending.done():
                    await asyncio.wait({sending}, timeout=0.5 if live is not None else 10.0)
                    counts.sent = sum(one.at_s <= watch.elapsed_s for one in requests)
                    if live is not None:
                        live.update(
                            picture(watch.last, sent=counts.sent, answered=len(counts.outcomes), small=counts.small, routed=len(counts.routed))
                        )
                    else:
                        say(sentence(watch.last, sent=counts.sent, answered=len(counts.outcomes)))
            counts.outcomes = list(sending.result())
        finally:
            for task in (watching, sending):
                task.cancel()
            await asyncio.gather(watching, sending, return_exceptions=True)

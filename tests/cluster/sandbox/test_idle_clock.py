"""When work ended, as a real Prometheus tells it: to one scrape, while the mean rate still says that there is some."""

from __future__ import annotations

import time

import aiohttp
import pytest

from jevons.core.observed import Known
from jevons.signals.prometheus import Prometheus
from jevons.signals.reader import PrometheusReader

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

PROFILE = "llama-3.1-8b/bf16/a100_sxm/1/vllm"


def engine(labels):
    marks = {"sandbox.jevons.dev/profile": PROFILE, "prometheus.io/scrape": "true", "prometheus.io/port": "8000"}
    container = {"name": "engine", "image": "engine", "resources": {"limits": {"nvidia.com/gpu": "1"}}}
    pod = {
        "metadata": {"labels": labels, "annotations": {**marks, "pod-ready.stage.kwok.x-k8s.io/delay": "1s"}},
        "spec": {"nodeSelector": {"jevons.dev/accelerator": "a100-80gb"}, "containers": [container]},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "one"},
        "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": pod},
    }


async def test_the_last_token_is_dated_to_one_scrape(sandbox, namespace, eventually):
    await sandbox.apply(engine({"app": "one"}), namespace=namespace)
    reader = PrometheusReader(Prometheus(sandbox.prometheus_url), scrape_interval_s=sandbox.scrape_interval_s)

    async def signals():
        found = {pod: each for (where, pod), each in (await reader.read()).pods.items() if where == namespace}
        return next(iter(found.values()), None)

    async def rests():
        each = await signals()
        return each is not None and isinstance(each.tokens_at_s, Known) and each.tokens_at_s.value == 0.0

    async def is_dated():
        each = await signals()
        return each if isinstance(each.tokens_at_s, Known) and each.tokens_at_s.value > 0.0 and each.running.value == 0.0 else None

    await eventually(rests, within_s=60)
    pod = (await sandbox.items("pods", namespace=namespace))[0]
    ask = {"model": "one", "messages": [{"role": "user", "content": "short"}], "max_tokens": 8}
    async with aiohttp.ClientSession() as http, http.post(f"http://{pod['status']['podIP']}:8000/v1/chat/completions", json=ask) as answer:
        assert answer.status == 200, await answer.text()
    ended_s = time.time()
    each = await eventually(is_dated, within_s=30)
    assert -1.0 <= each.tokens_at_s.value - ended_s <= sandbox.scrape_interval_s + 2.0
    assert each.generation_tokens_per_s.value > 0.0
    reader.close()

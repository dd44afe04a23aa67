"""What Prometheus sees of engines and GPUs, and what it sees when they lie."""

from __future__ import annotations

import math

import pytest
from prometheus_client.parser import text_string_to_metric_families

from jevons.sandbox.fleet_control import serve_control
from jevons.sandbox.fleet_faults import Fault

from .conftest import node, pod, url


async def samples(http, item, path="/metrics"):
    async with http.get(url(item, path)) as response:
        assert response.status == 200
        families = text_string_to_metric_families(await response.text())
        return {
            (sample.name, sample.labels.get("le", "")): sample
            for family in families
            for sample in family.samples
            if "finished_reason" not in sample.labels
        }


async def ask(http, item, tokens=20, prompt="hi " * 200):
    body = {"model": "m", "messages": [{"role": "user", "content": prompt}], "sandbox_output_tokens": tokens}
    async with http.post(url(item, "/v1/chat/completions"), json=body) as response:
        return response.status, await response.json()


async def test_vllm_counts_what_was_served(play, http):
    item = pod(model="m", prefix_hit="0.5")
    await play(item)
    for _ in range(3):
        await ask(http, item)
    seen = await samples(http, item)
    assert seen["vllm:num_requests_running", ""].labels == {"engine": "0", "model_name": "m"}
    values = {name: sample.value for (name, bound), sample in seen.items() if not bound}
    assert values["vllm:generation_tokens_total"] == 60
    assert values["vllm:prompt_tokens_total"] == 450
    assert values["vllm:prefix_cache_hits_total"] == 225
    assert values["vllm:time_to_first_token_seconds_count"] == 3
    assert values["vllm:inter_token_latency_seconds_count"] == 57
    assert seen["vllm:inter_token_latency_seconds_bucket", "+Inf"].value == 57
    assert values["vllm:num_requests_running"] == values["vllm:num_requests_waiting"] == values["vllm:kv_cache_usage_perc"] == 0
    async with http.get(url(item, "/metrics")) as response:
        assert 'finished_reason="stop"} 3.0' in await response.text()


@pytest.mark.parametrize(
    ("engine", "queue"),
    [
        ("vllm", "vllm:num_requests_waiting"),
        ("sglang", "sglang:num_queue_reqs"),
        ("tgi", "tgi_queue_size"),
        ("llamacpp", "llamacpp:requests_deferred"),
        ("triton", None),
    ],
)
async def test_each_engine_speaks_its_own_names_and_triton_shows_no_queue(play, http, engine, queue):
    item = pod(engine=engine)
    await play(item)
    await ask(http, item)
    names = {name for name, _ in await samples(http, item)}
    assert queue in names if queue else not any("queue" in name or "waiting" in name or "pending" in name for name in names)


async def test_an_engine_may_have_no_metrics_page(play, http):
    item = pod(engine="none")
    await play(item)
    async with http.get(url(item, "/metrics")) as response:
        assert response.status == 404


async def test_the_exporter_shows_busy_gpus_with_their_holders_and_quiet_ones(play, http, fleet):
    busy, idle = pod("busy", gpus=2), pod("idle", gpus=1)
    exporter = pod("dcgm-x", gpus=0, profile=None, labels={"app": "dcgm-exporter"}, port=9400)
    await play(busy, idle, exporter)
    assert (await ask(http, busy, tokens=120, prompt="hi"))[0] == 200
    async with http.get(url(exporter, "/metrics")) as response:
        families = {family.name: family.samples for family in text_string_to_metric_families(await response.text())}
    util = {sample.labels["gpu"]: sample for sample in families["DCGM_FI_DEV_GPU_UTIL"]}
    assert {gpu: sample.labels.get("pod") for gpu, sample in util.items()} == {"0": "busy", "1": "busy", "2": "idle", "3": None}
    labels = util["0"].labels
    assert labels["namespace"] == "team-a"
    assert labels["container"] == "server"
    assert labels["Hostname"] == "gpu-a"
    assert labels["modelName"] == "NVIDIA H100 80GB HBM3"
    assert labels["UUID"] != util["1"].labels["UUID"]
    assert util["0"].value > 50
    assert util["2"].value == util["3"].value == 0
    by_gpu = {name: {sample.labels["gpu"]: sample.value for sample in found} for name, found in families.items()}
    assert by_gpu["DCGM_FI_DEV_FB_USED"]["0"] > 70_000 > by_gpu["DCGM_FI_DEV_FB_USED"]["3"]
    assert 300 < by_gpu["DCGM_FI_DEV_POWER_USAGE"]["0"] < 700
    assert by_gpu["DCGM_FI_DEV_POWER_USAGE"]["3"] == 70
    assert 0.1 < by_gpu["DCGM_FI_PROF_DRAM_ACTIVE"]["0"] <= 1


async def test_a_pod_keeps_its_gpu_when_another_leaves(play, http, fleet):
    fleet.nodes.put(node(gpus=2))
    first, second = pod("first"), pod("second")
    await play(first, second)
    assert {index: held.name for index, held in fleet.devices("gpu-a").held.items()} == {0: "first", 1: "second"}
    third = pod("third")
    await play(second, third)
    assert {index: held.name for index, held in fleet.devices("gpu-a").held.items()} == {0: "third", 1: "second"}


async def test_a_metrics_page_can_forget_lie_and_go_stale(play, http, fleet):
    item = pod()
    await play(item)

    async def under(**fault):
        fleet.set_faults([Fault(pod="team-a/*", **fault)])
        await fleet.settled()
        return await samples(http, item)

    assert ("vllm:num_requests_waiting", "") not in await under(forget=("vllm:num_requests_waiting",))
    assert math.isnan((await under(nan=("vllm:num_requests_running",)))["vllm:num_requests_running", ""].value)
    assert (await under(negative=("vllm:num_requests_*",)))["vllm:num_requests_running", ""].value < 0
    stale = await under(page="stale")
    await ask(http, item)
    later = await samples(http, item)
    assert later["vllm:generation_tokens_total", ""] == stale["vllm:generation_tokens_total", ""]
    assert stale["vllm:generation_tokens_total", ""].timestamp is not None
    fleet.set_faults([])
    assert (await samples(http, item))["vllm:generation_tokens_total", ""].value == 20


async def test_a_metrics_page_can_be_html_or_an_error(play, http, fleet):
    item = pod()
    await play(item)
    fleet.set_faults([Fault(pod="team-a/engine", page="html")])
    async with http.get(url(item, "/metrics")) as response:
        assert response.content_type == "text/html"
    fleet.set_faults([Fault(pod="team-a/engine", page="error")])
    async with http.get(url(item, "/metrics")) as response:
        assert response.status == 500


async def test_tests_can_dictate_utilisation(play, http, fleet):
    exporter = pod("dcgm-x", gpus=0, profile=None, labels={"app": "dcgm-exporter"}, port=9400)
    await play(pod(), exporter)
    fleet.set_faults([Fault(pod="team-a/engine", gpu_util=83)])
    seen = await samples(http, exporter)
    assert {name for name, _ in seen} >= {"DCGM_FI_DEV_GPU_UTIL", "DCGM_FI_PROF_DRAM_ACTIVE"}
    async with http.get(url(exporter, "/metrics")) as response:
        assert 'pod="engine"} 83.0' in await response.text()


async def test_the_control_endpoint_kills_freezes_slows_and_heals(play, http, fleet):
    item = pod()
    await play(item)
    async with serve_control(fleet) as port:
        control = f"http://127.0.0.1:{port}"

        async def post(**fault):
            async with http.post(f"{control}/faults", json={"pod": "team-a/engine", **fault}) as response:
                return response.status

        assert await post(killed=True) == 200
        with pytest.raises(OSError, match="Cannot connect"):
            await ask(http, item)
        async with http.delete(f"{control}/faults") as response:
            assert await response.json() == []
        assert (await ask(http, item))[0] == 200
        assert await post(frozen=True) == 200
        with pytest.raises(TimeoutError):
            async with http.get(url(item, "/health"), timeout=_short()) as response:
                pass
        async with http.delete(f"{control}/faults"):
            pass
        assert await post(status=503) == 200
        assert (await ask(http, item))[0] == 503
        assert await post(slowdown=0) == 400
        assert await post(slowdown=4, status=None) == 200
        async with http.get(f"{control}/pods") as response:
            assert (await response.json())["team-a/engine"]["finished"]["stop"] == 1
    assert next(iter(fleet.players.values())).pod.engine.slowdown == 4


def _short():
    import aiohttp

    return aiohttp.ClientTimeout(total=0.2)

"""An idle model lies down in host memory, and a request that waits for it is answered after a wake, not a start: real operator and gateway."""

from __future__ import annotations

import asyncio
import random
import time

import aiohttp
import pytest
import pytest_asyncio

from jevons.cluster import sleep_mark

pytestmark = [pytest.mark.cluster, pytest.mark.envoy]

STARTUP_S, WAKE_S = 8.0, 1.0
PROFILE = "llama-3.1-8b/bf16/a100_sxm/1/vllm"


def sleeper(*, wakes=True):
    marks = {
        "sandbox.jevons.dev/profile": PROFILE,
        "pod-ready.stage.kwok.x-k8s.io/delay": f"{STARTUP_S:g}s",
        "prometheus.io/scrape": "true",
        "prometheus.io/port": "8000",
        **({"sandbox.jevons.dev/wake-seconds": f"{WAKE_S:g}"} if wakes else {}),
    }
    container = {"name": "engine", "image": "engine", "resources": {"limits": {"nvidia.com/gpu": "1"}}}
    variant = {
        "name": "only",
        "servedModel": "sleeper",
        "accelerator": {"className": "a100-80gb", "count": 1},
        "capacity": {"profile": PROFILE},
        "startup": {"expected": f"{STARTUP_S:g}s"},
        "sleep": {"holdingCost": "0.1", "wake": f"{WAKE_S:g}s"},
        "replicas": {"min": 0, "max": 1},
        "template": {
            "metadata": {"annotations": marks},
            "spec": {"nodeSelector": {"jevons.dev/accelerator": "a100-80gb"}, "containers": [container]},
        },
    }
    spec = {"model": "sleeper", "scaling": {"idleAfter": "3s", "wake": {"timeout": "60s"}}, "variants": [variant]}
    return {"apiVersion": "jevons.dev/v1alpha1", "kind": "InferenceDeployment", "metadata": {"name": "sleeper"}, "spec": spec}


@pytest_asyncio.fixture
async def running(sandbox):
    await sandbox.kubectl("apply", "--server-side", "-f", "examples/accelerators.yaml")
    async with sandbox.operator(identity="sleepers", period_s=1.0) as operator, sandbox.gateway(operators=[operator.demand_address]) as gateway:
        yield operator, gateway


async def the_pod(sandbox, namespace):
    pods = [pod for pod in await sandbox.items("pods", namespace=namespace) if not pod["metadata"].get("deletionTimestamp")]
    return pods[0] if len(pods) == 1 else None


async def is_sleeping(pod):
    async with aiohttp.ClientSession() as http, http.get(f"http://{pod['status']['podIP']}:8000/is_sleeping") as answer:
        return (await answer.json())["is_sleeping"]


async def asked(gateway, namespace):
    """Seconds until the answer; None while this picker has not heard of the model."""
    body = {"model": f"{namespace}/sleeper", "messages": [{"role": "user", "content": "short"}], "max_tokens": 8}
    began = time.monotonic()
    async with aiohttp.ClientSession() as http, http.post(f"{gateway.url}/v1/chat/completions", json=body) as answer:
        text = await answer.text()
        if answer.status == 404:
            return None
        assert answer.status == 200, text
    return time.monotonic() - began


@pytest.mark.timeout(180)
async def test_an_idle_model_sleeps_and_is_woken_by_a_waiting_request_in_wake_time(sandbox, namespace, running, eventually):
    operator, gateway = running
    await sandbox.apply(sleeper(), namespace=namespace)

    async def asleep():
        found = await the_pod(sandbox, namespace)
        if found is None:
            return None
        mark = sleep_mark.read((found["metadata"].get("annotations") or {}).get(sleep_mark.ANNOTATION))
        return found if mark is not None and mark.word == sleep_mark.ASLEEP else None

    async def told():
        status = (await sandbox.get("infd", "sleeper", namespace=namespace)).get("status", {})
        return status if status.get("variants", [{}])[0].get("asleep") == 1 else None

    assert await eventually(lambda: asked(gateway, namespace), within_s=60) > STARTUP_S
    pod = await eventually(asleep, within_s=40)
    assert await is_sleeping(pod)
    status = await eventually(told)
    assert status["variants"][0]["ready"] == 0
    assert status["variants"][0]["current"] == 1
    assert status["routing"]["variants"][0]["state"] == "Asleep"
    assert status["routing"]["variants"][0]["startupSeconds"] == round(WAKE_S)

    waited_s = await asked(gateway, namespace)
    assert WAKE_S < waited_s < STARTUP_S, "a start alone takes longer"
    awake = await the_pod(sandbox, namespace)
    assert awake["metadata"]["uid"] == pod["metadata"]["uid"], "the same pod, no start"
    assert not await is_sleeping(awake)

    await eventually(asleep, within_s=40)
    operator.kill()
    await operator.restart()
    assert await asked(gateway, namespace) < STARTUP_S, "another operator wakes what the last one put to sleep"


@pytest.mark.slow
async def test_an_engine_without_sleep_mode_is_let_go_and_says_why(sandbox, namespace, running, eventually):
    _, gateway = running
    await sandbox.apply(sleeper(wakes=False), namespace=namespace)

    async def gone():
        found = await sandbox.get("deployment", "sleeper-only", namespace=namespace)
        return found["spec"]["replicas"] == 0

    async def event():
        events = await sandbox.items("events", namespace=namespace)
        return [one["message"] for one in events if one["reason"] == "Idle" and "--enable-sleep-mode" in one["message"]]

    await eventually(lambda: asked(gateway, namespace), within_s=60)
    await eventually(gone, within_s=40)
    assert await eventually(event)


@pytest.mark.slow
async def test_calls_at_whatever_moment_of_lying_down_and_waking_are_all_answered(sandbox, namespace, running, eventually):
    _, gateway = running
    await sandbox.apply(sleeper(), namespace=namespace)
    await eventually(lambda: asked(gateway, namespace), within_s=60)
    chance, waits, rested = random.Random(5), [], set()
    for _ in range(40):
        await asyncio.sleep(chance.uniform(2.0, 8.0))
        pod = await the_pod(sandbox, namespace)
        mark = sleep_mark.read(((pod or {}).get("metadata", {}).get("annotations") or {}).get(sleep_mark.ANNOTATION))
        rested.add("" if mark is None else mark.word)
        waits.append(await asked(gateway, namespace))
    assert None not in waits
    assert rested == {"", sleep_mark.MARKED, sleep_mark.ASLEEP}, "some met it awake, some about to lie down, some asleep"
    assert max(waits) < STARTUP_S, "and none waited for a start"

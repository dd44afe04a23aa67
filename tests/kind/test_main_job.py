"""The main job on real kubelets: a Deployment at zero is woken by a request, follows the load, falls asleep, and outlives its operator."""

from __future__ import annotations

import asyncio

import pytest

pytestmark = [pytest.mark.kind, pytest.mark.timeout(1800)]

SYSTEM = "jevons-system"
TARGET = "llama-8b"


class Target:
    """The Deployment that is scaled, as anybody can see it."""

    def __init__(self, cluster, namespace):
        self.cluster, self.namespace = cluster, namespace

    async def read(self):
        return await self.cluster.get("deployment", TARGET, namespace=self.namespace)

    async def replicas(self):
        return (await self.read())["spec"]["replicas"]

    async def ready(self):
        return (await self.read())["status"].get("readyReplicas", 0)

    async def asleep(self):
        return await self.replicas() == 0 and not await self.cluster.items("pods", namespace=self.namespace)

    async def condition(self, kind):
        found = await self.cluster.get("infd", "chat", namespace=self.namespace)
        return {one["type"]: one["status"] for one in (found or {}).get("status", {}).get("conditions", [])}.get(kind)


@pytest.fixture
def target(release, namespace):
    return Target(release, namespace)


@pytest.fixture
async def chat(target, example):
    """examples/quickstart.yaml with an engine that runs four requests at a time, so that a small load needs more than one."""
    deployment, workload = example("quickstart.yaml")
    variant = deployment["spec"]["variants"][0]
    variant["capacity"] = {"profile": "llama-3.1-8b/bf16/h100_sxm/1/vllm", "maxNumSeqs": 4}
    variant["startup"] = {"expected": "15s"}
    variant["replicas"] = {"max": 4}
    deployment["spec"]["scaling"] = {"idleAfter": "20s", "wake": {"timeout": "120s"}}
    notes = workload["spec"]["template"]["metadata"]["annotations"]
    notes |= {"sandbox.jevons.dev/max-num-seqs": "4", "pod-ready.stage.kwok.x-k8s.io/delay": "2s"}
    await target.cluster.apply(deployment, workload, namespace=target.namespace)
    return deployment


async def leader(cluster):
    lease = await cluster.get("lease", "jevons-operator", namespace=SYSTEM)
    return lease["spec"]["holderIdentity"]


async def test_the_main_job(target, chat, client, eventually, record_property):
    cluster, namespace = target.cluster, target.namespace
    await eventually(lambda: target.condition("ResolvedRefs"))
    assert await target.condition("ResolvedRefs") == "True"
    assert await target.replicas() == 0, "nobody has asked yet"

    # a request wakes it: scheduler, kubelet, container, probe, and then the answer
    woken = await client.ask("chat", "hello")
    assert (woken.status, woken.variant, woken.done) == (200, "large", True), woken
    record_property("wake_s", round(woken.seconds, 2))
    assert await target.replicas() == 1
    streamed = await client.ask("chat", "hello again", max_tokens=40, stream=True)
    assert (streamed.status, streamed.done) == (200, True), streamed
    assert streamed.chunks > 20

    # load: more replicas, found through Prometheus and the pickers; nothing is lost
    load = asyncio.create_task(client.steady("chat", per_s=12, seconds=60, prompts=["tell me a story"], max_tokens=100))
    await eventually(lambda: _at_least(target.ready, 2), within_s=120)
    busy = await eventually(lambda: cluster.query(f'DCGM_FI_DEV_GPU_UTIL{{exported_namespace="{namespace}"}} > 10'))
    assert {one["metric"]["exported_pod"].startswith(TARGET) for one in busy} == {True}
    answers = await load
    lost = [answer for answer in answers if not answer.done]
    assert len(lost) == 0, lost[:3]
    record_property("load_answers", len(answers))

    await eventually(target.asleep, within_s=480)  # five minutes of holding still after a reading of Prometheus that failed, and its window

    # the leader dies while requests go on: another one leads, and replicas stay what they are
    assert (await client.ask("chat", "wake up")).done
    before = await target.replicas()
    first = await leader(cluster)
    load = asyncio.create_task(client.steady("chat", per_s=1, seconds=40, prompts=["and then?"], max_tokens=50))
    await cluster.kubectl("delete", "pod", first, "-n", SYSTEM, "--grace-period=0", "--force")

    async def led_by_another():
        assert await target.replicas() == before
        return await leader(cluster) not in {"", first}

    await eventually(led_by_another, within_s=120)
    assert [answer for answer in await load if not answer.done] == []
    assert await target.replicas() == before
    await cluster.kubectl("rollout", "status", "deployment/jevons-operator", "-n", SYSTEM, "--timeout=120s", timeout_s=130)

    # a human's word counts, and is reported
    await cluster.kubectl("scale", f"deployment/{TARGET}", "--replicas=2", "-n", namespace)
    await eventually(lambda: _is(target.condition("ScaleUncontested"), "Unknown"))
    await eventually(lambda: _at_least(target.ready, 2))
    assert await target.replicas() == 2

    # deleted: what was the user's stays as it is, what was ours is gone
    await cluster.kubectl("delete", "infd", "chat", "-n", namespace, "--timeout=60s", timeout_s=70)
    gone = await client.ask("chat", "anyone?")
    assert gone.status == 404 or await eventually(lambda: _status(client, 404))
    assert await target.replicas() == 2
    left = await target.read()
    assert "ownerReferences" not in left["metadata"]
    assert "finalizers" not in left["metadata"]


async def test_workloads_made_from_templates_wake_route_and_go_with_their_object(release, namespace, example, client, eventually):
    objects = example("assistant.yaml")
    await release.apply(*objects, namespace=namespace)

    async def known():
        """An answer, once the gateway has heard of the object."""
        answer = await client.ask("assistant", "Prove that there are infinitely many primes p with p = 3 mod 4.", headers={"x-jevons-quality": "1"})
        return answer if answer.status != 404 else None

    hard = await eventually(known)
    assert (hard.status, hard.variant) == (200, "large"), hard
    owned = await release.items("deployments", namespace=namespace)
    assert {one["metadata"]["name"] for one in owned} == {"assistant-large", "assistant-small-int4"}
    await release.kubectl("delete", "infd", "--all", "-n", namespace, "--timeout=60s", timeout_s=70)

    async def nothing_left():
        return not [*await release.items("deployments", namespace=namespace), *await release.items("pods", namespace=namespace)]

    await eventually(nothing_left, within_s=120)


async def _at_least(read, count):
    return await read() >= count


async def _is(read, value):
    return await read == value


async def _status(client, status):
    return (await client.ask("chat", "anyone?")).status == status

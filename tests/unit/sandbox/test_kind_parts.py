"""What kind is given can be checked without it: the nodes, the scrape jobs, the pods, and the two programs that run in them."""

from __future__ import annotations

import asyncio
import socket
from datetime import UTC, datetime

import aiohttp
import pytest
import yaml
from aiohttp import web

from jevons.sandbox import fleet_exporter, fleet_pod
from jevons.sandbox.dcgm import Work
from jevons.sandbox.fleet_kube import ApiServer
from jevons.sandbox.fleet_pods import profile_rows
from jevons.sandbox.kind import configuration, engine_pods, missing, prometheus_configuration
from jevons.sandbox.tools import CHECKOUT

PROFILE = "llama-3.1-8b/bf16/h100_sxm/1/vllm"
FIELDS = {"POD_UID": "0123456789", "POD_NAMESPACE": "team", "POD_NAME": "llama-0", "NODE_NAME": "gpu-a"}


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.mark.parametrize(("asked", "workers"), [(None, 3), (2, 2), (1, 1), (0, 1)])
def test_fewer_workers_can_be_asked_for_and_one_always_is_there(asked, workers):
    nodes = configuration(asked)["nodes"]
    assert [node["role"] for node in nodes] == ["control-plane"] + ["worker"] * workers
    assert all(node["labels"]["sandbox.jevons.dev/gpus"] for node in nodes[1:])


def test_every_port_of_the_cluster_is_mapped_to_loopback_alone():
    found = configuration()
    mappings = [mapping for node in found["nodes"] for mapping in node.get("extraPortMappings", [])]
    assert {mapping["listenAddress"] for mapping in mappings} == {found["networking"]["apiServerAddress"]} == {"127.0.0.1"}


def test_prometheus_labels_samples_as_the_queries_join_them():
    for job in yaml.safe_load(prometheus_configuration())["scrape_configs"]:
        assert {"namespace", "pod", "node"} <= {rule.get("target_label") for rule in job["relabel_configs"]}


def test_engines_of_the_examples_become_pods_that_the_restricted_standard_admits():
    templates = []
    for name in ("quickstart.yaml", "assistant.yaml", "zoo.yaml"):
        for found in yaml.safe_load_all((CHECKOUT / "examples" / name).read_text()):
            spec = engine_pods(found)["spec"]
            templates += [one for one in (spec.get("template"), *(variant.get("template") for variant in spec.get("variants", []))) if one]
    assert len(templates) >= 4
    for template in templates:
        pod, container = template["spec"], template["spec"]["containers"][0]
        assert pod["securityContext"]["runAsNonRoot"]
        assert container["securityContext"] | {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}} == container["securityContext"]
        assert container["command"][-1] == "jevons.sandbox.fleet_pod"
        assert int(container["resources"]["limits"]["nvidia.com/gpu"]) >= 1


def test_an_object_without_engines_stays_what_it_is():
    for found in yaml.safe_load_all((CHECKOUT / "examples" / "accelerators.yaml").read_text()):
        assert engine_pods(found) == found


def test_without_an_engine_the_reason_says_what_was_asked(monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    reason = missing()
    assert reason is not None
    assert "container engine" in reason


def test_annotations_are_read_as_kubelet_writes_them():
    assert fleet_pod.read_annotations('a/b="1"\nc="x=\\"y\\"\\nz"\n') == {"a/b": "1", "c": 'x="y"\nz'}


def test_what_an_engine_did_survives_the_way_to_the_exporter():
    work = Work(1.5, 0.25, 7, 900, 3, profile_rows()[PROFILE])
    assert fleet_pod.read_work(fleet_pod.work_body(work)) == work


def test_a_pod_without_a_profile_says_which_annotation_is_missing():
    with pytest.raises(ValueError, match=r"sandbox\.jevons\.dev/profile"):
        fleet_pod.engine(fleet_pod.itself({}, FIELDS))


async def test_an_engine_in_a_pod_answers_and_finishes_what_it_has_when_told_to_end(monkeypatch):
    monkeypatch.setattr(fleet_pod, "LATE_S", 0.0)
    port, stop = free_port(), asyncio.Event()
    notes = {"sandbox.jevons.dev/profile": PROFILE, "prometheus.io/port": str(port)}
    serving = asyncio.create_task(fleet_pod.serve(fleet_pod.itself(notes, FIELDS), stop))
    url = f"http://127.0.0.1:{port}"
    body = {"model": "m", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 60, "stream": True}
    async with aiohttp.ClientSession() as session:
        await _answers(session, url + "/health")
        async with session.post(url + "/v1/chat/completions", json=body) as response:
            await response.content.readline()
            stop.set()
            assert (await response.read()).rstrip().endswith(b"data: [DONE]")
        await asyncio.wait_for(serving, 10)
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get(url + "/health")


async def test_the_exporter_gives_gpus_to_the_pods_of_its_node_and_reads_what_their_engines_did():
    """A stand-in API server lists one node and one pod, whose engine says it was half busy."""
    work = Work(2.0, 0.5, 100, 1000, 4, profile_rows()[PROFILE])
    runner, port, watches = web.AppRunner(web.Application()), free_port(), asyncio.Event()
    node = {"metadata": {"name": "gpu-a", "labels": {"jevons.dev/accelerator": "h100-80gb"}}, "status": {"capacity": {"nvidia.com/gpu": "2"}}}
    pod = fleet_pod.itself({"sandbox.jevons.dev/profile": PROFILE}, FIELDS)
    pod["spec"]["containers"] = [{"name": "engine", "resources": {"limits": {"nvidia.com/gpu": "1"}}}]
    pod["metadata"]["creationTimestamp"] = datetime.now(UTC).isoformat()

    async def listed(request):
        if "watch" in request.query:
            await watches.wait()
        items = [node] if "nodes" in request.path else [pod]
        return web.json_response({"metadata": {"resourceVersion": "1"}, "items": items})

    async def did(_request):
        return web.Response(body=fleet_pod.work_body(work))

    runner.app.add_routes([web.get("/api/v1/{kind}", listed), web.get(fleet_pod.WORK_PATH, did)])
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    pod["status"]["podIP"] = "127.0.0.1"
    pod["metadata"]["annotations"]["prometheus.io/port"] = str(port)
    stop, own = asyncio.Event(), free_port()
    serving = asyncio.create_task(fleet_exporter.serve(ApiServer(f"http://127.0.0.1:{port}", True, {}), "gpu-a", stop, ip="127.0.0.1", port=own))
    try:
        async with aiohttp.ClientSession() as session, asyncio.timeout(10):
            page = ""
            while 'DCGM_FI_DEV_GPU_UTIL{gpu="0"' not in page or " 50" not in page:
                page = await _answers(session, f"http://127.0.0.1:{own}/metrics")
        busy = next(line for line in page.splitlines() if line.startswith('DCGM_FI_DEV_GPU_UTIL{gpu="0"'))
        assert 'namespace="team",pod="llama-0"' in busy
        assert 'gpu="1"' in page
    finally:
        stop.set()
        watches.set()
        await serving
        await runner.cleanup()


async def _answers(session, url):
    async with asyncio.timeout(10):
        while True:
            try:
                async with session.get(url) as response:
                    return await response.text()
            except aiohttp.ClientConnectorError:
                await asyncio.sleep(0.02)

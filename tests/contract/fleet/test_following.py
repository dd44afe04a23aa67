"""The fleet as a process, and how it hears of pods: an API server of three routes stands in for the real one, so that it can misbehave."""

from __future__ import annotations

import asyncio
import base64
import json
import signal
import sys

import aiohttp
import orjson
import pytest
import yaml
from aiohttp import web

from jevons.sandbox.fleet_kube import read_kubeconfig

from .conftest import NETWORK, node, pod, until, url


class ApiServer:
    """Lists what it has and watches by a queue; `None` in the queue ends the watch."""

    def __init__(self) -> None:
        self.pods: list[dict] = []
        self.events: asyncio.Queue[dict | None] = asyncio.Queue()
        self.lists = 0
        self.broken = False

    async def list_pods(self, request: web.Request) -> web.StreamResponse:
        if "watch" not in request.query:
            self.lists += 1
            if self.broken:
                return web.Response(status=503)
            return web.json_response({"metadata": {"resourceVersion": str(self.lists)}, "items": self.pods})
        answer = web.StreamResponse()
        await answer.prepare(request)
        while (event := await self.events.get()) is not None:
            await answer.write(orjson.dumps(event) + b"\n")
        return answer

    async def list_nodes(self, request: web.Request) -> web.StreamResponse:
        if "watch" in request.query:
            await asyncio.sleep(3600)
        return web.json_response({"metadata": {"resourceVersion": "1"}, "items": [node()]})


@pytest.fixture
async def api():
    server = ApiServer()
    app = web.Application()
    app.add_routes([web.get("/api/v1/pods", server.list_pods), web.get("/api/v1/nodes", server.list_nodes)])
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield server
    await runner.cleanup()


def kubeconfig(folder, cluster, user):
    file = folder / "kubeconfig"
    config = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
        "clusters": [{"name": "k", "cluster": cluster}],
        "users": [{"name": "u", "user": user}],
    }
    file.write_text(yaml.safe_dump(config))
    return file


@pytest.fixture
async def process(api, tmp_path):
    api.pods = [pod("first")]
    file = kubeconfig(tmp_path, {"server": api.url}, {"token": "t"})
    command = [sys.executable, "-m", "jevons.sandbox.fleet", "--kubeconfig", str(file), "--cidr", NETWORK]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL)
    yield process
    if process.returncode is None:
        process.kill()
    await process.communicate()


async def names(http, port) -> set[str]:
    async with http.get(f"http://127.0.0.1:{port}/pods") as response:
        return set(await response.json())


async def becomes(http, port, *expected: str) -> None:
    wanted = {f"team-a/{name}" for name in expected}
    async with asyncio.timeout(60):
        while await names(http, port) != wanted:  # noqa: ASYNC110 - another process has no event for us
            await asyncio.sleep(0.02)


async def test_the_process_follows_watches_and_relists_after_anything_odd_and_ends_with_0(process, api, http):
    ready = json.loads(await asyncio.wait_for(process.stdout.readline(), 60))
    assert ready["ready"] is True
    port = ready["ports"]["control"]
    first = api.pods[0]
    assert await names(http, port) == {"team-a/first"}, "what it was told first is served when it says it is ready"
    async with http.get(url(first, "/health")) as response:
        assert response.status == 200

    second, third = pod("second"), pod("third")
    api.events.put_nowait({"type": "ADDED", "object": second})
    await becomes(http, port, "first", "second")
    api.events.put_nowait({"type": "DELETED", "object": first})
    await becomes(http, port, "second")

    api.pods = [third]
    api.events.put_nowait({"type": "ERROR", "object": {"code": 410, "reason": "Expired"}})
    api.events.put_nowait(None)
    await becomes(http, port, "third")

    api.broken = True
    before = api.lists
    api.events.put_nowait(None)
    await until(lambda: api.lists >= before + 2)
    assert await names(http, port) == {"team-a/third"}, "a server that does not answer changes nothing"
    api.broken, api.pods = False, [second]
    await becomes(http, port, "second")

    process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.wait(), 60) == 0
    with pytest.raises(aiohttp.ClientConnectionError):
        await http.get(url(second, "/health"))


def test_a_kubeconfig_may_hold_a_token_or_be_wrong(tmp_path):
    server = read_kubeconfig(kubeconfig(tmp_path, {"server": "http://127.0.0.1:1/"}, {"token": "secret"}))
    assert (server.url, server.headers) == ("http://127.0.0.1:1", {"Authorization": "Bearer secret"})
    (tmp_path / "kubeconfig").write_text("current-context: nothing\n")
    with pytest.raises(ValueError, match="no usable current context"):
        read_kubeconfig(tmp_path / "kubeconfig")


def test_a_certificate_may_be_inline_or_in_a_file_beside_the_kubeconfig(tmp_path):
    import subprocess

    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=x"]
    subprocess.run([*command, "-keyout", tmp_path / "key.pem", "-out", tmp_path / "cert.pem"], check=True, capture_output=True)
    inline = {name: base64.b64encode((tmp_path / file).read_bytes()).decode() for name, file in (("certificate", "cert.pem"), ("key", "key.pem"))}
    cluster = {"server": "https://127.0.0.1:1", "certificate-authority-data": inline["certificate"]}
    read_kubeconfig(kubeconfig(tmp_path, cluster, {"client-certificate-data": inline["certificate"], "client-key-data": inline["key"]}))
    server = read_kubeconfig(kubeconfig(tmp_path, cluster, {"client-certificate": "cert.pem", "client-key": "key.pem"}))
    assert server.tls.get_ca_certs()[0]["subject"] == ((("commonName", "x"),),)

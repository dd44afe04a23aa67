"""The faults that tests of other rooms ask of the sandbox do what they say."""

from __future__ import annotations

import asyncio
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from jevons.sandbox import KubectlError, Sandbox, SandboxError

pytestmark = pytest.mark.cluster


async def test_a_paused_api_server_answers_nothing_until_it_is_resumed(sandbox: Sandbox) -> None:
    sandbox.cluster.pause("kube-apiserver")
    try:
        with pytest.raises(KubectlError):
            await sandbox.kubectl("get", "--raw", "/readyz", timeout_s=0.5)
    finally:
        sandbox.cluster.resume("kube-apiserver")
    assert await sandbox.kubectl("get", "--raw", "/readyz") == "ok"


async def test_a_killed_prometheus_says_nothing_and_comes_back_with_its_data(sandbox: Sandbox) -> None:
    prometheus = sandbox.prometheus
    assert prometheus is not None
    prometheus.kill()
    try:
        with pytest.raises(SandboxError, match="nothing"):
            await prometheus.query("up")
    finally:
        await prometheus.restart()
    assert await prometheus.query("vector(1)")


class Metrics(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b'jevons_test_of_faults{namespace="team-a",deployment="assistant",variant="large"} 3\n'
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


async def test_a_process_of_this_machine_is_scraped_and_its_labels_are_kept(sandbox: Sandbox) -> None:
    assert sandbox.prometheus is not None
    with ThreadingHTTPServer(("127.0.0.1", 0), Metrics) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        sandbox.prometheus.watch("a-gateway", f"127.0.0.1:{server.server_address[1]}")
        try:
            deadline = time.monotonic() + 30
            while not (found := await sandbox.prometheus.query("jevons_test_of_faults")):
                assert time.monotonic() < deadline
                await asyncio.sleep(0.2)
        finally:
            sandbox.prometheus.unwatch("a-gateway")
            server.shutdown()
            thread.join()
    assert found[0]["metric"]["namespace"] == "team-a"
    assert found[0]["value"][1] == "3"

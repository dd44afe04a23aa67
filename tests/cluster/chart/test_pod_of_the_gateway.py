"""The gateway's pod as the chart writes it: the same arguments, as two processes on this machine, with the pod's rights."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import aiohttp
import pytest
import yaml

from jevons.sandbox.processes import Program

pytestmark = [pytest.mark.cluster, pytest.mark.envoy]


async def test_envoy_serves_on_what_its_sidecar_wrote(sandbox, release):
    await release.install("--set", "catalogue.enabled=false,gateway.pickers=1")
    manifest = yaml.safe_load_all(await release.helm("get", "manifest", "jevons", "-n", release.namespace))
    (pod,) = (
        one["spec"]["template"]["spec"] for one in manifest if one and one["kind"] == "Deployment" and one["metadata"]["name"].endswith("gateway")
    )
    (sidecar,), (envoy,) = pod["initContainers"], pod["containers"]
    port, metrics, room = (sandbox.slot.port() for _ in range(3))
    with TemporaryDirectory(prefix="jv-") as state:
        token = Path(state) / "demand-token"
        token.write_text("not looked at: no operator runs")
        here = {
            "/run/jevons": f"{state}/s",
            "0.0.0.0:8080": f"127.0.0.1:{port}",
            "--metrics-host=0.0.0.0": "--metrics-host=127.0.0.1",
            "--metrics-port=9813": f"--metrics-port={metrics}",
            "/run/demand-token/token": str(token),
            "$(POD_NAMESPACE)": release.namespace,
            "$(POD_NAME)": "gateway-0",
        }

        def words(container: dict) -> list[str]:
            return [re.sub("|".join(map(re.escape, here)), lambda found: here[found.group()], word) for word in container["args"]]

        rights = await release.kubeconfig_of("jevons-gateway")
        extra = ["--kubeconfig", str(rights), "--room-address", f"127.0.0.1:{room}"]
        jevons = Program("chart-gateway", [sys.executable, "-m", "jevons", *words(sidecar), *extra], folder=sandbox.dir)
        proxy = Program("chart-envoy", [str(sandbox.tools["envoy"]), *words(envoy)], folder=sandbox.dir, ready=lambda _: True)
        try:
            await jevons.start()
            await proxy.start()
            async with aiohttp.ClientSession() as client:
                assert await _answers(client, f"http://127.0.0.1:{port}/healthz") == 200
                assert await _answers(client, f"http://127.0.0.1:{metrics}/metrics") == 200
                ask = {"model": "none", "messages": [{"role": "user", "content": "hello"}]}
                async with client.post(f"http://127.0.0.1:{port}/v1/chat/completions", json=ask) as answer:
                    found = await answer.json()
                assert (answer.status, found["error"]["code"]) == (404, "model_not_found"), found
        finally:
            await proxy.stop()
            await jevons.stop()


async def _answers(client: aiohttp.ClientSession, url: str) -> int:
    for _ in range(1_000):
        try:
            async with client.get(url) as answer:
                return answer.status
        except aiohttp.ClientError:
            await asyncio.sleep(0.05)
    pytest.fail(f"{url} does not answer")

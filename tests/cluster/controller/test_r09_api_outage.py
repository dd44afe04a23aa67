"""R9: an API server that answers 5xx, 429, or cuts every connection does not end the process, and is not hammered."""

from __future__ import annotations

import asyncio
import sys
import time

import pytest

pytestmark = pytest.mark.cluster


async def test_an_outage_of_the_api_server_is_waited_out(sandbox, line, assistant, eventually, tmp_path):
    await assistant("before")
    namespace = assistant.namespace
    command = [
        "-m",
        "jevons",
        "operator",
        "--kubeconfig",
        str(line.kubeconfig(tmp_path)),
        "--prometheus-url",
        sandbox.prometheus_url,
        "--period",
        "1s",
    ]
    command += ["--namespace", namespace]  # a Lease of its own
    command += ["--listen", "127.0.0.1", "--demand-port", "0", "--health-port", "0", "--metrics-port", "0", "--watch-namespace", namespace]
    with (tmp_path / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(sys.executable, *command, stdout=asyncio.subprocess.PIPE, stderr=log)
    try:
        assert b"ready" in await asyncio.wait_for(process.stdout.readline(), 60)
        child = lambda name: sandbox.get("deployment", f"{name}-small", namespace=namespace)  # noqa: E731
        await eventually(lambda: child("before"), within_s=30)

        counts = {}
        for fault in (500, 429):
            line.fault, line.requests, began = fault, 0, time.monotonic()
            await asyncio.sleep(4.0)
            counts[fault] = line.requests / (time.monotonic() - began)
            assert process.returncode is None
        line.fault = None
        await assistant("after")
        began = time.monotonic()
        await eventually(lambda: child("after"), within_s=80)
        rates = ", ".join(f"{fault}: {rate:.1f} requests/s" for fault, rate in counts.items())
        sys.stdout.write(f"R9: {rates}; acting again {time.monotonic() - began:.1f} s after it was back\n")
        assert max(counts.values()) < 20  # kopf asks for every group anew when its watches begin: 1.4 to 10.3/s were seen; a hot loop makes hundreds
        assert process.returncode is None
    finally:
        if process.returncode is None:
            process.terminate()
        began = time.monotonic()
        assert await asyncio.wait_for(process.wait(), 15) == 0, (tmp_path / "log").read_text()[-2000:]
        watching = (tmp_path / "log").read_text().count("watching ended")
        sys.stdout.write(f"watching ended {watching} times; SIGTERM: ended in {time.monotonic() - began:.1f} s\n")

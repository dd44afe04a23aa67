"""R9: an API server that answers 5xx, 429, or cuts every connection does not end the process, and is not hammered."""

from __future__ import annotations

import asyncio
import sys
import time

import pytest

pytestmark = pytest.mark.cluster


async def test_an_outage_of_the_api_server_is_waited_out(*, sandbox, line, assistant, eventually, through, tmp_path):
    await assistant("before")
    async with through() as process:
        child = lambda name: sandbox.get("deployment", f"{name}-small", namespace=assistant.namespace)  # noqa: E731
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
    sys.stdout.write(f"watching ended {(tmp_path / 'log').read_text().count('watching ended')} times\n")

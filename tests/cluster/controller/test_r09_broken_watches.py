"""R9: watches that fall silent, expire or are forbidden cost freshness, never the process: the operator's own lists keep it right."""

from __future__ import annotations

import asyncio
import sys
import time

import pytest

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

RESYNC_S = 5


async def test_whatever_becomes_of_the_watches_new_objects_are_acted_on(*, sandbox, line, assistant, eventually, through, tmp_path):
    async def acted(name):
        await assistant(name)
        began = time.monotonic()
        await eventually(lambda: sandbox.get("deployment", f"{name}-small", namespace=assistant.namespace), within_s=80)
        return time.monotonic() - began

    async with through("--resync", f"{RESYNC_S}s") as process:
        figures = {"healthy": await acted("healthy")}
        for number, fault in enumerate(("silent", 410, "410 in stream", 403)):
            line.turn(fault)
            line.requests, began = 0, time.monotonic()
            took_s = await acted(f"during-{number}")
            await asyncio.sleep(max(0.0, began + 6.0 - time.monotonic()))  # a measured stretch
            rate = line.requests / (time.monotonic() - began)
            line.turn(None)
            figures[str(fault)] = f"{took_s:.1f} s during, {rate:.1f} requests/s"
            assert process.returncode is None, (tmp_path / "log").read_text()[-2000:]
            assert rate < 40, f"{fault}: hammering"
        figures["healed"] = await acted("healed")
        sys.stdout.write(f"R9: {figures}\n")

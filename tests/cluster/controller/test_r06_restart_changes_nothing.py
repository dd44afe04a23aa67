"""R6: a restart under load and idle changes no replicas and, once all is as it should be, writes nothing at all."""

from __future__ import annotations

import sys

import pytest

pytestmark = pytest.mark.cluster


async def test_a_restarted_operator_writes_nothing(operators, assistant, eventually):
    await assistant()
    first = await operators.start()
    first.holds("assistant", "small", 1)
    await first.passes(2)
    child = lambda: [pod for pod in first.lister.world.pods if pod.meta.labels.get("jevons.dev/variant") == "small" and pod.ready_at_s]  # noqa: E731

    async def woken():
        await first.passes(1)
        return child()

    await eventually(woken)
    first.signals.demand.clear()
    await first.passes(3)

    second = await operators.start()
    await second.passes(10)
    sys.stdout.write(f"R6: {len(second.writes)} writes after a restart: {second.writes}\n")
    assert [write for write in second.writes if "configmaps" not in write[1]] == []
    assert await second.replicas("assistant-small") == 1

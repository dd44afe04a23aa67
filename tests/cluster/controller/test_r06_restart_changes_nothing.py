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

    async def both_are_ready():
        await first.passes(1)
        return sum(pod.ready_at_s is not None for pod in first.lister.world.pods) == 2

    await eventually(both_are_ready)
    first.signals.demand.clear()
    await first.passes(3)

    second = await operators.start()
    await second.passes(10)
    sys.stdout.write(f"R6: {len(second.writes)} writes after a restart: {second.writes}\n")
    assert [write for write in second.writes if "configmaps" not in write[1]] == []
    assert await second.replicas("assistant-small") == 1

"""Requests that can wait, on a real API server: gateways are told how long, and nothing starts for them before."""

from __future__ import annotations

import time

import pytest

from jevons.core.snapshot import Held
from jevons.core.spec import Key
from jevons.ports import Demand

pytestmark = pytest.mark.cluster


async def test_a_sleeping_model_is_not_woken_by_what_can_wait_until_it_has_waited(operators, assistant, accelerator, namespace, eventually):
    engine = {"name": "engine", "image": "engine", "resources": {"limits": {"nvidia.com/gpu": "1"}}}
    variant = {"name": "small", "accelerator": {"className": accelerator, "count": 1}, "replicas": {"min": 0, "max": 2}}
    classes = [{"name": "documents", "match": {"header": {"name": "x-class", "value": "documents"}}, "tier": "Flex"}]
    startup = {"startup": {"expected": "60s"}, "template": {"spec": {"containers": [engine]}}}
    await assistant(target=False, variants=[variant | startup], requestClasses=classes)
    op = await operators.start()

    async def asleep():
        await op.passes(1)
        return await op.replicas("assistant-small") == 0

    await eventually(asleep)
    key = Key(namespace, "assistant")
    op.signals.demand = {key: Demand(held=(Held("small", 0, time.time() - 20.0, patient=3),))}
    await op.passes(3)
    assert await op.replicas("assistant-small") == 0
    routing = (await op.infd("assistant"))["status"]["routing"]
    told = {row["name"]: row.get("waitSeconds") for row in routing["classes"]}
    assert told == {"documents": round(0.3 * (600 - 90)), "default": None}
    assert routing["variants"][0]["idleTokens"] > 0

    op.signals.demand = {key: Demand(held=(Held("small", 1, time.time() - 160.0, patient=2),))}

    async def woken():
        await op.passes(1)
        return await op.replicas("assistant-small") == 1

    await eventually(woken)

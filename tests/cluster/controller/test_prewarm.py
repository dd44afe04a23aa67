"""What was learned of calls survives a restart, and a sleeping model is loaded ahead of one on a real API server."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from jevons.cluster.checkpoints import Checkpoints
from jevons.core.cowake import Caller
from jevons.core.hazard import with_gap
from jevons.core.ledger import Ledger
from jevons.core.memory import DeploymentMemory, Memory
from jevons.core.observed import Known
from jevons.core.spec import Key
from jevons.ports import Demand

pytestmark = pytest.mark.cluster


def sleeper(accelerator):
    engine = {"name": "engine", "image": "engine", "resources": {"limits": {"nvidia.com/gpu": "1"}}}
    use = {"className": accelerator, "count": 1}
    return [{"name": "small", "accelerator": use, "replicas": {"min": 0, "max": 2}, "template": {"spec": {"containers": [engine]}}}]


async def reading(operators):
    """A leader whose Prometheus answers."""
    op = await operators.start()
    op.signals.metrics = replace(op.signals.metrics, health=Known(None, time.time()))
    return op


async def asleep(op, name, eventually):
    async def made():
        await op.passes(1)
        return await op.replicas(f"{name}-small") == 0

    await eventually(made)


async def reasons(op, name):
    listed = await op.api.get(f"/api/v1/namespaces/{op.namespace}/events")
    return {event["reason"]: event["message"] for event in listed["items"] if event["involvedObject"]["name"] == name}


async def test_the_second_model_of_a_chain_is_loaded_when_the_first_is_called(operators, assistant, accelerator, namespace, eventually):
    for name in ("planner", "writer"):
        await assistant(name, target=False, variants=sleeper(accelerator))
    first, second, now = Key(namespace, "planner"), Key(namespace, "writer"), time.time()
    op = await operators.start()
    for name in ("planner", "writer"):
        await asleep(op, name, eventually)
    known = Caller("planner", None, 6.0, 0.5, (0.0, 0.0, 0.0, 2.0, 3.0, 1.0, 0.0, 0.0, 0.0))
    learned = {first: DeploymentMemory(last_arrival_at_s=now - 5000.0), second: DeploymentMemory(last_arrival_at_s=now - 4900.0, callers=(known,))}
    await Checkpoints(op.api, namespace=namespace, every_s=0.0).save(Memory(learned), Ledger(), now=True)

    op = await reading(operators)
    op.signals.demand = {first: Demand(last_arrival_at_s=now - 5000.0), second: Demand(last_arrival_at_s=now - 4900.0)}
    await op.passes(2)
    assert await op.replicas("writer-small") == 0
    op.signals.demand[first] = Demand(last_arrival_at_s=time.time())
    await op.passes(1)
    assert await op.replicas("writer-small") == 1
    assert await op.replicas("planner-small") == 0, "nobody waits for it here"
    assert "planner was called, which" in (await reasons(op, "writer"))["Prewarm"]
    await op.passes(2)
    assert await op.replicas("writer-small") == 1, "the start is not given up"


async def test_a_periodic_caller_finds_its_model_loaded(operators, assistant, accelerator, namespace, eventually):
    await assistant("hourly", target=False, variants=sleeper(accelerator))
    key, now, gaps = Key(namespace, "hourly"), time.time(), ()
    for _ in range(20):
        gaps = with_gap(gaps, 3600.0)
    op = await operators.start()
    await asleep(op, "hourly", eventually)
    await Checkpoints(op.api, namespace=namespace, every_s=0.0).save(
        Memory({key: DeploymentMemory(gaps=gaps, last_arrival_at_s=now - 3300.0)}), Ledger(), now=True
    )
    op = await reading(operators)
    op.signals.demand = {key: Demand(last_arrival_at_s=now - 3300.0)}
    await op.passes(1)
    assert await op.replicas("hourly-small") == 1
    assert "of the pauses as long as this one end within the next" in (await reasons(op, "hourly"))["Prewarm"]

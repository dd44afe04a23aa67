"""A replica that has requests and makes no progress is evicted and replaced; one that works, and what a disruption budget protects, is left alone."""

from __future__ import annotations

import time

import pytest
import pytest_asyncio

from jevons.cluster.connect import Kind
from jevons.cluster.world import PODS
from jevons.controller.loop import SystemClock
from jevons.core.observed import Known
from jevons.core.snapshot import ClassDemand, PodSignals
from jevons.core.spec import Key
from jevons.ports import Demand, Metrics

pytestmark = pytest.mark.cluster

EVENTS = Kind("", "v1", "events", "Event")


class Ahead(SystemClock):
    """The machine's clock, and a while more."""

    ahead_s = 0.0

    def now(self):
        return time.time() + self.ahead_s


class Fleet:
    """Two replicas of `small` in an operator's hands (two nodes have room for one each); the test says which of them are frozen."""

    def __init__(self, leader):
        self.leader, self.clock, self.frozen = leader, Ahead(), set()
        leader.loop._clock = self.clock

    async def pods(self):
        found = await self.leader.api.get(PODS.path(self.leader.namespace))
        return {pod["metadata"]["name"]: pod for pod in found["items"] if "assistant-small" in pod["metadata"]["name"]}

    async def serving(self):
        return {name for name, pod in (await self.pods()).items() if ready(pod) and not pod["metadata"].get("deletionTimestamp")}

    async def passes(self, count, step_s=20.0):
        for _ in range(count):
            self.clock.ahead_s += step_s
            now, key = self.clock.now(), Key(self.leader.namespace, "assistant")
            pods = {(self.leader.namespace, name): signals(now, frozen=name in self.frozen) for name in await self.serving()}
            self.leader.signals.metrics = Metrics(health=Known(None, now), pods=pods, demand={}, outcomes={}, held={}, queries=7)
            load = ClassDemand("default", Known(0.1, now), Known(500.0, now), Known(100.0, now))
            self.leader.signals.demand[key] = Demand(classes=(load,), last_arrival_at_s=now)
            await self.leader.passes()

    async def order(self, sandbox, least, most):
        patch = f'[{{"op": "replace", "path": "/spec/variants/0/replicas", "value": {{"min": {least}, "max": {most}}}}}]'
        await sandbox.kubectl("patch", "infd", "assistant", "-n", self.leader.namespace, "--type", "json", "-p", patch)
        await self.passes(1)

    def evictions(self):
        return [path.split("/")[-2] for method, path in self.leader.writes if path.endswith("/eviction")]


def ready(pod):
    return any(each["type"] == "Ready" and each["status"] == "True" for each in pod.get("status", {}).get("conditions", []))


def signals(now, *, frozen):
    nothing = Known(0.0, now)
    if frozen:
        return PodSignals(Known(3.0, now), Known(1.0, now), Known(0.2, now), nothing, nothing, nothing)
    return PodSignals(Known(2.0, now), nothing, Known(0.2, now), Known(90.0, now), Known(40.0, now), Known(0.9, now))


@pytest_asyncio.fixture
async def fleet(operators, assistant, accelerator, eventually):
    leader = await operators.start()
    container = {"name": "engine", "image": "engine", "resources": {"limits": {"nvidia.com/gpu": "5"}}}
    small = {"name": "small", "accelerator": {"className": accelerator, "count": 1}, "replicas": {"min": 2, "max": 2}}
    await assistant(target=False, variants=[{**small, "template": {"spec": {"containers": [container]}}}])
    made = Fleet(leader)

    async def two_serve():
        await made.passes(1, step_s=0.1)
        return len(await made.serving()) == 2

    await eventually(two_serve, within_s=90.0)
    return made


async def test_a_replica_that_makes_no_progress_is_evicted_and_replaced(fleet, eventually):
    broken, well = sorted(await fleet.serving())
    fleet.frozen = {broken}
    await fleet.passes(9)
    assert fleet.evictions() == []
    await fleet.passes(1)
    assert fleet.evictions() == [broken]
    condition = await fleet.leader.condition("assistant", "ObjectivesMet")
    assert (condition["status"], condition["reason"]) == ("False", "ReplicaStuck")
    assert broken in condition["message"]
    events = (await fleet.leader.api.get(EVENTS.path(fleet.leader.namespace)))["items"]
    told = [event for event in events if event["reason"] == "ReplicaStuck" and "takes its place" in event["message"]]
    assert [event["type"] for event in told] == ["Warning"]

    async def replaced():
        serving = await fleet.serving()
        return len(serving) == 2 and broken not in serving and well in serving

    await eventually(replaced, within_s=60.0)
    await fleet.passes(3)
    assert fleet.evictions() == [broken]
    assert (await fleet.leader.condition("assistant", "ObjectivesMet"))["status"] == "True"


async def test_what_a_disruption_budget_protects_stays_and_the_pass_goes_on(fleet, sandbox):
    budget = {"minAvailable": 2, "selector": {"matchLabels": {"jevons.dev/deployment": "assistant"}}}
    pdb = {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "all"}, "spec": budget}
    await sandbox.apply(pdb, namespace=fleet.leader.namespace)
    broken = min(await fleet.serving())
    fleet.frozen = {broken}
    await fleet.passes(14)
    assert fleet.evictions() == [broken], "tried once, and not again before the pause is over"
    assert broken in await fleet.serving()
    assert (await fleet.leader.condition("assistant", "ObjectivesMet"))["reason"] == "ReplicaStuck"


async def test_a_fleet_that_shrinks_lets_the_stuck_one_go_first(fleet, sandbox, eventually):
    broken, well = sorted(await fleet.serving())
    fleet.frozen = {broken}
    await fleet.passes(9)
    await fleet.order(sandbox, 1, 1)

    async def shrunk():
        return await fleet.serving() == {well}

    await eventually(shrunk, within_s=40.0)
    assert fleet.evictions() == []


async def test_surplus_that_finds_no_node_is_cancelled_before_anything_that_serves(fleet, sandbox, eventually):
    serving = await fleet.serving()

    async def pods(count):
        return len(await fleet.pods()) == count

    await fleet.order(sandbox, 3, 3)
    await eventually(lambda: pods(3))

    async def finds_no_node():  # once the scheduler has said so
        await fleet.passes(1)
        return (await fleet.leader.condition("assistant", "CapacityAvailable"))["reason"] == "Unschedulable"

    await eventually(finds_no_node)
    await fleet.order(sandbox, 2, 2)
    await eventually(lambda: pods(2))
    assert await fleet.serving() == serving

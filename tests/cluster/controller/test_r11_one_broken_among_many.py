"""R11: one object that cannot be served has a False condition with a reason; the others are decided as if it were not there."""

from __future__ import annotations

from typing import Any

import pytest

from jevons.cluster.view import Viewer

pytestmark = pytest.mark.cluster


async def test_a_missing_target_stops_nobody_else(operators, assistant):
    await assistant("broken", target=False)
    for number in range(5):
        await assistant(f"good-{number}")
    leader = await operators.start()
    await leader.passes(2)
    assert (await leader.condition("broken", "ResolvedRefs"))["reason"] == "TargetNotFound"
    for number in range(5):
        assert (await leader.condition(f"good-{number}", "ResolvedRefs"))["status"] == "True"
        assert await leader.replicas(f"good-{number}-small") == 0


async def test_a_stored_spec_that_is_invalid_is_reported_on_that_object_alone(operators, assistant, namespace):
    await assistant("good")
    await assistant("bad")
    leader = await operators.start()
    await leader.lister.resync()
    collection = leader.lister.world.deployments
    item = dict(collection.get(namespace, "bad").body)
    broken = {**item["spec"], "variants": [{**item["spec"]["variants"][0], "replicas": {"min": 4, "max": 2}}]}
    collection.apply("MODIFIED", {**item, "spec": broken, "metadata": {**item["metadata"], "generation": 99}})

    await leader.passes(1, fresh=False)

    accepted = await leader.condition("bad", "Accepted")
    assert accepted["status"] == "False", accepted
    assert "min 4 is above max 2" in accepted["message"]
    assert (await leader.condition("good", "Accepted"))["status"] == "True"
    assert await leader.replicas("bad-small") is None, "nothing is done for an object that cannot be read"


async def test_an_object_that_breaks_the_view_is_told_so_and_the_others_scale(operators, assistant, monkeypatch):
    for name in ("breaks", "fine", "also-fine"):
        await assistant(name)
    leader = await operators.start()
    await leader.passes(2)
    for name in ("breaks", "fine", "also-fine"):
        leader.holds(name, "small", 1)
    occupying = Viewer._occupying

    def failing(self: Viewer, record: Any, *rest: Any) -> Any:
        if record.meta.name == "breaks":
            raise KeyError("className")
        return occupying(self, record, *rest)

    with monkeypatch.context() as broken:
        broken.setattr(Viewer, "_occupying", failing)
        outcome = await leader.passes(2)
    accepted = await leader.condition("breaks", "Accepted")
    assert (accepted["status"], accepted["reason"]) == ("False", "InvalidSpec")
    assert "KeyError: 'className'" in accepted["message"]
    assert (await leader.infd("breaks"))["status"]["reason"] == "InvalidSpec"
    assert outcome.failures == {}
    assert [await leader.replicas(f"{name}-small") for name in ("breaks", "fine", "also-fine")] == [0, 1, 1]
    assert await leader.replicas("breaks-target") == 1, "left alone"

    await leader.passes(2)
    assert (await leader.condition("breaks", "Accepted"))["status"] == "True"
    assert await leader.replicas("breaks-small") == 1


async def test_the_second_holder_of_a_name_and_of_a_target_is_told_so(operators, assistant, sandbox, namespace):
    await assistant("first", model="shared-name")
    await assistant("second", model="shared-name")
    claim = {"name": "large", "targetRef": {"kind": "Deployment", "name": "first-target"}}
    await assistant("third", variants=[claim], target=False)
    leader = await operators.start()
    await leader.passes(1)
    assert (await leader.condition("first", "Accepted"))["status"] == "True"
    assert (await leader.condition("second", "Accepted"))["reason"] == "NameTaken"
    assert (await leader.condition("third", "ResolvedRefs"))["reason"] == "TargetClaimed"


async def test_a_target_that_cannot_be_scaled_is_told_so_and_its_sibling_scales(operators, assistant, accelerator):
    use = {"accelerator": {"className": accelerator, "count": 1}, "replicas": {"min": 0, "max": 3}}
    daemons = {"name": "daemons", "targetRef": {"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "some"}, **use}
    large = {"name": "large", "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "assistant-target"}, **use}
    await assistant(variants=[daemons, large])
    leader = await operators.start(targets=("apps/v1/Deployment", "apps/v1/DaemonSet"))
    leader.holds("assistant", "large", 1)
    await leader.passes(2)
    told = await leader.condition("assistant", "ResolvedRefs")
    assert (told["status"], told["reason"]) == ("False", "TargetNotScalable")
    assert "apps/v1/DaemonSet has no scale subresource" in told["message"]
    assert await leader.replicas("assistant-target") == 1


async def test_a_template_never_overwrites_a_foreign_deployment(operators, assistant, sandbox, namespace):
    await sandbox.kubectl("create", "deployment", "assistant-small", "--image=theirs", "-n", namespace)
    await assistant()
    leader = await operators.start()
    leader.holds("assistant", "small", 1)
    await leader.passes(2)
    theirs = await sandbox.get("deployment", "assistant-small", namespace=namespace)
    assert theirs["spec"]["template"]["spec"]["containers"][0]["image"] == "theirs"
    assert theirs["spec"]["replicas"] == 1
    assert (await leader.condition("assistant", "ResolvedRefs"))["reason"] == "ForeignOwner"

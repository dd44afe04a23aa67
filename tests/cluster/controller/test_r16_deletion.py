"""R16: deleting never waits for the operator; targets keep their replicas or get back what they had; what was spent stays spent."""

from __future__ import annotations

import sys
import time
from decimal import Decimal

import pytest

from jevons.cluster.checkpoints import CONFIG_MAPS, config_map_name
from jevons.core.spec import Key

pytestmark = pytest.mark.cluster


async def woken(operators, name="assistant"):
    """A leader that woke the sleeping target and the child of one deployment."""
    leader = await operators.start()
    leader.holds(name, "large", 1)
    await leader.passes(2)
    return leader


async def asleep(sandbox, namespace, name="assistant-target"):
    """The state before Jevons: a target at 0."""
    await sandbox.kubectl("scale", f"deploy/{name}", "--replicas=0", "-n", namespace)


@pytest.mark.parametrize("on_delete", ["Keep", "Restore"])
async def test_deleted_while_no_operator_ran(operators, assistant, sandbox, eventually, on_delete):
    namespace, left = assistant.namespace, {"Keep": 1, "Restore": 0}[on_delete]
    await assistant(scaling={"onDelete": on_delete})
    await asleep(sandbox, namespace)
    first = await woken(operators)
    assert await first.replicas("assistant-target") == 1

    began = time.monotonic()
    await sandbox.kubectl("delete", "infd/assistant", "-n", namespace, "--timeout=30s")
    deleted_s = time.monotonic() - began
    await eventually(lambda: _is(first.replicas("assistant-small"), None), within_s=60)
    sys.stdout.write(f"R16: deleted in {deleted_s:.1f} s, the child with it, no operator running\n")
    assert await first.replicas("assistant-target") == 1, "nobody ran, nothing moved"

    second = await operators.start()
    await second.passes(2)
    assert await second.replicas("assistant-target") == left
    notes = await second.api.list(CONFIG_MAPS, namespace=namespace, label_selector="jevons.dev/checkpoint=origin")
    assert notes[0] == [], "settled once, then forgotten"
    await sandbox.kubectl("scale", "deploy/assistant-target", "--replicas=2", "-n", namespace)
    await second.passes(2)
    assert await second.replicas("assistant-target") == 2


async def test_what_someone_else_set_since_is_not_put_back(operators, assistant, sandbox, namespace):
    await assistant(scaling={"onDelete": "Restore"})
    await asleep(sandbox, namespace)
    leader = await woken(operators)
    await sandbox.kubectl("scale", "deploy/assistant-target", "--replicas=3", "-n", namespace)
    await sandbox.kubectl("delete", "infd/assistant", "-n", namespace)
    await leader.passes(2)
    assert await leader.replicas("assistant-target") == 3


async def test_made_again_it_still_knows_what_was_before(operators, assistant, sandbox, namespace):
    await assistant(scaling={"onDelete": "Keep"})
    await asleep(sandbox, namespace)
    await woken(operators)
    await sandbox.kubectl("delete", "infd/assistant", "-n", namespace)
    await assistant(target=False, scaling={"onDelete": "Restore"})
    second = await operators.start()
    await second.passes(2)
    assert await second.replicas("assistant-target") == 1
    await sandbox.kubectl("delete", "infd/assistant", "-n", namespace)
    await second.passes(2)
    assert await second.replicas("assistant-target") == 0


async def test_another_deployment_that_takes_the_target_over_inherits_the_note(operators, assistant, sandbox, namespace):
    await assistant(scaling={"onDelete": "Restore"})
    await asleep(sandbox, namespace)
    leader = await woken(operators)
    claim = {"name": "large", "targetRef": {"kind": "Deployment", "name": "assistant-target"}, "accelerator": {"className": "r-h100", "count": 1}}
    await assistant("heir", target=False, variants=[claim], scaling={"onDelete": "Restore"})
    await sandbox.kubectl("delete", "infd/assistant", "-n", namespace)
    await leader.passes(2)
    assert await leader.replicas("assistant-target") == 1, "the heir scales it now"
    await sandbox.kubectl("delete", "infd/heir", "-n", namespace)
    await leader.passes(2)
    assert await leader.replicas("assistant-target") == 0


async def test_spend_survives_delete_and_recreate(operators, assistant, sandbox, namespace, eventually):
    await assistant()
    leader = await woken(operators)

    async def spent():
        await leader.passes(1)
        return leader.metrics.last.decision.ledger.accounts[Key(namespace, "assistant")].usd

    before = await eventually(spent, within_s=30)
    await sandbox.kubectl("delete", "infd/assistant", "-n", namespace)
    await leader.passes(2)
    stored = await leader.api.get(CONFIG_MAPS.path(namespace, config_map_name("ledger", Key(namespace, "assistant"))))
    assert '"usd":"' in stored["data"]["document"]

    await assistant(target=False)
    second = await operators.start()
    await second.passes(2)
    after = second.metrics.last.decision.deployments[Key(namespace, "assistant")].cost.period_spend_usd
    sys.stdout.write(f"R16: spend {before:.6f} USD before, {after:.6f} USD after delete and recreate\n")
    assert after >= before > Decimal(0)


async def test_a_namespace_goes_without_an_operator(operators, assistant, sandbox, namespace):
    home = f"{namespace}-tenant"
    await sandbox.kubectl("create", "namespace", home)
    infd = {"apiVersion": "jevons.dev/v1alpha1", "kind": "InferenceDeployment", "metadata": {"name": "goes"}}
    template = {"spec": {"containers": [{"name": "engine", "image": "engine"}]}}
    await sandbox.apply({**infd, "spec": {"variants": [{"name": "small", "template": template}]}}, namespace=home)
    began = time.monotonic()
    await sandbox.kubectl("delete", "namespace", home, "--timeout=60s")
    took_s = time.monotonic() - began
    sys.stdout.write(f"R16: a namespace with an InferenceDeployment was deleted in {took_s:.1f} s\n")
    assert took_s <= 30


async def _is(coroutine, wanted):
    return await coroutine == wanted

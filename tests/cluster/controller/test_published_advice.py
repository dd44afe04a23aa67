"""Advice on the object it is about: `kubectl describe` shows it, the operator leaves it alone, and it lands on no other object of that name."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from jevons.cli.advised import as_status
from jevons.cluster.advice import MANAGER, NotPublishedError, publish
from jevons.core.spec import Deployment, Key, Profile, Variant
from jevons.simulator.advice import Advice, Priced
from jevons.simulator.advice_ways import Setting, way
from jevons.simulator.recorded import Recorded
from jevons.simulator.regret import Asked
from jevons.simulator.traces import columns

pytestmark = pytest.mark.cluster

SMALL = Variant("small", "model", "a100", profile=Profile(0.01, 0.001, 0.0, 0.02, 0.1, 0.0, 10_000))


def found(*saved):
    plain = Priced(None, 100.0, 0.0, 0.96, (4, 5))
    chunk = way(SMALL, Setting.CHUNK, "2048", "512")
    advised = tuple(Priced(chunk, 100.0 * (1 - one), one, 0.96, None) for one in saved)
    return Advice(0.95, plain, advised, advised, None, 100.0, 24.0)


def recorded(key, generation):
    asked = Asked(Deployment(key, "uid", generation, 0.0, "model", (SMALL,)), {}, columns([0.0], [1], [1]))
    return Recorded(asked, 0.0, 1_767_261_600.0, Decimal(1), 0.0)


async def test_describe_shows_the_advice_and_the_operator_leaves_it_there(operators, assistant, sandbox, namespace, eventually):
    await assistant()
    leader = await operators.start()

    def statuses():
        return len([path for _, path in leader.writes if path.endswith("/status")])

    async def nothing_is_new():  # the target's pod becomes ready at a moment of its own
        written = statuses()
        await leader.passes(1)
        ready = (await sandbox.get("deployment", "assistant-target", namespace=namespace))["status"].get("readyReplicas")
        return ready == 1 and statuses() == written

    await eventually(nothing_is_new)
    before = await leader.infd("assistant")
    key, uid = Key(namespace, "assistant"), before["metadata"]["uid"]
    told = as_status(found(0.028), recorded(key, before["metadata"]["generation"]))

    await publish(str(sandbox.kubeconfig), key, uid, told)
    described = await sandbox.kubectl("describe", "infd", "-n", namespace, "assistant")
    assert "small: max batched tokens 2048 -> 512 saves 2.8% (84 USD a month) (on 24.0 h of recorded traffic until 2026-01-01T10:00:00Z" in described
    assert (await leader.infd("assistant"))["status"]["conditions"] == before["status"]["conditions"]

    written = statuses()
    await leader.passes(2)
    assert statuses() == written, "advice makes the operator write nothing"
    await assistant(target=False, scaling={"mode": "Recommend"})
    await leader.passes(2)
    after = await leader.infd("assistant")
    assert after["status"]["observedGeneration"] == before["metadata"]["generation"] + 1
    assert after["status"]["advice"] == told
    owner = {entry["manager"] for entry in after["metadata"]["managedFields"] if "f:advice" in str(entry)}
    assert owner == {MANAGER}

    await publish(str(sandbox.kubeconfig), key, uid, as_status(found(), recorded(key, 2)))
    assert (await leader.infd("assistant"))["status"]["advice"]["message"].startswith("nothing: none of 0 ways saves 2% or more (")
    with pytest.raises(NotPublishedError, match="deleted and made again"):
        await publish(str(sandbox.kubeconfig), key, "another", told)
    with pytest.raises(NotPublishedError, match="404"):
        await publish(str(sandbox.kubeconfig), replace(key, name="nobody"), uid, told)


async def test_without_a_cluster_it_says_so(tmp_path):
    with pytest.raises(NotPublishedError, match="no cluster to write to"):
        await publish(str(tmp_path / "none"), Key("a", "b"), "uid", {})

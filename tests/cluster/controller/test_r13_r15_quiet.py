"""R13 and R15: a rival is answered once per pause, never in a duel; and after any faults a quiet cluster is left alone."""

from __future__ import annotations

import sys

import pytest

from jevons.cluster.connect import MERGE_PATCH

pytestmark = pytest.mark.cluster


def scales(leader, since=0):
    return [path for _, path in leader.done[since:] if path.endswith("/scale")]


@pytest.mark.parametrize("target", ["assistant-target", "assistant-small"], ids=["target", "child"])
async def test_a_rival_that_resets_replicas_each_second_is_not_fought(operators, assistant, target):
    await assistant()
    leader = await operators.start()
    leader.holds("assistant", "large" if target == "assistant-target" else "small", 4)
    await leader.passes(2)
    rival = await operators.api()
    began, most = len(leader.done), 0
    for number in range(30):
        path = f"/apis/apps/v1/namespaces/{leader.namespace}/deployments/{target}/scale"
        await rival.write("PATCH", path, {"spec": {"replicas": 2 + number % 2}}, query={"fieldManager": "rival"}, content_type=MERGE_PATCH)
        await leader.passes(1)
        most = max(most, await leader.replicas(target))
    ours = [path for path in scales(leader, began) if f"/{target}/" in path]
    sys.stdout.write(f"R13: {len(ours)} writes of ours against 30 of a rival; at most {most} replicas of 3\n")
    assert len(ours) <= 1
    assert most <= 3
    contested = await leader.condition("assistant", "ScaleUncontested")
    assert contested["status"] != "True"


async def test_after_faults_and_then_quiet_nothing_is_decided_any_more(operators, assistant, line, tmp_path):
    await assistant()
    leader = await operators.start(kubeconfig=str(line.kubeconfig(tmp_path)))
    for fault in (None, 500, None, 409, 429, None):
        line.fault = fault
        leader.holds("assistant", "small", 1 if fault is None else 3)
        await leader.passes(1)
    line.fault = None
    leader.signals.demand.clear()
    await leader.passes(3)
    settled = len(leader.done)
    wanted = [entry["desired"] for entry in (await leader.infd("assistant"))["status"]["variants"]]
    assert wanted == [await leader.replicas("assistant-target"), await leader.replicas("assistant-small")]
    await leader.passes(10)
    decisions = [write for write in leader.done[settled:] if "/configmaps" not in write[1] and not write[1].endswith("/status")]
    sys.stdout.write(f"R15: {len(decisions)} decision writes in 10 quiet passes, {len(leader.done) - settled} of all kinds\n")
    assert decisions == []

"""Acting: what one variant is refused is not another one's trouble."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest

from jevons.cluster.actuator import Actuator, Outcome
from jevons.cluster.connect import ApiError, Kind
from jevons.cluster.events import Events
from jevons.cluster.origins import Origins
from jevons.cluster.view import Signals, Viewer
from jevons.cluster.world import Refusal, World, empty
from jevons.core.decide import decide
from jevons.core.memory import DeploymentMemory, Memory, VariantMemory
from jevons.core.observed import Known
from jevons.core.snapshot import Condition, Held, Snapshot
from jevons.core.spec import AcceleratorClass, Key
from jevons.ports import Metrics

NOW = 1_767_261_600.0
DEPLOYMENTS = Kind("apps", "v1", "deployments", "Deployment")
HEARD = Signals(Metrics(health=Known(None, NOW), pods={}, demand={}, outcomes={}, held={}, queries=0), {})
KEY = Key("a", "assistant")


class Server:
    """Refuses every Deployment that is made, and the scale of `first`; takes everything else."""

    def __init__(self, status: int) -> None:
        self.status, self.taken = status, list[str]()

    async def write(self, method: str, path: str, body: Any = None, **_: Any) -> dict[str, Any]:
        if (method == "POST" and path.endswith("/deployments")) or path.endswith("/first/scale"):
            raise ApiError(self.status, "Invalid", "no such thing")
        self.taken.append(f"{method} {path}")
        return {"metadata": {"namespace": "a", "name": "x", "uid": "x", "resourceVersion": "9"}, **(body or {})} | {
            "metadata": {"namespace": "a", "name": "x", "uid": "x", "resourceVersion": "9"}
        }


@pytest.mark.parametrize(("status", "scaled"), [(403, 1), (422, 1), (429, 0), (500, 0), (0, 0)])
async def test_a_refused_variant_keeps_no_other_from_being_scaled_and_an_ailing_server_is_asked_no_more(status, scaled):
    world = empty([DEPLOYMENTS])
    for name in ("first", "second"):
        meta = {"namespace": "a", "name": name, "uid": name, "resourceVersion": "1"}
        spec = {"replicas": 0, "selector": {"matchLabels": {"app": name}}}
        world.workloads["apps/v1", "Deployment"].apply("ADDED", {"metadata": meta, "spec": spec})
    accelerator = {"className": "a100", "count": 1}
    variants = [{"name": name, "accelerator": accelerator, "targetRef": {"name": name}} for name in ("first", "second")]
    made = {"name": "made", "accelerator": accelerator, "template": {"spec": {"containers": []}}}
    meta = {"namespace": "a", "name": "assistant", "uid": "u", "resourceVersion": "1", "generation": 1}
    body = {"apiVersion": "jevons.dev/v1alpha1", "kind": "InferenceDeployment", "metadata": meta, "spec": {"variants": [made, *variants]}}
    world.deployments.apply("ADDED", body)
    view = Viewer(world).build(HEARD, NOW)
    decision = decide(Snapshot(view.deployments, {"a100": AcceleratorClass("a100")}, metrics=Known(None, NOW)), NOW)
    wanted = decision.deployments[KEY]
    replicas = tuple(replace(each, desired={"first": 2, "second": 1}.get(each.variant, each.desired)) for each in wanted.replicas)
    decision = replace(decision, deployments={KEY: replace(wanted, replicas=replicas)})

    server: Any = Server(status)
    kinds = {("apps/v1", "Deployment"): DEPLOYMENTS}
    origins = Origins(server, world, kinds, namespace="jevons-system")
    outcome = await Actuator(server, world, Events(server), kinds, origins).act(decision, view, NOW)

    assert ("PATCH /apis/apps/v1/namespaces/a/deployments/second/scale" in server.taken) == bool(scaled)
    assert any(path.endswith("/assistant/status") for path in server.taken)
    assert (outcome.scaled, outcome.failures) == (scaled, {"Invalid": 1})


class Slow(Server):
    """Takes everything, a second a write by its own clock, or never answers; knows the deployments of a world."""

    def __init__(self, world: World, *, answers: bool = True) -> None:
        super().__init__(500)
        self.world, self.answers, self.now = world, answers, 0.0

    def monotonic(self) -> float:
        return self.now

    async def write(self, method: str, path: str, body: Any = None, **more: Any) -> dict[str, Any]:
        if not self.answers:
            await asyncio.Event().wait()
        self.now += 1.0
        await asyncio.sleep(0)
        self.taken.append(f"{method} {path}")
        if not path.endswith("/status"):
            return body or {}
        known = self.world.deployments.get("a", path.split("/")[-2])
        assert known is not None
        return {**known.body, "status": (body or {})["status"]}


def many(world: World, count: int) -> None:
    """Deployments that nothing was told about yet."""
    for number in range(count):
        meta = {"namespace": "a", "name": f"m{number}", "uid": f"m{number}", "resourceVersion": "1", "generation": 1}
        variant = {"name": "only", "accelerator": {"className": "a100", "count": 1}, "targetRef": {"name": f"t{number}"}}
        spec = {"variants": [variant]}
        world.deployments.apply("ADDED", {"apiVersion": "jevons.dev/v1alpha1", "kind": "InferenceDeployment", "metadata": meta, "spec": spec})


def undertaken(server: Any, world: World) -> Callable[[], Coroutine[Any, Any, Outcome]]:
    """Acts on what is decided now."""
    kinds = {("apps/v1", "Deployment"): DEPLOYMENTS}
    acting = Actuator(server, world, Events(server), kinds, Origins(server, world, {}, namespace="x"), monotonic=server.monotonic)

    async def act() -> Outcome:
        view = Viewer(world).build(HEARD, NOW)
        decision = decide(Snapshot(view.deployments, {"a100": AcceleratorClass("a100")}, metrics=Known(None, NOW)), NOW)
        return await acting.act(decision, view, NOW)

    return act


async def test_what_is_not_begun_in_time_is_no_failure_and_is_done_in_later_passes():
    world = empty([DEPLOYMENTS])
    server = Slow(world)
    many(world, 100)
    act = undertaken(server, world)
    passes, first = 1, await act()
    outcome = first
    while outcome.left:
        outcome, passes = await act(), passes + 1
        assert outcome.failures == {}
    assert 0 < first.left < 100
    assert passes > 1
    told = Counter(path for path in server.taken if path.endswith("/status"))
    assert set(told) == {f"PATCH /apis/jevons.dev/v1alpha1/namespaces/a/inferencedeployments/m{number}/status" for number in range(100)}
    assert max(told.values()) == 1


async def test_acting_that_is_cut_off_leaves_no_job_behind():
    world = empty([DEPLOYMENTS])
    server = Slow(world, answers=False)
    many(world, 20)
    act = undertaken(server, world)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await act()
    gc.collect()  # a coroutine that was never awaited would warn here
    assert server.taken == []


class Policy:
    """An API server that takes or refuses what is made; says how often it was asked."""

    def __init__(self) -> None:
        self.status, self.asked = 422, 0

    async def write(self, method: str, path: str, body: Any = None, **_: Any) -> dict[str, Any]:
        if method == "POST" and path.endswith("/deployments"):
            self.asked += 1
            if self.status:
                raise ApiError(self.status, "Invalid", "spec.template.spec.containers: Required value" + "!" * 500)
        meta = {"namespace": "a", "name": "assistant-made", "uid": "c", "resourceVersion": "9"}
        owner = {"kind": "InferenceDeployment", "name": "assistant", "uid": "u", "controller": True}
        annotations = ((body or {}).get("metadata") or {}).get("annotations") or {}
        return {**(body or {}), "metadata": {**meta, "ownerReferences": [owner], "annotations": annotations}}


def with_template(world: World, generation: int) -> None:
    """`assistant` as of that generation: one variant, made from a template."""
    made = {"name": "made", "accelerator": {"className": "a100", "count": 1}, "template": {"spec": {"containers": []}}}
    meta = {"namespace": "a", "name": "assistant", "uid": "u", "resourceVersion": str(generation), "generation": generation}
    body = {"apiVersion": "jevons.dev/v1alpha1", "kind": "InferenceDeployment", "metadata": meta, "spec": {"variants": [made]}}
    world.deployments.apply("MODIFIED", body)


@pytest.mark.parametrize("status", [400, 403, 422])
async def test_a_refused_template_is_told_on_its_object_and_sent_again_after_an_edit_or_some_minutes(status):
    world, policy = empty([DEPLOYMENTS]), Policy()
    server: Any = policy
    kinds = {("apps/v1", "Deployment"): DEPLOYMENTS}
    acting = Actuator(server, world, Events(server), kinds, Origins(server, world, kinds, namespace="jevons-system"))
    policy.status = status
    with_template(world, 1)

    async def one_pass(at_s: float) -> dict[str, Condition]:
        view = Viewer(world).build(HEARD, at_s)
        decision = decide(Snapshot(view.deployments, {"a100": AcceleratorClass("a100")}, metrics=Known(None, at_s)), at_s)
        await acting.act(decision, view, at_s)
        return {condition.type: condition for condition in decision.deployments[KEY].conditions}

    await one_pass(NOW)
    told = await one_pass(NOW + 15)
    assert (told["ResolvedRefs"].status, told["ResolvedRefs"].reason) == ("False", "TemplateRefused")
    assert "spec.template.spec.containers: Required value" in told["ResolvedRefs"].message
    assert len(told["ResolvedRefs"].message) < 340
    assert (told["Ready"].status, told["Ready"].reason) == ("False", "TemplateRefused")
    assert policy.asked == 1
    await one_pass(NOW + 200)
    assert policy.asked == 2

    with_template(world, 2)
    policy.status = 0
    assert (await one_pass(NOW + 201))["ResolvedRefs"].status == "True"
    assert (policy.asked, world.refusals) == (3, {})
    assert (await one_pass(NOW + 216))["ResolvedRefs"].status == "True"


async def test_an_ailing_server_is_no_refusal_and_a_deleted_object_leaves_none_behind():
    world, policy = empty([DEPLOYMENTS]), Policy()
    server: Any = policy
    kinds = {("apps/v1", "Deployment"): DEPLOYMENTS}
    acting = Actuator(server, world, Events(server), kinds, Origins(server, world, kinds, namespace="jevons-system"))
    policy.status = 500
    with_template(world, 1)
    view = Viewer(world).build(HEARD, NOW)
    decision = decide(Snapshot(view.deployments, {"a100": AcceleratorClass("a100")}, metrics=Known(None, NOW)), NOW)
    await acting.act(decision, view, NOW)
    assert world.refusals == {}
    world.refusals["gone", "made"] = Refusal(1, "no", NOW)
    await acting.act(decision, view, NOW)
    assert world.refusals == {}


def test_what_runs_of_an_older_template_is_still_scaled_when_the_newer_one_is_refused():
    world = empty([DEPLOYMENTS])
    with_template(world, 2)
    owner = {"kind": "InferenceDeployment", "name": "assistant", "uid": "u", "controller": True}
    meta = {"namespace": "a", "name": "assistant-made", "uid": "c", "resourceVersion": "3", "ownerReferences": [owner]}
    world.workloads["apps/v1", "Deployment"].apply("ADDED", {"metadata": meta, "spec": {"replicas": 0}})
    world.refusals["u", "made"] = Refusal(2, "no", NOW)
    state = Viewer(world).build(HEARD, NOW).deployments[KEY]
    state = replace(state, held=(Held("made", 2, NOW - 1),))
    decided = decide(Snapshot({KEY: state}, {"a100": AcceleratorClass("a100")}, metrics=Known(None, NOW)), NOW).deployments[KEY]
    assert decided.replicas[0].desired == 1
    assert {condition.type: condition.reason for condition in decided.conditions}["ResolvedRefs"] == "TemplateRefused"


@pytest.mark.parametrize("mode", ["Enforce", "Recommend", "Paused"])
async def test_what_was_put_to_sleep_is_woken_whatever_the_mode_and_nothing_sleeps_but_in_enforce(mode, monkeypatch):
    world = empty([DEPLOYMENTS])
    target = {"spec": {"replicas": 1, "selector": {"matchLabels": {"app": "llama"}}}}
    workload = {"metadata": {"namespace": "a", "name": "llama", "uid": "w", "resourceVersion": "1"}, **target}
    world.workloads["apps/v1", "Deployment"].apply("ADDED", workload)
    labels, mark = {"app": "llama"}, {"jevons.dev/sleep": "Asleep 2026-01-01T08:00:00Z assistant 8000"}
    pod = {"namespace": "a", "name": "p", "uid": "p", "resourceVersion": "1", "labels": labels, "annotations": mark}
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T07:00:00Z"}
    world.pods.apply(
        "ADDED", {"metadata": pod, "spec": {"nodeName": "n"}, "status": {"phase": "Running", "podIP": "127.0.0.1", "conditions": [ready]}}
    )
    variant = {"name": "large", "accelerator": {"className": "a100", "count": 1}, "targetRef": {"name": "llama"}, "sleep": {"holdingCost": "0.1"}}
    meta = {"namespace": "a", "name": "assistant", "uid": "u", "resourceVersion": "1", "generation": 1}
    body = {"apiVersion": "jevons.dev/v1alpha1", "kind": "InferenceDeployment", "metadata": meta}
    world.deployments.apply("ADDED", {**body, "spec": {"variants": [variant], "scaling": {"mode": mode}}})
    server: Any = Policy()
    server.before_write = None
    acting = Actuator(server, world, Events(server), {("apps/v1", "Deployment"): DEPLOYMENTS}, Origins(server, world, {}, namespace="x"))
    settled: list[tuple[str, ...]] = []

    async def settle(key: Any, variant: Any, pods: Any, target: Any, now_s: float) -> None:
        settled.append(target.asleep)

    monkeypatch.setattr(acting._sleepers, "settle", settle)
    view = Viewer(world).build(HEARD, NOW)
    memory = Memory({KEY: DeploymentMemory(variants={"large": VariantMemory(work_at_s=NOW - 600.0)}, last_arrival_at_s=NOW - 600.0)})
    snapshot = Snapshot(view.deployments, {"a100": AcceleratorClass("a100")}, metrics=Known(None, NOW), memory=memory)
    await acting.act(decide(snapshot, NOW), view, NOW)
    assert settled == [("p",) if mode == "Enforce" else ()]

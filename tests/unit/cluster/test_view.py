"""From a World to what is decided on: one object's trouble stays its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jevons.api.resolve import resolve_deployment
from jevons.cluster.connect import Kind
from jevons.cluster.records import CustomRecord
from jevons.cluster.view import Signals, View, Viewer
from jevons.cluster.world import World, empty
from jevons.core.decide import decide
from jevons.core.observed import Known
from jevons.core.snapshot import Snapshot
from jevons.core.spec import AcceleratorClass, Deployment, Key
from jevons.ports import Metrics

NOW = 1_767_261_600.0
DEPLOYMENTS = ("apps/v1", "Deployment")
DAEMON = {"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "llama"}
HEARD = Signals(Metrics(health=Known(None, NOW), pods={}, demand={}, outcomes={}, held={}, queries=0), {})


def built(world: World) -> View:
    return Viewer(world).build(HEARD, NOW)


def cluster(*names: str, **spec: object) -> World:
    """An InferenceDeployment per name, all for the target `llama` and its pods."""
    world = empty([Kind("apps", "v1", "deployments", "Deployment")])
    target = {"spec": {"replicas": 1, "selector": {"matchLabels": {"app": "llama"}}}}
    world.workloads[DEPLOYMENTS].apply("ADDED", {"metadata": {"namespace": "a", "name": "llama", "uid": "w", "resourceVersion": "1"}, **target})
    for number, name in enumerate(names):
        meta = {"namespace": "a", "name": name, "uid": f"u{number}", "resourceVersion": "1", "creationTimestamp": f"2026-01-01T00:00:0{number}Z"}
        variant = {"name": "large", "accelerator": {"className": "a100", "count": 1}, "targetRef": {"name": "llama"}}
        body = {"apiVersion": "jevons.dev/v1alpha1", "kind": "InferenceDeployment", "metadata": meta}
        world.deployments.apply("ADDED", {**body, "spec": {"variants": [variant], **spec}})
    return world


def add_pod(world: World, name: str, phase: str) -> None:
    meta = {"namespace": "a", "name": name, "uid": name, "resourceVersion": "1", "labels": {"app": "llama"}}
    world.pods.apply("ADDED", {"metadata": meta, "spec": {"nodeName": "n"}, "status": {"phase": phase, "startTime": "2026-01-01T00:00:00Z"}})


def test_an_evicted_pod_holds_no_accelerator_and_is_no_failed_replica():
    world = cluster("assistant")
    for phase in ("Running", "Failed", "Succeeded"):
        add_pod(world, phase.lower(), phase)
    pods = built(world).deployments[Key("a", "assistant")].variants["large"].pods
    assert [pod.name for pod in pods] == ["running"]


def test_an_object_that_breaks_the_view_is_reported_invalid_and_the_others_are_decided(monkeypatch):
    world = cluster("broken", "fine")
    occupying = Viewer._occupying

    def failing(self: Viewer, record: CustomRecord, *rest: Any) -> Any:
        if record.meta.name == "broken":
            raise KeyError("className")
        return occupying(self, record, *rest)

    monkeypatch.setattr(Viewer, "_occupying", failing)
    view = built(world)
    assert view.deployments[Key("a", "broken")].invalid == "KeyError: 'className'"
    assert view.deployments[Key("a", "fine")].invalid == ""
    decided = decide(Snapshot(view.deployments, {"a100": AcceleratorClass("a100")}, metrics=Known(None, NOW)), NOW).deployments
    assert [(item.status, item.reason) for item in decided[Key("a", "broken")].conditions if item.type == "Accepted"] == [("False", "InvalidSpec")]
    assert [item.status for item in decided[Key("a", "fine")].conditions if item.type == "Accepted"] == ["True"]
    assert [target.desired for target in decided[Key("a", "broken")].replicas] == [None]


def test_an_object_whose_spec_breaks_the_resolver_is_reported_invalid(monkeypatch):
    def failing(body: Mapping[str, Any]) -> Deployment:
        if body["metadata"]["name"] == "broken":
            raise RecursionError("too deep")
        return resolve_deployment(body)

    monkeypatch.setattr("jevons.cluster.view.resolve_deployment", failing)
    states = built(cluster("broken", "fine")).deployments
    assert (states[Key("a", "broken")].invalid, states[Key("a", "fine")].invalid) == ("RecursionError: too deep", "")


def test_a_target_whose_pods_are_refused_says_why_and_is_still_ours_to_scale():
    world = cluster("assistant")
    reason = 'pods "llama-1" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot != true'
    failure = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": reason + "!" * 400}
    meta = {"namespace": "a", "name": "llama", "uid": "w", "resourceVersion": "2"}
    target = {"spec": {"replicas": 1, "selector": {"matchLabels": {"app": "llama"}}}, "status": {"conditions": [failure]}}
    world.workloads[DEPLOYMENTS].apply("MODIFIED", {"metadata": meta, **target})
    refused = built(world).deployments[Key("a", "assistant")].variants["large"].target
    assert (refused.problem, refused.untouchable) == ("TemplateRefused", False)
    assert refused.message == (reason + "!" * 400)[:300]
    target["status"] = {"conditions": [{**failure, "status": "False"}]}
    world.workloads[DEPLOYMENTS].apply("MODIFIED", {"metadata": {**meta, "resourceVersion": "3"}, **target})
    assert built(world).deployments[Key("a", "assistant")].variants["large"].target.problem is None


def test_a_target_whose_kind_cannot_be_scaled_says_so():
    world = cluster("assistant", variants=[{"name": "large", "accelerator": {"className": "a100", "count": 1}, "targetRef": DAEMON}])
    world.unscalable = frozenset({("apps/v1", "DaemonSet")})
    target = built(world).deployments[Key("a", "assistant")].variants["large"].target
    assert (target.problem, target.untouchable, target.message) == ("TargetNotScalable", True, "apps/v1/DaemonSet has no scale subresource")
    world.unscalable = frozenset()
    assert built(world).deployments[Key("a", "assistant")].variants["large"].target.problem == "TargetKindNotAllowed"


def marked(world: World, text: str | None, *, ready_at: str = "2026-01-01T00:10:00Z") -> Any:
    annotations = {} if text is None else {"jevons.dev/sleep": text}
    meta = {"namespace": "a", "name": "p", "uid": "p", "resourceVersion": "1", "labels": {"app": "llama"}, "annotations": annotations}
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": ready_at}
    status = {"phase": "Running", "startTime": "2026-01-01T00:00:00Z", "conditions": [ready]}
    world.pods.apply("ADDED", {"metadata": meta, "spec": {"nodeName": "n"}, "status": status})
    pod = built(world).deployments[Key("a", "assistant")].variants["large"].pods[0]
    return pod.ready, pod.marked_at_s is not None, pod.asleep, pod.sleepless


def test_a_pod_is_what_its_mark_says():
    world = cluster("assistant")
    assert marked(world, None) == (True, False, False, False)
    assert marked(world, "Marked 2026-01-01T01:00:00Z assistant 8000") == (False, True, False, False)
    assert marked(world, "Asleep 2026-01-01T01:00:00Z assistant 8000") == (False, True, True, False)
    assert marked(world, "Refused 2026-01-01T01:00:00Z assistant 8000") == (True, False, False, True)
    assert marked(world, "whatever somebody writes there") == (True, False, False, False)


def test_an_engine_that_was_started_anew_after_it_lay_down_is_no_longer_asleep():
    world = cluster("assistant")
    assert marked(world, "Asleep 2026-01-01T01:00:00Z assistant 8000", ready_at="2026-01-01T02:00:00Z") == (False, True, False, False)

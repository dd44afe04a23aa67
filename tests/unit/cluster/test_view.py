"""From a World to what is decided on: one object's trouble stays its own."""

from __future__ import annotations

from jevons.cluster.connect import Kind
from jevons.cluster.view import Signals, View, Viewer
from jevons.cluster.world import World, empty
from jevons.core.observed import Known
from jevons.core.spec import Key
from jevons.ports import Metrics

NOW = 1_767_261_600.0
DEPLOYMENTS = ("apps/v1", "Deployment")
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

"""What the gateway's table keeps of a pod: one that sleeps in host memory takes nothing, and is not cut off either."""

from __future__ import annotations

import pytest

from jevons.api.resolve import resolve_deployment
from jevons.gateway.agent import pod_seen
from jevons.gateway.build import PodSeen, Source, build_table
from jevons.gateway.endpoints import endpoints_of


def pod(mark=None):
    conditions = [{"type": "Ready", "status": "True"}, {"type": "PodScheduled", "status": "True"}]
    annotations = {} if mark is None else {"jevons.dev/sleep": mark}
    meta = {"namespace": "a", "name": "p", "labels": {"app": "x"}, "annotations": annotations}
    return {"metadata": meta, "status": {"phase": "Running", "podIP": "127.0.0.9", "conditions": conditions}}


@pytest.mark.parametrize(
    ("mark", "takes"),
    [
        (None, True),
        ("Marked 2026-01-01T01:00:00Z assistant 8000", False),
        ("Asleep 2026-01-01T01:00:00Z assistant 8000", False),
        ("Refused 2026-01-01T01:00:00Z assistant 8000", True),
        ("nonsense", True),
    ],
)
def test_a_pod_that_is_put_to_sleep_takes_nothing_new(mark, takes):
    seen = pod_seen(pod(mark))
    assert (seen["ready"], seen["draining"]) == (takes, not takes)


def test_streams_that_run_when_it_is_marked_keep_their_endpoint():
    meta = {"namespace": "a", "name": "assistant", "uid": "u"}
    spec = {"variants": [{"name": "only", "accelerator": {"className": "a100", "count": 1}, "targetRef": {"name": "x"}}]}
    stored = {"apiVersion": "jevons.dev/v1alpha1", "kind": "InferenceDeployment", "metadata": meta, "spec": spec}
    source = Source(resolve_deployment(stored), {"variants": [{"name": "only", "selector": "app=x", "port": 8000}]})
    seen = PodSeen(**pod_seen(pod("Marked 2026-01-01T01:00:00Z assistant 8000")))
    table = build_table([source], [seen], room="127.0.0.1:1", generation=1, now=0.0)
    assert [one.usable for one in table.models["a/assistant"].variants[0].pods] == [False]
    assert "127.0.0.9:8000" in endpoints_of(table)

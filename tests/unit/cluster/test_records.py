"""Records are total: whatever stands in an object, they say something."""

from __future__ import annotations

import pytest

from jevons.cluster import records, selectors, workloads

SCALE = {"f:spec": {"f:replicas": {}}}


def test_a_ready_pod_with_its_accelerators():
    item = {
        "metadata": {"name": "p", "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"nodeName": "n", "containers": [{"resources": {"limits": {"nvidia.com/gpu": "4", "cpu": "2"}}}, {}]},
        "status": {
            "phase": "Running",
            "conditions": [
                {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-01-01T00:00:05Z"},
                {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:04:00Z"},
            ],
        },
    }
    pod = records.pod(item)
    assert pod.requests == {"nvidia.com/gpu": 4}
    assert (pod.scheduled_at_s - pod.meta.created_at_s, pod.ready_at_s - pod.meta.created_at_s) == (5.0, 240.0)
    assert not pod.failed


def test_a_crash_looping_pod_is_no_capacity():
    status = {"phase": "Running", "containerStatuses": [{"state": {"waiting": {"reason": "CrashLoopBackOff"}}}]}
    assert records.pod({"metadata": {}, "status": status}).failed


def test_an_empty_object_has_a_record_of_every_kind():
    for extract in (records.pod, records.node, records.workload, records.autoscaler, records.custom):
        assert extract({}).meta.name == ""
        assert extract({"metadata": None, "spec": None, "status": None}).meta.version == 0


@pytest.mark.parametrize(
    "spec",
    [
        "x",
        ["x"],
        {"containers": "x", "nodeSelector": ["x"]},
        {"containers": ["x", None, {"resources": "x"}, {"resources": {"requests": ["x"], "limits": "x"}}]},
        {"containers": [{"resources": {"limits": {"nvidia.com/gpu": "\u00b2"}}}, {"resources": {"limits": {"nvidia.com/gpu": "9" * 5000}}}]},
    ],
)
def test_a_template_with_anything_in_it_asks_for_nothing(spec):
    assert records.pod_template({"spec": spec}) == records.PodTemplate({}, {})
    owner = records.custom({"metadata": {"name": "assistant", "namespace": "a", "uid": "u"}})
    assert workloads.child(owner, "small", {"metadata": spec, "spec": spec})["metadata"]["name"] == "assistant-small"


@pytest.mark.parametrize("spec", [{"template": "x"}, {"leaderWorkerTemplate": "x"}, {"leaderWorkerTemplate": {"leaderTemplate": "x", "size": "2"}}])
def test_a_target_of_a_kind_that_means_something_else_by_template_has_a_record(spec):
    assert records.workload({"spec": spec}).template == records.PodTemplate({}, {})


def test_our_scaler_owns_the_replicas_even_when_it_shares_them():
    managed = [{"manager": "kubectl", "time": "2026-01-02T00:00:00Z", "fieldsV1": SCALE}, {"manager": "jevons-scaler", "fieldsV1": SCALE}]
    assert records.replicas_writer(managed) == "jevons-scaler"


def test_a_write_through_scale_is_later_than_an_apply_although_it_has_no_time():
    applied = {"manager": "kubectl-client-side-apply", "time": "2026-01-02T00:00:00Z", "fieldsV1": SCALE}
    assert records.replicas_writer([applied, {"manager": "kubectl", "subresource": "scale", "fieldsV1": SCALE}]) == "kubectl"


def test_a_change_that_the_server_names_nobody_for_was_someone():
    def known(replicas, writer=""):
        return records.WorkloadRecord(records.meta({}), replicas, "", writer, None)

    assert records.same_writer(known(1, "jevons-scaler"), known(1)).writer == "jevons-scaler"
    assert records.same_writer(known(1, "jevons-scaler"), known(3)).writer == "someone"
    assert records.same_writer(known(1, "jevons-scaler"), known(3, "kubectl")).writer == "kubectl"


def test_a_group_of_a_leader_and_workers_asks_for_all_of_them():
    worker = {"spec": {"containers": [{"resources": {"limits": {"nvidia.com/gpu": "8"}}}], "nodeSelector": {"acc": "h100"}}}
    template = records.workload({"spec": {"leaderWorkerTemplate": {"size": 2, "workerTemplate": worker}}}).template
    assert (template.requests, template.node_selector) == ({"nvidia.com/gpu": 16}, {"acc": "h100"})


def test_selectors_match_as_the_server_does():
    item = {"spec": {"selector": {"matchLabels": {"app": "x"}, "matchExpressions": [{"key": "tier", "operator": "In", "values": ["a", "b"]}]}}}
    terms = selectors.parse(records.workload(item).selector)
    assert selectors.matches(terms, {"app": "x", "tier": "b"})
    assert not selectors.matches(terms, {"app": "x", "tier": "c"})
    assert not selectors.matches(selectors.parse("!app"), {"app": "x"})
    assert selectors.matches(selectors.parse("tier notin (a),app!=y"), {"app": "x"})


def test_a_selector_that_cannot_be_read_matches_nothing():
    assert selectors.parse('app="} or vector(0) #') is None
    assert selectors.parse("(((((") is None

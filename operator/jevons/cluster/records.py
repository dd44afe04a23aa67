"""What the operator keeps of each Kubernetes object: the fields it decides by, nothing else.

Whole objects would be most of the process's memory (a pod is 5-10 KiB of JSON, its record well under 1 KiB). Functions here are total: whatever a
server or a foreign controller wrote into an object, they give a record, never an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from jevons.cluster import sleep_mark

OWNER = "jevons"
"""Field manager of children and status."""
SCALER = "jevons-scaler"
"""Field manager of our writes to the scale subresource."""
COST_ANNOTATION = "controller.kubernetes.io/pod-deletion-cost"
OURS = frozenset({OWNER, SCALER})
TEMPLATE_ANNOTATION = "jevons.dev/template-digest"
"""On a child: the digest of what was applied, so that an unchanged template is never written again."""


@dataclass(frozen=True, slots=True)
class Meta:
    """Identity and version of one object."""

    namespace: str
    name: str
    uid: str
    version: int
    """resourceVersion as a number: comparable within one kind."""
    generation: int
    created_at_s: float
    deleting: bool
    labels: Mapping[str, str]
    owner_uid: str | None
    """UID of the controlling owner."""
    owner: str
    """`Kind/name` of the controlling owner, for messages."""


@dataclass(frozen=True, slots=True)
class PodRecord:
    """One pod. Times are seconds since the epoch; `requests` counts extended resources (accelerators) over all containers."""

    meta: Meta
    node: str | None
    scheduled_at_s: float | None
    ready_at_s: float | None
    unschedulable: bool
    failed: bool
    finished: bool
    requests: Mapping[str, int]
    deletion_cost: str | None
    ip: str | None = None
    sleep: str | None = None
    """The annotation about its sleep in host memory (`sleep_mark.py`)."""


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """One node: labels and allocatable extended resources; `usable` = Ready and not cordoned."""

    meta: Meta
    allocatable: Mapping[str, int]
    usable: bool


@dataclass(frozen=True, slots=True)
class PodTemplate:
    """What one replica will ask for: extended resources (of all pods of a group), and the labels its nodes must have."""

    requests: Mapping[str, int]
    node_selector: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class WorkloadRecord:
    """A scalable workload. `writer` is the field manager that owns `.spec.replicas` now; "" when nobody does."""

    meta: Meta
    replicas: int | None
    selector: str
    writer: str
    template_digest: str | None
    template: PodTemplate = PodTemplate({}, {})
    pods_refused: str = ""
    """Why its controller cannot make pods (Pod Security, a quota, a webhook), in the server's words; "" when it can, or the kind does not tell."""


@dataclass(frozen=True, slots=True)
class AutoscalerRecord:
    """A HorizontalPodAutoscaler or ScaledObject and the workload it scales."""

    meta: Meta
    target_kind: str
    target_name: str


@dataclass(frozen=True, slots=True)
class CustomRecord:
    """One of our own objects (or a namespace), whole but for managedFields."""

    meta: Meta
    body: Mapping[str, Any]


def seconds(stamp: object) -> float | None:
    """RFC 3339 to seconds since the epoch; None for anything else."""
    if not isinstance(stamp, str):
        return None
    try:
        moment = datetime.fromisoformat(stamp)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def meta(item: Mapping[str, Any]) -> Meta:
    """Identity and version of any object."""
    data = item.get("metadata") or {}
    version = str(data.get("resourceVersion") or "0")
    owner: Mapping[str, Any] = next((ref for ref in data.get("ownerReferences") or [] if ref.get("controller")), {})
    return Meta(
        namespace=data.get("namespace") or "",
        name=data.get("name") or "",
        uid=data.get("uid") or "",
        version=int(version) if version.isdigit() else 0,
        generation=int(data.get("generation") or 0),
        created_at_s=seconds(data.get("creationTimestamp")) or 0.0,
        deleting=bool(data.get("deletionTimestamp")),
        labels=data.get("labels") or {},
        owner_uid=owner.get("uid"),
        owner=f"{owner.get('kind')}/{owner.get('name')}" if owner else "",
    )


def _count(value: object) -> int:
    """A whole quantity of an extended resource; 0 for what is not one."""
    text = str(value)
    return int(text) if text.isdecimal() and len(text) < 10 else 0


def mapping(value: object) -> Mapping[str, Any]:
    """An object as it is; anything else as an empty one: pod templates of tenants pass the schema whatever stands in them."""
    return value if isinstance(value, Mapping) else {}


def _extended(resources: Mapping[str, Any]) -> dict[str, int]:
    return {name: count for name, value in resources.items() if "/" in name and (count := _count(value)) > 0}


def _conditions(item: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    status = item.get("status") or {}
    return {condition.get("type", ""): condition for condition in status.get("conditions") or []}


def _requests(pod_spec: Mapping[str, Any]) -> dict[str, int]:
    """Extended resources over all containers."""
    requests: dict[str, int] = {}
    containers = pod_spec.get("containers")
    for container in containers if isinstance(containers, list) else []:
        resources = mapping(mapping(container).get("resources"))
        for name, count in _extended({**mapping(resources.get("requests")), **mapping(resources.get("limits"))}).items():
            requests[name] = requests.get(name, 0) + count
    return requests


def pod_template(template: Mapping[str, Any]) -> PodTemplate:
    """What a pod template (`{metadata, spec}`) asks for."""
    spec = mapping(mapping(template).get("spec"))
    return PodTemplate(_requests(spec), mapping(spec.get("nodeSelector")))


def _template(spec: Mapping[str, Any]) -> PodTemplate:
    """Of a workload's spec. A LeaderWorkerSet's replica is a group: one leader (by default like the workers) and size - 1 workers."""
    group = mapping(spec.get("leaderWorkerTemplate"))
    if not group:
        return pod_template(spec.get("template") or {})
    worker, size = pod_template(group.get("workerTemplate") or {}), group.get("size")
    leader = pod_template(group["leaderTemplate"]) if group.get("leaderTemplate") else worker
    workers = max(0, (size if isinstance(size, int) else 1) - 1)
    names = leader.requests.keys() | worker.requests.keys()
    return PodTemplate({name: leader.requests.get(name, 0) + workers * worker.requests.get(name, 0) for name in names}, worker.node_selector)


def pod(item: Mapping[str, Any]) -> PodRecord:
    """A pod's record. Failed = phase Failed or a container waiting in CrashLoopBackOff, ImagePullBackOff or the like."""
    spec, status, conditions = item.get("spec") or {}, item.get("status") or {}, _conditions(item)
    scheduled, ready = conditions.get("PodScheduled") or {}, conditions.get("Ready") or {}
    waiting = [((entry.get("state") or {}).get("waiting") or {}).get("reason", "") for entry in status.get("containerStatuses") or []]
    node = spec.get("nodeName") or None
    placed_at = seconds(scheduled.get("lastTransitionTime")) if scheduled.get("status") == "True" else None
    record_meta = meta(item)
    phase = status.get("phase")
    annotations = (item.get("metadata") or {}).get("annotations") or {}
    return PodRecord(
        meta=record_meta,
        node=node,
        scheduled_at_s=(placed_at or seconds(status.get("startTime")) or record_meta.created_at_s) if node else None,
        ready_at_s=seconds(ready.get("lastTransitionTime")) if ready.get("status") == "True" else None,
        unschedulable=scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable",
        failed=phase == "Failed" or any(reason.endswith("BackOff") or reason.startswith("Err") for reason in waiting),
        finished=phase in {"Failed", "Succeeded"},
        requests=_requests(spec),
        deletion_cost=annotations.get(COST_ANNOTATION),
        ip=status.get("podIP") or None,
        sleep=annotations.get(sleep_mark.ANNOTATION),
    )


def node(item: Mapping[str, Any]) -> NodeRecord:
    """A node's record."""
    spec, status = item.get("spec") or {}, item.get("status") or {}
    ready = (_conditions(item).get("Ready") or {}).get("status")
    return NodeRecord(
        meta=meta(item),
        allocatable=_extended(status.get("allocatable") or {}),
        usable=ready not in {"False", "Unknown"} and not spec.get("unschedulable"),
    )


def workload(item: Mapping[str, Any]) -> WorkloadRecord:
    """A scalable workload's record, for any kind with `.spec.replicas`."""
    spec, data = item.get("spec") or {}, item.get("metadata") or {}
    replicas = spec.get("replicas")
    return WorkloadRecord(
        meta=meta(item),
        replicas=replicas if isinstance(replicas, int) else None,
        selector=_selector(item),
        writer=replicas_writer(data.get("managedFields") or []),
        template_digest=(data.get("annotations") or {}).get(TEMPLATE_ANNOTATION),
        template=_template(spec),
        pods_refused=_pods_refused(item),
    )


def _pods_refused(item: Mapping[str, Any]) -> str:
    failure = _conditions(item).get("ReplicaFailure") or {}
    return str(failure.get("message") or failure.get("reason") or "") if failure.get("status") == "True" else ""


SOMEONE = "someone"
"""Writer of replicas that changed without the server saying by whom."""


def same_writer(old: WorkloadRecord, new: WorkloadRecord) -> WorkloadRecord:
    """The newer record, with its writer remembered where the server does not know one.

    The replicas of a workload made by server-side apply have no owner any more once somebody wrote them through the scale subresource (measured on
    1.36): as long as they stay, whoever wrote them last is still the writer; when they move, it was someone else than us, whose writes go into the
    World at once.
    """
    if new.writer:
        return new
    return replace(new, writer=old.writer if new.replicas == old.replicas else SOMEONE)


def autoscaler(item: Mapping[str, Any]) -> AutoscalerRecord:
    """Who a HorizontalPodAutoscaler or ScaledObject scales (ScaledObject: kind defaults to Deployment)."""
    target = (item.get("spec") or {}).get("scaleTargetRef") or {}
    return AutoscalerRecord(meta=meta(item), target_kind=target.get("kind") or "Deployment", target_name=target.get("name") or "")


def custom(item: Mapping[str, Any]) -> CustomRecord:
    """An object kept whole, without managedFields."""
    data = {key: value for key, value in (item.get("metadata") or {}).items() if key != "managedFields"}
    return CustomRecord(meta=meta(item), body={**item, "metadata": data})


def replicas_writer(managed: list[Mapping[str, Any]]) -> str:
    """Who owns `.spec.replicas`: ours when we share it, else the manager that came through the scale subresource, else the most recent one."""
    owners = [entry for entry in managed if "f:replicas" in ((entry.get("fieldsV1") or {}).get("f:spec") or {})]
    names = [str(entry.get("manager", "")) for entry in owners]
    ours = next((name for name in names if name in OURS), None)
    if ours is not None or not owners:
        return ours or ""
    return str(max(owners, key=lambda entry: (entry.get("subresource") == "scale", seconds(entry.get("time")) or 0.0)).get("manager", ""))


def _selector(item: Mapping[str, Any]) -> str:
    """The label selector of the workload's pods as a string: from the status where the kind publishes one, else from the spec."""
    spec, status = item.get("spec") or {}, item.get("status") or {}
    for published in (status.get("hpaPodSelector"), status.get("selector")):
        if isinstance(published, str) and published:
            return published
    selector = spec.get("selector") or {}
    if not isinstance(selector, Mapping):
        return str(selector)
    terms = [f"{key}={value}" for key, value in sorted((selector.get("matchLabels") or {}).items())]
    for expression in selector.get("matchExpressions") or []:
        key, values = expression.get("key", ""), ",".join(sorted(expression.get("values") or []))
        terms.append(
            {"In": f"{key} in ({values})", "NotIn": f"{key} notin ({values})", "Exists": key, "DoesNotExist": f"!{key}"}.get(
                expression["operator"], ""
            )
        )
    return ",".join(term for term in terms if term)

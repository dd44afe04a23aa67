"""The operator's own copy of the cluster: one record per object, kept true by lists, kept fresh by events.

Events are hints. After a cut watch nobody tells what vanished meanwhile, so every kind is listed anew each resync and the copy replaced: an object
that the list does not have is gone, an object deleted and made again under the same name is another one (UID). Lists and events race, so the rule
is by resourceVersion: never go back to an older version of an object, and never bring back a UID that was seen deleted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from jevons.cluster import records
from jevons.cluster.connect import Kind
from jevons.cluster.records import AutoscalerRecord, CustomRecord, Meta, NodeRecord, PodRecord, WorkloadRecord

TOMBSTONE_S = 900.0
"""How long a deleted UID is remembered: longer than any list or reordered event can lag."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """The server's word against a template: of which generation, its sentence (bounded), and when [s since the epoch]."""

    generation: int
    message: str
    at_s: float


class Record(Protocol):
    """Anything with identity."""

    @property
    def meta(self) -> Meta:
        """Identity and version."""
        ...


R = TypeVar("R", bound=Record)


@dataclass(slots=True)
class Collection(Generic[R]):
    """All objects of one kind, by (namespace, name). `on_change(old, new)` hears every accepted change."""

    extract: Callable[[Mapping[str, Any]], R]
    join: Callable[[R, R], R] = lambda _old, new: new
    """What a newer record keeps of the older one of the same object."""
    on_change: Callable[[R | None, R | None], None] = lambda _old, _new: None
    records: dict[tuple[str, str], R] = field(default_factory=dict)
    synced: bool = False
    listed_at_s: float = 0.0
    """Wall-clock second of the last list [s since the epoch]."""
    available: bool = True
    """False while an optional kind is absent from the cluster, or hidden from us."""
    changes: int = 0
    """Accepted so far, by lists and events."""
    _gone: dict[str, float] = field(default_factory=dict)

    def get(self, namespace: str, name: str) -> R | None:
        """The record of that name, if the object exists."""
        return self.records.get((namespace, name))

    def __iter__(self) -> Iterator[R]:
        return iter(self.records.values())

    def __len__(self) -> int:
        return len(self.records)

    def apply(self, change: str | None, item: Mapping[str, Any]) -> None:
        """One event. `change` is ADDED | MODIFIED | DELETED, or None for an object of an initial list."""
        record = self.extract(item)
        if change == "DELETED":
            self._gone[record.meta.uid] = time.monotonic()
            known = self.get(record.meta.namespace, record.meta.name)
            if known is not None and known.meta.uid == record.meta.uid:
                del self.records[record.meta.namespace, record.meta.name]
                self._changed(known, None)
            return
        self.put(record)

    def _changed(self, old: R | None, new: R | None) -> None:
        self.changes += 1
        self.on_change(old, new)

    def replace(self, items: list[dict[str, Any]], version: int) -> None:
        """The whole kind as listed at `version`: what it lacks is gone, unless it is newer than the list itself."""
        fresh = {(record.meta.namespace, record.meta.name): record for record in map(self.extract, items)}
        for name, known in list(self.records.items()):
            if name not in fresh and known.meta.version <= version:
                del self.records[name]
                self._gone[known.meta.uid] = time.monotonic()
                self._changed(known, None)
        for record in fresh.values():
            self.put(record)
        self.synced, self.listed_at_s = True, time.time()
        horizon = time.monotonic() - TOMBSTONE_S
        for uid in [uid for uid, at in self._gone.items() if at < horizon]:
            del self._gone[uid]

    def put(self, record: R) -> None:
        """Accept a record unless it is older than what is known, or was seen deleted."""
        name = (record.meta.namespace, record.meta.name)
        known = self.records.get(name)
        if record.meta.uid in self._gone:
            return
        if known is not None and (known == record or known.meta.version > record.meta.version):
            return
        if known is not None and known.meta.uid == record.meta.uid:
            record = self.join(known, record)
        self.records[name] = record
        self._changed(known, record)


@dataclass(slots=True)
class World:
    """Every kind the operator looks at. `kinds` holds the collections by kind, for lists and events."""

    deployments: Collection[CustomRecord]
    budgets: Collection[CustomRecord]
    classes: Collection[CustomRecord]
    pods: Collection[PodRecord]
    nodes: Collection[NodeRecord]
    namespaces: Collection[CustomRecord]
    workloads: dict[tuple[str, str], Collection[WorkloadRecord]]
    """By (apiVersion, kind) of the target kinds that this cluster has."""
    autoscalers: dict[str, Collection[AutoscalerRecord]]
    kinds: dict[Kind, Collection[Any]]
    unscalable: frozenset[tuple[str, str]] = frozenset()
    """(apiVersion, kind) of the target kinds that have no scale subresource: they are not looked at."""
    refusals: dict[tuple[str, str], Refusal] = field(default_factory=dict)
    """Templates that the API server would not take, by (UID of the InferenceDeployment, variant); learned again after a restart."""

    @property
    def synced(self) -> bool:
        """Every kind was listed at least once."""
        return all(collection.synced for collection in self.kinds.values())

    @property
    def pods_by_namespace(self) -> Mapping[str, list[PodRecord]]:
        """Pods grouped by namespace, for one pass."""
        groups: dict[str, list[PodRecord]] = {}
        for record in self.pods:
            groups.setdefault(record.meta.namespace, []).append(record)
        return groups


INFERENCE_DEPLOYMENTS = Kind("jevons.dev", "v1alpha1", "inferencedeployments", "InferenceDeployment")
INFERENCE_BUDGETS = Kind("jevons.dev", "v1alpha1", "inferencebudgets", "InferenceBudget", namespaced=False)
ACCELERATOR_CLASSES = Kind("jevons.dev", "v1alpha1", "acceleratorclasses", "AcceleratorClass", namespaced=False)
PODS = Kind("", "v1", "pods", "Pod")
NODES = Kind("", "v1", "nodes", "Node", namespaced=False)
NAMESPACES = Kind("", "v1", "namespaces", "Namespace", namespaced=False)
HPAS = Kind("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler")
SCALED_OBJECTS = Kind("keda.sh", "v1alpha1", "scaledobjects", "ScaledObject")
OPTIONAL = frozenset({NODES, NAMESPACES, HPAS, SCALED_OBJECTS})
"""Kinds that the cluster may lack or hide from us; deciding goes on without them."""


def empty(target_kinds: Iterable[Kind]) -> World:
    """A world that has seen nothing yet, with room for these target kinds."""
    asked_for = list(target_kinds)
    target_kinds = [kind for kind in asked_for if kind.scalable]
    workloads = {(kind.api_version, kind.kind): Collection(records.workload, join=records.same_writer) for kind in target_kinds}
    autoscalers = {kind.kind: Collection(records.autoscaler) for kind in (HPAS, SCALED_OBJECTS)}
    world = World(
        deployments=Collection(records.custom),
        budgets=Collection(records.custom),
        classes=Collection(records.custom),
        pods=Collection(records.pod),
        nodes=Collection(records.node),
        namespaces=Collection(records.custom),
        workloads=workloads,
        autoscalers=autoscalers,
        kinds={},
        unscalable=frozenset((kind.api_version, kind.kind) for kind in asked_for if not kind.scalable),
    )
    world.kinds = {
        INFERENCE_DEPLOYMENTS: world.deployments,
        INFERENCE_BUDGETS: world.budgets,
        ACCELERATOR_CLASSES: world.classes,
        PODS: world.pods,
        NODES: world.nodes,
        NAMESPACES: world.namespaces,
        HPAS: autoscalers[HPAS.kind],
        SCALED_OBJECTS: autoscalers[SCALED_OBJECTS.kind],
        **{kind: workloads[kind.api_version, kind.kind] for kind in target_kinds},
    }
    return world

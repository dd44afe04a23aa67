"""From the World to what the core decides on: objects resolved, targets judged, pods joined with their signals.

Resolving is cached by generation, pods are found by an index of one label, so that a pass over 200 deployments stays in milliseconds. An object
that cannot be resolved becomes a state with `invalid` set: it is reported and left alone, and the others go on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from operator import is_
from typing import Any

import structlog

from jevons.api.errors import InvalidSpec
from jevons.api.inferencebudget import selects
from jevons.api.resolve import resolve_accelerator, resolve_budget, resolve_deployment
from jevons.cluster import accelerators as occupied
from jevons.cluster import selectors, sleep_mark
from jevons.cluster.arrivals import with_demand
from jevons.cluster.foreign import ForeignChanges, Published
from jevons.cluster.records import CustomRecord, PodRecord, PodTemplate, WorkloadRecord, pod_template, seconds
from jevons.cluster.world import World
from jevons.core.observed import Known, Observed, Unknown
from jevons.core.snapshot import DeploymentState, Inventory, Pod, PodSignals, TargetState, VariantState
from jevons.core.spec import AcceleratorClass, Deployment, Key, SharedBudget, TargetRef, Variant
from jevons.ports import Demand, Metrics

LABEL_DEPLOYMENT = "jevons.dev/deployment"
LABEL_VARIANT = "jevons.dev/variant"
CHILD_KIND = ("apps/v1", "Deployment")
TEMPLATE_REFUSED = "TemplateRefused"
MESSAGE_LIMIT = 300
"""Characters kept of a server's sentence."""

log = structlog.get_logger(__name__)


def child_name(deployment: str, variant: str) -> str:
    """Name of the Deployment that Jevons owns for a template variant."""
    return f"{deployment}-{variant}"


@dataclass(frozen=True, slots=True)
class Signals:
    """What was heard beside the API server: Prometheus and the gateways' streams."""

    metrics: Metrics
    streams: Mapping[Key, Demand]


@dataclass(frozen=True, slots=True)
class View:
    """The cluster's part of a Snapshot, and what was wrong with admins' objects (name -> message)."""

    deployments: Mapping[Key, DeploymentState]
    accelerators: Mapping[str, AcceleratorClass]
    inventory: Mapping[str, Observed[Inventory]]
    budgets: tuple[SharedBudget, ...]
    invalid_classes: Mapping[str, str]
    invalid_budgets: Mapping[str, str]


class Viewer:
    """Builds views of one World for one install (`controller_name`)."""

    def __init__(self, world: World, *, controller_name: str = "jevons") -> None:
        self._world, self._controller = world, controller_name
        self._resolved: dict[tuple[str, int], Deployment | str] = {}
        self._foreign = ForeignChanges()

    def mine(self) -> dict[Key, CustomRecord]:
        """The InferenceDeployments of this install that are not being deleted."""
        return {
            Key(record.meta.namespace, record.meta.name): record
            for record in self._world.deployments
            if not record.meta.deleting and (record.body.get("spec") or {}).get("controllerName", "jevons") == self._controller
        }

    def build(self, signals: Signals, now_s: float) -> View:
        """One consistent view, from the World alone."""
        mine = self.mine()
        specs = {key: self._resolve(record) for key, record in mine.items()}
        self._resolved = {(record.meta.uid, record.meta.generation): specs[key] for key, record in mine.items()}
        valid = {key: spec for key, spec in specs.items() if isinstance(spec, Deployment)}
        models, targets = _holders(valid)
        pods = _PodIndex(self._world)
        accelerators, invalid_classes = self._accelerators()
        states: dict[Key, DeploymentState] = {}
        for key, record in mine.items():
            spec = specs[key]
            if isinstance(spec, str):
                states[key] = _unresolved(record, spec)
                continue
            try:
                variants, spec = self._variants(
                    record, spec, targets=targets, pods=pods, accelerators=accelerators, metrics=signals.metrics, now_s=now_s
                )
                states[key] = with_demand(
                    DeploymentState(spec=spec, variants=variants, name_taken_by=_taken(models, spec)), signals.metrics, signals.streams.get(key)
                )
            except Exception as error:
                log.exception("object not understood", object=str(key))
                states[key] = _unresolved(record, _unexpected(error))
        self._foreign.forget_all_but({workload.meta.uid for collection in self._world.workloads.values() for workload in collection})
        budgets, invalid_budgets = self._budgets(mine)
        inventory = {name: self._inventory(accelerator) for name, accelerator in accelerators.items()}
        return View(states, accelerators, inventory, budgets, invalid_classes, invalid_budgets)

    def _variants(
        self,
        record: CustomRecord,
        spec: Deployment,
        *,
        targets: Mapping[tuple[str, TargetRef], Key],
        pods: _PodIndex,
        accelerators: Mapping[str, AcceleratorClass],
        metrics: Metrics,
        now_s: float,
    ) -> tuple[dict[str, VariantState], Deployment]:
        """One object's variants as they are, and its spec with the accelerators that its pods show filled in."""
        published = _published(record)
        variants, resolved = {}, []
        for variant in spec.variants:
            target, selector = self._target(spec, variant, targets, published.get(variant.name, Published()), now_s)
            matching = list(pods.matching(spec.key.namespace, selector))
            known, problem = self._occupying(record, variant, matching, accelerators)
            if problem and target.problem is None:
                target = replace(target, problem="AcceleratorUnknown", message=problem)
            found = tuple(self._pod(pod, accelerators.get(known.accelerator_class), metrics) for pod in matching)
            variants[variant.name] = VariantState(target=target, pods=found, selector=selector)
            resolved.append(known)
        return variants, spec if all(map(is_, resolved, spec.variants)) else replace(spec, variants=tuple(resolved))

    def _resolve(self, record: CustomRecord) -> Deployment | str:
        known = self._resolved.get((record.meta.uid, record.meta.generation))
        if known is not None:
            return known
        try:
            return resolve_deployment(record.body)
        except InvalidSpec as error:
            return str(error)
        except Exception as error:
            log.exception("object not understood", object=f"{record.meta.namespace}/{record.meta.name}")
            return _unexpected(error)

    def _accelerators(self) -> tuple[dict[str, AcceleratorClass], dict[str, str]]:
        good, bad = {}, {}
        for record in self._world.classes:
            try:
                good[record.meta.name] = resolve_accelerator(record.body)
            except InvalidSpec as error:
                bad[record.meta.name] = str(error)
        return good, bad

    def _budgets(self, mine: Mapping[Key, CustomRecord]) -> tuple[tuple[SharedBudget, ...], dict[str, str]]:
        labels = {record.meta.name: dict(record.meta.labels) for record in self._world.namespaces}
        good, bad = [], {}
        for record in self._world.budgets:
            chosen = (record.body.get("spec") or {}).get("namespaceSelector")
            try:
                good.append(resolve_budget(record.body, [key for key in mine if selects(chosen, labels.get(key.namespace, {}))]))
            except ValueError as error:
                bad[record.meta.name] = str(error)
        return tuple(good), bad

    def _target(
        self, spec: Deployment, variant: Variant, holders: Mapping[tuple[str, TargetRef], Key], published: Published, now_s: float
    ) -> tuple[TargetState, str]:
        """The workload behind a variant, whether it may be touched, and its pods' selector."""
        namespace, ref = spec.key.namespace, variant.target
        kind, name = (CHILD_KIND, child_name(spec.key.name, variant.name)) if ref is None else ((ref.api_version, ref.kind), ref.name)
        own_selector = f"{LABEL_DEPLOYMENT}={spec.key.name},{LABEL_VARIANT}={variant.name}"
        collection = self._world.workloads.get(kind)
        if collection is None:
            if kind in self._world.unscalable:
                return TargetState(exists=False, problem="TargetNotScalable", message=f"{'/'.join(kind)} has no scale subresource"), ""
            allowed = ", ".join(f"{version}/{name}" for version, name in self._world.workloads)
            return TargetState(exists=False, problem="TargetKindNotAllowed", message=f"{'/'.join(kind)} is not among {allowed}"), ""
        workload = collection.get(namespace, name)
        if workload is None:
            if ref is None:
                refused, message = self._refused(spec, variant)
                return TargetState(exists=False, problem=refused, message=message), own_selector
            return TargetState(exists=False, problem="TargetNotFound", message=f"{kind[1]} {name} does not exist in namespace {namespace}"), ""
        problem, message = self._problem(spec, ref, workload, kind[1], holders)
        owned = ref is None and problem is None
        if owned:
            problem, message = self._refused(spec, variant)
        if problem is None and workload.pods_refused:
            problem, message = TEMPLATE_REFUSED, workload.pods_refused[:MESSAGE_LIMIT]
        changed_at, changes, writer = self._foreign.observe(workload, published, now_s)
        state = TargetState(
            exists=True,
            replicas=1 if workload.replicas is None else workload.replicas,
            uid=workload.meta.uid,
            problem=problem,
            message=message,
            foreign_change_at_s=changed_at,
            foreign_changes=changes,
            foreign_writer=writer,
        )
        return state, own_selector if owned else workload.selector

    def _refused(self, spec: Deployment, variant: Variant) -> tuple[str | None, str]:
        """What the API server said against the variant's template as it now is, if it did."""
        refusal = self._world.refusals.get((spec.uid, variant.name))
        if refusal is None or refusal.generation != spec.generation:
            return None, ""
        return TEMPLATE_REFUSED, refusal.message

    def _occupying(
        self, record: CustomRecord, variant: Variant, pods: Iterable[PodRecord], accelerators: Mapping[str, AcceleratorClass]
    ) -> tuple[Variant, str]:
        """The variant with its accelerator filled in from its pods where the spec leaves it out, and what is missing, if so."""
        if variant.accelerator_class and variant.accelerator_count:
            return variant, ""
        template, name, problem = self._template(record, variant), variant.accelerator_class, ""
        if not name:
            nodes = (node.meta.labels for pod in pods if pod.node and (node := self._world.nodes.get("", pod.node)) is not None)
            name, problem = occupied.class_of(template, accelerators, nodes, _published_class(record, variant.name))
        resource = accelerators[name].resource_name if name in accelerators else ""
        count = variant.accelerator_count or occupied.count_of(template, resource)
        return replace(variant, accelerator_class=name or occupied.UNKNOWN_CLASS, accelerator_count=count), problem

    def _template(self, record: CustomRecord, variant: Variant) -> PodTemplate | None:
        """The pod template behind a variant: its own, or its target's."""
        if variant.target is None:
            specs = (record.body.get("spec") or {}).get("variants") or []
            return next((pod_template(each.get("template") or {}) for each in specs if each.get("name") == variant.name), None)
        collection = self._world.workloads.get((variant.target.api_version, variant.target.kind))
        workload = collection.get(record.meta.namespace, variant.target.name) if collection is not None else None
        return None if workload is None else workload.template

    def _problem(
        self, spec: Deployment, ref: TargetRef | None, workload: WorkloadRecord, kind: str, holders: Mapping[tuple[str, TargetRef], Key]
    ) -> tuple[str | None, str]:
        """Why the workload must not be touched, if so."""
        name, namespace = workload.meta.name, spec.key.namespace
        if ref is None and workload.meta.owner_uid != spec.uid:
            return (
                "ForeignOwner",
                f"Deployment {name} exists and belongs to {workload.meta.owner or 'nobody'}; rename the variant or remove that Deployment",
            )
        for collection in self._world.autoscalers.values():
            for autoscaler in collection:
                if (autoscaler.meta.namespace, autoscaler.target_kind, autoscaler.target_name) == (namespace, kind, name):
                    return "ManagedByAutoscaler", f"{kind} {name} is scaled by {autoscaler.meta.name}; delete that autoscaler or name another target"
        if ref is not None and (holder := holders.get((namespace, ref))) is not None and holder != spec.key:
            return "TargetClaimed", f"{kind} {name} is already scaled by InferenceDeployment {holder}"
        return None, ""

    def _pod(self, record: PodRecord, accelerator: AcceleratorClass | None, metrics: Metrics) -> Pod:
        node = self._world.nodes.get("", record.node) if record.node else None
        spot = accelerator.spot_selector if accelerator else {}
        mark = sleep_mark.read(record.sleep) if record.sleep is not None else None
        resting = mark is not None and mark.resting
        return Pod(
            name=record.meta.name,
            uid=record.meta.uid,
            created_at_s=record.meta.created_at_s,
            scheduled_at_s=record.scheduled_at_s,
            ready_at_s=record.ready_at_s,
            node=record.node,
            unschedulable=record.unschedulable,
            terminating=record.meta.deleting,
            failed=record.failed,
            spot=bool(spot) and node is not None and spot.items() <= node.meta.labels.items(),
            signals=metrics.pods.get((record.meta.namespace, record.meta.name), PodSignals()),
            marked_at_s=mark.at_s if mark is not None and resting else None,
            # an engine that became ready after it lay down was started anew, and is awake
            asleep=mark is not None and mark.word == sleep_mark.ASLEEP and (record.ready_at_s is None or record.ready_at_s <= mark.at_s),
            sleepless=mark is not None and not resting,
        )

    def _inventory(self, accelerator: AcceleratorClass) -> Observed[Inventory]:
        """Accelerators of a class on usable nodes, and how many are requested by pods there."""
        if not self._world.nodes.available:
            return Unknown("NotExposed", "no access to nodes")
        nodes = {
            node.meta.name: count
            for node in self._world.nodes
            if node.usable
            and accelerator.node_selector.items() <= node.meta.labels.items()
            and (count := node.allocatable.get(accelerator.resource_name, 0))
        }
        allocated = sum(
            pod.requests.get(accelerator.resource_name, 0) for pod in self._world.pods if pod.requests and not pod.finished and pod.node in nodes
        )
        return Known(Inventory(nodes=len(nodes), allocatable=sum(nodes.values()), allocated=allocated), self._world.nodes.listed_at_s)


class _PodIndex:
    """Finds the pods of a selector through the values of its first equality."""

    def __init__(self, world: World) -> None:
        self._pods = world.pods_by_namespace
        self._values: dict[tuple[str, str], dict[str, list[PodRecord]]] = {}

    def matching(self, namespace: str, selector: str) -> Iterator[PodRecord]:
        """Unfinished pods of the namespace that the selector chooses; none for an empty or unreadable selector.

        A pod in phase Failed (evicted, refused by its node) stays as an object long after it gave its accelerators back and was replaced.
        """
        terms = selectors.parse(selector) if selector else None
        if not terms:
            return iter(())
        key, operator, values = terms[0]
        candidates = self._pods.get(namespace, [])
        if operator == "in":
            candidates = [pod for value in values for pod in self._by_value(namespace, key).get(value, [])]
        return (pod for pod in candidates if not pod.finished and selectors.matches(terms, pod.meta.labels))

    def _by_value(self, namespace: str, key: str) -> dict[str, list[PodRecord]]:
        index = self._values.get((namespace, key))
        if index is None:
            index = self._values[namespace, key] = {}
            for pod in self._pods.get(namespace, []):
                if (value := pod.meta.labels.get(key)) is not None:
                    index.setdefault(value, []).append(pod)
        return index


def _holders(valid: Mapping[Key, Deployment]) -> tuple[dict[str, Key], dict[tuple[str, TargetRef], Key]]:
    """Who holds each short model name and each target: the oldest object that asks for it."""
    models: dict[str, Key] = {}
    targets: dict[tuple[str, TargetRef], Key] = {}
    for key, spec in sorted(valid.items(), key=lambda entry: (entry[1].created_at_s, entry[0])):
        models.setdefault(spec.model, key)
        for variant in spec.variants:
            if variant.target is not None:
                targets.setdefault((key.namespace, variant.target), key)
    return models, targets


def _taken(models: Mapping[str, Key], spec: Deployment) -> Key | None:
    holder = models[spec.model]
    return None if holder == spec.key else holder


def _unexpected(error: Exception) -> str:
    """What to say of an object that nobody foresaw."""
    return f"{type(error).__name__}: {error}"[:1000]


def _unresolved(record: CustomRecord, problem: str) -> DeploymentState:
    """What can be said of an object that cannot be resolved: its name and those of its variants, none of which may be touched."""
    key, raw = Key(record.meta.namespace, record.meta.name), (record.body.get("spec") or {}).get("variants") or []
    names = [entry["name"] for entry in raw if isinstance(entry, Mapping) and isinstance(entry.get("name"), str)] or ["unknown"]
    variants = tuple(Variant(name=name, served_model=name, accelerator_class="unknown") for name in dict.fromkeys(names))
    untouchable = VariantState(target=TargetState(exists=False, problem="InvalidSpec", message=problem))
    spec = Deployment(key, record.meta.uid, record.meta.generation, record.meta.created_at_s, model=record.meta.name, variants=variants)
    return DeploymentState(spec=spec, variants={variant.name: untouchable for variant in variants}, invalid=problem)


def _published(record: CustomRecord) -> dict[str, Published]:
    """The last decision as its status has it."""
    status = record.body.get("status") or {}
    contested: Mapping[str, Any] = next(
        (entry for entry in status.get("conditions") or [] if entry.get("type") == "ScaleUncontested" and entry.get("status") != "True"), {}
    )
    since_s = seconds(contested.get("lastTransitionTime"))
    return {
        str(entry.get("name")): Published(entry.get("desired"), entry.get("current"), since_s if entry.get("reason") == "ForeignScaling" else None)
        for entry in status.get("variants") or []
    }


def _published_class(record: CustomRecord, variant: str) -> str:
    """The accelerator class of a variant as its status has it; "" when it does not say."""
    entries = (record.body.get("status") or {}).get("variants") or []
    return next((str(entry.get("acceleratorClass") or "") for entry in entries if entry.get("name") == variant), "")

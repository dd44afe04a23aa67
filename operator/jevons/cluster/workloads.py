"""Deployments that Jevons owns: one per `template` variant.

Made by POST, so that an existing object of that name is never overwritten; changed by server-side apply with the UID as precondition, only when the
template changed; `replicas` is in no apply (scale.py owns it). A child whose variant was removed is drained to zero, then deleted. When the
InferenceDeployment goes, its children go by ownerReference, without us.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Iterable, Mapping
from typing import Any

import orjson
import structlog

from jevons.cluster.connect import APPLY_PATCH, Api, ApiError, Kind
from jevons.cluster.records import OWNER, TEMPLATE_ANNOTATION, CustomRecord, WorkloadRecord, mapping
from jevons.cluster.scale import set_replicas
from jevons.cluster.view import LABEL_DEPLOYMENT, LABEL_VARIANT, child_name
from jevons.cluster.world import INFERENCE_DEPLOYMENTS, Collection, World

CHILDREN = Kind("apps", "v1", "deployments", "Deployment")

REFUSED = frozenset({400, 403, 422})
"""Statuses that speak about the object sent: malformed, forbidden (quota, policy, our rights), invalid. A webhook may answer any of them."""

log = structlog.get_logger(__name__)


class TemplateRefusedError(ApiError):
    """The API server, or a policy behind it, does not take this child; the same template again gets the same answer."""


def templates(owner: CustomRecord) -> dict[str, Mapping[str, Any]]:
    """Pod templates by variant name, as written in the spec."""
    variants = (owner.body.get("spec") or {}).get("variants") or []
    return {variant["name"]: variant["template"] for variant in variants if variant.get("template")}


def child(owner: CustomRecord, variant: str, template: Mapping[str, Any]) -> dict[str, Any]:
    """The whole child without replicas: selector and pod labels are ours, everything else of the pod template is the author's."""
    labels = {LABEL_DEPLOYMENT: owner.meta.name, LABEL_VARIANT: variant}
    metadata = mapping(template.get("metadata"))
    pod_labels = {**mapping(metadata.get("labels")), **labels}
    spec = {
        "selector": {"matchLabels": labels},
        "template": {
            "metadata": {"labels": pod_labels, **({"annotations": metadata["annotations"]} if metadata.get("annotations") else {})},
            "spec": template.get("spec") or {},
        },
    }
    digest = hashlib.sha256(orjson.dumps(spec, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]
    reference = {"apiVersion": INFERENCE_DEPLOYMENTS.api_version, "kind": INFERENCE_DEPLOYMENTS.kind, "name": owner.meta.name, "uid": owner.meta.uid}
    return {
        "apiVersion": CHILDREN.api_version,
        "kind": CHILDREN.kind,
        "metadata": {
            "name": child_name(owner.meta.name, variant),
            "namespace": owner.meta.namespace,
            "labels": labels,
            "annotations": {TEMPLATE_ANNOTATION: digest},
            "ownerReferences": [{**reference, "controller": True}],
        },
        "spec": spec,
    }


async def ensure(api: Api, world: World, owner: CustomRecord, variant: str, template: Mapping[str, Any]) -> WorkloadRecord | None:
    """The child of a variant, made or brought up to date. None when the name is taken by a foreign object.

    Raises TemplateRefusedError when the template is not taken, ApiError otherwise.
    """
    collection = world.workloads[CHILDREN.api_version, CHILDREN.kind]
    wanted = child(owner, variant, template)
    name = wanted["metadata"]["name"]
    known = collection.get(owner.meta.namespace, name)
    if known is None:
        created = {**wanted, "spec": {**wanted["spec"], "replicas": 0}}
        try:
            answer = await _judged(api.write("POST", CHILDREN.path(owner.meta.namespace), created, query={"fieldManager": OWNER}))
            collection.apply("ADDED", answer)
        except ApiError as error:
            if not error.conflict:
                raise
            collection.apply("MODIFIED", await api.get(CHILDREN.path(owner.meta.namespace, name)))
        known = collection.get(owner.meta.namespace, name)
    if known is None or known.meta.owner_uid != owner.meta.uid or known.meta.deleting:
        return None
    if known.template_digest != wanted["metadata"]["annotations"][TEMPLATE_ANNOTATION]:
        await _apply(api, collection, known, wanted)
    return collection.get(owner.meta.namespace, name)


async def _apply(api: Api, collection: Collection[WorkloadRecord], known: WorkloadRecord, wanted: dict[str, Any]) -> None:
    """Server-side apply of a changed template. What our POST owned becomes owned by apply first, or removed fields would stay for ever."""
    path = CHILDREN.path(known.meta.namespace, known.meta.name)
    current = await api.get(path)
    managed = current["metadata"].get("managedFields") or []
    if any(_is_post(entry) for entry in managed):
        patch = [
            {"op": "test", "path": "/metadata/resourceVersion", "value": current["metadata"]["resourceVersion"]},
            {"op": "replace", "path": "/metadata/managedFields", "value": [_as_applied(entry) if _is_post(entry) else entry for entry in managed]},
        ]
        await api.write("PATCH", path, patch, content_type="application/json-patch+json")
    body = {**wanted, "metadata": {**wanted["metadata"], "uid": known.meta.uid}}
    query = {"fieldManager": OWNER, "force": "true"}
    collection.apply("MODIFIED", await _judged(api.write("PATCH", path, body, query=query, content_type=APPLY_PATCH)))


async def _judged(writing: Awaitable[dict[str, Any]]) -> dict[str, Any]:
    """The answer to a write that carries a template. Raises TemplateRefusedError for a refusal of its content, else ApiError."""
    try:
        return await writing
    except ApiError as error:
        if error.status in REFUSED:
            raise TemplateRefusedError(error.status, error.reason, error.message, error.retry_after_s) from error
        raise


def _is_post(entry: Mapping[str, Any]) -> bool:
    return entry.get("manager") == OWNER and entry.get("operation") == "Update" and not entry.get("subresource")


def _as_applied(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The same ownership, by apply, without replicas."""
    fields = dict(entry.get("fieldsV1") or {})
    fields["f:spec"] = {key: value for key, value in (fields.get("f:spec") or {}).items() if key != "f:replicas"}
    return {**entry, "operation": "Apply", "fieldsV1": fields}


def orphans(world: World, owners: Iterable[CustomRecord]) -> dict[str, list[WorkloadRecord]]:
    """Children whose variant is no longer a template of its owner's spec, by the owner's UID; one look at all children per pass."""
    kept = {owner.meta.uid: {child_name(owner.meta.name, variant) for variant in templates(owner)} for owner in owners}
    found: dict[str, list[WorkloadRecord]] = {}
    for known in world.workloads.get((CHILDREN.api_version, CHILDREN.kind), ()):
        owner = known.meta.owner_uid
        if owner in kept and known.meta.name not in kept[owner] and not known.meta.deleting:
            found.setdefault(owner, []).append(known)
    return found


async def prune(api: Api, world: World, children: Iterable[WorkloadRecord]) -> None:
    """Drain, then delete, children that `orphans` found. Raises ApiError."""
    collection = world.workloads[CHILDREN.api_version, CHILDREN.kind]
    for known in children:
        if known.replicas:
            await set_replicas(api, CHILDREN, collection, known, 0)
        elif not any(_of(pod.meta.labels, known) for pod in world.pods if pod.meta.namespace == known.meta.namespace):
            options = {"preconditions": {"uid": known.meta.uid}, "propagationPolicy": "Background"}
            try:
                await api.write("DELETE", CHILDREN.path(known.meta.namespace, known.meta.name), options)
            except ApiError as error:
                if error.status not in {404, 409}:
                    raise
            log.info("child of a removed variant deleted", child=f"{known.meta.namespace}/{known.meta.name}")


def _of(labels: Mapping[str, str], known: WorkloadRecord) -> bool:
    return all(labels.get(label) == known.meta.labels.get(label) for label in (LABEL_DEPLOYMENT, LABEL_VARIANT))

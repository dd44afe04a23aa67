"""Replicas are written in one place: the scale subresource, by our own field manager, with a precondition.

The write says which version of the workload the decision was taken on. When the server has a newer one (409), the scale is read again: if only the
version moved, we try again (three times at most); if the replicas or the object itself changed, the decision is void and the next pass takes
another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import structlog

from jevons.cluster.connect import MERGE_PATCH, Api, ApiError, Kind
from jevons.cluster.records import COST_ANNOTATION, SCALER, PodRecord, WorkloadRecord
from jevons.cluster.world import PODS, Collection
from jevons.core.idle import QUIET_UTIL
from jevons.core.observed import Known
from jevons.core.snapshot import Pod

ATTEMPTS = 4
"""One write and three retries."""
VICTIM_COST = "-100"
"""Deletion cost of the pods that shall go first."""

log = structlog.get_logger(__name__)


async def set_replicas(api: Api, kind: Kind, collection: Collection[WorkloadRecord], workload: WorkloadRecord, replicas: int) -> bool:
    """Set `.spec.replicas`; True when it was written. Raises ApiError for anything but a conflict, also when the target has no scale."""
    namespace, name = workload.meta.namespace, workload.meta.name
    path = kind.path(namespace, name, "scale")
    version, current = str(workload.meta.version), workload.replicas
    for _ in range(ATTEMPTS):
        body = {"metadata": {"resourceVersion": version}, "spec": {"replicas": replicas}}
        try:
            answer = await api.write("PATCH", path, body, query={"fieldManager": SCALER}, content_type=MERGE_PATCH)
        except ApiError as error:
            if not error.conflict:
                raise
            scale = await api.get(path)
            version, seen = scale["metadata"]["resourceVersion"], (scale.get("spec") or {}).get("replicas", 0)
            if scale["metadata"].get("uid") != workload.meta.uid or seen != current:
                log.info("scale given up: the target changed meanwhile", target=f"{namespace}/{name}", seen=seen, decided_on=current)
                return False
            continue
        _remember(collection, workload, replicas, answer)
        return True
    return False


def _remember(collection: Collection[WorkloadRecord], workload: WorkloadRecord, replicas: int, scale: dict[str, Any]) -> None:
    """What the server answered goes into the World at once, so that the next pass does not decide on the old number."""
    version = int(scale["metadata"]["resourceVersion"])
    known = collection.get(workload.meta.namespace, workload.meta.name)
    if known is not None and known.meta.uid == workload.meta.uid and (known.meta.version < version or known.replicas == replicas):
        newest = replace(known.meta, version=max(version, known.meta.version))
        collection.put(replace(known, meta=newest, replicas=replicas, writer=SCALER))


def _busyness(pod: Pod, stuck: Sequence[str]) -> tuple[bool, bool, float]:
    """Sort key: pods that do not serve first, then stuck ones, then by requests in the engine.

    Unknown counts as busy, because nobody may lose work to a guess; and so does a busy GPU without work of ours: someone else uses it.
    """
    signals = pod.signals
    known = [reading.value for reading in (signals.running, signals.waiting) if isinstance(reading, Known)]
    work = sum(known) if len(known) == 2 else float("inf")
    tokens = [rate for rate in (signals.prompt_tokens_per_s, signals.generation_tokens_per_s) if isinstance(rate, Known) and rate.value > 0]
    if not work and not tokens and isinstance(signals.gpu_util, Known) and signals.gpu_util.value > QUIET_UTIL:
        work = float("inf")
    return pod.ready, pod.name not in stuck, work


async def choose_victims(
    api: Api,
    pods: Sequence[Pod],
    records: Collection[PodRecord],
    namespace: str,
    *,
    leaving: int,
    stuck: Sequence[str] = (),
    kept: Sequence[str] = (),
) -> None:
    """Mark the `leaving` least useful pods by deletion cost and unmark the others; only differences are written. Raises ApiError.

    stuck: names of those that have work and do none of it; kept: of those that shall sleep in host memory, and go last. A ReplicaSet takes pods that
    are not ready before it looks at any mark.
    """
    staying = [pod for pod in pods if not pod.terminating]
    victims = {pod.uid for pod in sorted(staying, key=lambda pod: (pod.name in kept, _busyness(pod, stuck)))[:leaving]}
    for pod in staying:
        record = records.get(namespace, pod.name)
        if record is None or record.meta.uid != pod.uid:
            continue
        wanted = VICTIM_COST if pod.uid in victims else None
        if record.deletion_cost == wanted or (wanted is None and record.deletion_cost != VICTIM_COST):
            continue
        body = {"metadata": {"uid": pod.uid, "annotations": {COST_ANNOTATION: wanted}}}
        try:
            records.apply("MODIFIED", await api.write("PATCH", PODS.path(namespace, pod.name), body, content_type=MERGE_PATCH))
        except ApiError as error:
            if error.status not in {404, 409, 422}:
                raise

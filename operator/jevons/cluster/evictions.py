"""A stuck pod makes room for another one: by the Eviction API, so that a PodDisruptionBudget is asked, and nobody has to grant us to delete pods.

The eviction names the pod's UID: one that was made again under the same name is left alone. Its grace is short, because what makes no progress need
not be waited for. Whoever owns the pod (a ReplicaSet, a StatefulSet) makes its successor.
"""

from __future__ import annotations

import structlog

from jevons.cluster.connect import Api, ApiError
from jevons.cluster.world import PODS

GRACE_S = 30

log = structlog.get_logger(__name__)


async def evict(api: Api, namespace: str, name: str, uid: str) -> bool:
    """Evict one pod; False when it is gone already, or may not be disturbed now (429). Raises ApiError for anything else."""
    body = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": name, "namespace": namespace},
        "deleteOptions": {"preconditions": {"uid": uid}, "gracePeriodSeconds": GRACE_S},
    }
    try:
        await api.write("POST", PODS.path(namespace, name, "eviction"), body)
    except ApiError as error:
        if error.status not in {404, 409, 429}:
            raise
        log.warning("stuck pod not evicted", pod=f"{namespace}/{name}", reason=str(error))
        return False
    log.warning("stuck pod evicted", pod=f"{namespace}/{name}")
    return True

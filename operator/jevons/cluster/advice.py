"""What `jevons advise` found, written beside what the operator writes: `status.advice` has a field manager of its own.

The operator never touches the field: its status is a merge patch of its own fields. So advice costs no pass anything, whoever works it out and for
however long, and stays until the next one.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jevons.cluster.connect import MERGE_PATCH, Api, ApiError, NoClusterError, connect
from jevons.cluster.world import INFERENCE_DEPLOYMENTS
from jevons.core.spec import Key

MANAGER = "jevons-advice"
TRIES = 5


class NotPublishedError(Exception):
    """The object does not have the advice; the message says why."""


async def publish(kubeconfig: str | None, key: Key, uid: str, advice: Mapping[str, Any]) -> None:
    """Put `advice` (as `api.status.Advice`) into the status of the object with this uid.

    kubeconfig: as kubectl's; None = `~/.kube/config`, else the pod's own account. Raises NotPublishedError.
    """
    try:
        async with connect(kubeconfig or _own(), user_agent=MANAGER) as api:
            await _write(api, key, uid, advice)
    except NoClusterError as error:
        raise NotPublishedError(f"no cluster to write to: {error}") from error


def _own() -> str | None:
    home = Path("~/.kube/config").expanduser()
    return str(home) if home.exists() else None


async def _write(api: Api, key: Key, uid: str, advice: Mapping[str, Any]) -> None:
    """Of the version whose uid was looked at: for a status the server does not compare uids by itself."""
    path = INFERENCE_DEPLOYMENTS.path(key.namespace, key.name)
    for left in reversed(range(TRIES)):
        try:
            meta = (await api.get(path))["metadata"]
            if meta["uid"] != uid:
                raise NotPublishedError(f"{key} is another object than the recorded one: it was deleted and made again")
            body = {"metadata": {"resourceVersion": meta["resourceVersion"]}, "status": {"advice": advice}}
            answer = await api.write("PATCH", f"{path}/status", body, query={"fieldManager": MANAGER}, content_type=MERGE_PATCH)
        except ApiError as error:
            if error.conflict and left:
                continue
            raise NotPublishedError(f"{key}: {error}") from error
        if "advice" not in (answer.get("status") or {}):
            raise NotPublishedError(f"{key}: the cluster's definition of InferenceDeployment knows no status.advice; apply crds/ of this version")
        return

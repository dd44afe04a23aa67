"""An operator that does nothing: kopf watching InferenceDeployments with an empty handler. What any operator on this framework costs (bench)."""

from __future__ import annotations

import asyncio
import sys

import kopf

from jevons.cluster.connect import connect
from jevons.cluster.world import INFERENCE_DEPLOYMENTS
from jevons.controller.handlers import registry


async def idle(kubeconfig: str) -> None:
    """Until the process is ended."""
    async with connect(kubeconfig, user_agent="idle") as api:
        handlers = registry(api.credentials, lambda *_: None, [INFERENCE_DEPLOYMENTS])
        await kopf.operator(registry=handlers, standalone=True, clusterwide=True)


if __name__ == "__main__":
    asyncio.run(idle(sys.argv[1]))

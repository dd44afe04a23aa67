"""NVIDIA's DCGM exporter: one series per GPU, labelled with the pod that holds it.

The exporter's own pod is in `namespace`/`pod`; the holder is in `exported_namespace`/`exported_pod`, or in `namespace`/`pod` where labels are
honoured. An idle GPU has no holder, and then names the exporter: that key matches no engine pod and is harmless.
"""

from __future__ import annotations

from collections.abc import Mapping

UTIL = "DCGM_FI_DEV_GPU_UTIL"
"""Percent."""
POWER = "DCGM_FI_DEV_POWER_USAGE"
"""Watts."""
DRAM = "DCGM_FI_PROF_DRAM_ACTIVE"
"""Share 0..1."""
NAMES = (UTIL, POWER, DRAM)


def holder(labels: Mapping[str, str]) -> tuple[str, str] | None:
    """(namespace, pod) of the pod that holds the GPU of this series."""
    if labels.get("exported_pod"):
        return labels.get("exported_namespace", ""), labels["exported_pod"]
    return (labels["namespace"], labels["pod"]) if labels.get("namespace") and labels.get("pod") else None

"""Fake nodes with GPUs, and the DCGM exporter that runs on each.

kwok keeps a node alive that has no machine behind it; the scheduler counts its GPUs like any other's. What a node is to the operator it says by
label: `jevons.dev/accelerator` (an AcceleratorClass) and, for spot capacity, `karpenter.sh/capacity-type: spot` (what AcceleratorClass.spotSelector
matches). The exporter is a DaemonSet as in a real cluster; the fleet process answers for its pods.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

ACCELERATOR_LABEL = "jevons.dev/accelerator"
CAPACITY_LABEL = "karpenter.sh/capacity-type"
SYSTEM_NAMESPACE = "jevons-system"
DCGM_PORT = 9400


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """One fake node: `gpus` devices of an accelerator class, offered as the extended resource `resource`."""

    name: str
    accelerator: str = "h100-80gb"
    gpus: int = 8
    resource: str = "nvidia.com/gpu"
    spot: bool = False
    cpu: str = "64"
    memory: str = "512Gi"

    def manifest(self) -> dict[str, Any]:
        """The Node object, its capacity in the status as a kubelet would report it."""
        labels = {
            "kubernetes.io/hostname": self.name,
            "kubernetes.io/os": "linux",
            "kubernetes.io/arch": "amd64",
            "type": "kwok",
            ACCELERATOR_LABEL: self.accelerator,
            CAPACITY_LABEL: "spot" if self.spot else "on-demand",
        }
        capacity = {"cpu": self.cpu, "memory": self.memory, "pods": "110", self.resource: str(self.gpus)}
        return {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": self.name, "labels": labels, "annotations": {"kwok.x-k8s.io/node": "fake"}},
            "status": {"capacity": capacity, "allocatable": capacity},
        }


DEFAULT_NODES = (
    NodeSpec("gpu-a", accelerator="h100-80gb", gpus=8),
    NodeSpec("gpu-b", accelerator="a100-80gb", gpus=8),
    NodeSpec("gpu-c", accelerator="l40s", gpus=4),
    NodeSpec("gpu-d", accelerator="l4", gpus=4, spot=True),
)
"""Four nodes of mixed GPUs: what `up` and the demo run on."""


def dcgm_exporter() -> dict[str, Any]:
    """The exporter's DaemonSet: one pod on every node that has an accelerator."""
    labels = {"app": "dcgm-exporter"}
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "dcgm-exporter", "namespace": SYSTEM_NAMESPACE, "labels": labels},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {
                    "labels": labels,
                    "annotations": {"prometheus.io/scrape": "true", "prometheus.io/port": str(DCGM_PORT)},
                },
                "spec": {
                    "affinity": {
                        "nodeAffinity": {
                            "requiredDuringSchedulingIgnoredDuringExecution": {
                                "nodeSelectorTerms": [{"matchExpressions": [{"key": ACCELERATOR_LABEL, "operator": "Exists"}]}]
                            }
                        }
                    },
                    "tolerations": [{"operator": "Exists"}],
                    "containers": [{"name": "exporter", "image": "dcgm-exporter", "ports": [{"name": "metrics", "containerPort": DCGM_PORT}]}],
                },
            },
        },
    }


def first_objects(nodes: Iterable[NodeSpec]) -> list[dict[str, Any]]:
    """What a sandbox's cluster holds from the start: the operator's namespace, the gateway's account, the nodes and their exporters."""
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM_NAMESPACE}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "jevons-gateway", "namespace": SYSTEM_NAMESPACE}},
        *(node.manifest() for node in nodes),
        dcgm_exporter(),
    ]

"""The DCGM exporter of one fake node: what its GPUs do, and which pod holds each.

Lines have the labels of the real dcgm-exporter (`gpu`, `UUID`, `device`, `modelName`, `Hostname`, and of the holder `namespace`, `pod`, `container`).
Values follow from what the engine really did between the last two ticks of a second:

    GPU_UTIL     share of the time an iteration ran [%]
    DRAM_ACTIVE  bytes read / (time * bandwidth): weights once an iteration, the KV cache of the batch at each decode
    POWER_USAGE  idle + (peak - idle) * busy * (0.62 + 0.38 * min(1, batch / 128)), which fits ML.ENERGY's Llama-3.1-8B on H100
                 (486 W at 8 sequences, 691 W full)
    FB_USED      90 % of the memory while an engine holds the GPU, as vLLM reserves it
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import NAMESPACE_URL, uuid5

from jevons.sandbox.engine_metrics import Metric
from jevons.sandbox.fleet_pods import PodView, ProfileRow, profile_rows

RESERVED = 0.9
"""Share of a GPU's memory that an engine takes [0..1]."""


@dataclass(frozen=True, slots=True)
class GpuModel:
    """A GPU: its marketing name, memory [MiB], bandwidth [GB/s], idle and peak power [W]."""

    name: str
    memory_mib: int
    bandwidth_gb_s: float
    idle_w: float
    peak_w: float


GPU_MODELS: Mapping[str, GpuModel] = {
    "a100": GpuModel("NVIDIA A100-SXM4-80GB", 81_920, 2_039, 55, 400),
    "h100": GpuModel("NVIDIA H100 80GB HBM3", 81_559, 3_350, 70, 700),
    "h200": GpuModel("NVIDIA H200", 143_771, 4_800, 75, 700),
    "b200": GpuModel("NVIDIA B200", 183_359, 8_000, 140, 1_000),
    "l40s": GpuModel("NVIDIA L40S", 46_068, 864, 35, 350),
    "l4": GpuModel("NVIDIA L4", 23_034, 300, 16, 72),
}
UNKNOWN_GPU = GpuModel("NVIDIA GPU", 81_920, 2_000, 50, 400)


def gpu_model(name: str) -> GpuModel:
    """By anything that starts with the GPU's name: `h100_sxm` (profile table), `h100-80gb` (accelerator class)."""
    word = name.lower().replace("-", "_").split("_", 1)[0]
    return GPU_MODELS.get(word, UNKNOWN_GPU)


@dataclass(frozen=True, slots=True)
class Work:
    """What one engine did over `seconds`: share busy 0..1, iterations, KV tokens read, and how many sequences run now."""

    seconds: float
    busy: float
    iterations: int
    kv_reads: int
    running: int
    row: ProfileRow | None
    """None: a real engine, of whose memory traffic nothing is known."""


@dataclass(frozen=True, slots=True)
class Node:
    """A node with GPUs; `accelerator` is its label that names them."""

    name: str
    gpus: int
    accelerator: str


@dataclass(slots=True)
class Devices:
    """Which pod holds which GPU of one node. A pod keeps its GPUs while it lives; the lowest free ones go to the next."""

    held: dict[int, PodView] = field(default_factory=dict)

    def assign(self, pods: list[PodView], count: int) -> None:
        """`pods` are those on the node that ask for GPUs."""
        alive = {pod.uid: pod for pod in pods}
        self.held = {index: alive[pod.uid] for index, pod in self.held.items() if pod.uid in alive and index < count}
        holders = {pod.uid for pod in self.held.values()}
        free = [index for index in range(count) if index not in self.held]
        for pod in pods:
            if pod.uid not in holders and pod.gpus <= len(free):
                for index in free[: pod.gpus]:
                    self.held[index] = pod
                free = free[pod.gpus :]


def node_page(node: Node, devices: Devices, work: Mapping[str, Work], told_util: Mapping[str, float]) -> list[Metric]:
    """The exporter's page. `work` by pod uid (absent: nothing runs there), `told_util` [%] overrides the truth."""
    util, memory, power, dram = [], [], [], []
    for index in range(node.gpus):
        pod = devices.held.get(index)
        done = work.get(pod.uid) if pod is not None else None
        model = gpu_model(node.accelerator)
        busy = 0.0 if done is None else done.busy
        if pod is not None and pod.uid in told_util:
            busy = told_util[pod.uid] / 100
        labels = _labels(node, index, model, pod)
        filled = 0.0 if done is None else min(1.0, done.running / 128)
        util.append(("", labels, float(round(100 * busy))))
        memory.append(("", labels, float(int(RESERVED * model.memory_mib)) if done is not None else 4.0))
        power.append(("", labels, round(model.idle_w + (model.peak_w - model.idle_w) * busy * (0.62 + 0.38 * filled), 3)))
        dram.append(("", labels, 0.0 if done is None else round(_dram_active(done, model), 6)))
    return [
        Metric("DCGM_FI_DEV_GPU_UTIL", "gauge", tuple(util)),
        Metric("DCGM_FI_DEV_FB_USED", "gauge", tuple(memory)),
        Metric("DCGM_FI_DEV_POWER_USAGE", "gauge", tuple(power)),
        Metric("DCGM_FI_PROF_DRAM_ACTIVE", "gauge", tuple(dram)),
    ]


def _dram_active(done: Work, model: GpuModel) -> float:
    """Share of the memory bandwidth used, per GPU of the replica."""
    if done.row is None or done.seconds <= 0:
        return 0.0
    kv_gb_per_token = max(0.0, RESERVED * model.memory_mib * 1.048576e-3 - done.row.weights_gb) / profile_rows()[done.row.name].profile.kv_tokens
    read_gb = done.iterations * done.row.weights_gb + done.kv_reads * kv_gb_per_token
    return min(1.0, read_gb / (done.seconds * model.bandwidth_gb_s))


def _labels(node: Node, index: int, model: GpuModel, pod: PodView | None) -> str:
    uuid = uuid5(NAMESPACE_URL, f"{node.name}/{index}")
    text = f'gpu="{index}",UUID="GPU-{uuid}",device="nvidia{index}",modelName="{model.name}",Hostname="{node.name}"'
    if pod is not None:
        text += f',container="{pod.container}",namespace="{pod.namespace}",pod="{pod.name}"'
    return f"{{{text}}}"

"""What the fleet reads from a pod: its address, whether it may answer, and what it plays.

| annotation | means | default |
|---|---|---|
| `sandbox.jevons.dev/profile` | the row of the profile table: `model/precision/gpu/count/backend` | not played |
| `sandbox.jevons.dev/engine` | whose metric names: vllm, sglang, tgi, llamacpp, triton, none | vllm |
| `sandbox.jevons.dev/model` | served model name; others get 404 | any name is served |
| `sandbox.jevons.dev/context-length` | longest prompt + answer [tokens] | 8192 |
| `sandbox.jevons.dev/max-num-seqs`, `chunk-tokens`, `kv-tokens` | engine settings | the profile's |
| `sandbox.jevons.dev/prefix-hit` | share of each prompt found in the prefix cache, 0..1 | 0 |
| `sandbox.jevons.dev/jitter` | sigma of iteration times | 0 |
| `sandbox.jevons.dev/wake-seconds` | it has a sleep mode (`fleet_sleep.py`), and waking takes so long | none |
| `prometheus.io/port` | its port | 8000 (exporters 9400) |

A pod labelled `app: dcgm-exporter` plays the exporter of its node.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from functools import cache
from importlib.resources import files
from typing import Any

from jevons.core.spec import Profile

PREFIX = "sandbox.jevons.dev/"
ENGINES = ("vllm", "sglang", "tgi", "llamacpp", "triton", "none")
DCGM_PORT = 9400


@dataclass(frozen=True, slots=True)
class ProfileRow:
    """One row of the profile table: how fast, on what, and the weights' share of each GPU's memory [GB]."""

    name: str
    profile: Profile
    gpu: str
    gpus: int
    weights_gb: float


@cache
def profile_rows() -> Mapping[str, ProfileRow]:
    """The packaged table by row name, `llama-3.1-70b/bf16/h100_sxm/4/vllm`."""
    rows = {}
    for row in csv.DictReader((files("jevons.api") / "data/seed_profiles.csv").read_text(encoding="utf-8").splitlines()):
        name = "/".join(row[column] for column in ("model", "precision", "gpu", "num_gpus", "backend"))
        profile = Profile(
            itl_a_s=_seconds(row["itl_a_ms"]),
            itl_b_s=_seconds(row["itl_b_ms_per_seq"]),
            itl_c_s=_seconds(row["itl_c_ms_per_seq_per_ktok"]),
            prefill_p0_s=_seconds(row["pre_p0_ms"]),
            prefill_p1_s=_seconds(row["pre_p1_ms_per_ktok"]),
            prefill_p2_s=_seconds(row["pre_p2_ms_per_ktok2"]),
            kv_tokens=int(row["kv_tokens_capacity"]),
        )
        rows[name] = ProfileRow(name, profile, row["gpu"], int(row["num_gpus"]), float(row["nonkv_gb_per_gpu"]))
    return rows


@dataclass(frozen=True, slots=True)
class Played:
    """What an engine pod plays. `row` None: a real llama.cpp server."""

    engine: str
    row: ProfileRow | None
    model: str | None
    context_length: int
    prefix_hit: float
    jitter: float
    wake_s: float | None = None
    """How long waking takes; None = the engine was started without sleep mode."""


@dataclass(frozen=True, slots=True)
class PodView:
    """One pod as the fleet sees it. `ends_at_s` is its deletionTimestamp [s since the epoch], which has the grace in it; None while it lives."""

    uid: str
    namespace: str
    name: str
    node: str
    ip: str
    port: int
    ready: bool
    ends_at_s: float | None
    gpus: int
    container: str
    exporter: bool
    played: Played | None

    @property
    def key(self) -> str:
        """`namespace/name`."""
        return f"{self.namespace}/{self.name}"

    @property
    def answers(self) -> bool:
        """Whether its port is open to new connections."""
        return self.ready and self.ends_at_s is None and bool(self.ip) and (self.exporter or self.played is not None)


def view(pod: Mapping[str, Any]) -> PodView:
    """Read a pod of the API. Raises ValueError naming the annotation that makes no sense."""
    metadata, spec, status = pod["metadata"], pod.get("spec") or {}, pod.get("status") or {}
    annotations = metadata.get("annotations") or {}
    exporter = (metadata.get("labels") or {}).get("app") == "dcgm-exporter"
    containers = spec.get("containers") or [{}]
    ends_at = metadata.get("deletionTimestamp")
    return PodView(
        uid=metadata["uid"],
        namespace=metadata["namespace"],
        name=metadata["name"],
        node=spec.get("nodeName") or "",
        ip=status.get("podIP") or "",
        port=int(_number(annotations, "prometheus.io/port", DCGM_PORT if exporter else 8000)),
        ready=any(condition["type"] == "Ready" and condition["status"] == "True" for condition in status.get("conditions") or ()),
        ends_at_s=datetime.fromisoformat(ends_at).timestamp() if ends_at else None,
        gpus=sum(_gpus(container) for container in containers) if status.get("phase") not in {"Succeeded", "Failed"} else 0,
        container=next((str(container.get("name")) for container in containers if _gpus(container)), str(containers[0].get("name", ""))),
        exporter=exporter,
        played=None if exporter else _played(annotations),
    )


def gpu_count(resources: Mapping[str, Any]) -> int:
    """Accelerators in a resource list: whatever extended resource is named like one."""
    return sum(int(amount) for name, amount in resources.items() if "/" in name and name.rsplit("/", 1)[1] in {"gpu", "neuroncore", "tpu", "gaudi"})


def _gpus(container: Mapping[str, Any]) -> int:
    return gpu_count((container.get("resources") or {}).get("limits") or {})


def _played(annotations: Mapping[str, str]) -> Played | None:
    engine = annotations.get(PREFIX + "engine", "vllm")
    name = annotations.get(PREFIX + "profile")
    if name is None and engine != "llamacpp":
        return None
    if engine not in ENGINES:
        raise ValueError(f"{PREFIX}engine: {engine!r} is none of {', '.join(ENGINES)}")
    row = None
    if name is not None:
        row = profile_rows().get(name)
        if row is None:
            raise ValueError(f"{PREFIX}profile: no row {name!r}; one is {next(iter(profile_rows()))!r}")
        profile = replace(
            row.profile,
            max_num_seqs=int(_number(annotations, PREFIX + "max-num-seqs", row.profile.max_num_seqs)),
            chunk_tokens=int(_number(annotations, PREFIX + "chunk-tokens", row.profile.chunk_tokens)),
            kv_tokens=int(_number(annotations, PREFIX + "kv-tokens", row.profile.kv_tokens)),
        )
        row = replace(row, profile=profile)
    return Played(
        engine=engine,
        row=row,
        model=annotations.get(PREFIX + "model"),
        context_length=int(_number(annotations, PREFIX + "context-length", 8192)),
        prefix_hit=_number(annotations, PREFIX + "prefix-hit", 0.0),
        jitter=_number(annotations, PREFIX + "jitter", 0.0),
        wake_s=_number(annotations, PREFIX + "wake-seconds", 0.0) if PREFIX + "wake-seconds" in annotations else None,
    )


def _seconds(milliseconds: str) -> float:
    """The table's milliseconds; through Decimal, so that 15.703 ms is 0.015703 s and not a neighbour of it."""
    return float(Decimal(milliseconds) / 1000)


def _number(annotations: Mapping[str, str], name: str, default: float) -> float:
    text = annotations.get(name)
    if text is None:
        return default
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{name}: {text!r} is not a number") from None

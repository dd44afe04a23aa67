"""What can be broken in a pod, for tests: a lying metrics page, a frozen or killed engine, a slow one.

Faults are named by pod (`namespace/name`, `*` allowed), so they also hold for pods that do not exist yet. Set them at the fleet's control port:
`POST /faults {"pod": "team-a/assistant-*", "forget": ["vllm:num_requests_waiting"]}`, `DELETE /faults` takes all back.
"""

from __future__ import annotations

import time
from fnmatch import fnmatchcase
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from jevons.sandbox.engine_metrics import Metric, render


class Fault(BaseModel):
    """What is broken. Metric names are families as on the page; `*` means all of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pod: str
    forget: tuple[str, ...] = ()
    """Families that are not on the page."""
    nan: tuple[str, ...] = ()
    negative: tuple[str, ...] = ()
    page: Literal["ok", "html", "stale", "error", "empty"] = "ok"
    """html: a login page with 200. stale: the page of this moment, with its timestamps, for ever. error: 500."""
    frozen: bool = False
    """Connections are taken, nothing is answered, nothing proceeds."""
    killed: bool = False
    """Nothing listens, and what was connected is reset."""
    status: int | None = Field(default=None, ge=400, le=599)
    """Every request (not /metrics) is answered with this status."""
    slowdown: float = Field(default=1.0, gt=0)
    gpu_util: float | None = Field(default=None, ge=0, le=100)
    """What the exporter says about the pod's GPUs instead of the truth [%]: someone else works there."""

    def holds_for(self, key: str) -> bool:
        """Whether the pod `namespace/name` is meant."""
        return fnmatchcase(key, self.pod)


def page(fault: Fault | None, metrics: list[Metric], frozen_pages: dict[str, str], key: str) -> tuple[int, str, str]:
    """(status, content type, body) of a metrics page under a fault. `frozen_pages` keeps the stale ones by pod."""
    plain = "text/plain; version=0.0.4; charset=utf-8"
    if fault is None:
        return 200, plain, render(metrics)
    if fault.page == "html":
        return 200, "text/html; charset=utf-8", "<!DOCTYPE html><html><body><h1>Sign in</h1></body></html>\n"
    if fault.page == "error":
        return 500, plain, "engine error\n"
    if fault.page == "empty":
        return 200, plain, ""
    if fault.page == "stale":
        if key not in frozen_pages:
            frozen_pages[key] = render(metrics, timestamp_ms=int(time.time() * 1000))
        return 200, plain, frozen_pages[key]
    kept = [metric for metric in metrics if not _named(metric, fault.forget)]
    return 200, plain, render([_bent(metric, fault) for metric in kept])


def _named(metric: Metric, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(metric.name, pattern) for pattern in patterns)


def _bent(metric: Metric, fault: Fault) -> Metric:
    if _named(metric, fault.nan):
        return metric.map(lambda _: float("nan"))
    if _named(metric, fault.negative):
        return metric.map(lambda value: -abs(value) - 1.0)
    return metric

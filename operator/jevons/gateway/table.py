"""What a gateway knows of the world: models, their variants and pods, and the operator's plan, frozen at one moment.

The agent builds a `Table` from InferenceDeployments and Pods (`build.py`), writes it to `state_dir/table.json` by atomic rename, and every
picker and the waiting room re-read the file when it changes. A process never sees half a table, and keeps the last good one when a new one
cannot be read. Names that clients send (`assistant`, `team-a/assistant`, `assistant@large`) are resolved here.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

DEFAULT_CLASS = "default"


@dataclass(frozen=True, slots=True)
class Pod:
    """One replica. `address` is `ip:port` of its engine; only ready pods that are not draining take new requests."""

    name: str
    address: str
    ready: bool = True
    draining: bool = False

    @property
    def usable(self) -> bool:
        """Whether it takes new requests."""
        return self.ready and not self.draining


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to serve a model. `state` is the operator's word: Ready | Asleep | Waking | Failed | Capped | Shadow | Unavailable.

    A usable pod makes a variant ready whatever `state` says (the pod watch is fresher), except Shadow, which takes no traffic of its own.
    `usd_per_1k` None = not known. `startup_s` is what a waiting client is told.
    """

    name: str
    state: str = "Unavailable"
    selector: str = ""
    port: int = 8000
    served_model: str = ""
    engine: str = "VLLM"
    quality: float = 1.0
    context_length: int = 8192
    capabilities: tuple[str, ...] = ()
    usd_per_1k: float | None = None
    startup_s: float = 240.0
    kv_tokens: int | None = None
    """Tokens one replica holds in its KV cache: more outstanding than that queue. None = not known."""
    pods: tuple[Pod, ...] = ()
    idle_tokens: float = 0.0
    """A pod with fewer tokens outstanding has room for requests that can wait."""
    obstacle: str = ""
    """What keeps it from starting, as words for a client who waits (`no node has a free l40s`); empty = nothing that is known."""

    @property
    def usable_pods(self) -> tuple[Pod, ...]:
        """Pods that take new requests."""
        return tuple(pod for pod in self.pods if pod.usable)

    @property
    def ready(self) -> bool:
        """Whether a request can be sent to it now."""
        return self.state != "Shadow" and any(pod.usable for pod in self.pods)

    @property
    def wakeable(self) -> bool:
        """Whether a request may ask for it to be started: not in shadow, and not stopped by the budget or by the operator."""
        return self.state not in ("Shadow", "Capped", "Unavailable")


@dataclass(frozen=True, slots=True)
class RequestClass:
    """One request class: how a request falls into it, its ceilings and promise, and the operator's plan for it.

    `header` None = matches by size alone. `min_score`: variants in the order to try (cheapest first), each with the score from which it may answer.
    `wait_s`: how long a request may wait for idle capacity (0 = not at all).
    `degraded_share` (0..1) of the other requests goes to the cheapest variant too, by budget pressure.
    """

    name: str
    header: tuple[str, str] | None = None
    max_input_tokens: int | None = None
    max_output_tokens: int | None = None
    min_quality: float | None = None
    ttft_ms: float = 2000.0
    itl_ms: float = 60.0
    priority: str = "Normal"
    tier: str = "Interactive"
    min_score: tuple[tuple[str, float], ...] = ()
    degraded_share: float = 0.0
    expected_quality: float = 1.0
    wait_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Model:
    """One InferenceDeployment as pickers see it. `key` is `namespace/name`, `short` the name clients may send without a namespace."""

    namespace: str
    name: str
    short: str
    variants: tuple[Variant, ...]
    classes: tuple[RequestClass, ...] = (RequestClass(DEFAULT_CLASS),)
    """Those of the spec in order, then `default`."""
    best: str = ""
    wake: str = ""
    mode: str = "Auto"
    """Routing mode: Auto | Shadow | Off."""
    min_quality: float = 0.95
    """For classes that set none."""
    rung: str = "None"
    pressure: float = 0.0
    blocked_until: float | None = None
    sticky_header: str | None = "x-session-id"
    sticky_s: float = 1800.0
    session_budget_usd: float | None = None
    session_max_calls: int | None = None
    wake_timeout_s: float = 600.0
    max_waiting: int = 500
    team_header: str | None = None
    plan_generation: int = 0

    @property
    def key(self) -> str:
        """`namespace/name`."""
        return f"{self.namespace}/{self.name}"

    def variant(self, name: str) -> Variant | None:
        """The variant of that name, or None."""
        return next((variant for variant in self.variants if variant.name == name), None)

    def request_class(self, name: str) -> RequestClass | None:
        """The class of that name, or None."""
        return next((one for one in self.classes if one.name == name), None)


@dataclass(frozen=True, slots=True)
class Table:
    """Everything, at `built_at` [s since the epoch]. `models` by `namespace/name`; `names` maps short names to keys (the oldest holder keeps one)."""

    models: Mapping[str, Model] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    room: str = ""
    """`ip:port` of the waiting room, an endpoint like any other."""
    generation: int = 0
    built_at: float = 0.0

    def resolve(self, requested: str) -> tuple[Model, str | None] | None:
        """The model, and the variant if one was asked for, behind a name that a client sent; None when there is no such thing.

        Example: `assistant`, `team-a/assistant`, `assistant@large`, `team-a/assistant@large`.
        """
        name, at, variant = requested.partition("@")
        model = self.models.get(name) or self.models.get(self.names.get(name, ""))
        if model is None and "/" in name:
            namespace, _, short = name.partition("/")
            model = next((one for one in self.models.values() if one.namespace == namespace and one.short == short), None)
        if model is None or (at and model.variant(variant) is None):
            return None
        return model, (variant if at else None)

    def known_names(self) -> list[str]:
        """Every name a client may send, short ones first, each with its variants' `@` forms after it."""
        shorts = [(short, self.models[key]) for short, key in sorted(self.names.items())]
        named = shorts + sorted(self.models.items())
        return [full for name, model in named for full in (name, *(f"{name}@{variant.name}" for variant in model.variants))]

    def dump(self) -> bytes:
        """As JSON."""
        return orjson.dumps(self)

    @classmethod
    def load(cls, raw: bytes) -> Table:
        """From `dump`'s JSON. ValueError, TypeError or KeyError when it is not that."""
        data = orjson.loads(raw)
        models = {key: _model(row) for key, row in data["models"].items()}
        return cls(models=models, names=data["names"], room=data["room"], generation=data["generation"], built_at=data["built_at"])


def _model(row: dict[str, Any]) -> Model:
    variants = tuple(_variant(one) for one in row["variants"])
    return Model(**{**row, "variants": variants, "classes": tuple(_class(one) for one in row["classes"])})


def _variant(row: dict[str, Any]) -> Variant:
    return Variant(**{**row, "capabilities": tuple(row["capabilities"]), "pods": tuple(Pod(**pod) for pod in row["pods"])})


def _class(row: dict[str, Any]) -> RequestClass:
    header = tuple(row["header"]) if row["header"] else None
    return RequestClass(**{**row, "header": header, "min_score": tuple((name, score) for name, score in row["min_score"])})


def write_atomic(path: Path, content: bytes) -> None:
    """Replace `path` so that a reader sees the old or the new content, never a part."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(content)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


class TableFile:
    """The table as a file that somebody else replaces. `table` is the last one that could be read, at first an empty one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.table = Table()
        self._seen: tuple[int, int, int] | None = None

    def write(self, table: Table) -> None:
        """Publish `table` (the agent alone does this)."""
        write_atomic(self.path, table.dump())

    def refresh(self) -> bool:
        """Re-read if the file was replaced; True when `table` is a new one. A missing or unreadable file leaves the last table standing."""
        try:
            stat = self.path.stat()
            mark = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
            if mark == self._seen:
                return False
            table = Table.load(self.path.read_bytes())
        except (OSError, ValueError, TypeError, KeyError):
            return False
        self._seen = mark
        self.table = table
        return True

    async def watch(self, every_s: float = 0.02) -> AsyncIterator[Table]:
        """Yield the table now if there is one, and again each time it is replaced. A change is seen within `every_s`."""
        if self.refresh() or self._seen is not None:
            yield self.table
        while True:
            await asyncio.sleep(every_s)
            if self.refresh():
                yield self.table

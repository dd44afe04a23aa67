"""What must outlive the process: one ConfigMap per deployment for its memory, one for its ledger, in the operator's own namespace.

Tenants cannot write there, and deleting and recreating an object does not reset its spend. A ConfigMap that cannot be read is an empty checkpoint.
Writes are spread: at most one round every `every_s`, one write after the other, and only of what changed enough to be missed. The last round, before
the Lease is given back, has a deadline to meet and writes AT_ONCE at a time.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import structlog

from jevons.cluster.connect import MERGE_PATCH, Api, ApiError, Kind
from jevons.core.ledger import Ledger
from jevons.core.memory import Memory
from jevons.core.spec import Key

CONFIG_MAPS = Kind("", "v1", "configmaps", "ConfigMap")
LABEL = "jevons.dev/checkpoint"
AT_ONCE = 16
"""Writes in flight in the last round."""

log = structlog.get_logger(__name__)


class Checkpointed(Protocol):
    """What memory and ledger have in common."""

    def to_json(self, key: Key) -> str:
        """One deployment's part; KeyError if there is none."""
        ...


@dataclass(frozen=True, slots=True)
class Saved:
    """What is stored: by what, for whom, the text."""

    memory: Memory
    ledger: Ledger


def config_map_name(what: str, key: Key) -> str:
    """`jevons-<what>-<namespace>.<name>`, with a digest for a tail when that is longer than a name may be (253)."""
    name = f"jevons-{what}-{key.namespace}.{key.name}"
    return name if len(name) <= 253 else f"{name[:220]}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"


class Checkpoints:
    """Loads both at start; saves what changed."""

    def __init__(self, api: Api, *, namespace: str, every_s: float = 10.0) -> None:
        self._api, self._namespace, self._every_s = api, namespace, every_s
        self._saved = Saved(Memory(), Ledger())
        self._known: set[str] = set()
        self._last_round = float("-inf")
        self._lock = asyncio.Lock()
        self._todo: deque[tuple[str, Key]] = deque()

    async def load(self) -> Saved:
        """Everything stored. Raises ApiError: deciding without knowing what was spent must not begin."""
        items, _ = await self._api.list(CONFIG_MAPS, namespace=self._namespace, label_selector=LABEL)
        texts: dict[str, dict[Key, str]] = {"memory": {}, "ledger": {}}
        for item in items:
            data, labels = item.get("data") or {}, item["metadata"].get("labels") or {}
            namespace, _, name = str(data.get("key", "")).partition("/")
            self._known.add(item["metadata"]["name"])
            if name and labels.get(LABEL) in texts:
                texts[labels[LABEL]][Key(namespace, name)] = str(data.get("document", ""))
        self._saved = Saved(Memory.from_json(texts["memory"]), Ledger.from_json(texts["ledger"]))
        return self._saved

    async def save(self, memory: Memory, ledger: Ledger, *, now: bool = False) -> int:
        """Store what is worth it, unless the last round was less than `every_s` ago (`now` = regardless); returns how many were written.

        A round under way ends with the write it is at when one for `now` begins. What one object is refused keeps no other from being stored.
        Raises ApiError or NotLeadingError at the end, and at once when the server is in trouble or leadership is lost.
        """
        if not now and time.monotonic() - self._last_round < self._every_s:
            return 0
        self._todo.clear()
        async with self._lock:
            self._last_round = time.monotonic()
            self._todo.extend(self._worth_it(memory, ledger, now=now))
            return await self._round(memory, ledger, workers=AT_ONCE if now else 1)

    def _worth_it(self, memory: Memory, ledger: Ledger, *, now: bool) -> Iterator[tuple[str, Key]]:
        """What to store, or to delete because it is gone."""
        stored, spent = self._saved.memory, self._saved.ledger
        for key in ledger.accounts:
            if ledger.worth_saving(spent, key) or (now and ledger.accounts[key] != spent.accounts.get(key)):
                yield "ledger", key
        for key in memory.deployments:
            if memory.worth_saving(stored, key):
                yield "memory", key
        for key in spent.accounts.keys() - ledger.accounts.keys():
            yield "ledger", key
        for key in stored.deployments.keys() - memory.deployments.keys():
            yield "memory", key

    async def _round(self, memory: Memory, ledger: Ledger, *, workers: int) -> int:
        written, problems = 0, list[ApiError]()
        memories, accounts = dict(self._saved.memory.deployments), dict(self._saved.ledger.accounts)

        async def work() -> None:
            nonlocal written
            while self._todo:
                what, key = self._todo.popleft()
                try:
                    await self._store(what, key, memory if what == "memory" else ledger)
                except ApiError as error:
                    problems.append(error)
                    if error.ailing:
                        self._todo.clear()
                    continue
                except BaseException:
                    self._todo.clear()
                    raise
                written += 1
                if what == "memory":
                    _take_over(memories, memory.deployments, key)
                else:
                    _take_over(accounts, ledger.accounts, key)

        try:
            await asyncio.gather(*(work() for _ in range(min(workers, len(self._todo)))))
        finally:
            self._saved = Saved(Memory(memories), Ledger(accounts))
        if problems:
            raise problems[0]
        return written

    async def _store(self, what: str, key: Key, source: Memory | Ledger) -> None:
        kept = source.deployments if isinstance(source, Memory) else source.accounts
        if key in kept:
            await self._put(what, key, source)
        else:
            await self._delete(what, key)

    async def _put(self, what: str, key: Key, source: Checkpointed) -> None:
        name = config_map_name(what, key)
        body: dict[str, Any] = {"data": {"key": str(key), "document": source.to_json(key)}}
        path = CONFIG_MAPS.path(self._namespace, name)
        try:
            if name in self._known:
                await self._api.write("PATCH", path, body, content_type=MERGE_PATCH)
                return
        except ApiError as error:
            if not error.not_found:
                raise
        body["metadata"] = {"name": name, "labels": {LABEL: what, "app.kubernetes.io/managed-by": "jevons"}}
        try:
            await self._api.write("POST", CONFIG_MAPS.path(self._namespace), body)
        except ApiError as error:
            if not error.conflict:
                raise
            await self._api.write("PATCH", path, body, content_type=MERGE_PATCH)
        self._known.add(name)

    async def _delete(self, what: str, key: Key) -> None:
        name = config_map_name(what, key)
        try:
            await self._api.write("DELETE", CONFIG_MAPS.path(self._namespace, name))
        except ApiError as error:
            if not error.not_found:
                raise
        self._known.discard(name)


def _take_over(stored: dict[Key, Any], source: Mapping[Key, Any], key: Key) -> None:
    """What was stored is now what the source has."""
    if key in source:
        stored[key] = source[key]
    else:
        stored.pop(key, None)

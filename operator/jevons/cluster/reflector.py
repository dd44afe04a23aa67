"""A local copy of one kind: LIST, then WATCH, and again from LIST whenever the watch cannot be trusted.

A watch may end, go silent, answer 410 or an error, or live behind a proxy that loses events, so every `relist_s` seconds the list is taken anew and
what vanished meanwhile is reported as deleted: the copy is compared by UID, never by name (an object deleted and made again is a deletion and an
addition). The last copy stays readable while the API server is away.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, TypeAlias

import structlog

from jevons.cluster.connect import Api, ApiError, Kind

OnChange: TypeAlias = Callable[[str, dict[str, Any]], None]
"""Called with ADDED | MODIFIED | DELETED and the object as kept."""

log = structlog.get_logger(__name__)


class Backoff:
    """Seconds to wait after a failure: doubling from `first_s` to `most_s`, with +/- 25 % jitter; never below what the server asked for."""

    def __init__(self, *, first_s: float = 0.5, most_s: float = 30.0) -> None:
        self._first_s, self._most_s = first_s, most_s
        self._failures = 0

    def reset(self) -> None:
        """Something worked: the next failure starts from `first_s`."""
        self._failures = 0

    def next_s(self, asked_s: float | None = None) -> float:
        """How long to wait after one more failure."""
        delay = min(self._most_s, self._first_s * 2.0 ** min(self._failures, 16))
        self._failures += 1
        return max(asked_s or 0.0, delay * random.uniform(0.75, 1.25))  # noqa: S311  spreads load, hides nothing


class Reflector:
    """Keeps `objects` (by UID) equal to the cluster's. Run `run()` as a task; wait for `synced` before trusting the copy."""

    def __init__(
        self,
        api: Api,
        group: str,
        version: str,
        plural: str,
        on_change: OnChange | None = None,
        *,
        namespace: str | None = None,
        label_selector: str = "",
        keep: Callable[[dict[str, Any]], dict[str, Any]] = lambda item: item,
        relist_s: float = 300.0,
        inactivity_s: float = 70.0,
    ) -> None:
        self.kind = Kind(group, version, plural)
        self.objects: dict[str, dict[str, Any]] = {}
        self.synced = asyncio.Event()
        self.heard_at = 0.0
        """Monotonic second of the last list, event or bookmark."""
        self._api, self._on_change, self._keep = api, on_change or (lambda *_: None), keep
        self._namespace, self._label_selector = namespace, label_selector
        self._relist_s, self._inactivity_s = relist_s, inactivity_s

    async def run(self) -> None:
        """List and watch for ever; ends only by cancellation. Errors of the server are waited out with backoff."""
        backoff = Backoff()
        while True:
            try:
                version = await self._list()
                backoff.reset()
                await self._follow(version)
            except ApiError as error:
                delay = backoff.next_s(error.retry_after_s)
                log.warning("watch interrupted", kind=self.kind.plural, status=error.status, reason=error.reason, retry_in_s=round(delay, 1))
                await asyncio.sleep(delay)

    async def _follow(self, version: str) -> None:
        """Watch on from `version` until it is time to list again; a watch that ends cleanly is resumed where it was."""
        until = time.monotonic() + self._relist_s * random.uniform(0.9, 1.1)  # noqa: S311
        while (left := until - time.monotonic()) > 0:
            began = time.monotonic()
            async with aclosing(self._events(version, left)) as events:
                async for event in events:
                    self.heard_at = time.monotonic()
                    version = event["object"]["metadata"]["resourceVersion"]
                    if event["type"] != "BOOKMARK":
                        self._apply(event["type"], event["object"])
            if time.monotonic() - began < 1.0:
                await asyncio.sleep(1.0)

    async def _events(self, version: str, left_s: float) -> AsyncGenerator[dict[str, Any], None]:
        query = {"resourceVersion": version, "allowWatchBookmarks": "true", "timeoutSeconds": str(max(1, int(left_s)))}
        if self._label_selector:
            query["labelSelector"] = self._label_selector
        async with aclosing(self._api.watch(self.kind.path(self._namespace), query, inactivity_s=self._inactivity_s)) as events:
            async for event in events:
                if event.get("type") == "ERROR":
                    status = event.get("object") or {}
                    raise ApiError(int(status.get("code") or 500), str(status.get("reason", "")), str(status.get("message", "")))
                yield event

    async def _list(self) -> str:
        """Replace the copy by a fresh list, telling what was added, changed or gone."""
        items, version = await self._api.list(self.kind, namespace=self._namespace, label_selector=self._label_selector)
        fresh = {item["metadata"]["uid"]: item for item in items}
        for uid in [uid for uid in self.objects if uid not in fresh]:
            self._on_change("DELETED", self.objects.pop(uid))
        for item in fresh.values():
            self._apply("MODIFIED", item)
        self.heard_at = time.monotonic()
        self.synced.set()
        return version

    def _apply(self, change: str, item: dict[str, Any]) -> None:
        uid = item["metadata"]["uid"]
        known = self.objects.get(uid)
        if change == "DELETED":
            if known is not None:
                self._on_change("DELETED", self.objects.pop(uid))
            return
        kept = self._keep(item)
        if known == kept:
            return
        self.objects[uid] = kept
        self._on_change("ADDED" if known is None else "MODIFIED", kept)

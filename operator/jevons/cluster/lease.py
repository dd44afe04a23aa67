"""Who may act: one Lease, two operators, at most one leader.

The holder renews every `retry_s`; whoever sees the Lease unchanged for `lease_s` on its *own* monotonic clock may take it (clocks of two machines
are never compared). The leader stops acting `renew_s` after the last renewal it *sent* successfully, well before anybody else may take over,
whatever hangs: that is checked at each write (`check`), not by a task that could itself be stuck. A lost race is a 409; a released Lease (empty
holder) is free at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from datetime import UTC, datetime
from typing import Any

import structlog

from jevons.cluster.connect import Api, ApiError, Kind

LEASES = Kind("coordination.k8s.io", "v1", "leases", "Lease")

log = structlog.get_logger(__name__)


class NotLeadingError(Exception):
    """A write was attempted without holding the Lease; nothing was sent."""


class Lease:
    """Competes for one Lease by `run()`; `leading` says whether this process may act now."""

    def __init__(
        self,
        api: Api,
        *,
        namespace: str,
        identity: str,
        name: str = "jevons-operator",
        lease_s: float = 15.0,
        renew_s: float = 10.0,
        retry_s: float = 2.0,
    ) -> None:
        self._api, self._identity = api, identity
        self._namespace, self._name = namespace, name
        self._lease_s, self._renew_s, self._retry_s = lease_s, renew_s, retry_s
        self._held_until = float("-inf")
        self._seen: tuple[str, str] = ("", "")
        self._seen_at = time.monotonic()
        self.changed = asyncio.Event()
        """Set whenever leadership may have begun or ended; the waiter clears it."""
        self.reached = asyncio.Event()
        """Set when the API server answers after it did not; the waiter clears it."""
        self._unreached = False
        self._was_leading = False
        self._renewed: dict[str, Any] | None = None
        """The Lease as our last renewal left it: the next one needs no look first, only its version."""

    @property
    def leading(self) -> bool:
        """True while the last successful renewal is younger than the renew deadline."""
        return time.monotonic() < self._held_until

    def check(self, method: str, path: str) -> None:
        """The hook before each write: raises NotLeadingError unless leading."""
        if not self.leading:
            raise NotLeadingError(f"{method} {path}: this operator does not hold the lease {self._namespace}/{self._name}")

    async def run(self) -> None:
        """Acquire and renew until cancelled; then release."""
        try:
            while True:
                await self._attempt()
                if self.leading != self._was_leading:
                    self._was_leading = self.leading
                    log.info("leadership", leading=self.leading, identity=self._identity)
                    self.changed.set()
                retry_s = 2 * self._retry_s if self._unreached and not self.leading else self._retry_s  # nothing to lose any more
                await asyncio.sleep(retry_s * random.uniform(0.8, 1.2))  # noqa: S311  spreads load
        finally:
            await self._release()

    async def _attempt(self) -> None:
        """One try to take or renew. Every failure leaves things as they are: the deadline does the rest."""
        sent_at = time.monotonic()
        try:
            async with asyncio.timeout(self._renew_s / 3):
                renewed = await self._renew() or await self._take()
        except (ApiError, TimeoutError) as error:
            self._unreached = not isinstance(error, ApiError) or error.ailing
            log.warning("lease not renewed", error=str(error) or "timed out", leading=self.leading)
            return
        if self._unreached:
            self._unreached = False
            self.reached.set()
        self._held_until = sent_at + self._renew_s if renewed is not None else float("-inf")
        self._renewed = renewed

    async def _renew(self) -> dict[str, Any] | None:
        """Renew what is ours as we left it; None when there is no such thing, or somebody wrote it since. Raises ApiError."""
        if self._renewed is None:
            return None
        try:
            return await self._put(self._renewed)
        except ApiError as error:
            if not (error.conflict or error.not_found):
                raise
            return None

    async def _take(self) -> dict[str, Any] | None:
        """Look, and take or renew; None when it is somebody else's. Raises ApiError, also for a lost race."""
        current = await self._read()
        if current is None:
            return await self._api.request("POST", LEASES.path(self._namespace), body=self._body({}, taking=True))
        return await self._put(current) if self._may_take(current) else None

    async def _put(self, current: dict[str, Any]) -> dict[str, Any]:
        taking = (current.get("spec") or {}).get("holderIdentity") != self._identity
        body = {**current, **self._body(current, taking=taking), "metadata": current["metadata"]}
        return await self._api.request("PUT", LEASES.path(self._namespace, self._name), body=body)

    async def _read(self) -> dict[str, Any] | None:
        try:
            return await self._api.get(LEASES.path(self._namespace, self._name))
        except ApiError as error:
            if error.not_found:
                return None
            raise

    def _may_take(self, current: dict[str, Any]) -> bool:
        spec = current.get("spec") or {}
        holder = spec.get("holderIdentity") or ""
        stamp = (holder, str(current["metadata"].get("resourceVersion")))
        if stamp != self._seen:
            self._seen, self._seen_at = stamp, time.monotonic()
        if holder in {"", self._identity}:
            return True
        duration_s = float(spec.get("leaseDurationSeconds") or self._lease_s)
        return time.monotonic() - self._seen_at > duration_s

    def _body(self, current: dict[str, Any], *, taking: bool) -> dict[str, Any]:
        before = current.get("spec") or {}
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        return {
            "apiVersion": LEASES.api_version,
            "kind": LEASES.kind,
            "metadata": {"name": self._name, "namespace": self._namespace},
            "spec": {
                "holderIdentity": self._identity,
                "leaseDurationSeconds": max(1, round(self._lease_s)),
                "acquireTime": now if taking else before.get("acquireTime", now),
                "renewTime": now,
                "leaseTransitions": int(before.get("leaseTransitions") or 0) + (1 if taking and before else 0),
            },
        }

    async def _release(self) -> None:
        """Give the Lease back so that the other need not wait; best effort, bounded to two seconds."""
        if not self.leading:
            return
        self._held_until = float("-inf")
        self.changed.set()
        with contextlib.suppress(ApiError, TimeoutError):
            async with asyncio.timeout(2.0):
                current = await self._read()
                if current is None or (current.get("spec") or {}).get("holderIdentity") != self._identity:
                    return
                spec = {**current["spec"], "holderIdentity": "", "leaseDurationSeconds": 1}
                await self._api.request("PUT", LEASES.path(self._namespace, self._name), body={**current, "spec": spec})

"""kopf's part: watch every kind of the World and hand each event over as a hint.

Only `on.event` (measured: it writes nothing), `startup` and `login`: no timers, daemons, finalizers or create/update handlers, so an object can
always be deleted without us and nothing of kopf's is ever written into one. Scanning is off: the kinds are known at start, from discovery.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Any, TypeAlias

import kopf
import structlog

from jevons.cluster.connect import Api, Credentials, Kind

Deliver: TypeAlias = Callable[[Kind, str | None, dict[str, Any]], None]
log = structlog.get_logger(__name__)


class Backoffs:
    """Seconds between retries, without end (kopf's own end after a minute of 5xx): 1, 4, 16, then 30 s, with jitter.

    Each of some ten watches tries on its own: doubling from half a second they asked for 2 a second in the first half minute of an outage.
    """

    def __iter__(self) -> Iterator[float]:
        """Start anew for each request."""
        delay = 1.0
        while True:
            yield delay * random.uniform(0.75, 1.25)  # noqa: S311  spreads load
            delay = min(30.0, delay * 4)


def configure(settings: kopf.OperatorSettings) -> None:
    """What differs from kopf's defaults, and why is in docs: reference facts measured on 1.45."""
    settings.scanning.disabled = True
    settings.peering.standalone = True
    settings.posting.enabled = False
    settings.networking.error_backoffs = Backoffs()
    settings.networking.enforce_retry_after = True
    settings.networking.request_timeout = 30.0
    settings.networking.connect_timeout = 5.0
    settings.watching.server_timeout = 270
    settings.watching.client_timeout = 300
    settings.watching.connect_timeout = 5.0
    settings.watching.reconnect_backoff = 1.0
    settings.watching.chunk_size = 500
    settings.process.ultimate_exiting_timeout = None  # it would SIGKILL the whole process (measured), and kopf is a thread of ours


def registry(login: Callable[[], Awaitable[Credentials]], deliver: Deliver, kinds: Iterable[Kind]) -> kopf.OperatorRegistry:
    """Handlers for these kinds. `login` gives the access to use, again whenever it is refused; `deliver` takes (kind, change, object)."""
    handlers = kopf.OperatorRegistry()

    @kopf.on.startup(registry=handlers)
    async def startup(settings: kopf.OperatorSettings, **_: Any) -> None:
        configure(settings)

    @kopf.on.login(registry=handlers)
    async def logged_in(**_: Any) -> kopf.ConnectionInfo:
        access = await login()
        return kopf.ConnectionInfo(
            server=access.server,
            ca_path=access.ca_path,
            insecure=access.insecure,
            scheme="Bearer" if access.token else None,
            token=access.token,
            certificate_path=access.certificate_path,
            private_key_path=access.private_key_path,
        )

    for each in kinds:

        @kopf.on.event(each.group, each.version, each.plural, id=f"observe-{each.plural}", registry=handlers)
        async def observed(event: kopf.RawEvent, kind: Kind = each, **_: Any) -> None:
            deliver(kind, event["type"], dict(event["object"]))

    return handlers


END_S = 3.0
"""How long an end waits for kopf."""


class Watcher:
    """kopf in a thread and an event loop of its own: what it cancels when it ends is only its own, and it ends only when told.

    Should it fail all the same (a 403 on a watch ends it), it is started again with backoff; meanwhile the lists keep the World true.
    """

    def __init__(self, api: Api, deliver: Deliver, kinds: Iterable[Kind], namespaces: Sequence[str]) -> None:
        self._api, self._deliver, self._kinds, self._namespaces = api, deliver, tuple(kinds), tuple(namespaces)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.failures = 0

    async def run(self) -> None:
        """Watch until cancelled."""
        loop, backoff = asyncio.get_running_loop(), iter(Backoffs())
        try:
            while True:
                began = time.monotonic()
                error = await self._in_thread(loop)
                self.failures += 1
                backoff = iter(Backoffs()) if time.monotonic() - began > 300 else backoff
                log.warning("watching ended; it begins again", error=error)
                await asyncio.sleep(next(backoff))
        finally:
            self._stop.set()
            if self._thread is not None:
                await asyncio.to_thread(self._thread.join, END_S)

    async def _in_thread(self, loop: asyncio.AbstractEventLoop) -> str:
        """Why kopf ended.

        A daemon thread: kopf that does not end when told (an assertion in its own cancellation was seen) keeps no process alive.
        """
        ended: asyncio.Future[str] = loop.create_future()

        def watch() -> None:
            error = self._watch(loop)
            with contextlib.suppress(RuntimeError):  # the loop is closed: the process ends
                loop.call_soon_threadsafe(lambda: None if ended.done() else ended.set_result(error))

        self._thread = threading.Thread(target=watch, name="kopf", daemon=True)
        self._thread.start()
        return await ended

    def _watch(self, loop: asyncio.AbstractEventLoop) -> str:
        async def login() -> Credentials:
            return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._api.credentials(), loop))

        def deliver(kind: Kind, change: str | None, item: dict[str, Any]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: the process ends
                loop.call_soon_threadsafe(self._deliver, kind, change, item)

        where: dict[str, Any] = {"namespaces": self._namespaces} if self._namespaces else {"clusterwide": True}
        where["identity"] = "jevons"  # told to nobody; left out, kopf asks for the name of its user, and in a container there is none
        try:
            asyncio.run(kopf.operator(registry=registry(login, deliver, self._kinds), standalone=True, memo=None, stop_flag=self._stop, **where))
        except Exception as error:  # noqa: BLE001  kopf's own failures of any kind are waited out
            return repr(error)
        return "stopped"

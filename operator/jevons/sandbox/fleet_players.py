"""What stands at a pod's address: a simulated engine, an exporter, or a real llama.cpp server. The fleet treats them alike.

`open` takes connections, `drain` takes no new ones and closes idle ones, `abort` resets everything. `apply` breaks or heals it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from aiohttp import web

from jevons.sandbox.dcgm import Devices, Node, Work, node_page
from jevons.sandbox.fleet_engine import EnginePod
from jevons.sandbox.fleet_faults import Fault, page
from jevons.sandbox.fleet_pods import PodView
from jevons.sandbox.fleet_socket import Listener


class Player(Protocol):
    """Plays one pod."""

    view: PodView

    @property
    def listening(self) -> bool:
        """Whether new connections are taken."""

    async def open(self) -> None:
        """Take connections (again)."""

    def drain(self) -> None:
        """Take no new connections, close idle ones, finish what is under way."""

    def abort(self) -> None:
        """Reset all connections."""

    async def gone(self) -> None:
        """Wait until nothing is left after `abort`."""

    def apply(self, fault: Fault | None) -> None:
        """Break it so, or heal it."""

    def state(self) -> dict[str, Any]:
        """For the control endpoint."""

    def tick(self) -> None:
        """A second has passed."""

    def work(self) -> Work | None:
        """What its GPUs did in the last one to two seconds; None for what holds none."""


RealEngine = Callable[[PodView], Player]
"""Makes the player of a pod that wants a real engine."""


class _Listening:
    """A player that is one listener."""

    def __init__(self, view: PodView, listener: Listener) -> None:
        self.view = view
        self._listener = listener

    @property
    def listening(self) -> bool:
        return self._listener.listening

    async def open(self) -> None:
        await self._listener.open()

    def drain(self) -> None:
        self._listener.drain()

    def abort(self) -> None:
        self._listener.abort()

    async def gone(self) -> None:
        await asyncio.sleep(0)


class EnginePlayer(_Listening):
    """A simulated engine."""

    def __init__(self, pod: EnginePod) -> None:
        super().__init__(pod.view, Listener(pod.view.ip, pod.view.port, pod.handle))
        self.pod = pod

    def apply(self, fault: Fault | None) -> None:
        """Break the engine, or heal it."""
        self.pod.break_(fault)

    def tick(self) -> None:
        """Note what the engine has done until now."""
        self.pod.history.append(self.pod.activity())

    def work(self) -> Work | None:
        """What it did lately."""
        return self.pod.work()

    def state(self) -> dict[str, Any]:
        """Its load and its totals."""
        reading = self.pod.reading()
        return {
            "listening": self.listening,
            "running": reading.running,
            "waiting": reading.waiting,
            "finished": reading.finished,
            "prompt_tokens": reading.prompt_tokens,
            "generated_tokens": reading.generated_tokens,
            "busy_s": round(reading.busy_s, 3),
        }


class World(Protocol):
    """What an exporter must know about the rest of the fleet."""

    def node(self, name: str) -> Node:
        """The node of that name; one without GPUs when it is unknown."""

    def devices(self, name: str) -> Devices:
        """Who holds its GPUs now."""

    def work(self) -> dict[str, Work]:
        """What the engines did lately, by pod uid."""

    def told_util(self) -> dict[str, float]:
        """Utilisation that tests dictate, by pod uid [%]."""


class ExporterPlayer(_Listening):
    """The DCGM exporter of a node."""

    def __init__(self, view: PodView, world: World) -> None:
        super().__init__(view, Listener(view.ip, view.port, self._handle))
        self._world = world
        self._fault: Fault | None = None
        self._healed = asyncio.Event()
        self._stale_pages: dict[str, str] = {}

    def apply(self, fault: Fault | None) -> None:
        """Break the page, or heal it."""
        if fault is None or not fault.frozen:
            self._healed.set()
        self._fault = fault
        self._stale_pages.clear()

    def tick(self) -> None:
        """Nothing to note."""

    def work(self) -> Work | None:
        """An exporter has no GPU of its own."""
        return None

    def state(self) -> dict[str, Any]:
        """Which pod holds which GPU."""
        held = self._world.devices(self.view.node).held
        return {"listening": self.listening, "gpus": {str(index): pod.key for index, pod in sorted(held.items())}}

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if self._fault is not None and self._fault.frozen:
            self._healed.clear()
            await self._healed.wait()
        if request.path != "/metrics":
            return web.Response(status=200 if request.path == "/health" else 404)
        name = self.view.node
        metrics = node_page(self._world.node(name), self._world.devices(name), self._world.work(), self._world.told_util())
        status, content_type, text = page(self._fault, metrics, self._stale_pages, self.view.key)
        return web.Response(status=status, body=text.encode(), headers={"Content-Type": content_type})

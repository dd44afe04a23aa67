"""The fleet: one process that plays every engine pod and every GPU exporter of the embedded cluster.

kwok says which pods exist, are Ready and have which address; the fleet makes something answer there. It is level-based like the operator: each
change of a pod marks it, and a single worker brings its socket to where it should be. A pod that is not Ready takes no connections; one that is
being deleted finishes what it has until its deletionTimestamp (which has the grace in it) and is then reset, as a kubelet would; one deleted by
force is reset at once.

    python -m jevons.sandbox.fleet --kubeconfig FILE --cidr 127.97.0.0/16

prints one line `{"ready": true, "ports": {"control": 12345}}` when every pod of the first list is served. Annotations are in fleet_pods.py, faults in
fleet_faults.py.
"""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import logging
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import structlog
import uvloop

from jevons.sandbox.dcgm import Devices, Node, Work
from jevons.sandbox.fleet_control import serve_control
from jevons.sandbox.fleet_driver import Driver
from jevons.sandbox.fleet_engine import EnginePod
from jevons.sandbox.fleet_faults import Fault
from jevons.sandbox.fleet_kube import follow, read_kubeconfig
from jevons.sandbox.fleet_llama import real_engine
from jevons.sandbox.fleet_players import EnginePlayer, ExporterPlayer, Player, RealEngine
from jevons.sandbox.fleet_pods import PodView, gpu_count, view
from jevons.sandbox.llamacpp import provision
from jevons.sandbox.nodes import ACCELERATOR_LABEL

log = structlog.get_logger(__name__)

TICK_S = 1.0
RETRY_S = 1.0
"""After an address could not be bound [s]."""


class Fleet:
    """All pods of one cluster. It is the follower of pods; `nodes` is that of nodes. Start it by `async with`."""

    def __init__(self, *, cidr: str, time_scale: float = 1.0, real_engine: RealEngine | None = None) -> None:
        self.driver = Driver(time_scale=time_scale)
        self.nodes = Nodes()
        self.players: dict[str, Player] = {}
        self.faults: list[Fault] = []
        self._network = ipaddress.ip_network(cidr, strict=False)
        self._real_engine = real_engine
        self._views: dict[str, PodView] = {}
        self._devices: dict[str, Devices] = {}
        self._dirty: dict[str, None] = {}
        self._marked = asyncio.Event()
        self._settled = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        """Start the worker and the ticker."""
        self._tasks = [asyncio.create_task(self._work_off(), name="fleet-worker"), asyncio.create_task(self._tick(), name="fleet-tick")]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Reset every connection and stop."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for player in self.players.values():
            player.abort()
        await asyncio.gather(*(player.gone() for player in self.players.values()))
        self.players.clear()
        self.driver.close()

    def replace(self, objects: Sequence[dict[str, Any]]) -> None:
        """Exactly these pods exist."""
        for uid in self._views.keys() - {item["metadata"]["uid"] for item in objects}:
            del self._views[uid]
            self._mark(uid)
        for item in objects:
            self.put(item)

    def put(self, item: dict[str, Any]) -> None:
        """A pod is new or different."""
        uid = item["metadata"]["uid"]
        try:
            pod = view(item)
        except ValueError as error:
            log.warning("pod not played", pod=f"{item['metadata'].get('namespace')}/{item['metadata'].get('name')}", error=str(error))
            self.drop(item)
            return
        if self._views.get(uid) != pod:
            self._views[uid] = pod
            self._mark(uid)

    def drop(self, item: dict[str, Any]) -> None:
        """A pod is gone."""
        uid = item["metadata"]["uid"]
        if self._views.pop(uid, None) is not None:
            self._mark(uid)

    async def settled(self) -> None:
        """Wait until every change so far has been carried out."""
        await self._settled.wait()

    def set_faults(self, faults: list[Fault]) -> None:
        """Exactly these faults hold; where several name a pod, the last one counts."""
        self.faults = faults
        for uid, player in self.players.items():
            player.apply(self.fault(player.view.key))
            self._mark(uid)

    def fault(self, key: str) -> Fault | None:
        """What is broken in that pod."""
        return next((fault for fault in reversed(self.faults) if fault.holds_for(key)), None)

    def node(self, name: str) -> Node:
        """The node of that name; one without GPUs when it is unknown."""
        return self.nodes.known.get(name) or Node(name, 0, "")

    def devices(self, name: str) -> Devices:
        """Who holds its GPUs now."""
        devices = self._devices.setdefault(name, Devices())
        devices.assign([pod for pod in self._views.values() if pod.node == name and pod.gpus], self.node(name).gpus)
        return devices

    def work(self) -> dict[str, Work]:
        """What the engines did lately, by pod uid."""
        done = ((uid, player.work()) for uid, player in self.players.items())
        return {uid: work for uid, work in done if work is not None}

    def told_util(self) -> dict[str, float]:
        """Utilisation that tests dictate, by pod uid [%]."""
        told = ((uid, self.fault(pod.key)) for uid, pod in self._views.items() if pod.gpus and self.faults)
        return {uid: fault.gpu_util for uid, fault in told if fault is not None and fault.gpu_util is not None}

    def _mark(self, uid: str) -> None:
        self._dirty[uid] = None
        self._settled.clear()
        self._marked.set()

    async def _work_off(self) -> None:
        while True:
            await self._marked.wait()
            self._marked.clear()
            while self._dirty:
                uid = next(iter(self._dirty))
                del self._dirty[uid]
                try:
                    await self._settle(uid)
                except OSError as error:
                    asyncio.get_running_loop().call_later(RETRY_S, self._mark, uid)
                    log.warning("cannot serve", pod=self._views[uid].key if uid in self._views else uid, error=str(error))
            self._settled.set()

    async def _settle(self, uid: str) -> None:
        """Bring one pod's socket to where it should be."""
        pod, player = self._views.get(uid), self.players.get(uid)
        if player is not None and pod is not None and (pod.ip, pod.port, pod.played) != (player.view.ip, player.view.port, player.view.played):
            player.abort()
            del self.players[uid]
            player = None
        if pod is not None and pod.answers and ipaddress.ip_address(pod.ip) in self._network:
            if player is None:
                player = self._player(pod)
            if player is not None:
                await self._serve(player, pod)
            return
        if player is None:
            return
        if pod is not None:
            player.view = pod
        ends_at_s = player.view.ends_at_s
        if ends_at_s is not None and ends_at_s > time.time():
            player.drain()
            asyncio.get_running_loop().call_later(ends_at_s - time.time(), self._mark, uid)
        elif pod is None or ends_at_s is not None:
            player.abort()
            del self.players[uid]
        else:
            player.drain()

    async def _serve(self, player: Player, pod: PodView) -> None:
        player.view = pod
        fault = self.fault(pod.key)
        if fault is not None and fault.killed:
            player.abort()
        elif not player.listening:
            await player.open()

    def _player(self, pod: PodView) -> Player | None:
        """Who plays a pod that answers; None (said once per change) when nobody can."""
        player: Player
        if pod.exporter:
            player = ExporterPlayer(pod, self)
        elif pod.played is not None and pod.played.engine == "llamacpp" and self._real_engine is not None:
            player = self._real_engine(pod)
        elif pod.played is not None and pod.played.row is not None:
            player = EnginePlayer(EnginePod(pod, pod.played, pod.played.row, self.driver))
        else:
            log.error("pod not played: a real engine needs the option --engine llamacpp, a simulated one the profile annotation", pod=pod.key)
            return None
        player.apply(self.fault(pod.key))
        self.players[pod.uid] = player
        return player

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            for player in self.players.values():
                player.tick()


class Nodes:
    """The nodes that have GPUs, kept up to date as a follower."""

    def __init__(self) -> None:
        self.known: dict[str, Node] = {}

    def replace(self, objects: Sequence[dict[str, Any]]) -> None:
        """Exactly these nodes exist."""
        self.known.clear()
        for item in objects:
            self.put(item)

    def put(self, item: dict[str, Any]) -> None:
        """A node is new or different."""
        metadata, status = item["metadata"], item.get("status") or {}
        labels: Mapping[str, str] = metadata.get("labels") or {}
        accelerator = labels.get(ACCELERATOR_LABEL, labels.get("nvidia.com/gpu.product", ""))
        self.known[metadata["name"]] = Node(metadata["name"], gpu_count(status.get("capacity") or {}), accelerator)

    def drop(self, item: dict[str, Any]) -> None:
        """A node is gone."""
        self.known.pop(item["metadata"]["name"], None)


async def _serve(options: argparse.Namespace) -> None:
    server = read_kubeconfig(options.kubeconfig)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    make = real_engine(await asyncio.to_thread(provision, _to_stderr)) if options.engine == "llamacpp" else None
    async with Fleet(cidr=options.cidr, time_scale=options.time_scale, real_engine=make) as fleet, serve_control(fleet, options.control_port) as port:
        pods, nodes = asyncio.Event(), asyncio.Event()
        following = [
            asyncio.create_task(follow(server, "/api/v1/nodes", fleet.nodes, synced=nodes)),
            asyncio.create_task(follow(server, "/api/v1/pods", fleet, synced=pods)),
        ]
        ready = asyncio.create_task(_announce(fleet, port, (pods, nodes)))
        await stop.wait()
        for task in (ready, *following):
            task.cancel()


def _to_stderr(text: str) -> None:
    sys.stderr.write(text + "\n")


async def _announce(fleet: Fleet, port: int, synced: tuple[asyncio.Event, ...]) -> None:
    """One line on standard output when every pod of the first list is served."""
    for event in synced:
        await event.wait()
    await fleet.settled()
    sys.stdout.write(f'{{"ready": true, "ports": {{"control": {port}}}}}\n')
    sys.stdout.flush()


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point of `python -m jevons.sandbox.fleet`."""
    parser = argparse.ArgumentParser(prog="python -m jevons.sandbox.fleet", description="Play every engine pod of an embedded cluster.")
    parser.add_argument("--kubeconfig", type=Path, required=True)
    parser.add_argument("--cidr", required=True, help="the pods' addresses, 127.97.0.0/16")
    parser.add_argument("--time-scale", type=float, default=1.0, help="seconds of an engine's life per second")
    parser.add_argument("--engine", choices=["simulated", "llamacpp"], default="simulated", help="llamacpp: pods annotated so get a real server")
    parser.add_argument("--control-port", type=int, default=0, help="on 127.0.0.1; 0 picks a free one")
    options = parser.parse_args(argv)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.INFO), logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    uvloop.run(_serve(options))


if __name__ == "__main__":
    main()

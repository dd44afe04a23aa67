"""The DCGM exporter of one node of a real cluster, in a container of its own.

It follows the pods of its node, gives each the GPUs that it asks for, and asks every engine once a second what it did (fleet_pod.py), because there
is no driver that would know. The page is the one of the embedded cluster's exporters (dcgm.py).
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

import aiohttp
import structlog
import uvloop

from jevons.sandbox.dcgm import Devices, Node, Work
from jevons.sandbox.fleet import Nodes
from jevons.sandbox.fleet_kube import ApiServer, follow, in_cluster
from jevons.sandbox.fleet_players import ExporterPlayer
from jevons.sandbox.fleet_pod import WORK_PATH, read_work
from jevons.sandbox.fleet_pods import DCGM_PORT, PodView, view

log = structlog.get_logger(__name__)

TICK_S = 1.0
ASK_S = 0.8
"""How long an engine may take to say what it did [s]."""


class NodeWorld:
    """The pods of one node as an exporter must know them. It is the follower of pods; `nodes` is that of the node."""

    def __init__(self, node: str) -> None:
        self.name = node
        self.nodes = Nodes()
        self._pods: dict[str, PodView] = {}
        self._devices = Devices()
        self._work: dict[str, Work] = {}

    def replace(self, objects: Sequence[dict[str, Any]]) -> None:
        """Exactly these pods exist."""
        self._pods.clear()
        for item in objects:
            self.put(item)

    def put(self, item: dict[str, Any]) -> None:
        """A pod is new or different; one whose annotations make no sense holds its GPUs all the same, but plays nothing."""
        try:
            pod = view(item)
        except ValueError:
            pod = view({**item, "metadata": {**item["metadata"], "annotations": {}}})
        self._pods[pod.uid] = pod

    def drop(self, item: dict[str, Any]) -> None:
        """A pod is gone."""
        self._pods.pop(item["metadata"]["uid"], None)

    def node(self, name: str) -> Node:
        """The node; one without GPUs before it is known."""
        return self.nodes.known.get(name) or Node(name, 0, "")

    def devices(self, name: str) -> Devices:
        """Who holds its GPUs now."""
        holders = [pod for pod in self._pods.values() if pod.node == name and pod.gpus]
        self._devices.assign(holders, self.node(name).gpus)
        return self._devices

    def work(self) -> dict[str, Work]:
        """What the engines said at the last tick, by pod uid."""
        return self._work

    def told_util(self) -> dict[str, float]:
        """Nothing is dictated here."""
        return {}

    async def ask(self, session: aiohttp.ClientSession) -> None:
        """Ask every engine of the node what it did; one that does not answer has done nothing that is known."""
        engines = [pod for pod in self._pods.values() if pod.node == self.name and pod.played is not None and pod.ip]
        answers = await asyncio.gather(*(self._ask(session, pod) for pod in engines))
        self._work = {pod.uid: work for pod, work in zip(engines, answers, strict=True) if work is not None}

    async def _ask(self, session: aiohttp.ClientSession, pod: PodView) -> Work | None:
        try:
            async with session.get(f"http://{pod.ip}:{pod.port}{WORK_PATH}") as response:
                return read_work(await response.read()) if response.status == 200 else None
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError, KeyError, TypeError) as error:
            log.debug("no word from an engine", pod=pod.key, error=repr(error))
            return None


async def serve(server: ApiServer, node: str, stop: asyncio.Event, *, ip: str = "0.0.0.0", port: int = DCGM_PORT) -> None:
    """Export the GPUs of `node` on `ip:port` until `stop`."""
    world = NodeWorld(node)
    itself = PodView(
        uid="", namespace="", name="", node=node, ip=ip, port=port, ready=True, ends_at_s=None, gpus=0, container="", exporter=True, played=None
    )
    player = ExporterPlayer(itself, world)
    following = [
        asyncio.create_task(follow(server, f"/api/v1/nodes?fieldSelector=metadata.name%3D{node}", world.nodes)),
        asyncio.create_task(follow(server, f"/api/v1/pods?fieldSelector=spec.nodeName%3D{node}", world)),
    ]
    try:
        await player.open()
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ASK_S)) as session:
            while not stop.is_set():
                await world.ask(session)
                try:
                    await asyncio.wait_for(stop.wait(), TICK_S)
                except TimeoutError:
                    continue
    finally:
        player.abort()
        for task in following:
            task.cancel()
        await asyncio.gather(*following, return_exceptions=True)


async def _main() -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await serve(in_cluster(), os.environ["NODE_NAME"], stop)


def main() -> None:
    """Entry point of `python -m jevons.sandbox.fleet_exporter`."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.INFO), logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    uvloop.run(_main())


if __name__ == "__main__":
    main()

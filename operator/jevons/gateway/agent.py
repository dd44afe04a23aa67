"""The gateway's one watcher, as a process: `python -m jevons.gateway.agent --state-dir DIR ...`, started by the supervisor.

Watches InferenceDeployments and Pods, and publishes what it sees twice from one and the same table: `eds.json` for Envoy, then `table.json`
for pickers and room (in this order, so that Envoy never lags behind a picker's choice). Nothing is published before both kinds are synced,
and nothing changes while the API server is away: the last table goes on serving, and `built_at` says since when it has not been confirmed.
Beside it runs accounting: the access log's tailer and the metrics.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import structlog
import uvloop

from jevons.api.errors import InvalidSpec
from jevons.api.resolve import resolve_deployment
from jevons.cluster import sleep_mark
from jevons.cluster.connect import NoClusterError, connect
from jevons.cluster.reflector import Reflector
from jevons.gateway import logs
from jevons.gateway.books import Books
from jevons.gateway.build import PodSeen, Source, build_table
from jevons.gateway.endpoints import EndpointsFile
from jevons.gateway.serving import Serving
from jevons.gateway.table import Table, TableFile

SETTLE_S = 0.005
CONFIRM_S = 10.0
SILENT_S = 150.0

log = structlog.get_logger(__name__)


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line, written by the supervisor."""
    parser = argparse.ArgumentParser(prog="jevons.gateway.agent", description="watcher and accountant of one Jevons gateway")
    parser.add_argument("--state-dir", type=Path, required=True)
    parser.add_argument("--room-address", required=True)
    parser.add_argument("--metrics-address", default="127.0.0.1:9813")
    parser.add_argument("--kubeconfig")
    parser.add_argument("--watch-namespace", action="append", default=[])
    parser.add_argument("--controller-name", default="jevons")
    return parser.parse_args(argv)


def pod_seen(pod: dict[str, Any]) -> dict[str, Any]:
    """What the table needs of a Pod object, as the reflector keeps it (a change of anything else wakes nobody).

    One that sleeps in host memory, or is about to, takes nothing new, like one on its way out.
    """
    metadata, status = pod["metadata"], pod.get("status") or {}
    conditions = {one.get("type"): one.get("status") for one in status.get("conditions") or []}
    mark = sleep_mark.read((metadata.get("annotations") or {}).get(sleep_mark.ANNOTATION))
    resting = mark is not None and mark.resting
    scheduled: dict[str, Any] = next((one for one in status.get("conditions") or [] if one.get("type") == "PodScheduled"), {})
    return {
        "namespace": metadata["namespace"],
        "name": metadata["name"],
        "labels": metadata.get("labels") or {},
        "ip": status.get("podIP"),
        "ready": conditions.get("Ready") == "True" and status.get("phase") == "Running" and not resting,
        "draining": "deletionTimestamp" in metadata or resting,
        "unschedulable": scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable",
    }


def deployment_seen(obj: dict[str, Any]) -> dict[str, Any]:
    """An InferenceDeployment without what changes and does not matter here."""
    kept = ("uid", "name", "namespace", "creationTimestamp", "generation")
    metadata = {key: obj["metadata"][key] for key in kept if key in obj["metadata"]}
    status = {"routing": (obj.get("status") or {}).get("routing") or {}}
    return {"apiVersion": obj.get("apiVersion"), "kind": obj.get("kind"), "metadata": metadata, "spec": obj.get("spec") or {}, "status": status}


class Specs:
    """Resolved specs by UID. One that cannot be resolved keeps its last good form, and is said once; the others are not touched by it."""

    def __init__(self, controller_name: str) -> None:
        self._controller_name = controller_name
        self._resolved: dict[str, tuple[Any, Any]] = {}

    def sources(self, objects: Iterable[dict[str, Any]]) -> list[Source]:
        """Those of our controller, resolved; a spec that did not change is not resolved again."""
        made: list[Source] = []
        seen: dict[str, tuple[Any, Any]] = {}
        for obj in objects:
            if obj["spec"].get("controllerName", "jevons") != self._controller_name:
                continue
            uid = obj["metadata"]["uid"]
            known = self._resolved.get(uid)
            if known is None or known[0] != obj["spec"]:
                known = (obj["spec"], self._resolve(obj, None if known is None else known[1]))
            seen[uid] = known
            if known[1] is not None:
                made.append(Source(known[1], obj["status"]["routing"]))
        self._resolved = seen
        return made

    @staticmethod
    def _resolve(obj: dict[str, Any], last: Any) -> Any:
        try:
            return resolve_deployment(obj)
        except InvalidSpec as error:
            name = f"{obj['metadata']['namespace']}/{obj['metadata']['name']}"
            log.warning("spec not usable", deployment=name, error=str(error), kept_last=last is not None)
            return last


class Publisher:
    """Turns what the reflectors hold into `eds.json` and `table.json`, when something changed and otherwise every `CONFIRM_S`."""

    def __init__(self, state: Path, room: str, specs: Specs) -> None:
        self.changed = asyncio.Event()
        self.deployments: list[Reflector] = []
        self.pods: list[Reflector] = []
        self._endpoints = EndpointsFile(state / "eds.json")
        self._file = TableFile(state / "table.json")
        self._file.refresh()
        self.table: Table = self._file.table
        self._generation = self.table.generation
        self._room = room
        self._specs = specs

    def notice(self, *_: object) -> None:
        """Something changed (a reflector's `on_change`)."""
        self.changed.set()

    async def run(self) -> None:
        """Publish for ever, from the moment everything is synced."""
        await asyncio.gather(*(one.synced.wait() for one in (*self.deployments, *self.pods)))
        while True:
            self.changed.clear()
            self.publish()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.changed.wait(), CONFIRM_S)
            await asyncio.sleep(SETTLE_S)

    def publish(self) -> None:
        """Build and write both files. `built_at` is the last moment at which all watches were known to be alive."""
        self._generation += 1
        silent = max(time.monotonic() - one.heard_at for one in (*self.deployments, *self.pods))
        now = time.time() if silent < SILENT_S else time.time() - silent
        objects = [obj for one in self.deployments for obj in one.objects.values()]
        pods = [PodSeen(**pod) for one in self.pods for pod in one.objects.values()]
        table = build_table(self._specs.sources(objects), pods, room=self._room, generation=self._generation, now=now)
        self._endpoints.write(table)
        self._file.write(table)
        self.table = table


async def serve(options: argparse.Namespace) -> None:
    """Until SIGTERM or SIGINT."""
    serving = Serving()
    publisher = Publisher(options.state_dir, options.room_address, Specs(options.controller_name))
    books = Books(options.state_dir, lambda: publisher.table)
    async with connect(options.kubeconfig, user_agent="jevons-gateway") as api, books.metrics(options.metrics_address):
        for namespace in options.watch_namespace or [None]:
            publisher.deployments.append(
                Reflector(
                    api, "jevons.dev", "v1alpha1", "inferencedeployments", publisher.notice, namespace=namespace, keep=deployment_seen, relist_s=120
                )
            )
            publisher.pods.append(Reflector(api, "", "v1", "pods", publisher.notice, namespace=namespace, keep=pod_seen, relist_s=120))
        running = [books.run(), publisher.run(), *(one.run() for one in (*publisher.deployments, *publisher.pods))]
        await serving.run(*running)


if __name__ == "__main__":
    logs.configure("agent")
    try:
        uvloop.run(serve(arguments()))
    except NoClusterError as failure:
        raise SystemExit(f"agent: {failure}") from None

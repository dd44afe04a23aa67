"""One engine pod of a real cluster: the fleet's engine in a container of its own.

Where a kubelet starts pods nobody has to be played from outside. Each pod runs this program, which reads its own annotations (fleet_pods.py has
the table) from a downward API volume and then is the same engine with the same API and the same metrics, on all addresses of the pod. Before it
listens it takes as long as an engine that loads its weights (`pod-ready.stage.kwok.x-k8s.io/delay`). On SIGTERM it takes no new connections, finishes
what it has and ends.

`GET /sandbox/work` is for the exporter of the node (fleet_exporter.py), which has to know what the engines did.
"""

from __future__ import annotations

import ast
import asyncio
import logging
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson
import structlog
import uvloop
from aiohttp import web

from jevons.api.quantities import duration_s_from
from jevons.sandbox.dcgm import Work
from jevons.sandbox.fleet_driver import Driver
from jevons.sandbox.fleet_engine import EnginePod
from jevons.sandbox.fleet_pods import profile_rows, view
from jevons.sandbox.fleet_socket import Listener

log = structlog.get_logger(__name__)

ANNOTATIONS = Path("/etc/podinfo/annotations")
LOAD_TIME = "pod-ready.stage.kwok.x-k8s.io/delay"
WORK_PATH = "/sandbox/work"
TICK_S = 1.0
LATE_S = 1.0
"""The gateways hear of a deletion while the signal is already here: for this long new connections are still taken [s]."""


def read_annotations(text: str) -> dict[str, str]:
    r"""The downward API's file: a line `key="value"` each, quoted as Go does. Example: `a="x\n"` gives a newline."""
    pairs = (line.partition("=") for line in text.splitlines() if line)
    return {key: str(ast.literal_eval(value)) for key, _, value in pairs}


def itself(found: Mapping[str, str], environment: Mapping[str, str]) -> dict[str, Any]:
    """This pod as the API would show it, as far as the fleet reads pods. Raises KeyError naming the variable that is missing."""
    return {
        "metadata": {
            "uid": environment["POD_UID"],
            "namespace": environment["POD_NAMESPACE"],
            "name": environment["POD_NAME"],
            "annotations": dict(found),
        },
        "spec": {"nodeName": environment["NODE_NAME"]},
        "status": {"podIP": "0.0.0.0", "conditions": [{"type": "Ready", "status": "True"}]},
    }


def work_body(work: Work) -> bytes:
    """Work as the exporter reads it; the profile's row goes by its name."""
    fields = {**asdict(work), "row": None if work.row is None else work.row.name}
    return orjson.dumps(fields)


def read_work(body: bytes) -> Work:
    """What `work_body` wrote. Raises ValueError, KeyError or TypeError when it is something else."""
    fields = orjson.loads(body)
    row = fields.pop("row")
    return Work(**fields, row=None if row is None else profile_rows()[row])


def engine(item: Mapping[str, Any]) -> EnginePod:
    """The engine that the pod's annotations ask for. Raises ValueError when they ask for none that can be simulated."""
    pod = view(item)
    if pod.played is None or pod.played.row is None:
        raise ValueError("annotation sandbox.jevons.dev/profile: missing, so there is no engine to play")
    return EnginePod(pod, pod.played, pod.played.row, Driver())


async def serve(item: Mapping[str, Any], stop: asyncio.Event) -> None:
    """Play the pod until `stop`, then finish what is under way."""
    loading = item["metadata"]["annotations"].get(LOAD_TIME)
    if loading is not None:
        await _either(stop, float(duration_s_from(loading)))
    pod = engine(item)

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        if request.path == WORK_PATH:
            return web.Response(body=work_body(pod.work()), content_type="application/json")
        return await pod.handle(request)

    listener = Listener(pod.view.ip, pod.view.port, handle)
    if not stop.is_set():
        await listener.open()
        log.info("serving", pod=pod.view.key, profile=pod.row.name, port=pod.view.port)
    while not stop.is_set():
        await _either(stop, TICK_S)
        pod.history.append(pod.activity())
    await asyncio.sleep(LATE_S)
    listener.drain()
    await listener.idle()
    pod.driver.close()


async def _either(stop: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return


async def _main(item: Mapping[str, Any]) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await serve(item, stop)


def main() -> None:
    """Entry point of `python -m jevons.sandbox.fleet_pod`."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.INFO), logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    uvloop.run(_main(itself(read_annotations(ANNOTATIONS.read_text(encoding="utf-8")), os.environ)))


if __name__ == "__main__":
    main()

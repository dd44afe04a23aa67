"""An operator's leader inside the test: the parts of wiring.py, without kopf and the Lease, with signals that the test holds in its hands.

Its World is listed before each pass (`fresh=False` leaves it as it was), its writes are counted, and it can be made to die after any of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from yarl import URL

from jevons.cluster.actuator import Actuator, Outcome
from jevons.cluster.checkpoints import Checkpoints
from jevons.cluster.connect import Api, ApiError, Kind, connect
from jevons.cluster.events import Events
from jevons.cluster.lister import Lister, discover
from jevons.cluster.origins import Origins
from jevons.cluster.view import Viewer
from jevons.cluster.world import INFERENCE_DEPLOYMENTS
from jevons.controller.audit import Audit
from jevons.controller.health import Heartbeat
from jevons.controller.loop import Bell, Loop, Timing
from jevons.controller.metrics import OperatorMetrics
from jevons.controller.recorder import Recorder
from jevons.core.observed import Known
from jevons.core.snapshot import Held
from jevons.core.spec import Key
from jevons.ports import Demand, Metrics
from jevons.sandbox import Sandbox

DEPLOYMENTS = Kind("apps", "v1", "deployments", "Deployment")


class Killed(BaseException):
    """The operator died here."""


@dataclass
class Signals:
    """MetricSource and DemandSource at once."""

    metrics: Metrics = field(default_factory=lambda: Metrics(health=Known(None, 0.0), pods={}, demand={}, outcomes={}, held={}, queries=7))
    demand: dict[Key, Demand] = field(default_factory=dict)

    async def read(self) -> Metrics:
        return self.metrics

    def current(self) -> dict[Key, Demand]:
        return self.demand


@dataclass
class Leader:
    api: Api
    namespace: str
    lister: Lister
    loop: Loop
    signals: Signals
    writes: list[tuple[str, str]]
    """Sent, whatever became of them."""
    done: list[tuple[str, str]]
    """Accepted by the server."""
    metrics: OperatorMetrics

    async def passes(self, count: int = 1, *, fresh: bool = True) -> Outcome:
        """That many passes; `fresh` lists everything before each."""
        outcome = Outcome()
        for _ in range(count):
            if fresh:
                await self.lister.resync()
            self.loop._reading = await self.signals.read()
            outcome = await self.loop.one_pass()
            await self.loop.save()
        return outcome

    async def replicas(self, name: str) -> int | None:
        try:
            return (await self.api.get(DEPLOYMENTS.path(self.namespace, name)))["spec"]["replicas"]
        except ApiError as error:
            if error.not_found:
                return None
            raise

    async def infd(self, name: str) -> dict[str, Any]:
        return await self.api.get(INFERENCE_DEPLOYMENTS.path(self.namespace, name))

    async def condition(self, name: str, kind: str) -> dict[str, Any]:
        found = {entry["type"]: entry for entry in (await self.infd(name)).get("status", {}).get("conditions", [])}
        return found.get(kind, {})

    def holds(self, name: str, variant: str, count: int = 1, *, oldest: float = 0.0) -> None:
        """Requests wait for a variant, as a gateway's stream says."""
        self.signals.demand[Key(self.namespace, name)] = Demand(held=(Held(variant, count, oldest),), last_arrival_at_s=oldest)


class Operators:
    """Makes leaders in one namespace of the sandbox; each has a connection of its own."""

    def __init__(self, kubeconfig: str, namespace: str, stack: AsyncExitStack) -> None:
        self.kubeconfig, self.namespace, self._stack = kubeconfig, namespace, stack

    async def api(self, *, kubeconfig: str | None = None) -> Api:
        return await self._stack.enter_async_context(connect(kubeconfig or self.kubeconfig))

    async def start(
        self,
        *,
        die_after: int | None = None,
        kubeconfig: str | None = None,
        api: Api | None = None,
        targets: tuple[str, ...] = ("apps/v1/Deployment", "apps/v1/StatefulSet"),
        recorder: Recorder | None = None,
    ) -> Leader:
        """A leader that has read its checkpoints; `die_after` k: its (k+1)-th write is not sent and the operator is gone."""
        api = api or await self.api(kubeconfig=kubeconfig)
        kinds = await discover(api, targets)
        lister = Lister(api, kinds, (self.namespace,))
        writes: list[tuple[str, str]] = []

        def before_write(method: str, path: str) -> None:
            if die_after is not None and len(writes) >= die_after:
                raise Killed
            writes.append((method, path))

        api.before_write = before_write
        done: list[tuple[str, str]] = []
        write = api.write

        async def noted(method: str, path: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
            answer = await write(method, path, *args, **kwargs)
            done.append((method, path))
            return answer

        api.write = noted  # type: ignore[method-assign]
        checkpoints = Checkpoints(api, namespace=self.namespace, every_s=0.0)
        signals, metrics = Signals(), OperatorMetrics()
        by_name = {(kind.api_version, kind.kind): kind for kind in kinds}
        origins = Origins(api, lister.world, by_name, namespace=self.namespace)
        await origins.load()
        loop = Loop(
            viewer=Viewer(lister.world),
            actuator=Actuator(api, lister.world, Events(api), by_name, origins),
            source=signals,
            demand=signals,
            checkpoints=checkpoints,
            saved=await checkpoints.load(),
            bell=Bell(),
            metrics=metrics,
            audit=Audit(None),
            recorder=recorder or Recorder(None, limit_bytes=0),
            heartbeat=Heartbeat(),
            timing=Timing(period_s=1.0, scrape_interval_s=1.0),
        )
        return Leader(api, self.namespace, lister, loop, signals, writes, done, metrics)


@pytest_asyncio.fixture
async def operators(sandbox: Sandbox, namespace: str) -> AsyncIterator[Operators]:
    async with AsyncExitStack() as stack:
        yield Operators(str(sandbox.kubeconfig), namespace, stack)


@pytest.fixture
def killed() -> type[BaseException]:
    return Killed


@pytest.fixture
def accelerator(sandbox: Sandbox) -> str:
    """Name of the AcceleratorClass that the manifests of these tests use."""
    return "r-h100"


@pytest_asyncio.fixture
async def assistant(sandbox: Sandbox, namespace: str, accelerator: str) -> Callable[..., Any]:
    """Applies an InferenceDeployment with a `large` target (made too) and a `small` template; keyword arguments change the spec."""

    async def apply(name: str = "assistant", *, target: bool = True, variants: list[dict[str, Any]] | None = None, **spec: Any) -> None:
        use = {"className": accelerator, "count": 1}
        large = {"name": "large", "quality": "1.0", "accelerator": use, "replicas": {"min": 0, "max": 3}}
        large["targetRef"] = {"apiVersion": "apps/v1", "kind": "Deployment", "name": f"{name}-target"}
        container = {"name": "engine", "image": "engine", "resources": {"limits": {"nvidia.com/gpu": "1"}}}
        small = {"name": "small", "quality": "0.7", "accelerator": use, "replicas": {"min": 0, "max": 3}}
        small["template"] = {"spec": {"containers": [container]}}
        body = {"model": f"{namespace}-{name}", "variants": variants or [large, small], **spec}
        objects: list[dict[str, Any]] = [
            {"apiVersion": "jevons.dev/v1alpha1", "kind": "InferenceDeployment", "metadata": {"name": name}, "spec": body}
        ]
        if target:
            template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}}
            deployment = {"replicas": 1, "selector": {"matchLabels": {"app": name}}, "template": template}
            objects.insert(0, {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": f"{name}-target"}, "spec": deployment})
        await sandbox.apply(*objects, namespace=namespace)

    price = {"effectiveFrom": "2020-01-01T00:00:00Z", "onDemand": "2"}
    known = {"apiVersion": "jevons.dev/v1alpha1", "kind": "AcceleratorClass", "metadata": {"name": accelerator}, "spec": {"prices": [price]}}
    await sandbox.apply(known)
    apply.namespace = namespace
    return apply


class FaultyLine:
    """A proxy between an operator and the API server, over plain HTTP on loopback.

    `fault`: the HTTP status of every answer; None = forward. `turn()` sets what watches meet: None = forward, "silent" = open and mute, a status, or
    "410 in stream"; watches that are open when it turns are cut, except that they fall silent when that is the fault.
    """

    def __init__(self, kubeconfig: str) -> None:
        self.fault: int | None = None
        self.watches: int | str | None = None
        self.requests = 0
        self.asked: list[tuple[float, str, str]] = []
        """Monotonic second, user agent, and what was asked for."""
        self.url = ""
        self._kubeconfig = kubeconfig
        self._turned = asyncio.Event()

    def turn(self, watches: int | str | None) -> None:
        self.watches = watches
        self._turned.set()
        self._turned = asyncio.Event()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[FaultyLine]:
        async with connect(self._kubeconfig) as api:
            self._api = api
            app = web.Application(client_max_size=16 * 1024 * 1024)
            app.add_routes([web.route("*", "/{path:.*}", self._forward)])
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            try:
                yield self
            finally:
                await runner.cleanup()

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        self.requests += 1
        self.asked.append((time.monotonic(), request.headers.get("User-Agent", ""), f"{request.method} {request.path}"))
        watch = request.query.get("watch") in {"1", "true"}
        status = self.fault if not watch or self.fault is not None else self.watches
        if isinstance(status, int):
            return web.json_response({"kind": "Status", "status": "Failure", "message": "injected", "code": status}, status=status)
        client = self._api._client.rest_client
        client.pool_manager = client.pool_manager or client._create_pool_manager()
        headers = {name: value for name, value in request.headers.items() if name in {"Accept", "Content-Type", "Authorization"}}
        url = self._api.server + request.raw_path
        with contextlib.suppress(ConnectionError, aiohttp.ClientError):  # the operator, or the API server, went away in the middle
            if watch and status == "410 in stream":
                return await self._expired(request)
            return await self._relay(
                request,
                client.pool_manager.request(request.method, URL(url, encoded=True), headers=headers, data=await request.read() or None),
                watch=watch,
            )
        return web.Response(status=502)  # a cut connection would be asked again by the client's library, and counted twice

    @staticmethod
    async def _expired(request: web.Request) -> web.StreamResponse:
        reply = web.StreamResponse(headers={"Content-Type": "application/json"})
        await reply.prepare(request)
        gone = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Expired", "message": "too old resource version", "code": 410}
        await reply.write(json.dumps({"type": "ERROR", "object": gone}).encode() + b"\n")
        return reply

    async def _relay(self, request: web.Request, asked: Any, *, watch: bool) -> web.StreamResponse:
        turned = asyncio.ensure_future(self._turned.wait())
        try:
            async with asked as answer:
                reply = web.StreamResponse(status=answer.status, headers={"Content-Type": answer.headers.get("Content-Type", "application/json")})
                await reply.prepare(request)
                chunks = answer.content.iter_any()
                while self.fault is None:
                    if watch and self.watches == "silent":
                        await self._turned.wait()
                        break
                    reading = asyncio.ensure_future(anext(chunks, None))
                    await asyncio.wait({reading, turned} if watch else {reading}, return_when=asyncio.FIRST_COMPLETED)
                    if not reading.done():
                        reading.cancel()
                        if self.watches == "silent":
                            continue
                        break
                    if (chunk := reading.result()) is None:
                        break
                    await reply.write(chunk)
            return reply
        finally:
            turned.cancel()

    def kubeconfig(self, folder: Path) -> Path:
        """A kubeconfig that leads through this proxy."""
        path = folder / "kubeconfig"
        cluster, context = {"name": "p", "cluster": {"server": self.url}}, {"name": "p", "context": {"cluster": "p", "user": "p"}}
        config = {"apiVersion": "v1", "kind": "Config", "clusters": [cluster], "users": [{"name": "p", "user": {}}], "contexts": [context]}
        path.write_text(json.dumps({**config, "current-context": "p"}))
        return path


@pytest_asyncio.fixture
async def line(sandbox: Sandbox) -> AsyncIterator[FaultyLine]:
    async with FaultyLine(str(sandbox.kubeconfig)).open() as opened:
        yield opened


@asynccontextmanager
async def operator_through(line: FaultyLine, folder: Path, sandbox: Sandbox, namespace: str, *options: str) -> AsyncIterator[Any]:
    """`jevons operator` behind the line, in a namespace of its own, ready; ended by SIGTERM, after which its exit code must be 0."""
    command = ["-m", "jevons", "operator", "--kubeconfig", str(line.kubeconfig(folder)), "--prometheus-url", sandbox.prometheus_url, "--period", "1s"]
    command += ["--namespace", namespace, "--watch-namespace", namespace, "--listen", "127.0.0.1"]
    command += ["--demand-port", "0", "--health-port", "0", "--metrics-port", "0", *options]
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(sys.executable, *command, stdout=asyncio.subprocess.PIPE, stderr=log)
    try:
        assert process.stdout is not None
        assert b"ready" in await asyncio.wait_for(process.stdout.readline(), 60)
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        assert await asyncio.wait_for(process.wait(), 30) == 0, (folder / "log").read_text()[-2000:]


@pytest.fixture
def through(line: FaultyLine, sandbox: Sandbox, namespace: str, tmp_path: Path) -> Callable[..., Any]:
    """Starts an operator behind the line, as an `async with`; its words are in `tmp_path / "log"`."""
    return lambda *options: operator_through(line, tmp_path, sandbox, namespace, *options)

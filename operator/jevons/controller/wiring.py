"""One operator process: everything built once, kept running, and ended in order.

Both replicas list, watch, listen and are ready; only the holder of the Lease runs the loop. Losing the Lease ends the loop at its next write at the
latest, and gaining it starts a new one from the checkpoints. SIGTERM: stop deciding, store what was learned, give the Lease back, close.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import signal
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import structlog

from jevons.classifier.model import ClassifierError, read_curve
from jevons.cluster.actuator import Actuator
from jevons.cluster.checkpoints import Checkpoints
from jevons.cluster.connect import Api, ApiError, Kind, connect
from jevons.cluster.events import Events
from jevons.cluster.lease import Lease
from jevons.cluster.lister import DEFAULT_TARGET_KINDS, Lister, discover
from jevons.cluster.origins import Origins
from jevons.cluster.reflector import Backoff
from jevons.cluster.token import TokenReviewer
from jevons.cluster.view import Viewer
from jevons.cluster.world import World
from jevons.controller.audit import Audit
from jevons.controller.demand import DemandServer
from jevons.controller.handlers import Watcher
from jevons.controller.health import Heartbeat, health_app, metrics_app, serve
from jevons.controller.loop import Bell, Loop, Timing, explained
from jevons.controller.metrics import LastPass, OperatorMetrics
from jevons.controller.recorder import Recorder
from jevons.core.snapshot import RouterCurve
from jevons.signals.prometheus import Prometheus
from jevons.signals.reader import PrometheusReader

DEAF_S = 15.0
"""How long the watches may be silent while lists find news."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says (docs/designs/0001-the-house.md). Intervals in seconds, port 0 = any free one."""

    namespace: str
    prometheus_url: str
    identity: str
    kubeconfig: str | None = None
    scrape_interval_s: float = 15.0
    period_s: float = 15.0
    resync_s: float = 120.0
    listen: str = "0.0.0.0"
    demand_port: int = 9810
    health_port: int = 9811
    metrics_port: int = 9812
    watch_namespaces: tuple[str, ...] = ()
    target_kinds: tuple[str, ...] = DEFAULT_TARGET_KINDS
    insecure_demand: bool = False
    demand_users: tuple[str, ...] = ()
    controller_name: str = "jevons"
    data_dir: Path | None = None
    record_mib: int = 256
    """Bound of the recorded passes in `data_dir`; 0 records none."""
    prometheus_token_file: str | None = None
    prometheus_ca_file: str | None = None


class Operator:
    """The process' parts and its tasks. `started` is called with the ports once everything serves."""

    def __init__(self, api: Api, options: Options, kinds: Sequence[Kind]) -> None:
        self._api, self._options = api, options
        self._bell, self._heartbeat, self._metrics = Bell(), Heartbeat(), OperatorMetrics()
        self._lister = Lister(api, kinds, options.watch_namespaces)
        self._kinds = {(kind.api_version, kind.kind): kind for kind in kinds}
        self._lease = Lease(api, namespace=options.namespace, identity=options.identity)
        self._viewer = Viewer(self._lister.world, controller_name=options.controller_name)
        self._audit = Audit(options.data_dir)
        passes = options.data_dir / "passes" if options.data_dir is not None else None
        self._recorder = Recorder(passes, limit_bytes=options.record_mib * 1024 * 1024, count=self._metrics.pass_recorded)
        prometheus = Prometheus(options.prometheus_url, token_file=options.prometheus_token_file, ca_file=options.prometheus_ca_file)
        self._reader = PrometheusReader(prometheus, scrape_interval_s=options.scrape_interval_s)
        authenticate = None if options.insecure_demand else TokenReviewer(api).user
        self._demand = DemandServer(
            on_wake=lambda: self._bell.ring(urgent=True),
            leading=lambda: self._lease.leading,
            authenticate=authenticate,
            users=demand_users(options),
        )
        self._router = router_curve()
        self._heard_at = time.monotonic()
        api.before_write = self._before_write

    def _before_write(self, method: str, path: str) -> None:
        self._lease.check(method, path)
        self._metrics.written(method, path)

    async def run(self, stop: asyncio.Event, started: Callable[[dict[str, int]], None]) -> None:
        """Until `stop` is set."""
        options, world = self._options, self._lister.world
        ports = {"demand": await self._demand.start(f"{options.listen}:{options.demand_port}")}
        health = health_app(
            ready=lambda: world.synced,
            heartbeat=self._heartbeat,
            dead_after_s=max(60.0, 4 * options.period_s),
            explain=lambda namespace, name: explained(self._metrics, namespace, name),
        )
        health_runner, ports["health"] = await serve(health, options.listen, options.health_port)
        metrics_runner, ports["metrics"] = await serve(metrics_app(self._metrics.render), options.listen, options.metrics_port)
        running: list[asyncio.Task[None]] = []
        try:
            await self._first_sync(stop)
            rare_collections()
            listen_to(world, self._bell)
            watcher = Watcher(self._api, self._deliver, [kind for kind, each in world.kinds.items() if each.available], options.watch_namespaces)
            jobs = {"watch": watcher.run(), "resync": self._resync(), "lease": self._lease.run(), "sessions": self._sessions()}
            for name, job in jobs.items():
                running.append(asyncio.create_task(job, name=name))
            if not stop.is_set():
                started(ports)
            await _until(stop, running)
        finally:
            await _end(running[::-1])  # sessions first: checkpoints are stored while the Lease is still held; then it is given back
            await self._demand.stop()
            self._reader.close()
            await asyncio.to_thread(self._recorder.close)
            await health_runner.cleanup()
            await metrics_runner.cleanup()

    def _deliver(self, kind: Kind, change: str | None, item: dict[str, Any]) -> None:
        """One event of kopf's thread, in ours."""
        self._heard_at = time.monotonic()
        self._lister.world.kinds[kind].apply(change, item)

    async def _first_sync(self, stop: asyncio.Event) -> None:
        """List until everything was listed once: CRDs may come after us, the API server may be away."""
        backoff = Backoff(most_s=15.0)
        while not stop.is_set() and not await self._lister.resync():
            self._heartbeat.beat()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), backoff.next_s())

    async def _resync(self) -> None:
        """List everything each `resync_s`; each DEAF_S while lists bring news that no watch told, and once soon after the start.

        An outage that begins while the watches are being opened leaves them in long backoffs: then the lists must not wait for two minutes. Nor
        after a list that failed. The Lease is asked for every other second, so it is how the end of an outage is noticed: then they begin at once.
        """
        wait_s = until_next_list_s(self._options.resync_s, deaf=True, complete=True)
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._lease.reached.wait(), wait_s * random.uniform(0.9, 1.1))  # noqa: S311  spreads load
            self._lease.reached.clear()
            complete = await self._lister.resync()
            deaf = self._lister.found > 0 and time.monotonic() - self._heard_at > DEAF_S
            if deaf:
                log.warning("the watches are silent; listing more often", found=self._lister.found)
            wait_s = until_next_list_s(self._options.resync_s, deaf=deaf, complete=complete)

    async def _sessions(self) -> None:
        """Run one loop for each stretch of leadership."""
        session: asyncio.Task[None] | None = None
        try:
            while True:
                leads = self._lease.leading
                self._metrics.leader.set(leads)
                if leads and session is None:
                    session = asyncio.create_task(self._session(), name="loop")
                    self._demand.leadership_changed()
                elif session is not None and (not leads or session.done()):
                    await _end([session])
                    session, self._metrics.last = None, LastPass()
                    self._demand.leadership_changed()
                if session is None:
                    self._heartbeat.beat()
                self._lease.changed.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._lease.changed.wait(), 0.5)
        finally:
            if session is not None:
                await _end([session])

    async def _session(self) -> None:
        """From the checkpoints on, one loop. An API server that cannot give them is waited for."""
        checkpoints, backoff = Checkpoints(self._api, namespace=self._options.namespace), Backoff()
        origins = Origins(self._api, self._lister.world, self._kinds, namespace=self._options.namespace)
        while True:
            try:
                saved = await checkpoints.load()
                await origins.load()
                break
            except ApiError as error:
                log.warning("checkpoints could not be read", error=str(error))
                await asyncio.sleep(backoff.next_s(error.retry_after_s))
        actuator = Actuator(self._api, self._lister.world, Events(self._api), self._kinds, origins)
        loop = Loop(
            viewer=self._viewer,
            actuator=actuator,
            source=self._reader,
            demand=self._demand,
            checkpoints=checkpoints,
            saved=saved,
            bell=self._bell,
            metrics=self._metrics,
            audit=self._audit,
            recorder=self._recorder,
            heartbeat=self._heartbeat,
            timing=Timing(period_s=self._options.period_s, scrape_interval_s=self._options.scrape_interval_s),
            router=self._router,
        )
        try:
            await loop.run()
        finally:
            await actuator.close()


def demand_users(options: Options) -> tuple[str, ...]:
    """Who may report demand; where nobody is named, the ServiceAccount of the gateway beside us."""
    return options.demand_users or (f"system:serviceaccount:{options.namespace}:jevons-gateway",)


def until_next_list_s(resync_s: float, *, deaf: bool, complete: bool) -> float:
    """Seconds to the next full list: `resync_s`, sooner while the watches are silent (`deaf`) or a list failed (not `complete`)."""
    return min(DEAF_S, resync_s) if deaf or not complete else resync_s


def rare_collections() -> None:
    """Look for cycles rarely: a pass makes and drops some hundred thousand objects without one, and searching them takes as long as deciding.

    At 200,000 new objects instead of 50,000 a pass of 200 deployments is searched every sixth to twelfth time instead of every third to sixth.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(200_000, 5, 20)


def listen_to(world: World, bell: Bell) -> None:
    """Ring for what a pass should not wait for: changed specs, pods that are ready, lie down or wake, targets and autoscalers that came or went."""

    def spec_changed(old: Any, new: Any) -> None:
        if old is None or new is None or old.meta.uid != new.meta.uid or old.meta.generation != new.meta.generation:
            bell.ring()

    def pod_changed(old: Any, new: Any) -> None:
        if new is not None and new.ready_at_s is not None and (old is None or old.ready_at_s is None or old.sleep != new.sleep):
            bell.ring()

    def came_or_went(old: Any, new: Any) -> None:
        if old is None or new is None or old.meta.uid != new.meta.uid:
            bell.ring()

    for collection in (world.deployments, world.budgets, world.classes):
        collection.on_change = spec_changed
    world.pods.on_change = pod_changed
    for workloads in world.workloads.values():
        workloads.on_change = came_or_went
    for autoscalers in world.autoscalers.values():
        autoscalers.on_change = came_or_went


def router_curve() -> RouterCurve | None:
    """The calibration that ships with the classifier's weights; None when there is none that can be read."""
    try:
        return RouterCurve(*read_curve())
    except ClassifierError as error:
        log.warning("no router curve", error=str(error))
        return None


async def _until(stop: asyncio.Event, tasks: Sequence[asyncio.Task[None]]) -> None:
    """Until stopped, or a task ends, which none should: then its error is raised and the process restarted by whoever runs it."""
    waiting = asyncio.create_task(stop.wait())
    done, _ = await asyncio.wait({waiting, *tasks}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    for task in done - {waiting}:
        await task
        raise RuntimeError(f"task {task.get_name()} ended")


async def _end(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Cancel and wait, one after the other."""
    for task in tasks:
        task.cancel()
        result = (await asyncio.gather(task, return_exceptions=True))[0]
        if isinstance(result, Exception):
            log.error("task failed", task=task.get_name(), error=repr(result))


async def run(options: Options) -> None:
    """The whole process, until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with connect(options.kubeconfig, user_agent="jevons-operator") as api:
        kinds = await _unless(stop, _discovered(api, options.target_kinds))
        if kinds is not None:
            await Operator(api, options, kinds).run(stop, _announce)


def _announce(ports: dict[str, int]) -> None:
    """The line that whoever started us waits for."""
    print(orjson.dumps({"ready": True, "ports": ports}).decode(), flush=True)  # noqa: T201  the contract's ready line


async def _discovered(api: Api, targets: Sequence[str]) -> list[Kind]:
    backoff = Backoff(most_s=15.0)
    while True:
        try:
            return await discover(api, targets)
        except ApiError as error:
            log.warning("API server not reached", server=api.server, error=str(error))
            await asyncio.sleep(backoff.next_s(error.retry_after_s))


async def _unless(stop: asyncio.Event, job: Coroutine[Any, Any, list[Kind]]) -> list[Kind] | None:
    """The job's result, or None when stopped before."""
    task, waiting = asyncio.create_task(job), asyncio.create_task(stop.wait())
    await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if task.done():
        return await task
    task.cancel()
    return None

"""The sandbox: a real control plane with simulated GPUs in one folder, and Jevons' own processes in it.

    async with Sandbox.start(nodes=[NodeSpec("gpu-a")]) as box:
        await box.kubectl("apply", "-f", "-", input=manifest)
        async with box.operator(period_s=1) as op, box.gateway(operators=[op.demand_address]) as gw:
            ...

Nothing here is tied to an event loop or to the Python clients of Kubernetes: programs write to files, and objects are read with the real kubectl. So
a session's sandbox can be used from any test's own loop. However the parent ends, watchdog.py ends the rest.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from pathlib import Path

from jevons.sandbox import watchdog
from jevons.sandbox.cluster import Cluster
from jevons.sandbox.kubectl import Kubectl
from jevons.sandbox.llamacpp import provision
from jevons.sandbox.nodes import DEFAULT_NODES, SYSTEM_NAMESPACE, NodeSpec, first_objects
from jevons.sandbox.processes import READY_S, NotReadyError, Program, SandboxError
from jevons.sandbox.prometheus import Prometheus
from jevons.sandbox.services import Gateway, Operator
from jevons.sandbox.slots import PREFIX, Slot, take
from jevons.sandbox.tools import CHECKOUT, Tools

DEMAND_AUDIENCE = "jevons-demand"


class Sandbox(Kubectl):
    """One running sandbox; made by `Sandbox.start`."""

    def __init__(self, folder: Path, *, slot: Slot, tools: Tools, scrape_interval_s: float) -> None:
        self.dir = folder
        self.slot = slot
        self.tools = tools
        self.scrape_interval_s = scrape_interval_s
        self.cluster = Cluster(folder, slot=slot, tools=tools)
        self.prometheus: Prometheus | None = None
        self.fleet: Program | None = None
        self._started = 0

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.cluster.kubeconfig

    @property
    def kubectl_path(self) -> Path:
        """The kubectl of the tools."""
        return self.tools["kubectl"]

    @property
    def environment(self) -> dict[str, str]:
        """The mark by which the watchdog finds what belongs to this sandbox."""
        return {watchdog.MARK: str(self.dir)}

    @property
    def api_url(self) -> str:
        """The API server's address."""
        return self.cluster.api_url

    @property
    def prometheus_url(self) -> str:
        """Prometheus' address. Raises SandboxError in a sandbox without one."""
        if self.prometheus is None:
            raise SandboxError("this sandbox was started with prometheus=False")
        return self.prometheus.url

    @classmethod
    @contextlib.asynccontextmanager
    async def start(
        cls,
        *,
        nodes: Sequence[NodeSpec] = DEFAULT_NODES,
        tools: Tools | None = None,
        engines: bool = True,
        prometheus: bool = True,
        scrape_interval_s: float = 2.0,
        time_scale: float = 1.0,
        real_engines: bool = False,
        progress: Callable[[str], None] = lambda _sentence: None,
    ) -> AsyncIterator[Sandbox]:
        """A sandbox for the time of an `async with`.

        nodes: fake nodes with GPUs. engines: whether the fleet process plays pods. prometheus: whether there is one. scrape_interval_s: of all jobs
        [s]. time_scale: how much faster than the wall clock engines run. real_engines: pods annotated `sandbox.jevons.dev/engine: llamacpp` get a
        real llama.cpp server, built first when there is none. progress: told in a sentence what goes on. Raises NotReadyError with the log of
        whatever did not start; everything that did is ended.
        """
        if tools is None:
            tools = await asyncio.to_thread(Tools.resolve, progress=progress)
        if real_engines:
            await asyncio.to_thread(provision, progress)
        with scratch() as (folder, slot):
            box = cls(folder, slot=slot, tools=tools, scrape_interval_s=scrape_interval_s)
            try:
                await box.cluster.start(progress)
                await box._furnish(nodes, progress)
                await asyncio.gather(box._start_prometheus(prometheus, progress), box._start_fleet(engines, time_scale, progress, real=real_engines))
                progress("ready")
                yield box
            finally:
                for program in (box.prometheus, box.fleet):
                    if program is not None:
                        program.kill()
                box.cluster.let_go()

    @contextlib.asynccontextmanager
    async def operator(
        self,
        *,
        period_s: float = 1.0,
        resync_s: float = 120.0,
        demand_port: int | None = None,
        identity: str | None = None,
        insecure_demand: bool = False,
        options: Iterable[str] = (),
        env: dict[str, str] | None = None,
    ) -> AsyncIterator[Operator]:
        """`jevons operator` against this cluster until the end of the `async with` (SIGTERM), ready when it says so.

        period_s, resync_s: of its loop and its own LIST [s]. demand_port: the same one again after a kill, so that gateways find it.
        identity: its name in the Lease. options: further words of the command line.
        """
        op = Operator.of(
            self._name("operator"),
            self.dir,
            kubeconfig=self.kubeconfig,
            prometheus_url=self.prometheus_url,
            scrape_interval_s=self.scrape_interval_s,
            period_s=period_s,
            resync_s=resync_s,
            ports=(demand_port or self.slot.port(), self.slot.port(), self.slot.port()),
            options=[*(("--identity", identity) if identity else ()), *(("--insecure-demand",) if insecure_demand else ()), *options],
            env=env,
        )
        async with self._running(op, op.metrics_address):
            yield op

    @contextlib.asynccontextmanager
    async def gateway(
        self,
        *,
        operators: Sequence[str],
        pickers: int = 2,
        port: int | None = None,
        options: Iterable[str] = (),
        env: dict[str, str] | None = None,
    ) -> AsyncIterator[Gateway]:
        """`jevons gateway` with the real Envoy until the end of the `async with`, ready when it says so.

        operators: demand addresses (`op.demand_address`). pickers: processes. It carries a ServiceAccount token of the cluster for the operators.
        """
        name = self._name("gateway")
        token = self.dir / name / "token"
        token.parent.mkdir()
        token.write_text(
            await self.kubectl("create", "token", "jevons-gateway", "-n", SYSTEM_NAMESPACE, "--audience", DEMAND_AUDIENCE, "--duration", "24h")
        )
        gw = Gateway.of(
            name,
            self.dir,
            kubeconfig=self.kubeconfig,
            envoy=self.tools["envoy"],
            operators=operators,
            pickers=pickers,
            token=token,
            ports=(port or self.slot.port(), self.slot.port(), self.slot.port()),
            options=list(options),
            env=env,
        )
        async with self._running(gw, gw.metrics_address):
            yield gw

    @contextlib.asynccontextmanager
    async def _running(self, program: Program, metrics_address: str) -> AsyncIterator[None]:
        try:
            await program.start()
            if self.prometheus is not None:
                self.prometheus.watch(program.name, metrics_address)
            yield
        finally:
            if self.prometheus is not None:
                self.prometheus.unwatch(program.name)
            await program.stop()

    def _name(self, kind: str) -> str:
        self._started += 1
        return f"{kind}-{self._started}"

    async def _furnish(self, nodes: Sequence[NodeSpec], progress: Callable[[str], None]) -> None:
        """Nodes, namespace, accounts, and the custom resource definitions of the checkout when there are some."""
        progress(f"{len(nodes)} nodes, {sum(node.gpus for node in nodes)} GPUs, none of them real")
        await self.apply(*first_objects(nodes))
        definitions = sorted((CHECKOUT / "crds").glob("*.yaml"))
        if definitions:
            await self.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(CHECKOUT / "crds"))
            await self.kubectl("wait", "--for=condition=Established", "--timeout=120s", "-f", str(CHECKOUT / "crds"), timeout_s=130)
        await self._controllers_work()

    async def _controllers_work(self) -> None:
        """Until one of them has made what it makes in every namespace. Raises NotReadyError."""
        deadline = time.monotonic() + READY_S
        self.cluster.revive()
        while not await self.get("serviceaccount", "default", namespace=SYSTEM_NAMESPACE):
            if time.monotonic() > deadline:
                raise NotReadyError(f"no controller works after {READY_S:g} s: see kube-controller-manager.log (JEVONS_SANDBOX_LOGS keeps it)")
            self.cluster.revive()
            await asyncio.sleep(0.2)

    async def _start_prometheus(self, wanted: bool, progress: Callable[[str], None]) -> None:
        if not wanted:
            return
        progress("starting Prometheus")
        self.prometheus = Prometheus(
            self.tools["prometheus"], self.dir, port=self.slot.port(), kubeconfig=self.kubeconfig, scrape_interval_s=self.scrape_interval_s
        )
        await self.prometheus.start()

    async def _start_fleet(self, wanted: bool, time_scale: float, progress: Callable[[str], None], *, real: bool) -> None:
        if not wanted:
            return
        progress("starting the fleet that plays the engines")
        command = [sys.executable, "-m", "jevons.sandbox.fleet", "--kubeconfig", str(self.kubeconfig), "--cidr", self.slot.pod_cidr]
        command += ["--time-scale", f"{time_scale:g}", "--engine", "llamacpp" if real else "simulated"]
        self.fleet = Program("fleet", command, folder=self.dir)
        await self.fleet.start()


@contextlib.contextmanager
def scratch() -> Iterator[tuple[Path, Slot]]:
    """A folder and a slot, with the watchdog that ends whatever carries the folder's mark when this process lets go of the pipe."""
    slot = take()
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    slot.belongs_to(folder)
    guard = subprocess.Popen(
        [sys.executable, "-I", watchdog.__file__, str(folder)], stdin=subprocess.PIPE, pass_fds=[slot.fd], start_new_session=True
    )
    try:
        yield folder, slot
    finally:
        if kept := os.environ.get("JEVONS_SANDBOX_LOGS"):
            keep_logs(folder, Path(kept))
        if guard.stdin is not None:
            guard.stdin.close()
        left = guard.wait()
        slot.release()
        if left:
            raise SandboxError(f"some processes of {folder} could not be ended (watchdog exit code {left})")


def keep_logs(folder: Path, kept: Path) -> None:
    """Copy what the programs of a sandbox wrote to `kept`/<its name>, to be read after its end; a log that goes away meanwhile is no error."""
    target = kept / folder.name
    target.mkdir(parents=True, exist_ok=True)
    for log in [*folder.glob("logs/*"), *folder.glob("kwok/clusters/*/logs/*")]:
        with contextlib.suppress(OSError):
            shutil.copy(log, target / log.name)

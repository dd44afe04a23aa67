"""One gateway: Envoy, the pickers, the waiting room and the agent as children, started in the order in which they need each other.

    agent (writes table.json, eds.json), pickers, room -> Envoy -> ready

A child that dies is started again; none of the others notices more than a retry. The waiting room's listening socket belongs to the supervisor
and outlives the process that accepts from it: those who waited in a room that was killed come again at once and are held by the next one.
SIGTERM drains: Envoy takes no new connections, finishes the requests in flight (30 s at most), and only then the others end, the agent last,
so that the last answers are accounted for. With `envoy` None Envoy runs elsewhere (its own container) on the configuration written here.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import orjson
import structlog

from jevons.gateway import inflight
from jevons.gateway.envoy.bootstrap import MAX_HEAP_BYTES, EnvoySettings, write_bootstrap
from jevons.gateway.processes import Child
from jevons.gateway.room import BACKLOG
from jevons.gateway.serve_picker import socket_of
from jevons.gateway.table import write_atomic

DRAIN_S = 30.0
SOCKET_PATH_MAX = 100

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class GatewayOptions:
    """The command line of `jevons gateway`. Addresses are `host:port`; port 0 picks a free one."""

    state_dir: Path
    envoy: Path | None
    listen: str = "127.0.0.1:8080"
    room_address: str = "127.0.0.1:9814"
    room_grace_s: float = 10.0
    metrics_port: int = 9813
    metrics_host: str = "127.0.0.1"
    pickers: int = 2
    operators: tuple[str, ...] = ()
    operator_dns: str | None = None
    token_file: Path | None = None
    kubeconfig: str | None = None
    watch_namespaces: tuple[str, ...] = ()
    controller_name: str = "jevons"
    source: str = field(default_factory=socket.gethostname)
    concurrency: int = 2
    health_port: int | None = None
    """On `listen`'s host; None = none."""
    max_heap_bytes: int = MAX_HEAP_BYTES
    max_pickers: int = 14


class Supervisor:
    """Runs the children of one gateway."""

    def __init__(self, options: GatewayOptions) -> None:
        if not 1 <= options.pickers <= options.max_pickers:
            raise ValueError(f"--pickers: {options.pickers} is outside 1..{options.max_pickers}")
        if len(str(socket_of(options.state_dir, 99))) > SOCKET_PATH_MAX:
            raise ValueError(f"--state-dir: {options.state_dir} is too long for the unix sockets in it ({SOCKET_PATH_MAX} characters)")
        self.options = options
        host, _, port = with_port(options.listen).rpartition(":")
        sockets = tuple(socket_of(options.state_dir, index) for index in range(options.pickers))
        host = host or "0.0.0.0"
        health = None if options.health_port is None else int(with_port(f"{host}:{options.health_port}").rpartition(":")[2])
        self.settings = EnvoySettings(
            options.state_dir, sockets, host=host, port=int(port), health_port=health, max_heap_bytes=options.max_heap_bytes
        )
        self.room = options.room_address
        self._room_socket: socket.socket | None = None
        self.metrics = with_port(f"{options.metrics_host}:{options.metrics_port}")
        self._tasks: list[asyncio.Task[None]] = []
        self._children: list[Child] = []

    async def run(self) -> None:
        """Until SIGTERM or SIGINT; prints the ready line once everything serves."""
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        self.prepare()
        starting = asyncio.create_task(self._start())
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait([starting, stopping], return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                ports = starting.result()
                sys.stdout.write(orjson.dumps({"ready": True, "ports": ports}).decode() + "\n")
                sys.stdout.flush()
                await stopping
        finally:
            starting.cancel()
            await self._end()

    def prepare(self) -> None:
        """The waiting room's socket; the state folder: secret, Envoy's configuration, nothing in flight."""
        self._room_socket = listening(self.room)
        self.room = f"{self.room.rpartition(':')[0]}:{self._room_socket.getsockname()[1]}"
        state = self.options.state_dir
        state.mkdir(parents=True, exist_ok=True)
        secret = state / "secret"
        if not secret.exists():
            write_atomic(secret, secrets.token_bytes(32))  # mode 0600; never half of it: an empty key would seal nothing
        inflight.reset(state / "inflight.bin", time.time())
        for path in self.settings.pickers:
            path.unlink(missing_ok=True)
        write_bootstrap(self.settings, state / "envoy.json")

    async def _start(self) -> dict[str, int]:
        state, options = self.options.state_dir, self.options
        self._spawn("agent", *self._agent())
        reports = self._reports()
        for index in range(options.pickers):
            self._spawn(f"picker-{index}", *_python("serve_picker"), "--state-dir", str(state), "--index", str(index), *reports)
        self._spawn_room(*reports)
        for index in range(options.pickers):
            await until(lambda index=index: _accepts(str(socket_of(state, index))))  # type: ignore[misc]
        await until(lambda: _listens(self.metrics))
        await until(lambda: _exists(state / "table.json"))
        ports = {"room": int(self.room.rpartition(":")[2]), "metrics": int(self.metrics.rpartition(":")[2]), "http": self.settings.port}
        ports |= {"health": self.settings.health_port} if self.settings.health_port is not None else {}
        if options.envoy is None:
            return ports
        flags = ["--concurrency", str(options.concurrency), "--file-flush-interval-msec", "200", "--disable-hot-restart", "--log-level", "warning"]
        self._spawn("envoy", str(options.envoy), "--config-path", str(state / "envoy.json"), *flags)
        await until(self._envoy_ready)
        return ports

    def _spawn_room(self, *reports: str) -> None:
        if self._room_socket is None:
            raise RuntimeError("prepare() comes first")
        handed_down = self._room_socket.fileno()
        options = ["--state-dir", str(self.options.state_dir), "--listen-fd", str(handed_down), "--grace", f"{self.options.room_grace_s:g}"]
        self._spawn("room", *_python("room"), *options, *reports, pass_fds=(handed_down,))

    def _agent(self) -> list[str]:
        options = self.options
        command = [*_python("agent"), "--state-dir", str(options.state_dir), "--room-address", self.room, "--metrics-address", self.metrics]
        command += ["--controller-name", options.controller_name]
        command += ["--kubeconfig", options.kubeconfig] if options.kubeconfig else []
        return command + [word for namespace in options.watch_namespaces for word in ("--watch-namespace", namespace)]

    def _reports(self) -> list[str]:
        """How pickers and room reach the operators."""
        options = self.options
        words = ["--source", options.source, *(word for operator in options.operators for word in ("--operator", operator))]
        words += ["--operator-dns", options.operator_dns] if options.operator_dns else []
        return words + (["--token-file", str(options.token_file)] if options.token_file else [])

    def _spawn(self, name: str, *command: str, pass_fds: tuple[int, ...] = ()) -> None:
        child = Child(name, command, pass_fds)
        self._children.append(child)
        self._tasks.append(asyncio.create_task(child.run(), name=name))

    async def _end(self) -> None:
        """Envoy first, after its requests; the agent last."""
        named = {child.name: child for child in self._children}
        if "envoy" in named:
            await self._drain()
            await named.pop("envoy").stop(5.0)
        if self._room_socket is not None:
            self._room_socket.close()  # from here on a room that ends is not waited for
        agent = named.pop("agent", None)
        await asyncio.gather(*(child.stop(10.0) for child in named.values()))
        if agent is not None:
            await agent.stop(10.0)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _drain(self) -> None:
        """No new connections; wait for the requests in flight, `DRAIN_S` at most."""
        try:
            await self._admin("POST", "/healthcheck/fail")
            await self._admin("POST", "/drain_listeners?inboundonly")
            end = time.monotonic() + DRAIN_S
            while time.monotonic() < end:
                stats = orjson.loads(await self._admin("GET", "/stats?format=json&filter=^http.gateway.downstream_rq_active$"))
                if not any(one.get("value") for one in stats["stats"]):
                    return
                await asyncio.sleep(0.1)
            log.warning("requests still in flight at the end of the drain", drain_s=DRAIN_S)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            log.warning("Envoy not drained", error=str(error))

    async def _envoy_ready(self) -> bool:
        with contextlib.suppress(aiohttp.ClientError, OSError):
            return (await self._admin("GET", "/ready")).startswith(b"LIVE")
        return False

    async def _admin(self, method: str, path: str) -> bytes:
        connector = aiohttp.UnixConnector(path=str(self.settings.admin))
        async with aiohttp.ClientSession(connector=connector) as session, session.request(method, f"http://envoy{path}") as response:
            return await response.read()


def with_port(address: str) -> str:
    """`address` with a free port in the place of port 0."""
    host, _, port = address.rpartition(":")
    if int(port):
        return address
    with socket.socket() as probe:
        probe.bind((host.strip("[]") or "127.0.0.1", 0))
        return f"{host}:{probe.getsockname()[1]}"


def listening(address: str) -> socket.socket:
    """A listening TCP socket at `host:port` (port 0: a free one)."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, int(port)), family=family, backlog=BACKLOG)


async def until(holds: Callable[[], Awaitable[bool]], every_s: float = 0.02) -> None:
    """Return when it holds."""
    while not await holds():  # noqa: ASYNC110 - it happens in another process
        await asyncio.sleep(every_s)


def _python(module: str) -> list[str]:
    return [sys.executable, "-m", f"jevons.gateway.{module}"]


async def _exists(path: Path) -> bool:
    return path.exists()  # noqa: ASYNC240 - a stat


async def _accepts(path: str) -> bool:
    with contextlib.suppress(OSError):
        _, writer = await asyncio.open_unix_connection(path)
        writer.close()
        return True
    return False


async def _listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with contextlib.suppress(OSError):
        _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
        writer.close()
        return True
    return False

"""A gateway without a cluster: the real Envoy, real pickers, fake engines, and a table that the test writes."""

import asyncio
import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jevons.gateway.endpoints import CLUSTER, EndpointsFile, endpoints_of
from jevons.gateway.envoy.bootstrap import EnvoySettings, write_bootstrap
from jevons.gateway.serve_picker import socket_of
from jevons.gateway.table import Model, Pod, RequestClass, Table, TableFile, Variant
from jevons.sandbox.tools import Tools

ENGINE = Path(__file__).with_name("lab_engine.py")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def until(holds: Callable[[], object], what: str, timeout_s: float = 60.0) -> None:
    end = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > end:
            pytest.fail(f"not within {timeout_s} s: {what}")
        time.sleep(0.01)


async def transports_closed() -> None:
    """After a session, before its loop: what a server no longer reads (a body that it refused) is still being written then."""
    transports = list(asyncio.get_running_loop()._transports.values())
    async with asyncio.timeout(5.0):
        while any(transport.is_closing() and transport._sock is not None for transport in transports):  # noqa: ASYNC110  nothing tells
            await asyncio.sleep(0)


def listening(port: int, host: str = "127.0.0.1") -> bool:
    with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=1):
        return True
    return False


class Lab:
    """`url` is the gateway's; `publish(model)` replaces the table; `start(...)`/`kill(...)` handle processes by name."""

    def __init__(self, folder: Path, envoy: str) -> None:
        self.dir = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.pickers = 2
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.generation = 0
        (folder / "secret").write_bytes(b"a secret of the lab, 32 bytes long")
        self.endpoints = EndpointsFile(folder / "eds.json")
        self.table = TableFile(folder / "table.json")
        self.room_port = self.engine("room", "room")
        settings = EnvoySettings(folder, tuple(socket_of(folder, index) for index in range(self.pickers)), port=self.port)
        write_bootstrap(settings, folder / "envoy.json")
        self.publish()
        for index in range(self.pickers):
            self.picker(index)
        command = [
            envoy,
            "-c",
            str(folder / "envoy.json"),
            "--disable-hot-restart",
            "--concurrency",
            "2",
            "--file-flush-interval-msec",
            "100",
            "-l",
            "warning",
        ]
        self.start("envoy", command)
        until(lambda: listening(self.port), "Envoy listens")

    def start(self, name: str, command: list[str]) -> None:
        with (self.dir / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.dir)

    def engine(self, name: str, *role: str) -> int:
        port = free_port()
        self.start(name, [sys.executable, str(ENGINE), "127.0.0.1", str(port), *role])
        until(lambda: listening(port), f"{name} listens")
        return port

    def picker(self, index: int) -> None:
        self.start(f"picker-{index}", [sys.executable, "-m", "jevons.gateway.serve_picker", "--state-dir", str(self.dir), "--index", str(index)])
        until(lambda: socket_of(self.dir, index).exists(), f"picker {index} serves")

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        process = self.processes.pop(name)
        process.send_signal(number)
        process.wait(10)

    def publish(self, *models: Model) -> None:
        """Replace EDS and table, and wait until Envoy has seen them and both pickers have had the time to."""
        self.generation += 1
        names = {model.short: model.key for model in models}
        table = Table({model.key: model for model in models}, names, f"127.0.0.1:{self.room_port}", self.generation, time.time())
        self.endpoints.write(table)
        self.table.write(table)
        if "envoy" in self.processes:
            wanted = set(endpoints_of(table))
            until(lambda: self.known() == wanted, f"Envoy knows {wanted}")
        time.sleep(0.15)

    def known(self) -> set[str]:
        """The endpoints that Envoy would send to, as its admin interface lists them."""
        with socket.socket(socket.AF_UNIX) as admin:
            admin.connect(str(self.dir / "envoy-admin.sock"))
            asking = http.client.HTTPConnection("envoy")
            asking.sock = admin
            asking.request("GET", "/clusters")
            lines = asking.getresponse().read().decode().splitlines()
        return {host for cluster, _, rest in (line.partition("::") for line in lines) if cluster == CLUSTER and ":" in (host := rest.split("::")[0])}

    def log(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in (self.dir / "access.log").read_bytes().splitlines()]

    def close(self) -> None:
        for name in list(self.processes):
            self.kill(name, signal.SIGKILL)


def model_of(**ports: list[int]) -> Model:
    """`assistant` in `team-a`; each keyword is a variant with its pods' ports. `large` is the best, `small` the cheaper one."""
    variants = tuple(
        Variant(
            name=name,
            state="Ready" if listed else "Asleep",
            served_model=f"org/{name}",
            quality=1.0 if name == "large" else 0.7,
            context_length=8192,
            capabilities=("Tools",) if name == "large" else (),
            pods=tuple(Pod(f"{name}-{port}", f"127.0.0.1:{port}") for port in listed),
        )
        for name, listed in ports.items()
    )
    return Model("team-a", "assistant", "assistant", variants, (RequestClass("default"),), best="large", wake="small")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    laboratory = Lab(tmp_path_factory.mktemp("lab"), str(Tools.resolve(["envoy"])["envoy"]))
    try:
        yield laboratory
    finally:
        laboratory.close()


@pytest.fixture(scope="session")
def model() -> Callable[..., Model]:
    return model_of

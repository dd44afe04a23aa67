"""A kind cluster for the session, Jevons in it by Helm. Without a container engine every test here is skipped, and says why."""

from __future__ import annotations

import importlib.util
import secrets
import sys
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from types import ModuleType
from typing import Any

import pytest
import pytest_asyncio
import yaml

from jevons.sandbox.kind import Kind, engine_pods, missing
from jevons.sandbox.tools import CHECKOUT

EXAMPLES = CHECKOUT / "examples"
CLIENT = CHECKOUT / "tests" / "cluster" / "main_job" / "client.py"


@pytest.fixture(scope="session")
def engine() -> None:
    reason = missing()
    if reason is not None:
        pytest.skip(reason)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def cluster(engine: None, request: pytest.FixtureRequest) -> AsyncIterator[Kind]:
    """The cluster, its progress told on the terminal: it takes minutes."""
    terminal, began = request.config.pluginmanager.getplugin("terminalreporter"), time.monotonic()

    def tell(sentence: str) -> None:
        with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
            terminal.write_line(f"{time.monotonic() - began:5.0f} s  {sentence}")

    async with Kind.start(progress=tell) as running:
        yield running


@pytest_asyncio.fixture
async def release(cluster: Kind) -> Kind:
    """Jevons as the chart installs it, every pod Ready, with the classes that the nodes are labelled for."""
    await cluster.install()
    await cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(EXAMPLES / "accelerators.yaml"))
    return cluster


@pytest_asyncio.fixture
async def namespace(cluster: Kind) -> AsyncIterator[str]:
    """A namespace for engines, held to the restricted Pod Security Standard."""
    name = f"t-{secrets.token_hex(4)}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    await cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    yield name
    await cluster.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="session")
def main_job() -> ModuleType:
    """The client of the embedded suite."""
    spec = importlib.util.spec_from_file_location("main_job_client", CLIENT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest_asyncio.fixture
async def client(main_job: ModuleType, cluster: Kind) -> AsyncIterator[Any]:
    async with main_job.Client(cluster.gateway_url) as one:
        yield one


@pytest.fixture
def example() -> Callable[[str], list[dict[str, Any]]]:
    """The objects of an example, with engines that kubelets can start."""

    def read(name: str) -> list[dict[str, Any]]:
        return [engine_pods(found) for found in yaml.safe_load_all((EXAMPLES / name).read_text()) if found]

    return read


@pytest.fixture
def eventually(eventually: Callable[..., Any]) -> Callable[..., Any]:
    """Kubelets and containers take their time, and every look is an answer of the API server."""
    return partial(eventually, within_s=120.0, every_s=0.3)

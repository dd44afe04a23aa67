"""The embedded cluster: one sandbox for the whole session, a fresh namespace for each test.

The sandbox lives in the session's event loop; its methods may be awaited from any test's own loop.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from jevons.sandbox import NodeSpec, Sandbox, Tools
from jevons.sandbox.tools import FITTING

NODES = (
    NodeSpec("gpu-a", accelerator="h100-80gb", gpus=8),
    NodeSpec("gpu-b", accelerator="a100-80gb", gpus=8),
    NodeSpec("gpu-c", accelerator="l40s-48gb", gpus=4),
    NodeSpec("gpu-d", accelerator="l4-24gb", gpus=4, spot=True),
)


@pytest.fixture(scope="session")
def tools() -> Tools:
    """The binaries, which must be here already: building them takes minutes, which no test's time limit allows."""
    found = Tools.present()
    missing = [name for name in FITTING if name not in found.found]
    if missing:
        pytest.fail(f"{', '.join(missing)} not found; run `make tools` first")
    return found


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def sandbox(tools: Tools) -> AsyncIterator[Sandbox]:
    """A running sandbox with engines and Prometheus."""
    async with Sandbox.start(nodes=NODES, tools=tools) as box:
        yield box


@pytest_asyncio.fixture
async def namespace(sandbox: Sandbox) -> AsyncIterator[str]:
    """The name of a namespace that this test alone uses; it is deleted (without waiting) when the test ends."""
    name = f"t-{secrets.token_hex(4)}"
    await sandbox.kubectl("create", "namespace", name)
    yield name
    await sandbox.kubectl("delete", "namespace", name, "--wait=false")

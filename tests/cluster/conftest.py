"""The embedded cluster: one sandbox for the whole session, a fresh namespace for each test.

The sandbox lives in the session's event loop; its methods may be awaited from any test's own loop.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from jevons.sandbox import Sandbox, Tools
from jevons.sandbox.tools import FITTING


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
    """A running sandbox with engines, Prometheus and the four nodes of `DEFAULT_NODES`."""
    async with Sandbox.start(tools=tools) as box:
        yield box


@pytest_asyncio.fixture
async def namespace(sandbox: Sandbox) -> AsyncIterator[str]:
    """The name of a namespace that this test alone uses; it is deleted (without waiting) when the test ends."""
    name = f"t-{secrets.token_hex(4)}"
    await sandbox.kubectl("create", "namespace", name)
    yield name
    await sandbox.kubectl("delete", "namespace", name, "--wait=false")

"""A connection to the sandbox's API server for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from jevons.cluster.connect import Api, connect
from jevons.sandbox import Sandbox


@pytest_asyncio.fixture
async def api(sandbox: Sandbox) -> AsyncIterator[Api]:
    async with connect(str(sandbox.kubeconfig)) as opened:
        yield opened

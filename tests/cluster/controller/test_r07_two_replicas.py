"""R7: two operators, one leader; a killed one is followed within 20 s, one that is asked to go within 5 s."""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio

from jevons.cluster.connect import ApiError, connect
from jevons.cluster.lease import LEASES

pytestmark = pytest.mark.cluster


@pytest_asyncio.fixture
async def holder(sandbox) -> AsyncIterator[Callable]:
    """Asks who holds the Lease: "" when nobody does."""
    async with connect(str(sandbox.kubeconfig)) as api:

        async def ask():
            try:
                return (await api.get(LEASES.path("jevons-system", "jevons-operator")))["spec"]["holderIdentity"]
            except ApiError as error:
                if error.not_found:
                    return ""
                raise

        yield ask


async def test_one_that_is_asked_to_go_is_followed_within_5_s(sandbox, eventually, holder):
    async with sandbox.operator(identity="goes") as goes:
        await eventually(lambda: _is(holder, "goes"), within_s=30)
        async with sandbox.operator(identity="follows"):
            assert await holder() == "goes"
            began = time.monotonic()
            await goes.stop()
            await eventually(lambda: _is(holder, "follows"), within_s=15)
            took_s = time.monotonic() - began
            sys.stdout.write(f"R7: followed {took_s:.1f} s after SIGTERM\n")
            assert took_s <= 5.0
        assert await holder() == "", "given back by who was asked to go"


@pytest.mark.slow
async def test_a_killed_one_is_followed_within_20_s(sandbox, eventually, holder):
    async with sandbox.operator(identity="one") as one:
        await eventually(lambda: _is(holder, "one"), within_s=30)
        async with sandbox.operator(identity="two"):
            one.kill()
            began = time.monotonic()
            await eventually(lambda: _is(holder, "two"), within_s=25)
            killed_s = time.monotonic() - began
            sys.stdout.write(f"R7: followed {killed_s:.1f} s after a kill\n")
            assert killed_s <= 20.0


async def _is(holder, name):
    return await holder() == name

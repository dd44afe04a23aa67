"""One leader at most, whatever happens to it."""

from __future__ import annotations

import asyncio
import contextlib
import time

import pytest

from jevons.cluster.connect import ApiError
from jevons.cluster.lease import Lease, NotLeadingError

pytestmark = pytest.mark.cluster

FAST = {"lease_s": 3.0, "renew_s": 2.0, "retry_s": 0.2}


class Cut:
    """An API client whose network can be cut."""

    def __init__(self, api):
        self._api, self.cut = api, False

    async def get(self, *args, **kwargs):
        await self._check()
        return await self._api.get(*args, **kwargs)

    async def request(self, *args, **kwargs):
        await self._check()
        return await self._api.request(*args, **kwargs)

    async def _check(self):
        if self.cut:
            raise ApiError(0, "Unreachable", "cut")


@contextlib.asynccontextmanager
async def competing(lease):
    task = asyncio.create_task(lease.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(check, within_s):
    began = time.monotonic()
    async with asyncio.timeout(within_s):
        while True:
            if check():
                return time.monotonic() - began
            await asyncio.sleep(0.02)


async def test_a_released_lease_is_taken_at_once_and_two_never_lead(api, namespace):
    one, two = (Lease(api, namespace=namespace, identity=name, **FAST) for name in ("one", "two"))
    both = []
    async with competing(one) as first:
        await until(lambda: one.leading, 5)
        async with competing(two):
            watching = asyncio.create_task(until(lambda: both.append(1) if one.leading and two.leading else False, 30))
            await asyncio.sleep(1.0)
            assert (one.leading, two.leading) == (True, False)
            first.cancel()
            assert await until(lambda: two.leading, 5) < 2.0
            watching.cancel()
    assert both == []


async def test_a_leader_that_is_cut_off_stops_before_another_begins(api, namespace):
    line = Cut(api)
    one, two = Lease(line, namespace=namespace, identity="one", **FAST), Lease(api, namespace=namespace, identity="two", **FAST)
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(competing(one))
        await until(lambda: one.leading, 5)
        await stack.enter_async_context(competing(two))
        line.cut = True
        stopped = await until(lambda: not one.leading, 5)
        assert stopped <= FAST["renew_s"] + 0.5
        with pytest.raises(NotLeadingError):
            one.check("PATCH", "/anything")
        assert not two.leading, "nobody leads before the lease is over"
        await until(lambda: two.leading, 6)

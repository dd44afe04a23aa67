"""One leader at most, whatever happens to it."""

from __future__ import annotations

import asyncio
import contextlib
import time

import pytest

from jevons.cluster.connect import MERGE_PATCH, ApiError
from jevons.cluster.lease import LEASES, Lease, NotLeadingError

pytestmark = pytest.mark.cluster

FAST = {"lease_s": 3.0, "renew_s": 2.0, "retry_s": 0.2}


class Cut:
    """An API client whose network can be cut."""

    def __init__(self, api):
        self._api, self.cut, self.looks = api, False, 0

    async def get(self, *args, **kwargs):
        await self._check()
        self.looks += 1
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
        await until(lambda: one.leading, 30)
        async with competing(two):
            watching = asyncio.create_task(until(lambda: both.append(1) if one.leading and two.leading else False, 30))
            await asyncio.sleep(1.0)
            assert (one.leading, two.leading) == (True, False)
            first.cancel()
            assert await until(lambda: two.leading, 30) < FAST["lease_s"], "not only when it ran out"
            watching.cancel()
    assert both == []


async def test_a_leader_that_is_cut_off_stops_before_another_begins(api, namespace):
    line = Cut(api)
    one, two = Lease(line, namespace=namespace, identity="one", **FAST), Lease(api, namespace=namespace, identity="two", **FAST)
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(competing(one))
        await until(lambda: one.leading, 30)
        await stack.enter_async_context(competing(two))
        line.cut = True
        stopped = await until(lambda: not one.leading, 30)
        assert stopped < FAST["lease_s"]
        with pytest.raises(NotLeadingError):
            one.check("PATCH", "/anything")
        assert not two.leading, "nobody leads before the lease is over"
        await until(lambda: two.leading, 30)


async def test_a_renewal_is_one_request_and_an_edit_by_someone_else_costs_a_look(api, namespace):
    line = Cut(api)
    lease = Lease(line, namespace=namespace, identity="one", **FAST)
    path = LEASES.path(namespace, "jevons-operator")

    async def renewed_since(stamp):
        async with asyncio.timeout(30):
            while True:
                found = await api.get(path)
                if found["spec"]["renewTime"] != stamp:
                    return found
                await asyncio.sleep(0.05)

    async with competing(lease):
        await until(lambda: lease.leading, 30)
        current = await api.get(path)
        for _ in range(3):
            current = await renewed_since(current["spec"]["renewTime"])
        assert line.looks == 1, "the first, to see whether it was free"
        await api.request("PATCH", path, body={"metadata": {"labels": {"seen-by": "a-human"}}}, content_type=MERGE_PATCH)
        current = await renewed_since((await api.get(path))["spec"]["renewTime"])
        assert (lease.leading, line.looks) == (True, 2)
        assert current["metadata"]["labels"] == {"seen-by": "a-human"}
        assert current["spec"]["leaseTransitions"] == 0

"""The copy follows the cluster through relists; tokens are judged by the server for our audience alone."""

from __future__ import annotations

import asyncio

import pytest

from jevons.cluster.connect import Kind
from jevons.cluster.reflector import Reflector
from jevons.cluster.token import TokenReviewer, request_token

pytestmark = pytest.mark.cluster

CONFIG_MAPS = Kind("", "v1", "configmaps")


async def test_a_reflector_hears_what_happens_and_finds_out_what_it_missed(api, namespace):
    heard: asyncio.Queue = asyncio.Queue()
    reflector = Reflector(api, "", "v1", "configmaps", lambda change, item: heard.put_nowait((change, item["metadata"]["name"])), namespace=namespace)

    async def told(change, name):
        async with asyncio.timeout(30):
            while await heard.get() != (change, name):
                pass

    task = asyncio.create_task(reflector.run())
    await asyncio.wait_for(reflector.synced.wait(), 30)
    await api.write("POST", CONFIG_MAPS.path(namespace), {"metadata": {"name": "x"}})
    await told("ADDED", "x")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    await api.write("DELETE", CONFIG_MAPS.path(namespace, "x"))
    assert "x" in {item["metadata"]["name"] for item in reflector.objects.values()}, "nobody watched"
    task = asyncio.create_task(reflector.run())
    await told("DELETED", "x")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_token_for_another_audience_is_no_token(api, namespace):
    reviewer = TokenReviewer(api)
    ours = await request_token(api, namespace=namespace, service_account="gateway")
    theirs = await request_token(api, namespace=namespace, service_account="gateway", audience="somebody-else")
    assert await reviewer.user(ours) == f"system:serviceaccount:{namespace}:gateway"
    assert await reviewer.user(theirs) is None
    assert await reviewer.user("made up") is None

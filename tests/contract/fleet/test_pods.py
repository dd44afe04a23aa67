"""How pods live: sockets follow the pod's state as they would with a kubelet."""

from __future__ import annotations

import asyncio
import socket
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest

from jevons.sandbox.fleet_pods import profile_rows, view

from .conftest import pod, until, url


def changed(item, *, ready=None, ends_in_s=None):
    """The same pod in another state."""
    metadata = dict(item["metadata"])
    if ends_in_s is not None:
        metadata["deletionTimestamp"] = (datetime.now(UTC) + timedelta(seconds=ends_in_s)).isoformat()
    status = dict(item["status"])
    if ready is not None:
        status["conditions"] = [{"type": "Ready", "status": str(ready)}]
    return item | {"metadata": metadata, "status": status}


async def refuses(http, item) -> bool:
    try:
        async with http.get(url(item, "/health")) as response:
            return response.status != 200
    except aiohttp.ClientConnectionError:
        return True


async def test_a_pod_answers_only_while_it_is_ready(play, http, fleet):
    item = pod(ready=False)
    await play(item)
    assert await refuses(http, item)
    await play(changed(item, ready=True))
    assert not await refuses(http, item)
    await play(changed(item, ready=False))
    assert await refuses(http, item)
    await play(changed(item, ready=True))
    assert not await refuses(http, item)


async def test_each_pod_has_its_own_address_and_nothing_listens_on_all_of_them(play, http):
    one, two = pod("one", model="one"), pod("two", model="two")
    await play(one, two)
    for item, name in ((one, "one"), (two, "two")):
        async with http.get(url(item, "/v1/models")) as response:
            assert (await response.json())["data"][0]["id"] == name
    with socket.socket() as probe, pytest.raises(ConnectionRefusedError):
        probe.connect(("127.210.255.254", 8000))


async def test_a_terminating_pod_takes_nothing_new_and_finishes_what_it_has(play, http, fleet):
    item = pod()
    await play(item)
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True, "sandbox_output_tokens": 60}
    async with http.post(url(item, "/v1/chat/completions"), json=body) as response:
        await response.content.readline()
        await play(changed(item, ends_in_s=20))
        assert await refuses(http, item)
        assert (await response.read()).endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("how", ["grace is over", "by force"])
async def test_what_runs_is_reset_when_the_pod_ends(play, http, fleet, how):
    item = pod()
    await play(item)
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True, "sandbox_output_tokens": 8000}
    async with http.post(url(item, "/v1/chat/completions"), json=body) as response:
        await response.content.readline()
        if how == "by force":
            fleet.drop(item)
        else:
            await play(changed(item, ends_in_s=0.2))
        with pytest.raises(aiohttp.ClientError):
            await response.read()
    await until(lambda: not fleet.players)


async def test_an_address_in_use_is_taken_as_soon_as_it_is_free(play, http, monkeypatch):
    monkeypatch.setattr("jevons.sandbox.fleet.RETRY_S", 0.02)
    item = pod()
    with socket.create_server((item["status"]["podIP"], 8000)):
        await play(item)
    async with asyncio.timeout(30):
        while await refuses(http, item):  # noqa: ASYNC110 - a socket has no event for it
            await asyncio.sleep(0.02)


async def test_a_new_pod_may_have_the_address_of_one_that_is_ending(play, http, fleet):
    old = pod("old")
    await play(old)
    new = pod("new", ip=old["status"]["podIP"])
    await play(changed(old, ends_in_s=20), new)
    assert not await refuses(http, new)


async def test_nonsense_in_one_pod_harms_no_other(play, http):
    good = pod("good")
    await play(
        pod("typo", profile="gpt-9/fp1/tpu/1/none"), pod("words", max_num_seqs="many"), pod("odd", engine="abacus"), good, pod("far", ip="10.1.2.3")
    )
    assert not await refuses(http, good)


async def test_pods_without_our_annotations_are_left_alone(play, fleet):
    await play(pod(profile=None), pod("llama", profile=None, engine="llamacpp"))
    assert fleet.players == {}


def test_annotations_change_the_engine():
    played = view(pod(max_num_seqs="3", chunk_tokens="512", kv_tokens="1000", prefix_hit="0.5")).played
    assert (played.row.profile.max_num_seqs, played.row.profile.chunk_tokens, played.row.profile.kv_tokens) == (3, 512, 1000)
    assert played.prefix_hit == 0.5


def test_the_packaged_table_is_read_in_seconds():
    row = profile_rows()["llama-3.1-70b/bf16/h100_sxm/4/vllm"]
    assert (row.profile.itl_a_s, row.profile.kv_tokens, row.gpus) == (0.015703, 458846, 4)

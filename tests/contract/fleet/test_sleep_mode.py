"""The sleep mode of the fleet's engines answers as vLLM's does."""

from __future__ import annotations

import pytest

from .conftest import pod, url

ASK = {"model": "m", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 4}


@pytest.fixture
async def sleeper(play):
    item = pod(wake_seconds="0.05")
    await play(item)
    return item


async def state(http, item):
    async with http.get(url(item, "/is_sleeping")) as answer:
        return (await answer.json())["is_sleeping"]


async def test_it_sleeps_and_wakes_and_may_be_asked_twice(http, sleeper):
    assert not await state(http, sleeper)
    for path, asleep in (("/sleep?level=1&mode=wait", True), ("/sleep?level=1", True), ("/wake_up", False), ("/wake_up", False)):
        async with http.post(url(sleeper, path)) as answer:
            assert answer.status == 200
        assert await state(http, sleeper) is asleep
    async with http.post(url(sleeper, "/v1/chat/completions"), json=ASK) as answer:
        assert answer.status == 200


async def test_a_request_that_meets_it_asleep_fails_though_its_health_says_well(http, sleeper):
    async with http.post(url(sleeper, "/sleep")) as answer:
        assert answer.status == 200
    async with http.get(url(sleeper, "/health")) as answer:
        assert answer.status == 200
    async with http.post(url(sleeper, "/v1/chat/completions"), json=ASK) as answer:
        assert answer.status == 500


async def test_without_sleep_mode_the_paths_are_not_there(http, play):
    item = pod()
    await play(item)
    for path in ("/sleep", "/wake_up"):
        async with http.post(url(item, path)) as answer:
            assert answer.status == 404


async def test_one_with_work_does_not_lie_down(http, sleeper):
    async with http.post(url(sleeper, "/v1/chat/completions"), json={**ASK, "max_tokens": 4000, "stream": True}) as stream:
        await stream.content.readline()
        async with http.post(url(sleeper, "/sleep")) as answer:
            assert answer.status == 503
    assert not await state(http, sleeper)

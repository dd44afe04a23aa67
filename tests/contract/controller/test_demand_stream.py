"""The demand port as gateways use it: level messages in, leadership out, strangers refused."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import grpc
import grpc.aio
import orjson
import pytest
import pytest_asyncio

from jevons.cluster.connect import ApiError
from jevons.controller.demand import METHOD, DemandServer
from jevons.core.spec import Key

KEY = Key("team-a", "assistant")
GATEWAY = "system:serviceaccount:jevons-system:jevons-gateway"
USERS = {"good": GATEWAY, "foreign": "system:serviceaccount:team-a:jevons-gateway"}


class Port:
    def __init__(self, authenticate=None):
        self.leads, self.wakes = False, asyncio.Queue()
        self.server = DemandServer(
            on_wake=lambda: self.wakes.put_nowait(True), leading=lambda: self.leads, authenticate=authenticate, users=[GATEWAY]
        )
        self.channel = None

    async def open(self):
        port = await self.server.start("127.0.0.1:0")
        self.channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.use_local_subchannel_pool", 1)])

    def call(self, token=None):
        report = self.channel.stream_stream(METHOD, request_serializer=orjson.dumps, response_deserializer=orjson.loads)
        return report(metadata=[("authorization", f"Bearer {token}")] if token else [])

    async def heard(self, check):
        async with asyncio.timeout(30):
            while True:
                demand = self.server.current()
                if check(demand):
                    return demand
                await asyncio.sleep(0.01)

    async def close(self):
        await self.channel.close()
        await self.server.stop()


def message(source="gw-0/picker-1", held=(), arrivals=None):
    entry = {
        "held": [{"variant": "small", "count": count, "oldest": oldest} for count, oldest in held],
        "arrivals": arrivals or {},
        "lastArrival": 5.0,
    }
    return {"source": source, "at": 1.0, "full": True, "deployments": {str(KEY): entry}}


@pytest_asyncio.fixture
async def port() -> AsyncIterator[Port]:
    made = Port()
    await made.open()
    yield made
    await made.close()


class Clock:
    """The monotonic clock as the demand port sees it, which a test may put forward."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead_s

    def time(self) -> float:
        return time.time()

    def pass_s(self, seconds: float) -> None:
        self.ahead_s += seconds


@pytest.fixture
def clock(monkeypatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("jevons.controller.demand.time", made)
    return made


async def test_leadership_is_told_on_connect_and_on_change(port):
    call = port.call()
    await call.write(message())
    assert await call.read() == {"leader": False}
    port.leads = True
    port.server.leadership_changed()
    assert await call.read() == {"leader": True}
    call.cancel()


async def test_the_first_held_request_wakes_and_the_next_does_not(port):
    call = port.call()
    await call.write(message())
    await port.heard(lambda demand: KEY in demand)
    assert port.wakes.empty()
    await call.write(message(held=[(2, 3.0)]))
    await asyncio.wait_for(port.wakes.get(), 30)
    await call.write(message(held=[(3, 3.0)]))
    await port.heard(lambda demand: demand[KEY].held and demand[KEY].held[0].count == 3)
    assert port.wakes.empty()
    also = message(held=[(3, 3.0)])
    also["deployments"][str(KEY)]["held"].append({"variant": "large", "count": 1, "oldest": 4.0})
    await call.write(also)
    await asyncio.wait_for(port.wakes.get(), 30)
    call.cancel()


async def test_sources_add_up_and_a_silent_one_counts_no_more_and_is_missed(port, clock):
    arrivals = [
        {"chat": {"perSecond": rate, "inputTokens": tokens, "outputTokens": 10.0, "scores": [1.0] * 20}}
        for rate, tokens in ((1.0, 100.0), (3.0, 200.0))
    ]
    calls = [port.call(), port.call()]
    for number, call in enumerate(calls):
        await call.write(message(f"gw/{number}", held=[(1, 2.0 + number)], arrivals=arrivals[number]))
    demand = (await port.heard(lambda demand: KEY in demand and demand[KEY].held[0].count == 2))[KEY]
    chat = demand.classes[0]
    assert (chat.arrivals_per_s.value, chat.input_tokens.value, chat.scores[0]) == (4.0, 175.0, 2.0)
    assert demand.held[0].oldest_at_s == 2.0
    calls[0].cancel()
    await port.heard(lambda _: len(port.server._streams) == 1)
    assert port.server.current()[KEY].held[0].count == 2, "whoever waited there waits on while the stream is dialled again"
    clock.pass_s(9.0)
    await calls[1].write(message("gw/1", held=[(5, 3.0)], arrivals=arrivals[1]))
    await port.heard(lambda demand: demand[KEY].held[0].count == 6)
    clock.pass_s(2.0)
    demand = port.server.current()[KEY]
    assert (demand.held[0].count, demand.classes[0].arrivals_per_s.value, demand.partial) == (5, 3.0, True)
    again = port.call()
    await again.write(message("gw/0", held=[(1, 2.0)]))
    assert not (await port.heard(lambda demand: demand[KEY].held[0].count == 6))[KEY].partial
    calls[1].cancel()
    again.cancel()


async def test_a_source_that_stays_away_is_missed_for_five_minutes(port, clock):
    gone, stays = port.call(), port.call()
    await gone.write(message("gone", held=[(1, 2.0)]))
    await stays.write(message("stays", held=[(1, 2.0)]))
    await port.heard(lambda demand: KEY in demand and demand[KEY].held[0].count == 2)
    gone.cancel()
    for passed_s, missed in ((11.0, True), (280.0, True), (10.0, False)):
        clock.pass_s(passed_s)
        await stays.write(message("stays", held=[(1, 2.0)]))
        assert (await port.heard(lambda demand: KEY in demand))[KEY].partial is missed
    stays.cancel()


async def test_an_old_stream_that_ends_late_takes_nothing_away_from_its_successor(port):
    old, new = port.call(), port.call()
    await old.write(message(held=[(1, 1.0)]))
    await port.heard(lambda demand: KEY in demand)
    await new.write(message(held=[(2, 1.0)]))
    await port.heard(lambda demand: demand[KEY].held[0].count == 2)
    old.cancel()
    await port.heard(lambda _: len(port.server._streams) == 1)
    assert port.server.current()[KEY].held[0].count == 2
    new.cancel()


@pytest.mark.parametrize(
    "broken",
    [
        {"source": "x"},
        {"source": "x", "deployments": {"no-slash": {}}},
        {"source": "x", "deployments": {"a/b": {"held": [{"variant": "v", "count": -1, "oldest": 1}]}}},
        {"source": "x", "deployments": {"a/b": {"arrivals": {"c": {"perSecond": "NaN"}}}}},
        {"source": "x", "deployments": {"a/b": {"arrivals": {"c": {"perSecond": 1, "scores": [1, 2]}}}}},
        [],
    ],
)
async def test_a_message_that_cannot_be_read_is_dropped_and_the_stream_lives(port, broken):
    call = port.call()
    await call.write(broken)
    await call.write(message(held=[(1, 1.0)]))
    await port.heard(lambda demand: KEY in demand)
    assert port.server.dropped == 1
    call.cancel()


@pytest.mark.parametrize(
    ("token", "code"),
    [(None, "UNAUTHENTICATED"), ("stolen", "UNAUTHENTICATED"), ("unsure", "UNAVAILABLE"), ("foreign", "PERMISSION_DENIED"), ("good", "OK")],
)
async def test_only_a_reviewed_token_of_the_gateway_gets_in(token, code):
    async def review(given):
        if given == "unsure":
            raise ApiError(0, "Unreachable", "nobody there")
        return USERS.get(given)

    port = Port(authenticate=review)
    await port.open()
    call = port.call(token)
    if code == "OK":
        await call.write(message())
        assert await call.read() == {"leader": False}
        call.cancel()
    else:
        assert (await call.code()).name == code
        assert port.server.current() == {}
    await port.close()

"""The demand client against a gRPC server with the operator's contract (docs/designs/0001-the-house.md)."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable

import grpc
import grpc.aio
import orjson

from jevons.gateway.demand import METHOD, DemandClient


class Operator:
    """Keeps what it is told; `restart` comes back on the same port."""

    def __init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self.messages: asyncio.Queue[dict] = asyncio.Queue()
        self.metadata: list[dict] = []
        self.leader = True
        self._server: grpc.aio.Server | None = None

    async def start(self) -> None:
        self._server = grpc.aio.server()
        service, _, method = METHOD.removeprefix("/").partition("/")
        handler = grpc.stream_stream_rpc_method_handler(self._report, request_deserializer=orjson.loads, response_serializer=orjson.dumps)
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
        self._server.add_insecure_port(self.address)
        await self._server.start()

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop(0)
            del self._server._server  # else its finalizer schedules one more shutdown on a loop that may be closed

    async def _report(self, messages: AsyncIterator[dict], context: grpc.aio.ServicerContext) -> AsyncIterator[dict]:
        self.metadata.append(dict(context.invocation_metadata()))
        yield {"leader": self.leader}
        async for message in messages:
            self.messages.put_nowait(message)


async def until(holds: Callable[[], bool]) -> None:
    for _ in range(2_000):
        if holds():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it never came to hold")


@contextlib.asynccontextmanager
async def running(client: DemandClient) -> AsyncIterator[None]:
    task = asyncio.create_task(client.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_every_operator_hears_the_whole_level_and_one_that_restarts_hears_it_again():
    operators = [Operator(), Operator()]
    for one in operators:
        await one.start()
    operators[1].leader = False
    held = {"a/assistant": {"held": [{"variant": "small", "count": 3, "oldest": 5.0}]}}
    client = DemandClient([one.address for one in operators], source="gw/room", level=lambda _now: held, token=lambda: "secret", clock=lambda: 7.0)
    async with running(client):
        for one in operators:
            assert await one.messages.get() == {"source": "gw/room", "at": 7.0, "full": True, "deployments": held}
            assert one.metadata[0]["authorization"] == "Bearer secret"
        await until(lambda: client.leader is not None)
        assert client.leader == operators[0].address
        await operators[0].stop()
        operators[0].messages = asyncio.Queue()
        await operators[0].start()
        assert (await operators[0].messages.get())["deployments"] == held
    for one in operators:
        await one.stop()


async def test_a_nudge_reports_at_once_and_not_at_the_next_second(monkeypatch):
    monkeypatch.setattr("jevons.gateway.demand.PERIOD_S", 3600.0)
    operator = Operator()
    await operator.start()
    level: dict = {}
    client = DemandClient([operator.address], source="gw/room", level=lambda _now: level)
    async with running(client):
        assert (await operator.messages.get())["deployments"] == {}
        level["a/assistant"] = {"held": [{"variant": "small", "count": 1, "oldest": 1.0}]}
        client.nudge()
        assert (await operator.messages.get())["deployments"] == level
    await operator.stop()


async def test_an_address_that_the_resolver_no_longer_gives_is_no_longer_told(monkeypatch):
    monkeypatch.setattr("jevons.gateway.demand.RESOLVE_S", 0.02)
    operator = Operator()
    await operator.start()
    addresses = [operator.address]

    async def resolver() -> list[str]:
        return addresses

    client = DemandClient([], source="gw/room", level=lambda _now: {}, resolver=resolver)
    async with running(client):
        await operator.messages.get()
        addresses.clear()
        await until(lambda: not client.targets())
    await operator.stop()

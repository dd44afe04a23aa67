"""Tells every operator, all the time, what waits and what arrives: the fast path by which a sleeping model is woken.

One gRPC stream per operator address carries the *level* (everything this process sees) once a second, and at once when something begins to
wait; so a lost message costs a second and a restarted operator knows all after the first one. Nothing here is awaited by a request: `nudge` sets an
event. An operator that cannot be reached is dialled again after 0.2 s to 5 s, jittered, for ever; the others notice nothing.
The contract is in docs/designs/0001-the-house.md, "Demand stream".
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import orjson
import structlog

METHOD = "/jevons.v1.Demand/Report"
PERIOD_S = 1.0
BACKOFF_S = (0.2, 5.0)
DIAL_S = 3.0
RESOLVE_S = 5.0

Level = Callable[[float], Mapping[str, Mapping[str, Any]]]
"""Given the time, everything this source sees now: `namespace/name` -> held, arrivals, lastArrival."""
Resolver = Callable[[], Awaitable[Sequence[str]]]

log = structlog.get_logger(__name__)


class DemandClient:
    """One source's streams to all operators.

    operators: `host:port` each. resolver: more addresses, asked again every 5 s (a headless service). level: see `Level`; it must be quick.
    token: the bearer token of this process, read for each new stream; None sends none (an operator started with `--insecure-demand`).
    """

    def __init__(
        self,
        operators: Sequence[str],
        *,
        source: str,
        level: Level,
        token: Callable[[], str] | None = None,
        resolver: Resolver | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.source = source
        self.leader: str | None = None
        """Address of the operator that last said it leads."""
        self._fixed = tuple(operators)
        self._level = level
        self._token = token
        self._resolver = resolver
        self._clock = clock
        self._streams: dict[str, asyncio.Task[None]] = {}
        self._nudges: dict[str, asyncio.Event] = {}

    def nudge(self) -> None:
        """Report at once: something began to wait."""
        for nudge in self._nudges.values():
            nudge.set()

    def targets(self) -> list[str]:
        """The operators that are told."""
        return sorted(self._streams)

    async def run(self) -> None:
        """Keep one stream per operator until cancelled."""
        try:
            while True:
                await self._follow()
                await asyncio.sleep(RESOLVE_S)
        finally:
            for stream in self._streams.values():
                stream.cancel()
            await asyncio.gather(*self._streams.values(), return_exceptions=True)

    async def _follow(self) -> None:
        """Start streams to new addresses, end those to addresses that are gone. A resolver that fails leaves all as it is."""
        wanted = set(self._fixed)
        if self._resolver is not None:
            try:
                wanted |= set(await self._resolver())
            except OSError as error:
                log.warning("operators not resolved", error=str(error))
                wanted |= set(self._streams)
        for address in wanted - set(self._streams):
            self._nudges[address] = asyncio.Event()
            self._streams[address] = asyncio.create_task(self._keep(address), name=f"demand:{address}")
        for address in set(self._streams) - wanted:
            self._streams.pop(address).cancel()
            del self._nudges[address]

    async def _keep(self, address: str) -> None:
        backoff = BACKOFF_S[0]
        while True:
            started = time.monotonic()
            try:
                await self._stream(address)
            except (grpc.aio.AioRpcError, OSError, TimeoutError, asyncio.InvalidStateError) as error:
                log.debug("demand stream ended", operator=address, error=str(error))
            if self.leader == address:
                self.leader = None
            if time.monotonic() - started > BACKOFF_S[1]:
                backoff = BACKOFF_S[0]
            await asyncio.sleep(backoff * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
            backoff = min(BACKOFF_S[1], backoff * 2)

    async def _stream(self, address: str) -> None:
        """One connection's life: dial, then the level each second and at each nudge, until the operator or the network ends it."""
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0)]
        async with grpc.aio.insecure_channel(address, options=options) as channel:
            async with asyncio.timeout(DIAL_S):
                await channel.channel_ready()
            metadata = [("authorization", f"Bearer {self._token()}")] if self._token else []
            report = channel.stream_stream(METHOD, request_serializer=orjson.dumps, response_deserializer=orjson.loads)
            call = report(metadata=metadata)
            listening = asyncio.create_task(self._listen(address, call))
            nudge = self._nudges[address]
            listening.add_done_callback(lambda _: nudge.set())
            try:
                while not listening.done():
                    nudge.clear()
                    async with asyncio.timeout(BACKOFF_S[1]):
                        await call.write(self._message())
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(PERIOD_S):
                            await nudge.wait()
                await listening
            finally:
                listening.cancel()
                call.cancel()

    def _message(self) -> dict[str, Any]:
        now = self._clock()
        return {"source": self.source, "at": now, "full": True, "deployments": self._level(now)}

    async def _listen(self, address: str, call: Any) -> None:
        """Note who leads. Ends when the operator ends the stream; raises when the stream breaks."""
        async for answer in call:
            if isinstance(answer, dict) and answer.get("leader"):
                self.leader = address
            elif self.leader == address:
                self.leader = None


def token_file(path: Path) -> Callable[[], str]:
    """A token provider that reads the projected file anew each time: the kubelet renews it."""
    return lambda: path.read_text().strip()


def dns_resolver(name_and_port: str) -> Resolver:
    """All IPv4 and IPv6 addresses behind `name:port`, as `ip:port`. Raises OSError when the name does not resolve."""
    name, _, port = name_and_port.rpartition(":")

    async def resolve() -> Sequence[str]:
        found = await asyncio.get_running_loop().getaddrinfo(name, int(port), type=socket.SOCK_STREAM)
        hosts = sorted({str(one[4][0]) for one in found})
        return [f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host in hosts]

    return resolve

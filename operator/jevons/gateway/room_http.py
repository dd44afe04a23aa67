"""The waiting room's HTTP side: one call of `Room.handle` per held request, from its arrival to its 307, its stream or its refusal.

Envoy sends a request here when its picker found no ready pod. Within a grace (10 s) the answer is a 307 that Envoy follows by itself: the picker
chooses again, and status, headers and tokens come from the pod with nothing of ours in between. After the grace a streaming client gets 200 and
comments (`: waking large, about 35 s`), which clients ignore and which keep their read timeouts from firing, and then the pod's stream; others wait
for their 307 with nothing kept of their body. The order in which requests go is in room_queue.py, when they go in room_hold.py.

A request also comes here last when the pods it was sent to could not be reached. It is then sent back after a moment, and refused at the
`MAX_RETURNS`th time, before Envoy's own limit of internal redirects is met.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
import structlog
from aiohttp import web

from jevons.gateway.errors import Refusal
from jevons.gateway.room_hold import Fail, Go, Holder, Verdict
from jevons.gateway.room_queue import QueueFull, Waiter
from jevons.gateway.room_relay import NotReached, Relay, closing_event
from jevons.gateway.table import Variant

MAX_RETURNS = 5
RETURN_S = (0.0, 0.2, 0.5, 1.0, 2.0)
"""Pause before a request is sent on for the first, second ... time. Envoy follows up to 10."""
REMEMBERED = 10_000
OVERLOADED_RETRY_S = 10.0
RELAY_TRIES = 20
RELAY_PAUSE_S = 0.5
HEADER_BYTES = 65_536
"""One header, or the path, may be so long: more than Envoy lets in (16 KiB), so what a warm model answers a sleeping one does not refuse."""
_HOST = re.compile(r"[A-Za-z0-9.\-_:\[\]]{1,255}")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """grace_s: how long a streaming client waits for a real status. comment_s: at most so long between two comments. body_bytes: largest body."""

    grace_s: float = 10.0
    comment_s: float = 15.0
    wait_s: float = 600.0
    body_bytes: int = 8 * 1024 * 1024 + 4096


class Room:
    """The HTTP side: one call of `handle` per held request."""

    def __init__(self, holder: Holder, relay: Relay, limits: Limits, *, clock: Callable[[], float] = time.time) -> None:
        self.holder = holder
        self.relay = relay
        self.limits = limits
        self._clock = clock
        self._returns: OrderedDict[str, int] = OrderedDict()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Hold one request to its end."""
        waiter = self._waiter(request)
        try:
            returned = self._returned(identity_of(request))
            verdict = self.holder.join(waiter, again=returned > 0)
            return await self._held(request, waiter, verdict, returned)
        except QueueFull as full:
            if waiter.patient_until > self._clock() and self._ready(waiter):
                return self._again(request)  # it need not wait
            return refused(Refusal(429, "overloaded", f"{full}. Try again in a moment.", retry_after_s=OVERLOADED_RETRY_S))
        except Refusal as refusal:
            return refused(refusal)
        finally:
            self.holder.leave(waiter)

    async def _held(self, request: web.Request, waiter: Waiter, verdict: asyncio.Future[Verdict], returned: int) -> web.StreamResponse:
        body = await read_body(request, self.limits.body_bytes)
        self.holder.resize(waiter, len(body))  # Envoy keeps the body of whoever waits, also where nothing is kept here
        streams = wants_stream(body)
        if not streams:
            body = b""
        left = waiter.deadline - self._clock()
        told = await told_within(verdict, min(left, self.limits.grace_s) if streams else left)
        if told is None and streams and self._clock() < waiter.deadline:
            return await self._stream(request, waiter, verdict, body)
        if isinstance(told, Go):
            await asyncio.sleep(RETURN_S[returned])
            return self._again(request)
        raise self._refusal(waiter, told)

    async def _stream(self, request: web.Request, waiter: Waiter, verdict: asyncio.Future[Verdict], body: bytes) -> web.StreamResponse:
        """200 now, comments until the variant answers, then its stream or an error event."""
        waiter.settled = True
        response = web.StreamResponse(headers={"content-type": "text/event-stream", "cache-control": "no-cache", "x-accel-buffering": "no"})
        response.headers["x-jevons-held-ms"] = f"{1000 * (self._clock() - waiter.arrived):.0f}"
        await response.prepare(request)
        told: Verdict | None = None
        while told is None and self._clock() < waiter.deadline:
            await response.write(self._comment(waiter))
            told = await told_within(verdict, min(self.limits.comment_s, waiter.deadline - self._clock()))
        if isinstance(told, Go):
            await self._relay(request, response, waiter, told, body)
        else:
            await response.write(closing_event(request.path, self._refusal(waiter, told).body(), 503))
        await response.write_eof()
        return response

    async def _relay(self, request: web.Request, response: web.StreamResponse, waiter: Waiter, told: Go, body: bytes) -> None:
        """From a pod of the variant to the client; a pod that cannot be reached is tried again for some seconds."""
        for _ in range(RELAY_TRIES):
            model = self.holder.table.models.get(waiter.model)
            variant = model.variant(told.variant) if model else None
            if variant is not None and variant.ready:
                instead = f"{waiter.variant} will not start; " if told.changed else ""
                waited = 1000 * (self._clock() - waiter.arrived)
                await response.write(f": {instead}{variant.name} answers after {waited:.0f} ms\n\n".encode())
                sent = with_model(body, variant) if told.changed else body
                try:
                    await self.relay.run(response, variant, path=request.path_qs, headers=request.headers, body=sent, now=self._clock())
                except NotReached:
                    log.info("no pod reached", model=waiter.model, variant=variant.name)
                else:
                    return
            await asyncio.sleep(RELAY_PAUSE_S)
        refusal = Refusal(503, "no_capacity", f"{told.variant!r} started but could not be reached.")
        await response.write(closing_event(request.path, refusal.body(), 503))

    def _waiter(self, request: web.Request) -> Waiter:
        headers = request.headers
        now = self._clock()
        arrived = milliseconds(headers, "x-jevons-arrived-ms", now)
        return Waiter(
            model=headers.get("x-jevons-model", ""),
            variant=headers.get("x-jevons-wake", ""),
            arrived=min(arrived, now),
            deadline=milliseconds(headers, "x-jevons-deadline-ms", now + self.limits.wait_s),
            patient_until=milliseconds(headers, "x-jevons-patience-ms", 0.0),
            team=headers.get("x-jevons-team", ""),
            tier=headers.get("x-jevons-tier", "Interactive"),
            priority=headers.get("x-jevons-priority", "Normal"),
            size=request.content_length or 0,
        )

    def _ready(self, waiter: Waiter) -> bool:
        variant = self.holder.seen(waiter.line)[1]
        return variant is not None and variant.ready

    def _returned(self, identity: str) -> int:
        """How often this request has been sent on already. Refusal 503 at the last time."""
        times = self._returns.get(identity, 0)
        if times >= MAX_RETURNS:
            raise Refusal(503, "no_capacity", "The model's servers could not be reached.", retry_after_s=5)
        return times

    def _again(self, request: web.Request) -> web.Response:
        """307 to the same request: Envoy follows it itself, and the picker chooses anew."""
        identity = identity_of(request)
        self._returns[identity] = self._returns.pop(identity, 0) + 1
        while len(self._returns) > REMEMBERED:
            self._returns.popitem(last=False)
        host = request.headers.get("host", "")
        scheme = "https" if request.headers.get("x-forwarded-proto") == "https" else "http"
        location = f"{scheme}://{host if _HOST.fullmatch(host) else 'gateway'}{request.raw_path}"
        return web.Response(status=307, headers={"location": location})

    def _comment(self, waiter: Waiter) -> bytes:
        variant = self.holder.seen(waiter.line)[1]
        if variant is not None and variant.obstacle:
            return f": waiting for {waiter.variant}: {variant.obstacle}\n\n".encode()
        if variant is not None and variant.ready:
            return f": waiting until {waiter.variant} has little to do\n\n".encode()
        left = (variant.startup_s if variant else 0.0) - (self._clock() - waiter.arrived)
        return f": waking {waiter.variant}, about {left:.0f} s\n\n".encode() if left >= 1 else f": waking {waiter.variant}, any moment\n\n".encode()

    def _refusal(self, waiter: Waiter, told: Verdict | None) -> Refusal:
        """503 when it will not start; 504 when time ran out, with what is known of why and when to come back."""
        model, variant = self.holder.seen(waiter.line)
        name = f"{waiter.variant!r} of {(model.short if model else waiter.model)!r}"
        if isinstance(told, Fail):
            return Refusal(503, "no_capacity", f"{name} {told.why}.", retry_after_s=60)
        waited = self._clock() - waiter.arrived
        why, retry = "", 60.0
        if variant is not None and variant.obstacle:
            why = f": {variant.obstacle}"
        elif variant is not None and variant.startup_s > waited:
            why, retry = f"; a start takes about {variant.startup_s:.0f} s", variant.startup_s - waited
        return Refusal(504, "wake_timeout", f"{name} did not start within {waited:.0f} s{why}.", retry_after_s=retry)


def identity_of(request: web.Request) -> str:
    """What stays the same when a request comes back: the picker's ticket, else Envoy's request id."""
    return request.headers.get("x-jevons-ticket", "") or request.headers.get("x-request-id", "")


async def read_body(request: web.Request, most: int) -> bytes:
    """The body, which nobody else keeps (`request.read` would, for as long as the request waits). Refusal 413 over `most` bytes."""
    pieces: list[bytes] = []
    size = 0
    async for piece in request.content.iter_any():
        size += len(piece)
        if size > most:
            raise Refusal(413, "request_too_large", f"The request body has more than {most} bytes.")
        pieces.append(piece)
    return b"".join(pieces)


async def told_within(verdict: asyncio.Future[Verdict], seconds: float) -> Verdict | None:
    """The verdict, or None when there is none after `seconds`."""
    await asyncio.wait({verdict}, timeout=max(0.0, seconds))
    return verdict.result() if verdict.done() else None


def refused(refusal: Refusal) -> web.Response:
    """A refusal as HTTP."""
    return web.Response(status=refusal.status, body=refusal.body(), headers=refusal.headers())


def wants_stream(body: bytes) -> bool:
    """Whether the request asks for server-sent events. A body that is no JSON object does not."""
    try:
        parsed: Any = orjson.loads(body)
    except ValueError:
        return False
    return isinstance(parsed, dict) and parsed.get("stream") is True


def with_model(body: bytes, variant: Variant) -> bytes:
    """The request as another variant's engine expects it."""
    return orjson.dumps({**orjson.loads(body), "model": variant.served_model or variant.name})


def milliseconds(headers: Mapping[str, str], name: str, otherwise: float) -> float:
    """A header that holds milliseconds since the epoch, as seconds; `otherwise` when it is absent or no number."""
    try:
        return int(headers[name]) / 1000
    except (KeyError, ValueError):
        return otherwise


def runner(room: Room) -> web.AppRunner:
    """The room as a server, not yet listening. A handler is cancelled when its client leaves, which frees its place."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", room.handle)
    more: dict[str, Any] = {"access_log": None, "max_line_size": HEADER_BYTES, "max_field_size": HEADER_BYTES}
    return web.AppRunner(app, handler_cancellation=True, shutdown_timeout=2.0, **more)

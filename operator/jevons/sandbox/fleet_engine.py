"""One simulated engine pod: the simulator's engine behind OpenAI's API, at the pace of the clock.

A request becomes `Engine.submit`; the driver pumps the engine when an iteration ends, and each token wakes the handler that owes it to its client.
Tokens that came while a handler was busy leave in one write. A client that goes away aborts its request, as in vLLM.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from zlib import crc32

import orjson
from aiohttp import web

from jevons.sandbox.dcgm import Work
from jevons.sandbox.engine_metrics import ITL_BOUNDS_S, TTFT_BOUNDS_S, Histogram, Reading, engine_page
from jevons.sandbox.fleet_driver import Driver
from jevons.sandbox.fleet_faults import Fault, page
from jevons.sandbox.fleet_openai import PATHS, Answer, RequestError, read
from jevons.sandbox.fleet_pods import Played, PodView, ProfileRow
from jevons.sandbox.fleet_sleep import PATHS as SLEEP_PATHS
from jevons.sandbox.fleet_sleep import SleepMode
from jevons.simulator.engine import Engine, Request, TokenEvent


@dataclass(slots=True)
class _Stream:
    """Tokens that exist and have not been taken yet."""

    arrived_s: float
    pending: list[TokenEvent] = field(default_factory=list)
    last_s: float = 0.0
    waiter: asyncio.Future[None] | None = None

    def put(self, event: TokenEvent) -> None:
        self.pending.append(event)
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    async def take(self) -> list[TokenEvent]:
        """At least one event, and all there are."""
        if not self.pending:
            self.waiter = asyncio.get_running_loop().create_future()
            await self.waiter
            self.waiter = None
        taken, self.pending = self.pending, []
        return taken


@dataclass(frozen=True, slots=True)
class Activity:
    """What an engine had done by `at_s` (model time): the exporter takes differences of these."""

    at_s: float
    busy_s: float
    iterations: int
    kv_reads: int


class EnginePod:
    """Plays one pod. `frozen` stops its time; `fault` is what tests broke."""

    armed_at: float | None = None

    def __init__(self, view: PodView, played: Played, row: ProfileRow, driver: Driver) -> None:
        self.view = view
        self.played = played
        self.row = row
        self.driver = driver
        self.context_length = min(played.context_length, row.profile.kv_tokens)
        self.model = played.model or row.name.split("/", 1)[0]
        self.engine = Engine(row.profile, jitter=played.jitter, seed=crc32(view.uid.encode()))
        self.fault: Fault | None = None
        self.unfrozen = asyncio.Event()
        self.unfrozen.set()
        self._frozen_s = 0.0
        self._froze_at_s: float | None = None
        self._streams: dict[str, _Stream] = {}
        self._requests = 0
        self._finished = {"stop": 0, "length": 0, "abort": 0}
        self._reasons: dict[str, str] = {}
        self._ttft = Histogram(TTFT_BOUNDS_S)
        self._itl = Histogram(ITL_BOUNDS_S)
        self._stale_pages: dict[str, str] = {}
        self._sleep = SleepMode(played.wake_s, lambda: bool(self.engine.running or self.engine.waiting))
        self.history: deque[Activity] = deque([self.activity()], maxlen=2)

    def break_(self, fault: Fault | None) -> None:
        """Apply a fault, or take it back (None)."""
        now_s = self.driver.now()
        frozen = fault is not None and fault.frozen
        if frozen and self._froze_at_s is None:
            self.pump(now_s)
            self._froze_at_s = now_s
            self.unfrozen.clear()
        elif not frozen and self._froze_at_s is not None:
            self._frozen_s += now_s - self._froze_at_s
            self._froze_at_s = None
            self.unfrozen.set()
        self.fault = fault
        self.engine.slowdown = 1.0 if fault is None else fault.slowdown
        self._stale_pages.clear()
        self.driver.arm(self)

    def next_event_at(self) -> float | None:
        """When its running iteration ends, on the driver's clock; None while idle or frozen."""
        at_s = self.engine.next_event_at()
        return None if at_s is None or self._froze_at_s is not None else at_s + self._frozen_s

    def pump(self, now_s: float) -> None:
        """Hand out the tokens that exist by now."""
        if self._froze_at_s is not None:
            return
        for event in self.engine.advance(now_s - self._frozen_s):
            stream = self._streams.get(event.request_id)
            if stream is None:
                continue
            if event.index <= 1:
                self._ttft.observe(event.at_s - stream.arrived_s)
            else:
                self._itl.observe(event.at_s - stream.last_s)
            stream.last_s = event.at_s
            stream.put(event)
            if event.last:
                self._finished[self._reasons[event.request_id]] += 1
        self.engine.take_results()

    def activity(self) -> Activity:
        """What it has done until now."""
        now_s = self.driver.now()
        own_s = (now_s if self._froze_at_s is None else self._froze_at_s) - self._frozen_s
        return Activity(now_s, self.engine.busy_s(own_s), self.engine.counters.iterations, self.engine.counters.kv_reads)

    def work(self) -> Work:
        """What it did in the last one to two ticks."""
        then, now = self.history[0], self.activity()
        seconds = now.at_s - then.at_s
        busy = min(1.0, (now.busy_s - then.busy_s) / seconds) if seconds > 0 else 0.0
        return Work(seconds, busy, now.iterations - then.iterations, now.kv_reads - then.kv_reads, self.engine.running, self.row)

    def reading(self) -> Reading:
        """What its metrics page tells."""
        engine = self.engine
        return Reading(
            model=self.model,
            running=engine.running,
            waiting=engine.waiting,
            kv_usage=engine.kv_usage,
            prompt_tokens=engine.counters.prompt_tokens,
            cached_tokens=engine.counters.cached_prompt_tokens,
            generated_tokens=engine.counters.generated_tokens,
            preemptions=engine.counters.preemptions,
            finished=dict(self._finished),
            iterations=engine.counters.iterations,
            busy_s=engine.counters.busy_s,
            ttft=self._ttft,
            itl=self._itl,
        )

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one HTTP request."""
        await self.unfrozen.wait()
        if request.path == "/metrics":
            return self._metrics()
        try:
            return await self._answer(request)
        except RequestError as error:
            return web.Response(status=error.status, body=error.body(), content_type="application/json")

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.path
        if self.fault is not None and self.fault.status is not None:
            raise RequestError(self.fault.status, "the engine is broken on purpose", "InternalServerError")
        if path == "/health":
            return web.Response()
        if path == "/v1/models":
            entry = {"id": self.model, "object": "model", "owned_by": "sandbox", "max_model_len": self.context_length}
            return web.Response(body=orjson.dumps({"object": "list", "data": [entry]}), content_type="application/json")
        if path in SLEEP_PATHS:
            return await self._sleep.handle(request)
        if path not in PATHS:
            raise RequestError(404, f"no such path: {path}", "NotFoundError")
        if request.method != "POST":
            raise RequestError(405, f"{path} takes POST", "MethodNotAllowed")
        self._sleep.check()
        return await self._generate(request)

    def _metrics(self) -> web.Response:
        metrics = engine_page(self.played.engine, self.reading())
        if metrics is None:
            return web.Response(status=404)
        status, content_type, text = page(self.fault, metrics, self._stale_pages, self.view.key)
        return web.Response(status=status, body=text.encode(), headers={"Content-Type": content_type})

    async def _generate(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        ask = read(request.path, body, request.headers, served=self.played.model, context_length=self.context_length)
        self._requests += 1
        request_id = f"cmpl-{self.view.uid[:8]}-{self._requests}"
        answer = Answer(ask, request_id)
        stream = self._submit(request_id, ask.prompt_tokens, ask.output_tokens, ask.finish_reason)
        try:
            return await (self._stream(request, answer, stream) if ask.stream else self._whole(answer, stream))
        finally:
            self._leave(request_id)

    def _submit(self, request_id: str, prompt_tokens: int, output_tokens: int, reason: str) -> _Stream:
        now_s = self.driver.now()
        self.pump(now_s)
        own_s = now_s - self._frozen_s
        stream = self._streams[request_id] = _Stream(arrived_s=own_s)
        self._reasons[request_id] = reason
        cached = int(prompt_tokens * self.played.prefix_hit)
        self.engine.submit(Request(request_id, prompt_tokens, output_tokens, cached), own_s)
        self.driver.arm(self)
        return stream

    def _leave(self, request_id: str) -> None:
        """Forget a request; abort it when it has not finished."""
        now_s = self.driver.now()
        self.pump(now_s)
        del self._streams[request_id]
        del self._reasons[request_id]
        if self.engine.abort(request_id, now_s - self._frozen_s) is not None:
            self._finished["abort"] += 1
            self.engine.take_results()

    async def _whole(self, answer: Answer, stream: _Stream) -> web.StreamResponse:
        while not (await stream.take())[-1].last:
            pass
        return web.Response(body=answer.whole(), content_type="application/json")

    async def _stream(self, request: web.BaseRequest, answer: Answer, stream: _Stream) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache"})
        await response.prepare(request)
        opening, last = answer.opening(), False
        while not last:
            events = await stream.take()
            await self.unfrozen.wait()
            last = events[-1].last
            parts = [opening, *(answer.token(event.index) for event in events)]
            opening = b""
            if last:
                parts.append(answer.closing())
            await response.write(b"".join(parts))
        await response.write_eof()
        return response

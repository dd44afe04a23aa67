"""The demand port: every picker and every waiting room reports here what it holds and what arrives, once a second and at once on a wake.

Each message is the whole of what its source sees, so a lost one costs a second, and the last one counts for ten: its requests wait on while a cut
stream is dialled again. Both operators listen; only the leader acts on it, but the other is
as warm. Messages come from our own gateways (TokenReview, and a list of users: any pod may get itself a token for this audience); they are still only
data: sizes are bounded, and what cannot be read is dropped and counted.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import grpc
import grpc.aio
import orjson
import structlog

from jevons.core.observed import Known
from jevons.core.snapshot import SCORE_BINS, ClassDemand, Held
from jevons.core.spec import Key
from jevons.ports import Demand

METHOD = "/jevons.v1.Demand/Report"
SILENT_S = 10.0
"""A source that says nothing this long no longer counts, whether its stream is open or cut."""
MISSED_S = 300.0
"""How long a source that no longer counts is missed: what it reported on is `partial` meanwhile."""
MAX_MESSAGE = 4 * 1024 * 1024

Authenticate = Callable[[str], Awaitable[str | None]]
"""Bearer token -> user, or None when it is not valid."""
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Report:
    """One source's last message, read."""

    heard_at: float
    deployments: Mapping[Key, Demand]
    stream: object
    """Identity of the stream that brought it: an old one that ends late must not take a new one's report away."""


class DemandServer:
    """The DemandSource of ports.py, fed by streams. `on_wake` is called when some variant begins to be waited for.

    authenticate: None lets everybody in. users: who may report, by the name that `authenticate` gives them.
    """

    def __init__(
        self, *, on_wake: Callable[[], None], leading: Callable[[], bool], authenticate: Authenticate | None, users: Collection[str] = ()
    ) -> None:
        self._on_wake, self._leading, self._authenticate, self._users = on_wake, leading, authenticate, frozenset(users)
        self._reports: dict[str, Report] = {}
        self._missed: dict[str, Report] = {}
        self._streams: set[asyncio.Event] = set()
        self._server: grpc.aio.Server | None = None
        self.dropped = 0
        """Messages that could not be read."""

    async def start(self, address: str) -> int:
        """Listen on `host:port` (port 0 = any free one); returns the port. Raises RuntimeError when it is taken."""
        server = grpc.aio.server(options=[("grpc.max_receive_message_length", MAX_MESSAGE), ("grpc.so_reuseport", 0)])
        handler = grpc.stream_stream_rpc_method_handler(self._report, request_deserializer=None, response_serializer=orjson.dumps)
        service, method = METHOD.strip("/").split("/")
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
        port: int = server.add_insecure_port(address)
        await server.start()
        self._server = server
        return port

    async def stop(self) -> None:
        """End all streams."""
        if self._server is not None:
            await self._server.stop(0.5)

    def leadership_changed(self) -> None:
        """Tell every stream whether this operator leads."""
        for stream in self._streams:
            stream.set()

    def current(self) -> Mapping[Key, Demand]:
        """The union over all sources heard within the last 10 s; partial where one was heard within the last 5 minutes that is silent now."""
        now = time.monotonic()
        for source, report in list(self._reports.items()):
            if report.heard_at <= now - SILENT_S:
                log.warning("a source of demand is silent", source=source, silent_s=round(now - report.heard_at), held=_held(report))
                self._missed[source] = self._reports.pop(source)
        self._missed = {source: report for source, report in self._missed.items() if report.heard_at > now - MISSED_S}
        merged: dict[Key, Demand] = {}
        for report in self._reports.values():
            for key, demand in report.deployments.items():
                merged[key] = merge(merged[key], demand) if key in merged else demand
        for key in {key for report in self._missed.values() for key in report.deployments if key in merged}:
            merged[key] = replace(merged[key], partial=True)
        return merged

    async def _report(self, messages: AsyncIterator[bytes], context: Any) -> AsyncIterator[dict[str, bool]]:
        """One stream: read reports, answer leadership at once and on each change."""
        await self._admit(context)
        changed, source = asyncio.Event(), ""
        self._streams.add(changed)
        changed.set()
        reading = asyncio.ensure_future(anext(messages, None))
        waiting = asyncio.ensure_future(changed.wait())
        try:
            while True:
                await asyncio.wait({reading, waiting}, return_when=asyncio.FIRST_COMPLETED)
                if waiting.done():
                    changed.clear()
                    waiting = asyncio.ensure_future(changed.wait())
                    yield {"leader": self._leading()}
                if reading.done():
                    message = reading.result()
                    if message is None:
                        return
                    source = self._take(message, changed) or source
                    reading = asyncio.ensure_future(anext(messages, None))
        finally:
            reading.cancel()
            waiting.cancel()
            self._streams.discard(changed)
            report = self._reports.get(source)
            if report is not None and report.stream is changed:
                left_s = round(max(0.0, report.heard_at + SILENT_S - time.monotonic()))
                log.info("a demand stream ended; its last report counts on", source=source, for_s=left_s, held=_held(report))

    async def _admit(self, context: Any) -> None:
        """Abort the call unless its token is good and its user one of ours. When the API server cannot say, that is a no; the client tries again."""
        if self._authenticate is None:
            return
        metadata = {str(key).lower(): str(value) for key, value in context.invocation_metadata() or ()}
        scheme, _, token = metadata.get("authorization", "").partition(" ")
        try:
            user = await self._authenticate(token.strip()) if scheme.lower() == "bearer" and token else None
        except Exception as error:  # noqa: BLE001  whatever went wrong, nobody gets in because of it
            log.warning("token could not be reviewed", error=str(error))
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the token could not be reviewed; try again")
        if user is None:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "a ServiceAccount token with audience jevons-demand is needed")
        if user not in self._users:
            log.warning("a stranger called the demand port", user=user)
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, f"{user} may not report demand (option --demand-user of the operator)")

    def _take(self, message: bytes, stream: object) -> str:
        """Note a report; returns its source, "" when it could not be read."""
        try:
            document = orjson.loads(message)
            source = str(document["source"])[:253]
            report = Report(time.monotonic(), {_key(name): read(entry) for name, entry in document["deployments"].items()}, stream)
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
            self.dropped += 1
            log.warning("demand message dropped", error=repr(error)[:200])
            return ""
        before = self._reports.get(source)
        self._reports[source] = report
        self._missed.pop(source, None)
        if _waited_for(report) - (_waited_for(before) if before else set()):
            self._on_wake()
        return source


def _held(report: Report) -> int:
    """How many requests wait, all in all."""
    return sum(entry.count for demand in report.deployments.values() for entry in demand.held)


def _waited_for(report: Report) -> set[tuple[Key, str]]:
    """The variants that requests wait for: one may sleep while another of the same deployment is being woken."""
    return {(key, entry.variant) for key, demand in report.deployments.items() for entry in demand.held if entry.count}


def _key(text: str) -> Key:
    namespace, _, name = text.partition("/")
    if not name:
        raise ValueError(f"not namespace/name: {text[:100]!r}")
    return Key(namespace, name)


def _number(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number) or number < 0:
        raise ValueError(f"not a number of zero or more: {value!r}")
    return number


def read(entry: Mapping[str, Any]) -> Demand:
    """One deployment's part of a message. Raises ValueError, TypeError or KeyError when it is not as agreed."""
    now = time.time()
    held = tuple(
        Held(str(item["variant"]), int(_number(item["count"])), min(now, _number(item["oldest"])), int(_number(item.get("waiting", 0))))
        for item in entry.get("held") or []
        if item["count"] or item.get("waiting")
    )
    classes = []
    for name, item in (entry.get("arrivals") or {}).items():
        scores = tuple(_number(score) for score in item.get("scores") or ())
        if len(scores) not in {0, SCORE_BINS}:
            raise ValueError(f"{len(scores)} score bins instead of {SCORE_BINS}")
        arrivals = Known(_number(item["perSecond"]), now)
        tokens = [Known(_number(item.get(field) or 0), now) for field in ("inputTokens", "outputTokens")]
        classes.append(ClassDemand(str(name), arrivals, tokens[0], tokens[1], scores))
    last = entry.get("lastArrival")
    return Demand(held=held, classes=tuple(classes), last_arrival_at_s=None if last is None else min(now, _number(last)))


def merge(one: Demand, other: Demand) -> Demand:
    """Two sources' view of one deployment: counts and rates add up, means are weighted by arrivals."""
    held = {entry.variant: entry for entry in one.held}
    for entry in other.held:
        known = held.get(entry.variant)
        held[entry.variant] = entry if known is None else _both(known, entry)
    classes = {demand.name: demand for demand in one.classes}
    for demand in other.classes:
        classes[demand.name] = _add(classes[demand.name], demand) if demand.name in classes else demand
    last = max((at for at in (one.last_arrival_at_s, other.last_arrival_at_s) if at is not None), default=None)
    return Demand(tuple(held.values()), tuple(classes.values()), last)


def _both(one: Held, other: Held) -> Held:
    return Held(one.variant, one.count + other.count, min(one.oldest_at_s, other.oldest_at_s), one.patient + other.patient)


def _add(one: ClassDemand, other: ClassDemand) -> ClassDemand:
    """Streams carry known values only, so the sums are known."""
    rates = [demand.arrivals_per_s for demand in (one, other)]
    a, b = (rate.value if isinstance(rate, Known) else 0.0 for rate in rates)
    at_s = max(rate.at_s for rate in rates if isinstance(rate, Known))

    def weighted(left: Any, right: Any) -> Known[float]:
        total = a + b
        return Known((left.value * a + right.value * b) / total if total > 0 else max(left.value, right.value), at_s)

    scores = tuple(x + y for x, y in zip(one.scores, other.scores, strict=True)) if one.scores and other.scores else one.scores or other.scores
    tokens = weighted(one.input_tokens, other.input_tokens), weighted(one.output_tokens, other.output_tokens)
    return ClassDemand(one.name, Known(a + b, at_s), tokens[0], tokens[1], scores)

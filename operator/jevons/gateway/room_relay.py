"""Passes a pod's stream on to a client whose response has begun already, and tells it in its own protocol when that fails.

Once status 200 has been sent an error can only be an event: `data: {"error": ...}` and `[DONE]` for OpenAI's protocols, `event: error` for
/v1/messages. What was relayed is counted by Envoy's usage filter like any other answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import aiohttp
import orjson
from aiohttp import web

from jevons.core.load import Work
from jevons.gateway.errors import error_body
from jevons.gateway.inflight import Inflight
from jevons.gateway.table import Variant

CONNECT_S = 2.0
ERROR_BYTES = 65_536
ANSWER_TOKENS = 200.0
BYTES_PER_TOKEN = 4.0

_OURS = ("Accept-Encoding", "User-Agent")
"""Headers that the HTTP client would add by itself; a compressed stream could be neither counted nor told apart."""
_LOST = (aiohttp.ClientError, TimeoutError, OSError)
_DROPPED = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "keep-alive", "te", "upgrade", "expect", "proxy-connection", "accept-encoding"}
)


class NotReached(Exception):  # noqa: N818 - the caller waits and tries again
    """No pod could be reached, or each broke the connection before its first byte."""


@dataclass(slots=True)
class Relay:
    """Streams from pods. `inflight` is this process' row of outstanding work; here a stream is one sequence of a rough length."""

    session: aiohttp.ClientSession
    inflight: Inflight | None
    _relays: dict[str, int] = field(default_factory=dict)

    async def run(self, response: web.StreamResponse, variant: Variant, *, path: str, headers: Mapping[str, str], body: bytes, now: float) -> None:
        """Send `body` to the pod with the fewest relays and pass its answer on. Raises NotReached while nothing has been passed on."""
        for pod in sorted(variant.usable_pods, key=lambda pod: self._relays.get(pod.address, 0)):
            work = Work(len(body) / BYTES_PER_TOKEN + ANSWER_TOKENS, 1)
            self._relays[pod.address] = self._relays.get(pod.address, 0) + 1
            if self.inflight is not None:
                self.inflight.add(pod.address, work, now)
            try:
                if await self._one(response, f"http://{pod.address}{path}", headers, body, path):
                    return
            finally:
                self._relays[pod.address] -= 1
                if not self._relays[pod.address]:
                    del self._relays[pod.address]
                if self.inflight is not None:
                    self.inflight.done(pod.address, work, now)
        raise NotReached

    async def _one(self, response: web.StreamResponse, url: str, headers: Mapping[str, str], body: bytes, path: str) -> bool:
        """True when the answer was passed on, whole or not; False when this pod gave nothing. A client that left is the caller's exception."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S)
        try:
            answer = await self.session.post(
                url, data=body, headers=forwarded(headers), skip_auto_headers=_OURS, timeout=timeout, allow_redirects=False
            )
        except _LOST:
            return False
        async with answer:
            streams = answer.status < 400 and answer.content_type == "text/event-stream"
            begun = False
            while True:
                try:
                    piece = await (answer.content.readany() if streams else answer.content.read())
                except _LOST:
                    if begun:
                        message = error_body(502, "upstream_lost", "The model's server went away in the middle of the answer.")
                        await response.write(closing_event(path, message, 502))
                    return begun
                if not streams:
                    await response.write(as_event(piece) if answer.status < 400 else closing_event(path, piece[:ERROR_BYTES], answer.status))
                    return True
                if not piece:
                    return True
                begun = True
                await response.write(piece)


def forwarded(headers: Mapping[str, str]) -> dict[str, str]:
    """The client's headers as the pod gets them: without what belongs to one connection, and without what gateway processes tell each other."""
    internal = ("x-jevons-", "x-envoy-", "x-gateway-")
    return {name: value for name, value in headers.items() if name.lower() not in _DROPPED and not name.lower().startswith(internal)}


def closing_event(path: str, error: bytes, status: int) -> bytes:
    """The last event of a stream that failed; `error` is a JSON error object, anything else is replaced by one."""
    try:
        told = orjson.loads(error)
        fields = told["error"] if isinstance(told, dict) and isinstance(told.get("error"), dict) else {"message": str(told)[:500]}
    except ValueError:
        fields = {"message": f"The model's server answered with status {status}."}
    fields = {"type": "server_error", "code": "upstream_error", **fields}
    if path.startswith("/v1/messages"):
        return b"event: error\ndata: " + orjson.dumps({"type": "error", "error": fields}) + b"\n\n"
    return b"data: " + orjson.dumps({"error": fields}) + b"\n\ndata: [DONE]\n\n"


def as_event(whole: bytes) -> bytes:
    """A plain JSON answer of an engine that does not stream, as one event."""
    return b"data: " + whole.replace(b"\n", b" ") + b"\n\ndata: [DONE]\n\n"

"""The picker: Envoy asks it once per request, over ext_proc, where the request goes.

One process, one unix socket, one event loop; N of them run side by side. Per request Envoy opens a gRPC stream and sends the headers, then
the whole body; the answer to the body carries everything (new body, headers, endpoint list, metadata), and then *this side closes the
stream*: a picker that dies later touches no request that it has already sent on its way. A picker never waits for anything: what has to
wait goes to the waiting room.

    jevons.gateway.errors.Refusal   the one exception of the steps, answered as an ImmediateResponse
"""

from __future__ import annotations

import time
import traceback
import uuid
from collections.abc import Callable
from typing import Any

import grpc
import structlog
from envoy.config.core.v3 import base_pb2
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from google.protobuf import struct_pb2

from jevons.gateway import wire
from jevons.gateway.errors import Refusal
from jevons.gateway.level import DemandLevel
from jevons.gateway.steps import respond
from jevons.gateway.steps.classify import bin_of
from jevons.gateway.steps.decide import Arrival, Decider, Decision
from jevons.gateway.steps.parse import MAX_BODY_BYTES, parse

SERVICE = "envoy.service.ext_proc.v3.ExternalProcessor"
HEALTH_NAMES = ("", "liveness", "readiness", SERVICE)

_SET = base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD
_CONTINUE = pb.ProcessingResponse(request_headers=pb.HeadersResponse()).SerializeToString()

log = structlog.get_logger(__name__)


class Picker:
    """Answers Envoy. `changed` is called when a sleeping variant is wished for the first time (the demand stream reports at once)."""

    def __init__(
        self, decider: Decider, level: DemandLevel, secret: bytes, *, wished: Callable[[], None], clock: Callable[[], float] = time.time
    ) -> None:
        self.decider = decider
        self.level = level
        self._secret = secret
        self._wished = wished
        self._clock = clock

    def handler(self) -> grpc.GenericRpcHandler:
        """For `grpc.aio.Server.add_generic_rpc_handlers`. Answers are serialised already."""
        method = grpc.stream_stream_rpc_method_handler(self.process, request_deserializer=pb.ProcessingRequest.FromString)
        return grpc.method_handlers_generic_handler(SERVICE, {"Process": method})

    async def process(self, _: object, stream: Any) -> None:
        """One request of one client."""
        message = await stream.read()
        if not isinstance(message, pb.ProcessingRequest) or message.WhichOneof("request") != "request_headers":
            return
        headers = header_map(message.request_headers)
        try:
            if message.request_headers.end_of_stream:
                await stream.write(self._without_body(headers))
                return
            _check_headers(headers)
            await stream.write(_CONTINUE)
            message = await stream.read()
            if isinstance(message, pb.ProcessingRequest) and message.WhichOneof("request") == "request_body":
                await stream.write(self.answer(headers, message.request_body.body))
        except Refusal as refusal:
            await stream.write(_refused(refusal))

    def answer(self, headers: dict[str, str], body: bytes) -> bytes:
        """A ProcessingResponse: where a whole request goes. Raises Refusal; what is unforeseen is logged without the request's content, and a 500."""
        try:
            return self._decided(headers, body, self._clock())
        except Refusal:
            raise
        except Exception as error:  # noqa: BLE001 - the top of one request: the others go on
            where = traceback.extract_tb(error.__traceback__)[-1]  # not the message: it may quote the prompt
            log.error("request not decided", error=type(error).__name__, where=f"{where.filename}:{where.lineno}")  # noqa: TRY400
            raise Refusal(500, "internal_error", "The gateway could not decide on this request.") from None

    def _decided(self, headers: dict[str, str], body: bytes, now: float) -> bytes:
        request = parse(headers.get(":path", ""), headers, body)
        request, arrival = respond.returning(request, self._secret, fresh_id=uuid.uuid4().hex, now_ms=now * 1000)
        decision = self.decider.decide(request, arrival, now)
        self._report(decision, arrival, now)
        built_at = self.decider.table.built_at
        metadata = respond.metadata_for(decision, arrival, request, table_age_s=now - built_at if built_at else 0.0)
        ours = respond.headers_for(decision, arrival, request, self._secret)
        return _routed(respond.body_for_engine(request, decision), headers, ours, metadata)

    def _without_body(self, headers: dict[str, str]) -> bytes:
        """GET /v1/models and /v1/models/NAME; everything else wants a body."""
        path = headers.get(":path", "").partition("?")[0]
        if headers.get(":method") in ("GET", "HEAD") and path == "/v1/models":
            return _immediate(200, respond.model_list(self.decider.table), {"content-type": "application/json"})
        if headers.get(":method") in ("GET", "HEAD") and path.startswith("/v1/models/"):
            name = path.removeprefix("/v1/models/")
            found = respond.one_model(self.decider.table, name)
            if found is None:
                raise Refusal(404, "model_not_found", f"The model {name[:200]!r} does not exist.", param="model")
            return _immediate(200, found, {"content-type": "application/json"})
        parse(path, headers, b"")  # refuses a path that is not served
        raise Refusal(400, "invalid_request", "The request has no body.")

    def _report(self, decision: Decision, arrival: Arrival, now: float) -> None:
        key = decision.model.key
        if arrival.wait_ms == 0:
            self.level.arrived(
                key,
                decision.klass.name,
                input_tokens=decision.input_tokens,
                output_tokens=decision.output_tokens,
                score_bin=bin_of(decision.score),
                now=now,
            )
        if decision.wake is not None and self.level.wish(key, decision.wake.name, now):
            self._wished()


def header_map(message: pb.HttpHeaders) -> dict[str, str]:
    """The request's headers; of one that is repeated the last."""
    return {one.key: (one.raw_value or one.value.encode()).decode("utf-8", "replace") for one in message.headers.headers}


def _check_headers(headers: dict[str, str]) -> None:
    """Refuse by the headers alone what would only be refused after megabytes were buffered."""
    if headers.get(":method") != "POST":
        raise Refusal(405, "method_not_allowed", f"{headers.get(':method', '')[:16]} is not served here; use POST.")
    length = headers.get("content-length", "0")
    if length.isdigit() and int(length) > MAX_BODY_BYTES:
        raise Refusal(413, "request_too_large", f"The request body has {length} bytes; at most {MAX_BODY_BYTES} are accepted.")
    if headers.get("content-encoding", "identity") != "identity":
        raise Refusal(415, "unsupported_encoding", "Compressed request bodies are not accepted.")


def _routed(body: bytes, theirs: dict[str, str], ours: dict[str, str], metadata: dict[str, dict[str, Any]]) -> bytes:
    """The answer that sends a request on: new body, our headers, the client's copies of internal ones removed, metadata."""
    removed = [name for name in respond.INTERNAL_HEADERS if name in theirs and name not in ours]
    return wire.routed(body, {**ours, "content-length": str(len(body))}, removed, metadata)


def _refused(refusal: Refusal) -> bytes:
    return _immediate(refusal.status, refusal.body(), {**refusal.headers(), "x-jevons-reason": refusal.code}, details=refusal.code)


def _immediate(status: int, body: bytes, headers: dict[str, str], *, details: str = "answered") -> bytes:
    answer = pb.ImmediateResponse(
        headers=pb.HeaderMutation(set_headers=[_option(name, value) for name, value in headers.items()]), body=body, details=f"jevons_{details}"
    )
    answer.status.code = status
    told = struct_pb2.Struct()
    told.update({"jevons": {"refused": True}})
    return bytes(pb.ProcessingResponse(immediate_response=answer, dynamic_metadata=told).SerializeToString())


def _option(name: str, value: str) -> base_pb2.HeaderValueOption:
    return base_pb2.HeaderValueOption(header=base_pb2.HeaderValue(key=name, raw_value=value.encode()), append_action=_SET)

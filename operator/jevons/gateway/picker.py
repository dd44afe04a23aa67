"""The picker: Envoy asks it once per request, over ext_proc, where the request goes.

One process, one unix socket, one event loop; N of them run side by side. Per request Envoy opens a gRPC stream. Most requests come whole, body
and headers in one message (`envoy/routes.py`); gRPC knows it by the call's metadata, and sends the answer and the end of the stream as one. For
others Envoy sends the headers, waits for a word, and sends the body. The answer to the body carries everything (new body, endpoint list, headers as
metadata), and then *this side closes the stream*: a picker that dies later touches no request that it has already sent on its way. A picker never
waits for anything: what has to wait goes to the waiting room.

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
from jevons.gateway.envoy.routes import WHOLE
from jevons.gateway.errors import Refusal
from jevons.gateway.level import DemandLevel
from jevons.gateway.steps import respond
from jevons.gateway.steps.classify import bin_of
from jevons.gateway.steps.decide import Arrival, Decider, Decision
from jevons.gateway.steps.parse import MAX_BODY_BYTES, parse

SERVICE = "envoy.service.ext_proc.v3.ExternalProcessor"
METHOD = f"/{SERVICE}/Process"
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
        return _ByExchanges(self)

    async def whole(self, message: pb.ProcessingRequest, _: object) -> bytes:
        """One request of one client whose headers came with its body."""
        try:
            return self.answer(handed_over(message), message.request_body.body)
        except Refusal as refusal:
            return _refused(refusal)

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
        request = parse(headers[":path"], headers, body)
        request, arrival = respond.returning(request, self._secret, fresh_id=uuid.uuid4().hex, now_ms=now * 1000)
        decision = self.decider.decide(request, arrival, now)
        self._report(decision, arrival, now)
        built_at = self.decider.table.built_at
        metadata = respond.metadata_for(decision, arrival, request, table_age_s=now - built_at if built_at else 0.0)
        metadata[respond.HEADERS_NAMESPACE] = respond.headers_for(decision, arrival, request, self._secret)
        return wire.routed(respond.body_for_engine(request, decision), metadata)

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


class _ByExchanges(grpc.GenericRpcHandler):  # type: ignore[misc]
    """The one method, with one message each way where Envoy says so, else with as many as it takes."""

    def __init__(self, picker: Picker) -> None:
        parse_request = pb.ProcessingRequest.FromString
        self._whole = grpc.unary_unary_rpc_method_handler(picker.whole, request_deserializer=parse_request)
        self._stream = grpc.stream_stream_rpc_method_handler(picker.process, request_deserializer=parse_request)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        """The handler, or None for a method that is not ours."""
        if handler_call_details.method != METHOD:
            return None
        return self._whole if WHOLE in handler_call_details.invocation_metadata else self._stream


def handed_over(message: pb.ProcessingRequest) -> dict[str, str]:
    """The headers that `handover.lua` sent along with the body; empty when it did not. Of one that is repeated the last."""
    text = message.metadata_context.filter_metadata[respond.REQUEST_NAMESPACE].fields["headers"].string_value
    if not text.isascii():
        text = text.encode("latin-1", "replace").decode("utf-8", "replace")
    headers = {}
    for line in text.split("\n"):
        end = line.find(":", 1)
        headers[line[:end]] = line[end + 1 :]
    return headers


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


def _refused(refusal: Refusal) -> bytes:
    told = {**refusal.headers(), "x-jevons-reason": refusal.code}
    return _immediate(refusal.status, refusal.body(), told, details=refusal.code, model=refusal.model)


def _immediate(status: int, body: bytes, headers: dict[str, str], *, details: str = "answered", model: str = "") -> bytes:
    answer = pb.ImmediateResponse(
        headers=pb.HeaderMutation(set_headers=[_option(name, value) for name, value in headers.items()]), body=body, details=f"jevons_{details}"
    )
    answer.status.code = status
    told = struct_pb2.Struct()
    told.update({"jevons": {"refused": True, "refused_by": model}})
    return bytes(pb.ProcessingResponse(immediate_response=answer, dynamic_metadata=told).SerializeToString())


def _option(name: str, value: str) -> base_pb2.HeaderValueOption:
    return base_pb2.HeaderValueOption(header=base_pb2.HeaderValue(key=name, raw_value=value.encode()), append_action=_SET)

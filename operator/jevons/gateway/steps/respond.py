"""What Envoy is told: the changed body, the headers, the endpoint list, and the metadata behind accounting and the client's response headers.

The endpoint list goes into dynamic metadata, which only the picker can write, and from there into the header of the same name (the endpoint-picker
protocol wants both equal); Envoy chooses by the metadata alone. The headers between gateway processes are metadata, too, until the route writes them
on the request that goes out; a client's copies (`INTERNAL_HEADERS`) are removed from every request.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import replace
from typing import Any

import orjson

from jevons.gateway.steps.classify import bin_of
from jevons.gateway.steps.decide import Arrival, Decision
from jevons.gateway.steps.parse import Request
from jevons.gateway.table import Table

DESTINATION = "x-gateway-destination-endpoint"
TICKET = "x-jevons-ticket"
ROOM_HEADERS = (
    "x-jevons-model",
    "x-jevons-wake",
    "x-jevons-deadline-ms",
    "x-jevons-patience-ms",
    "x-jevons-arrived-ms",
    "x-jevons-priority",
    "x-jevons-tier",
    "x-jevons-team",
)
ROUTER_HEADERS = (TICKET, *ROOM_HEADERS)
"""What the picker wants the request to carry on: the route writes them, out of metadata `HEADERS_NAMESPACE`."""
INTERNAL_HEADERS = (
    DESTINATION,
    "x-gateway-destination-endpoint-subset",
    "x-gateway-destination-endpoint-served",
    *ROUTER_HEADERS,
    "x-jevons-fill",
    "accept-encoding",
)
"""Never taken from a client; the route removes them (`envoy/routes.py`). `accept-encoding` goes too: a compressed answer cannot be counted."""

REQUEST_NAMESPACE = "jevons.request"
"""Metadata by which `handover.lua` gives the picker the headers of a request."""
HEADERS_NAMESPACE = "jevons.headers"
OLD_TABLE_S = 900.0
COLD_MS = 500.0
"""A shorter wait was for a pod that could not be reached, not for one that had to start."""
TICKET_AGE_MAX_MS = 6 * 3600 * 1000.0


def body_for_engine(request: Request, decision: Decision) -> bytes:
    """The request as the engine gets it: its own model name, the class' ceiling, usage in streams, nothing of ours."""
    body = {**request.body, "model": decision.choice.variant.served_model or decision.choice.variant.name}
    body.pop("service_tier", None)
    body.pop("cache_salt", None)
    if request.stream and request.kind in ("chat", "completions"):
        body["stream_options"] = {**(body.get("stream_options") or {}), "include_usage": True}
    if decision.output_limit is not None and request.max_output is None and request.kind in _LIMIT_FIELD:
        body[_LIMIT_FIELD[request.kind]] = decision.output_limit
    return orjson.dumps(body)


_LIMIT_FIELD = {"chat": "max_tokens", "completions": "max_tokens", "responses": "max_output_tokens", "messages": "max_tokens"}


def headers_for(decision: Decision, arrival: Arrival, request: Request, secret: bytes) -> dict[str, str]:
    """`ROUTER_HEADERS`: what the waiting room needs (it ends every list of endpoints)."""
    return {
        TICKET: ticket(arrival, request, secret),
        "x-jevons-model": decision.model.key,
        "x-jevons-wake": decision.choice.variant.name,
        "x-jevons-deadline-ms": f"{decision.deadline_ms:.0f}",
        "x-jevons-patience-ms": f"{arrival.at_ms + min(1000 * decision.klass.wait_s, (decision.deadline_ms - arrival.at_ms) / 2):.0f}",
        "x-jevons-arrived-ms": f"{arrival.at_ms:.0f}",
        "x-jevons-priority": decision.klass.priority,
        "x-jevons-tier": tier_of(decision, request),
        "x-jevons-team": _header_value(decision.team),
    }


def tier_of(decision: Decision, request: Request) -> str:
    """Interactive | Flex | Batch: the class', unless the client said `service_tier: flex`. The room serves interactive requests first."""
    return "Flex" if request.flex and decision.klass.tier == "Interactive" else decision.klass.tier


def metadata_for(decision: Decision, arrival: Arrival, request: Request, *, table_age_s: float = 0.0) -> dict[str, dict[str, Any]]:
    """Dynamic metadata: `envoy.lb` chooses the endpoint; `jevons` is read by the usage filter, the access log and the response headers.

    A table that nobody has confirmed for 15 minutes is said so to the client (`x-jevons-table-age`, seconds).
    """
    model, klass, choice = decision.model, decision.klass, decision.choice
    jevons: dict[str, Any] = {
        "id": arrival.id,
        "ns": model.namespace,
        "deployment": model.name,
        "model": request.model.partition("@")[0],
        "variant": choice.variant.name,
        "klass": klass.name,
        "team": decision.team,
        "reason": choice.reason,
        "score": f"{decision.score:.3f}",
        "bin": bin_of(decision.score),
        "arrived_ms": arrival.at_ms,
        "wait_ms": round(arrival.wait_ms),
        "strip": request.stream and not request.usage_asked,
        "est_raw": decision.raw_tokens,
        "est_in": round(decision.input_tokens, 1),
        "est_out": round(decision.output_tokens, 1),
        "limit": "client" if request.max_output is not None else "class" if decision.output_limit is not None else "none",
        "tier": tier_of(decision, request),
        "ttft_ms_objective": klass.ttft_ms + 1000 * klass.wait_s,
        "itl_ms_objective": klass.itl_ms,
        "quality": choice.quality_ok,
        "cold": choice.cold or (arrival.wait_ms >= COLD_MS and not klass.wait_s),
        "session": "" if decision.session is None else f"{decision.session:016x}",
        "picked": "" if choice.held else decision.endpoints[0],
        "work": 0.0 if choice.held else round(decision.work.tokens, 1),
        "sequences": 0 if choice.held else decision.work.sequences,
        "reserved_usd": decision.reserved_usd,
    }
    if table_age_s > OLD_TABLE_S:
        jevons["table_age_s"] = round(table_age_s)
    return {"envoy.lb": {DESTINATION: ",".join(decision.endpoints)}, "jevons": jevons}


def ticket(arrival: Arrival, request: Request, secret: bytes) -> str:
    """The arrival and what the client really asked for, signed so that a client cannot make one.

    Both survive the internal redirect, which repeats the *changed* body.
    """
    asked = [round(arrival.at_ms), arrival.id, request.model, request.usage_asked, request.max_output, request.flex]
    text = base64.urlsafe_b64encode(orjson.dumps(asked)).decode()
    return f"{text}.{_sign(text, secret)}"


def returning(request: Request, secret: bytes, *, fresh_id: str, now_ms: float) -> tuple[Request, Arrival]:
    """The request as its client sent it, and when it first arrived: now, or what its ticket says if this gateway signed it."""
    text, _, signature = request.headers.get(TICKET, "").rpartition(".")
    if text and hmac.compare_digest(signature.encode(), _sign(text, secret).encode()):
        at, identity, model, usage_asked, max_output, flex = orjson.loads(base64.urlsafe_b64decode(text))
        if now_ms - at <= TICKET_AGE_MAX_MS:
            original = replace(request, model=model, usage_asked=usage_asked, max_output=max_output, flex=flex)
            return original, Arrival(identity, float(at), max(1.0, now_ms - at))
    return request, Arrival(fresh_id, now_ms)


def model_list(table: Table) -> bytes:
    """GET /v1/models: every name a client may send, in OpenAI's form."""
    rows = []
    for name in table.known_names():
        found = table.resolve(name)
        if found is not None:
            rows.append({"id": name, "object": "model", "created": 0, "owned_by": found[0].namespace})
    return orjson.dumps({"object": "list", "data": rows})


def one_model(table: Table, name: str) -> bytes | None:
    """GET /v1/models/NAME, or None."""
    found = table.resolve(name)
    return None if found is None else orjson.dumps({"id": name, "object": "model", "created": 0, "owned_by": found[0].namespace})


def _sign(text: str, secret: bytes) -> str:
    """A keyed BLAKE2b of 15 bytes: as good a seal as an HMAC, in a tenth of its time."""
    return base64.urlsafe_b64encode(hashlib.blake2b(text.encode(), key=secret, digest_size=15).digest()).decode()


def _header_value(text: str) -> str:
    return "".join(character for character in text if " " < character < "\x7f")

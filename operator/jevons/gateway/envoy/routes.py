"""Which requests go to the pickers, and in how many exchanges.

Nearly every request is a POST that says how long its body is, and that body is short: the picker gets it *whole*, body and headers in one message,
and answers once. ext_proc sends no headers then: `handover.lua` puts them into metadata that travels with the body, and the request is kept from
the router (filter `whole`) until it is answered: without that it is on its way before its endpoint is known. Header changes in such an answer are
ignored by Envoy, so the picker's are metadata, too, and the route writes them.

Everything else takes two exchanges, headers and then the body: no body, no length, another method, a compressed body, one that is too large
(refused by their headers alone), and a body of more than `WHOLE_BYTES`: when a picker is dead Envoy repeats at most 64 KiB to the next one, and
drops what goes beyond without a word.
"""

from __future__ import annotations

from typing import Any

from jevons.gateway.endpoints import CLUSTER
from jevons.gateway.envoy.policy import direct_error, response_headers
from jevons.gateway.steps.decide import ROOM_TRIES
from jevons.gateway.steps.endpoint import TRIED_PODS
from jevons.gateway.steps.respond import DESTINATION, HEADERS_NAMESPACE, INTERNAL_HEADERS, ROUTER_HEADERS

WHOLE_BYTES = 28 * 1024
"""With headers of at most 16 KiB, twice that in the worst case when they are handed over, a whole request stays below 64 KiB."""
WHOLE = ("x-jevons-whole", "1")
"""gRPC metadata of an exchange that has one message each way."""
HANDOVER_FILTER = "handover"
WHOLE_FILTER = "whole"

RETRIES = TRIED_PODS + ROOM_TRIES - 1
"""Every entry of the picker's list, which alone says how often a pod is tried. Pauses double from 10 ms to 1 s, each drawn from 0 on."""

_TYPE = "type.googleapis.com/"
_PER_ROUTE = _TYPE + "envoy.extensions.filters.http.ext_proc.v3.ExtProcPerRoute"


def processing_mode(*, headers: bool) -> dict[str, str]:
    """What of a request ext_proc sends: the body in one piece, and before it the headers, or not. Nothing of the answer."""
    return {
        "request_header_mode": "SEND" if headers else "SKIP",
        "request_body_mode": "BUFFERED",
        "request_trailer_mode": "SKIP",
        "response_header_mode": "SKIP",
        "response_body_mode": "NONE",
        "response_trailer_mode": "SKIP",
    }


def virtual_host() -> dict[str, Any]:
    """All routes, first match first."""
    off = {"typed_per_filter_config": {"ext_proc": {"@type": _PER_ROUTE, "disabled": True}}}
    return {
        "name": "all",
        "domains": ["*"],
        "response_headers_to_add": response_headers(),
        "routes": [
            {"match": _whole_match(), **_to_engines(), "typed_per_filter_config": _whole_filters()},
            {"match": {"prefix": "/v1/"}, **_to_engines()},
            {"match": {"path": "/healthz"}, "direct_response": {"status": 200, "body": {"inline_string": "ok\n"}}, **off},
            {"match": {"prefix": "/"}, **direct_error(404, "unknown_url", "Unknown request URL: paths begin with /v1/."), **off},
        ],
    }


def _whole_match() -> dict[str, Any]:
    return {
        "prefix": "/v1/",
        "headers": [
            {"name": ":method", "string_match": {"exact": "POST"}},
            {"name": "content-length", "range_match": {"start": 1, "end": WHOLE_BYTES + 1}},
            {"name": "content-encoding", "present_match": True, "invert_match": True},
        ],
    }


def _whole_filters() -> dict[str, Any]:
    key, value = WHOLE
    overrides = {"processing_mode": processing_mode(headers=False), "grpc_initial_metadata": [{"key": key, "value": value}]}
    on = {"@type": _TYPE + "envoy.config.route.v3.FilterConfig", "config": {}}
    return {"ext_proc": {"@type": _PER_ROUTE, "overrides": overrides}, HANDOVER_FILTER: on, WHOLE_FILTER: on}


def _to_engines() -> dict[str, Any]:
    """To the host that the picker named; the headers between gateway processes are the picker's and nobody else's."""
    route = {
        "cluster": CLUSTER,
        "timeout": "0s",
        "idle_timeout": "0s",
        "retry_policy": {
            "retry_on": "connect-failure,reset,refused-stream",
            "num_retries": RETRIES,
            "retry_back_off": {"base_interval": "0.010s", "max_interval": "1s"},
        },
        "internal_redirect_policy": {"max_internal_redirects": 10, "redirect_response_codes": [307], "allow_cross_scheme_redirect": True},
    }
    sources = {DESTINATION: f"envoy.lb:{DESTINATION}", **{name: f"{HEADERS_NAMESPACE}:{name}" for name in ROUTER_HEADERS}}
    return {
        "route": route,
        "request_headers_to_remove": list(INTERNAL_HEADERS),
        "request_headers_to_add": [
            {"header": {"key": name, "value": f"%DYNAMIC_METADATA({source})%"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
            for name, source in sources.items()
        ],
    }

"""The parts of Envoy's configuration that are rules rather than structure: limits, answers of Envoy's own, headers that explain."""

from __future__ import annotations

from typing import Any

from jevons.gateway.errors import ERROR_HEADER, error_body

_TYPE = "type.googleapis.com/"
_PLENTY = 1_000_000
_HEAP = "envoy.resource_monitors.fixed_heap"


def circuit_breakers() -> dict[str, Any]:
    """No limits: the default ones of 1,024 would cut held requests, and a retry counts for as long as it is held.

    With Envoy's retry budget (20 % of active requests, at least 100), 200 of 300 requests that a room held were lost when it was killed. What bounds
    retries is the picker's list: work goes to one other pod at most, and the waiting room bounds what it holds by itself.
    """
    threshold = {
        "max_connections": _PLENTY,
        "max_pending_requests": _PLENTY,
        "max_requests": _PLENTY,
        "max_retries": _PLENTY,
    }
    return {"thresholds": [{"priority": "DEFAULT", **threshold}, {"priority": "HIGH", **threshold}]}


def http1_upstream(*, idle_timeout_s: float) -> dict[str, Any]:
    """HTTP/1.1 to the engines."""
    return _protocol(
        {"explicit_http_config": {"http_protocol_options": {}}, "common_http_protocol_options": {"idle_timeout": f"{idle_timeout_s:g}s"}}
    )


def http2_upstream() -> dict[str, Any]:
    """HTTP/2 to the pickers (gRPC). A dead connection is noticed within 2 s."""
    return _protocol({"explicit_http_config": {"http2_protocol_options": {"connection_keepalive": {"interval": "5s", "timeout": "5s"}}}})


def _protocol(options: dict[str, Any]) -> dict[str, Any]:
    name = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    return {name: {"@type": _TYPE + name, **options}}


def overload_manager(max_connections: int, max_heap_bytes: int) -> dict[str, Any]:
    """Ceilings of client connections and of memory, so that a flood takes neither every file descriptor nor the container.

    Bodies wait in memory for the picker. When the heap nears `max_heap_bytes`, free memory goes back to the system; then HTTP/2 streams that hold a
    MiB or more are reset, the largest first; then new requests get 503 until it has drained. (A flood of HTTP/1 was seen to be on no account: 503
    is what bounds it.)
    """
    monitors = _TYPE + "envoy.extensions.resource_monitors."
    connections, heap = "downstream_connections.v3.DownstreamConnectionsConfig", "fixed_heap.v3.FixedHeapConfig"
    return {
        "refresh_interval": "0.1s",
        "resource_monitors": [
            {
                "name": "envoy.resource_monitors.global_downstream_max_connections",
                "typed_config": {"@type": monitors + connections, "max_active_downstream_connections": max_connections},
            },
            {"name": _HEAP, "typed_config": {"@type": monitors + heap, "max_heap_size_bytes": max_heap_bytes}},
        ],
        "buffer_factory_config": {"minimum_account_to_track_power_of_two": 20},
        "actions": [
            _when_the_heap("shrink_heap", threshold={"value": 0.85}),
            _when_the_heap("reset_high_memory_stream", scaled={"scaling_threshold": 0.90, "saturation_threshold": 0.98}),
            _when_the_heap("stop_accepting_requests", threshold={"value": 0.95}),
        ],
    }


def _when_the_heap(action: str, **trigger: dict[str, float]) -> dict[str, Any]:
    return {"name": f"envoy.overload_actions.{action}", "triggers": [{"name": _HEAP, **trigger}]}


def response_headers() -> list[dict[str, Any]]:
    """Headers that explain the choice, from the picker's metadata; one without a value is left out."""
    explained = {"variant": "variant", "reason": "reason", "score": "score", "wait-ms": "wait_ms", "table-age": "table_age_s"}
    return [
        {
            "header": {"key": f"x-jevons-{name}", "value": f"%DYNAMIC_METADATA(jevons:{key})%"},
            "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
            "keep_empty_value": False,
        }
        for name, key in explained.items()
    ]


def direct_error(status: int, code: str, message: str) -> dict[str, Any]:
    """A route that answers by itself, in OpenAI's form."""
    return {
        "direct_response": {"status": status, "body": {"inline_string": error_body(status, code, message).decode()}},
        "response_headers_to_add": [_header("content-type", "application/json"), _header(ERROR_HEADER, code)],
    }


def _header(name: str, value: str) -> dict[str, Any]:
    return {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}


_OWN_ANSWERS = {
    400: ("invalid_request", "The request is malformed."),
    408: ("request_timeout", "The request did not arrive in time."),
    413: ("request_too_large", "The request body is too large."),
    426: ("invalid_request", "This protocol is not supported."),
    431: ("headers_too_large", "The request headers are too large."),
    500: ("internal_error", "The gateway failed; try again."),
    502: ("upstream_error", "The model broke off before its first token; try again."),
    503: ("no_capacity", "No replica could take the request; try again."),
    504: ("timeout", "The request was not decided in time; try again."),
}


def local_replies() -> dict[str, Any]:
    """Envoy's own errors in OpenAI's form. An answer of the picker passes as it is (its body is JSON already)."""
    return {
        "mappers": [
            {
                "filter": {"and_filter": {"filters": [_status_is(status), _not_by_the_picker()]}},
                "body_format_override": {
                    "text_format_source": {"inline_string": error_body(status, code, message).decode().replace("%", "%%")},
                    "content_type": "application/json",
                },
                "headers_to_add": [_header(ERROR_HEADER, code)],
            }
            for status, (code, message) in _OWN_ANSWERS.items()
        ]
    }


def _status_is(status: int) -> dict[str, Any]:
    return {"status_code_filter": {"comparison": {"op": "EQ", "value": {"default_value": status, "runtime_key": "jevons.none"}}}}


def _not_by_the_picker() -> dict[str, Any]:
    """True for every answer but the picker's, which says `refused: true` in its metadata."""
    matcher = {"filter": "jevons", "path": [{"key": "refused"}], "value": {"bool_match": False}}
    return {"metadata_filter": {"matcher": matcher, "match_if_key_not_found": True}}

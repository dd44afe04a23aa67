"""Envoy's health on a port of its own: whether the process serves, not whether it has room for more.

Where clients send requests, a heap that is nearly full answers 503 to everything, `/healthz` included: right for a load balancer that may choose
another pod, wrong for a liveness probe, which would kill the pod with every stream in it. This listener passes the overload manager by, and the
limit of connections.
"""

from __future__ import annotations

from typing import Any

_TYPE = "type.googleapis.com/"


def health_listener(host: str, port: int) -> dict[str, Any]:
    """`GET /healthz` -> 200, anything else -> 404."""
    routes = [
        {"match": {"path": "/healthz"}, "direct_response": {"status": 200, "body": {"inline_string": "ok\n"}}},
        {"match": {"prefix": "/"}, "direct_response": {"status": 404}},
    ]
    manager = {
        "@type": _TYPE + "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "health",
        "max_request_headers_kb": 8,
        "request_headers_timeout": "5s",
        "request_timeout": "5s",
        "common_http_protocol_options": {"idle_timeout": "60s"},
        "route_config": {"name": "health", "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        "http_filters": [{"name": "router", "typed_config": {"@type": _TYPE + "envoy.extensions.filters.http.router.v3.Router"}}],
    }
    return {
        "name": "health",
        "address": {"socket_address": {"address": host, "port_value": port}},
        "bypass_overload_manager": True,
        "ignore_global_conn_limit": True,
        "per_connection_buffer_limit_bytes": 65_536,
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }

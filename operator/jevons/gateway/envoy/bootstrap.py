"""Envoy's whole configuration, as one function of a few settings: no xDS server, no templates.

What is not obvious, and was measured (reference figures in docs/designs): the picker sees every request with its body, most of them in one exchange
(`routes.py`); the endpoint is chosen by metadata that only the picker writes, and falls back to
*nothing* (an impossible subset), so a host missing from EDS is skipped and never replaced by a wrong pod; the fallbacks are in the picker's
list, tried by retries before the first byte. A 307 of the waiting room runs the request through the picker again (internal redirect).
Streams may idle for minutes (held requests), requests may not trickle in. Engines close idle connections after 5 s, so Envoy does after 4.

The access log is JSON lines at `state_dir/access.log`; its fields are `jevons.gateway.access_log.ACCESS_LOG_FORMAT`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from jevons.gateway.access_log import ACCESS_LOG_FORMAT
from jevons.gateway.endpoints import CLUSTER
from jevons.gateway.envoy.health import health_listener
from jevons.gateway.envoy.policy import (
    circuit_breakers,
    http1_upstream,
    http2_upstream,
    local_replies,
    overload_manager,
)
from jevons.gateway.envoy.routes import HANDOVER_FILTER, WHOLE_FILTER, processing_mode, virtual_host
from jevons.gateway.steps.parse import MAX_BODY_BYTES
from jevons.gateway.steps.respond import DESTINATION, HEADERS_NAMESPACE, REQUEST_NAMESPACE

SERVED = f"{DESTINATION}-served"
USAGE_LUA = Path(__file__).with_name("usage.lua")
HANDOVER_LUA = Path(__file__).with_name("handover.lua")
MAX_HEAP_BYTES = 640 * 2**20
_TYPE = "type.googleapis.com/"
_FILTERS = _TYPE + "envoy.extensions.filters.http."
_NOBODY = {"unix_sockets": False, "cidr_ranges": [{"address_prefix": "255.255.255.255", "prefix_len": 32}]}
"""Nobody's `x-envoy-` headers are orders. An empty list would mean all private addresses; no connection comes from this one."""


@dataclass(frozen=True, slots=True)
class EnvoySettings:
    """What differs between two gateways. `pickers` are unix sockets; `state_dir` holds eds.json, access.log and the admin socket."""

    state_dir: Path
    pickers: tuple[Path, ...]
    host: str = "127.0.0.1"
    port: int = 8080
    health_port: int | None = None
    """Health for liveness probes (`health.py`); None = no such port."""
    max_connections: int = 20_000
    max_heap_bytes: int = MAX_HEAP_BYTES
    """Where Envoy refuses work; below its container's limit (1 GiB in the chart), which kills: a flood at 1 GB/s got 0.3 GiB further."""
    picker_timeout_s: float = 10.0

    @property
    def admin(self) -> Path:
        """Envoy's admin interface: a unix socket, reachable by this pod's processes alone."""
        return self.state_dir / "envoy-admin.sock"


def write_bootstrap(settings: EnvoySettings, path: Path) -> None:
    """The configuration as a JSON file for `envoy --config-path`."""
    path.write_bytes(orjson.dumps(bootstrap(settings), option=orjson.OPT_INDENT_2))


def bootstrap(settings: EnvoySettings) -> dict[str, Any]:
    """The configuration as plain data."""
    return {
        "node": {"id": "jevons", "cluster": "jevons"},
        "admin": {"address": {"pipe": {"path": str(settings.admin), "mode": 0o600}}},
        "overload_manager": overload_manager(settings.max_connections, settings.max_heap_bytes),
        "static_resources": {"listeners": _listeners(settings), "clusters": [_engines(settings), _pickers(settings)]},
    }


def _listeners(settings: EnvoySettings) -> list[dict[str, Any]]:
    health = [] if settings.health_port is None else [health_listener(settings.host, settings.health_port)]
    return [_listener(settings), *health]


def _listener(settings: EnvoySettings) -> dict[str, Any]:
    return {
        "name": "gateway",
        "address": {"socket_address": {"address": settings.host, "port_value": settings.port}},
        "per_connection_buffer_limit_bytes": 2 * MAX_BODY_BYTES + 65_536,
        "filter_chains": [{"filters": [{"name": "http", "typed_config": _connection_manager(settings)}]}],
    }


def _connection_manager(settings: EnvoySettings) -> dict[str, Any]:
    return {
        "@type": _TYPE + "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "gateway",
        "use_remote_address": True,
        "internal_address_config": _NOBODY,
        "always_set_request_id_in_response": True,
        "normalize_path": True,
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "REJECT_REQUEST",
        "max_request_headers_kb": 16,
        "common_http_protocol_options": {
            "headers_with_underscores_action": "REJECT_REQUEST",
            "max_headers_count": 100,
            "idle_timeout": "3600s",
        },
        "http_protocol_options": {"allow_chunked_length": False},
        "http2_protocol_options": {
            "max_concurrent_streams": 100,
            "initial_stream_window_size": 65_536,
            "initial_connection_window_size": 1_048_576,
        },
        "request_headers_timeout": "5s",
        "request_timeout": "30s",
        "stream_idle_timeout": "0s",
        "delayed_close_timeout": "1s",
        "drain_timeout": "5s",
        "route_config": {"name": "routes", "virtual_hosts": [virtual_host()]},
        "http_filters": [_lua(HANDOVER_FILTER, HANDOVER_LUA, disabled=True), _ext_proc(settings), _whole(), _lua("usage", USAGE_LUA), _router()],
        "local_reply_config": local_replies(),
        "access_log": [_access_log(settings)],
    }


def _router() -> dict[str, Any]:
    return {"name": "router", "typed_config": {"@type": _FILTERS + "router.v3.Router", "suppress_envoy_headers": True}}


def _ext_proc(settings: EnvoySettings) -> dict[str, Any]:
    return {
        "name": "ext_proc",
        "typed_config": {
            "@type": _FILTERS + "ext_proc.v3.ExternalProcessor",
            "grpc_service": {"envoy_grpc": {"cluster_name": "pickers"}, "timeout": "0s", "retry_policy": _picker_retries()},
            "failure_mode_allow": False,
            "status_on_error": {"code": "ServiceUnavailable"},
            "message_timeout": f"{settings.picker_timeout_s:g}s",
            "processing_mode": processing_mode(headers=True),
            "metadata_options": {
                "forwarding_namespaces": {"untyped": [REQUEST_NAMESPACE]},
                "receiving_namespaces": {"untyped": ["envoy.lb", "jevons", HEADERS_NAMESPACE]},
            },
        },
    }


def _picker_retries() -> dict[str, Any]:
    """Another picker, when one dies between the connection and its first word."""
    predicate = {
        "name": "envoy.retry_host_predicates.previous_hosts",
        "typed_config": {"@type": _TYPE + "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"},
    }
    return {
        "retry_on": "connect-failure,reset,refused-stream,unavailable,cancelled",
        "num_retries": 3,
        "retry_back_off": {"base_interval": "0.010s", "max_interval": "0.100s"},
        "retry_host_predicate": [predicate],
        "host_selection_retry_max_attempts": 5,
    }


def _lua(name: str, script: Path, *, disabled: bool = False) -> dict[str, Any]:
    """A script's filter; a disabled one runs on routes that ask for it."""
    return {
        "name": name,
        "disabled": disabled,
        "typed_config": {"@type": _FILTERS + "lua.v3.Lua", "default_source_code": {"inline_string": script.read_text()}},
    }


def _whole() -> dict[str, Any]:
    """Keeps the headers of a request from the router until its body is through the picker, and gives it the new body's length."""
    return {"name": WHOLE_FILTER, "disabled": True, "typed_config": {"@type": _FILTERS + "buffer.v3.Buffer", "max_request_bytes": 2 * MAX_BODY_BYTES}}


def _access_log(settings: EnvoySettings) -> dict[str, Any]:
    served = {"served": f"%DYNAMIC_METADATA(envoy.lb:{SERVED})%"}
    return {
        "name": "file",
        "typed_config": {
            "@type": _TYPE + "envoy.extensions.access_loggers.file.v3.FileAccessLog",
            "path": str(settings.state_dir / "access.log"),
            "log_format": {"json_format": {**ACCESS_LOG_FORMAT, **served}},
        },
    }


def _engines(settings: EnvoySettings) -> dict[str, Any]:
    """Every pod and the waiting room; who gets a request is the picker's list and nothing else."""
    return {
        "name": CLUSTER,
        "type": "EDS",
        "connect_timeout": "1s",
        "per_connection_buffer_limit_bytes": 2 * MAX_BODY_BYTES + 65_536,
        "circuit_breakers": circuit_breakers(),
        "typed_extension_protocol_options": http1_upstream(idle_timeout_s=4),
        "eds_cluster_config": {
            "service_name": CLUSTER,
            "eds_config": {
                "path_config_source": {"path": str(settings.state_dir / "eds.json"), "watched_directory": {"path": str(settings.state_dir)}},
            },
        },
        "load_balancing_policy": {"policies": [_policy("override_host", "OverrideHost", _override())]},
    }


def _override() -> dict[str, Any]:
    def path(key: str) -> dict[str, Any]:
        return {"key": "envoy.lb", "path": [{"key": key}]}

    nothing = {
        "fallback_policy": "NO_FALLBACK",
        "subset_selectors": [{"keys": ["never"]}],
        "subset_lb_policy": {"policies": [_policy("round_robin", "RoundRobin", {})]},
    }
    return {
        "override_host_sources": [{"metadata": path(DESTINATION)}],
        "selected_host_key": path(SERVED),
        "fallback_policy": {"policies": [_policy("subset", "Subset", nothing)]},
    }


def _policy(name: str, message: str, settings: dict[str, Any]) -> dict[str, Any]:
    kind = f"envoy.extensions.load_balancing_policies.{name}.v3.{message}"
    return {"typed_extension_config": {"name": f"envoy.load_balancing_policies.{name}", "typed_config": {"@type": _TYPE + kind, **settings}}}


def _pickers(settings: EnvoySettings) -> dict[str, Any]:
    """N unix sockets in turn (by least requests a dead one, always idle, would be chosen); one failure takes a picker out for a second."""
    endpoints = [{"endpoint": {"address": {"pipe": {"path": str(path)}}}} for path in settings.pickers]
    return {
        "name": "pickers",
        "type": "STATIC",
        "connect_timeout": "1s",
        "lb_policy": "ROUND_ROBIN",
        "common_lb_config": {"healthy_panic_threshold": {"value": 1}},
        "per_connection_buffer_limit_bytes": 2 * MAX_BODY_BYTES + 65_536,
        "circuit_breakers": circuit_breakers(),
        "typed_extension_protocol_options": http2_upstream(),
        "health_checks": [
            {
                "timeout": "2s",
                "interval": "1s",
                "no_traffic_interval": "1s",
                "unhealthy_threshold": 2,
                "healthy_threshold": 1,
                "grpc_health_check": {"service_name": "envoy.service.ext_proc.v3.ExternalProcessor"},
            }
        ],
        "outlier_detection": {
            "consecutive_5xx": 1,
            "consecutive_gateway_failure": 1,
            "enforcing_consecutive_gateway_failure": 100,
            "interval": "0.5s",
            "base_ejection_time": "1s",
            "max_ejection_time": "2s",
            "max_ejection_percent": 50,
        },
        "load_assignment": {"cluster_name": "pickers", "endpoints": [{"lb_endpoints": endpoints}]},
    }

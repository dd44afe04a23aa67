"""The endpoints Envoy may send to, as the file its EDS subscription reads.

One cluster holds every pod of every model and the waiting room; which of them serves a request is the picker's choice (`override_host`), so
the file carries no weights and no models. It is replaced by rename: Envoy watches the folder and sees a change within about 12 ms. A host
that the picker names and the file does not hold is skipped by Envoy, never replaced by another.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import orjson

from jevons.gateway.table import Table, write_atomic

CLUSTER = "engines"


def endpoints_of(table: Table) -> list[str]:
    """Every `ip:port` of the table, sorted, each once: pods that serve or drain (streams in flight still belong to them), and the room."""
    pods = (pod.address for model in table.models.values() for variant in model.variants for pod in variant.pods if pod.ready or pod.draining)
    return sorted({*pods, table.room} - {""})


def eds(addresses: list[str]) -> bytes:
    """A DiscoveryResponse with one ClusterLoadAssignment, as JSON. Example: `["127.0.0.1:8000"]` gives one endpoint."""
    version = f"{hash_of(addresses):016x}"
    assignment: dict[str, Any] = {
        "@type": "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
        "cluster_name": CLUSTER,
        "endpoints": [{"lb_endpoints": [_endpoint(address) for address in addresses]}],
    }
    return orjson.dumps({"version_info": version, "resources": [assignment]})


def hash_of(addresses: list[str]) -> int:
    """64 bits that change when the list does."""
    return int.from_bytes(hashlib.blake2b("\n".join(addresses).encode(), digest_size=8).digest())


def _endpoint(address: str) -> dict[str, Any]:
    host, _, port = address.rpartition(":")
    return {"endpoint": {"address": {"socket_address": {"address": host.strip("[]"), "port_value": int(port)}}}}


class EndpointsFile:
    """`eds.json`, rewritten only when the set of endpoints changes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._written: list[str] | None = None

    def write(self, table: Table) -> bool:
        """Publish the endpoints of `table`; True when the file changed. Written before the table, so that Envoy never lags behind the pickers."""
        addresses = endpoints_of(table)
        if addresses == self._written:
            return False
        write_atomic(self.path, eds(addresses))
        self._written = addresses
        return True

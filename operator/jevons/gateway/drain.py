"""Tell Envoy that this pod is going away, where Envoy has a container of its own: `python -m jevons.gateway.drain /run/jevons/envoy-admin.sock`.

Kubernetes takes the pod out of the Service, but clients that have a connection go on using it until Envoy ends, and lose what is under way then.
After this, every answer closes its connection, so that their next request goes to another pod. It runs as the sidecar's preStop hook, which starts
together with Envoy's (a wait of drainSeconds), so it needs the standard library alone and ends at once.
"""

from __future__ import annotations

import http.client
import socket
import sys
from pathlib import Path

TIMEOUT_S = 5.0


class _Admin(http.client.HTTPConnection):
    """HTTP over Envoy's admin socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("envoy", timeout=TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def drain(admin: Path) -> None:
    """Let Envoy close each connection with its next answer. Raises OSError when nothing answers on the socket."""
    connection = _Admin(admin)
    try:
        connection.request("POST", "/healthcheck/fail")
        answer = connection.getresponse()
        if answer.status != http.client.OK:
            raise OSError(f"{admin}: /healthcheck/fail answered {answer.status}")
    finally:
        connection.close()


if __name__ == "__main__":
    try:
        drain(Path(sys.argv[1]))
    except OSError as error:
        raise SystemExit(f"drain: {error}") from None

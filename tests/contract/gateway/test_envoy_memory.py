"""A flood of bodies that never end does not cost Envoy its container: near the ceiling new work is refused, and later served again."""

import contextlib
import http.client
import json
import socket

import pytest

from jevons.gateway.envoy.bootstrap import EnvoySettings, write_bootstrap
from jevons.gateway.serve_picker import socket_of
from jevons.gateway.steps.parse import MAX_BODY_BYTES
from jevons.sandbox.tools import Tools

from .conftest import free_port, listening, until

pytestmark = pytest.mark.envoy

MIB = 2**20


@pytest.fixture
def small(lab, tmp_path):
    """A second Envoy in front of the lab's pickers: start it with a ceiling of its heap (bytes); gives its port."""
    port, probed = free_port(), free_port()
    (tmp_path / "eds.json").write_bytes((lab.dir / "eds.json").read_bytes())

    def start(max_heap_bytes):
        pickers = tuple(socket_of(lab.dir, index) for index in range(lab.pickers))
        write_bootstrap(EnvoySettings(tmp_path, pickers, port=port, health_port=probed, max_heap_bytes=max_heap_bytes), tmp_path / "envoy.json")
        envoy = str(Tools.resolve(["envoy"])["envoy"])
        lab.start("small", [envoy, "-c", str(tmp_path / "envoy.json"), "--disable-hot-restart", "--concurrency", "1", "-l", "warning"])
        until(lambda: listening(port), "the second Envoy listens")
        return port

    start.probed = probed
    yield start
    lab.kill("small")


def health(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/healthz")
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def unending(port):
    """A connection that sent all of a largest body but its last byte, as far as Envoy would take it."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=1)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {MAX_BODY_BYTES}\r\n\r\n"
    with contextlib.suppress(OSError):
        connection.sendall(head.encode() + b" " * (MAX_BODY_BYTES - 1))
    return connection


def refused(connection):
    """Whether Envoy answered 503 or closed."""
    with connection:
        try:
            answer = connection.recv(64)
        except ConnectionError:
            return True
        except TimeoutError:
            return False
    return not answer or answer.startswith(b"HTTP/1.1 503")


def test_bodies_that_never_end_are_refused_before_they_fill_the_memory(small):
    port = small(96 * MIB)
    flood = []
    while health(port)[0] == 200:
        assert len(flood) < 60, "much more than the ceiling was taken"
        flood.append(unending(port))
    assert all(refused(unending(port)) for _ in range(5))
    for connection in flood:
        connection.close()
    until(lambda: health(port)[0] == 200, "serves again")


def test_a_full_heap_refuses_in_openai_form_and_is_no_reason_to_kill_the_pod(small):
    port = small(MIB)
    until(lambda: health(port)[0] == 503, "full")
    assert json.loads(health(port)[1])["error"]["code"] == "no_capacity"
    assert [health(small.probed) for _ in range(3)] == [(200, b"ok\n")] * 3

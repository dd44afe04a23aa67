"""The real Envoy is told over its admin socket that its pod goes away: answers close their connections from then on, and none is refused."""

import http.client
import json
from pathlib import Path

import pytest

from jevons.gateway.drain import drain

BODY = json.dumps({"model": "assistant", "messages": [{"role": "user", "content": "hi"}]})


@pytest.mark.envoy
def test_a_connection_is_kept_until_the_drain_and_closed_with_the_next_answer(lab, model):
    lab.publish(model(large=[lab.engine("drained")]))
    connection = http.client.HTTPConnection("127.0.0.1", lab.port, timeout=10)
    assert _ask(connection) == (200, None)
    drain(lab.dir / "envoy-admin.sock")
    assert _ask(connection) == (200, "close")
    assert _ask(http.client.HTTPConnection("127.0.0.1", lab.port, timeout=10)) == (200, "close"), "late connections are served all the same"


def test_a_socket_nobody_serves_is_an_error(tmp_path: Path):
    with pytest.raises(OSError, match="No such file"):
        drain(tmp_path / "admin.sock")


def _ask(connection):
    connection.request("POST", "/v1/chat/completions", BODY, {"content-type": "application/json"})
    answer = connection.getresponse()
    answer.read()
    return answer.status, answer.getheader("connection")

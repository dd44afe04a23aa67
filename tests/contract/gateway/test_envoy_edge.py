"""What strangers may try at the edge, byte by byte: refused, in OpenAI's form where HTTP still allows an answer, and nothing reaches an engine."""

import http.client
import json
import socket

import pytest

pytestmark = pytest.mark.envoy

BODY = json.dumps({"model": "assistant", "messages": [{"role": "user", "content": "hi"}]}).encode()
LENGTH = f"content-length: {len(BODY)}\r\n".encode()
JSON = b"content-type: application/json\r\n"


@pytest.fixture(scope="module")
def served(lab, model):
    lab.publish(model(large=[lab.engine("edge")]))
    return lab


def send(lab, raw: bytes) -> tuple[int, bytes]:
    """Status (0 = closed without an answer) and body."""
    with socket.create_connection(("127.0.0.1", lab.port), timeout=10) as connection:
        connection.sendall(raw)
        answer = http.client.HTTPResponse(connection)
        try:
            answer.begin()
            return answer.status, answer.read()
        except (http.client.BadStatusLine, ConnectionError):
            return 0, b""
        finally:
            answer.close()


def post(*headers: bytes, path: bytes = b"/v1/chat/completions", body: bytes = BODY) -> bytes:
    return b"POST " + path + b" HTTP/1.1\r\nhost: x\r\nconnection: close\r\n" + JSON + b"".join(headers) + b"\r\n" + body


def test_an_honest_request_passes(served):
    assert send(served, post(LENGTH))[0] == 200


@pytest.mark.parametrize(
    "raw",
    [
        post(LENGTH, b"transfer-encoding: chunked\r\n"),
        post(LENGTH, b"content-length: 3\r\n"),
        post(b"content-length: 5, 6\r\n"),
        post(b"content-length: -5\r\n"),
        post(b"transfer-encoding: xchunked\r\n"),
        post(LENGTH, b"x-bad\x00name: 1\r\n"),
        post(LENGTH, b" folded: 1\r\n"),
        post(LENGTH, b"x_under_score: 1\r\n"),
        post(LENGTH, path=b"/v1/%2e%2e%2fadmin"),
        post(LENGTH, *(f"x-{number}: 1\r\n".encode() for number in range(120))),
        post(LENGTH, b"x-long: " + b"a" * 70_000 + b"\r\n"),
        b"GET /v1/models\r\n\r\n",
        b"POST /v1/chat/completions HTTP/2.0\r\nhost: x\r\n\r\n",
    ],
)
def test_a_crooked_request_is_refused(served, raw):
    status, body = send(served, raw)
    assert status in (0, 400, 404, 426, 431, 501)
    if body and status != 426:
        assert b"choices" not in body


def test_a_compressed_body_is_refused(served):
    status, body = send(served, post(LENGTH, b"content-encoding: gzip\r\n"))
    assert (status, json.loads(body)["error"]["code"]) == (415, "unsupported_encoding")


def test_a_body_announced_too_large_is_refused_before_it_comes(served):
    status, body = send(served, post(b"content-length: 999999999\r\n", body=b"{"))
    assert (status, json.loads(body)["error"]["code"]) == (413, "request_too_large")


def test_a_connect_or_an_absolute_url_chooses_no_host(served):
    assert send(served, b"CONNECT 169.254.169.254:80 HTTP/1.1\r\nhost: 169.254.169.254:80\r\n\r\n")[0] in (400, 404, 405)
    status, body = send(served, b"GET http://169.254.169.254/latest/meta-data HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    assert status == 404
    assert json.loads(body)["error"]["code"] == "unknown_url"

"""The real Envoy with real pickers: who answers, what the engine sees, what the client is told."""

import asyncio
import io
import json
import signal
from dataclasses import replace

import aiohttp
import pytest

from jevons.gateway.access_log import read

from .conftest import transports_closed

pytestmark = pytest.mark.envoy

CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def ports(lab):
    return {name: lab.engine(name) for name in ("one", "two", "three")}


@pytest.fixture
async def http():
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        yield session
    await transports_closed()


def hello(model="assistant", **more):
    return {"model": model, "messages": [{"role": "user", "content": "What is two and two?"}], **more}


async def post(http, lab, body, headers=None, path=CHAT):
    data = io.BytesIO(body if isinstance(body, bytes) else json.dumps(body).encode())
    async with http.post(lab.url + path, data=data, headers={"content-type": "application/json", **(headers or {})}) as response:
        raw = await response.read()
        return response.status, response.headers, (json.loads(raw) if raw.startswith(b"{") else raw)


async def test_the_named_variant_answers_under_its_own_model_name(lab, ports, model, http):
    lab.publish(model(large=[ports["one"]], small=[ports["two"]]))
    for variant, port in (("large", ports["one"]), ("small", ports["two"])):
        status, headers, answer = await post(http, lab, hello(f"team-a/assistant@{variant}"))
        assert status == 200
        assert answer["choices"][0]["message"]["content"] == f"from {port}"
        assert answer["body"]["model"] == f"org/{variant}"
        assert headers["x-jevons-variant"] == variant
        assert headers["x-jevons-reason"] == "explicit"
        assert float(headers["x-jevons-score"]) >= 0
        assert headers["x-jevons-wait-ms"] == "0"
        assert len(headers["x-request-id"]) > 10


async def test_a_host_that_envoy_does_not_know_is_never_replaced_by_another(lab, ports, model, http):
    lab.publish(model(large=[ports["one"]]))
    stranger = model(large=[1])
    lab.table.refresh()
    lab.table.write(replace(lab.table.table, models={stranger.key: stranger}, room="127.0.0.1:2"))
    await asyncio.sleep(0.15)
    status, headers, answer = await post(http, lab, hello("assistant@large"))
    assert status == 503
    assert answer["error"]["code"] == "no_capacity"
    assert headers["content-type"] == "application/json"


async def test_a_dead_pod_costs_a_retry_and_no_error(lab, ports, model, http):
    lab.publish(model(large=[ports["one"], 9]))
    answers = [await post(http, lab, hello("assistant@large")) for _ in range(20)]
    assert {status for status, _, _ in answers} == {200}
    assert {answer["choices"][0]["message"]["content"] for _, _, answer in answers} == {f"from {ports['one']}"}


async def test_a_cold_model_is_answered_through_the_waiting_room_with_its_whole_body(lab, ports, model, http):
    lab.publish(model(large=[], small=[]))
    waiting = asyncio.create_task(post(http, lab, hello(pad="x" * 1_000_000)))
    await asyncio.sleep(0.3)
    assert not waiting.done()
    lab.publish(model(large=[ports["one"]], small=[]))
    (lab.dir / "ready-small").touch()
    (lab.dir / "ready-large").touch()
    status, headers, answer = await asyncio.wait_for(waiting, 60)
    assert status == 200
    assert answer["choices"][0]["message"]["content"] == f"from {ports['one']}"
    assert int(headers["x-jevons-wait-ms"]) >= 200
    assert len(answer["body"]["pad"]) == 1_000_000
    for name in ("ready-small", "ready-large"):
        (lab.dir / name).unlink()


async def test_a_client_cannot_choose_a_host_or_forge_what_the_processes_tell_each_other(lab, ports, model, http):
    lab.publish(model(large=[ports["one"]], small=[ports["two"]]))
    forged = {
        "x-gateway-destination-endpoint": f"127.0.0.1:{ports['three']}",
        "x-gateway-destination-endpoint-subset": f"127.0.0.1:{ports['three']}",
        "x-jevons-model": "team-b/other",
        "x-jevons-wake": "other",
        "x-jevons-arrived-ms": "1",
        "x-jevons-ticket": "1.fake.AAAA",
        "x-jevons-deadline-ms": "1",
        "x-jevons-fill": "1",
        "x-forwarded-host": "example.org",
        "host": "169.254.169.254",
        "accept-encoding": "gzip",
    }
    status, headers, answer = await post(http, lab, hello("assistant@large", url=f"http://127.0.0.1:{ports['three']}"), forged)
    assert status == 200
    assert answer["choices"][0]["message"]["content"] == f"from {ports['one']}"
    assert headers["x-jevons-wait-ms"] == "0"
    seen = answer["seen"]
    assert seen["x-gateway-destination-endpoint"].startswith(f"127.0.0.1:{ports['one']},")
    assert seen["x-jevons-model"] == "team-a/assistant"
    assert "x-jevons-fill" not in seen
    assert "accept-encoding" not in seen
    assert "x-gateway-destination-endpoint-subset" not in seen


async def retries(lab):
    connector = aiohttp.UnixConnector(str(lab.dir / "envoy-admin.sock"))
    counter = "http://envoy/stats?filter=^cluster.engines.upstream_rq_retry$"
    async with aiohttp.ClientSession(connector=connector) as admin, admin.get(counter) as response:
        return int((await response.text()).split(": ")[1])


async def test_a_client_cannot_tell_envoy_how_long_to_wait_or_how_often_to_retry(lab, ports, model, http):
    lab.publish(model(large=[ports["one"]]))
    orders = {
        "x-envoy-max-retries": "9",
        "x-envoy-retry-on": "5xx",
        "x-envoy-upstream-rq-timeout-ms": "50",
        "x-envoy-upstream-rq-per-try-timeout-ms": "50",
        "x-envoy-internal": "true",
    }
    status, _, answer = await post(http, lab, hello("assistant@large", sleep=0.3), orders)
    assert status == 200
    assert not {name for name in answer["seen"] if name.startswith("x-envoy-")} & set(orders)
    before = await retries(lab)
    assert (await post(http, lab, hello("assistant@large", status=500), orders))[0] == 500
    assert await retries(lab) == before


@pytest.mark.parametrize(
    ("body", "path", "status", "code"),
    [
        (b"{", CHAT, 400, "invalid_request"),
        (b"[]", CHAT, 400, "invalid_request"),
        (b"[" * 2000 + b"]" * 2000, CHAT, 400, "invalid_request"),
        (b'{"model": "assistant", "messages": [{"role": "user", "content": "x"}], "n": ' + b"9" * 100_000 + b"}", CHAT, 400, "invalid_request"),
        (b"\xff\xfe", CHAT, 400, "invalid_request"),
        (json.dumps({"messages": []}).encode(), CHAT, 400, "invalid_request"),
        (json.dumps(hello(7)).encode(), CHAT, 400, "invalid_request"),
        (json.dumps(hello("evil\r\nname")).encode(), CHAT, 400, "invalid_request"),
        (json.dumps({"model": "assistant", "messages": "hi"}).encode(), CHAT, 400, "invalid_request"),
        (json.dumps(hello(max_tokens=0)).encode(), CHAT, 400, "invalid_request"),
        (json.dumps(hello("assistent")).encode(), CHAT, 404, "model_not_found"),
        (json.dumps(hello("assistant@huge")).encode(), CHAT, 404, "model_not_found"),
        (json.dumps(hello()).encode(), "/v1/secrets", 404, "unknown_url"),
        (json.dumps(hello()).encode(), "/admin", 404, "unknown_url"),
        (json.dumps(hello("assistant@large", max_tokens=100_000)).encode(), CHAT, 400, "context_length_exceeded"),
        (b"x" * (9 << 20), CHAT, 413, "request_too_large"),
        (b"", CHAT, 400, "invalid_request"),
    ],
)
async def test_a_malformed_request_is_answered_in_openai_form(lab, ports, model, http, body, path, status, code):  # noqa: PLR0917 - fixtures
    lab.publish(model(large=[ports["one"]]))
    told, headers, answer = await post(http, lab, body, path=path)
    assert (told, answer["error"]["code"]) == (status, code)
    assert headers["content-type"] == "application/json"
    assert answer["error"]["message"]
    assert headers.get("x-jevons-reason", code) == code
    assert headers["x-jevons-error"] == code


async def test_a_misspelt_model_is_told_close_names(lab, ports, model, http):
    lab.publish(model(large=[ports["one"]]))
    _, _, answer = await post(http, lab, hello("asistant"))
    assert "assistant" in answer["error"]["message"].split("Did you mean")[1]


async def test_models_are_listed_with_their_variants(lab, ports, model, http):
    lab.publish(model(large=[ports["one"]], small=[]))
    async with http.get(lab.url + "/v1/models") as response:
        names = [row["id"] for row in (await response.json())["data"]]
    assert names[:3] == ["assistant", "assistant@large", "assistant@small"]
    async with http.get(lab.url + "/v1/models/team-a/assistant") as response:
        assert (await response.json())["id"] == "team-a/assistant"


async def test_a_stream_reports_usage_and_keeps_the_extra_chunk_to_itself(lab, ports, model, http):
    lab.publish(model(large=[ports["one"]]))
    _, headers, plain = await post(http, lab, hello(stream=True))
    assert headers["content-type"] == "text/event-stream"
    assert b'"usage"' not in plain
    assert plain.endswith(b"data: [DONE]\n\n")
    _, _, asked = await post(http, lab, hello(stream=True, stream_options={"include_usage": True}))
    assert b'"usage"' in asked


async def test_the_access_log_says_what_was_decided_and_counted(lab, ports, model, http):
    lab.publish(model(large=[ports["one"]]))
    _, headers, _ = await post(http, lab, hello(stream=True, user="somebody", n=3))
    for _ in range(100):
        rows = [row for row in lab.log() if row["id"] == headers["x-request-id"]]
        if rows:
            break
        await asyncio.sleep(0.05)
    (row,) = rows
    assert row["served"] == f"127.0.0.1:{ports['one']}"
    assert row["jevons"]["picked"] == row["served"]
    assert (row["jevons"]["sequences"], row["jevons"]["work"] > 0) == (3, True)
    assert (row["jevons"]["ns"], row["jevons"]["deployment"], row["jevons"]["variant"]) == ("team-a", "assistant", "large")
    assert (row["llm"]["prompt_tokens"], row["llm"]["completion_tokens"]) == (7, 5)
    assert "somebody" not in json.dumps(row)
    assert "two and two" not in (lab.dir / "access.log").read_text()


async def test_the_access_log_says_who_refused_and_why(lab, ports, model, http):
    lab.publish(model(large=[ports["one"]]))
    expected = {}
    for body, by, code in (
        (hello("assistant@large", max_tokens=100_000), "team-a/assistant", "context_length_exceeded"),
        (hello("nobody"), "", "model_not_found"),
        (b"{", "", "invalid_request"),
    ):
        _, headers, _ = await post(http, lab, body)
        expected[headers["x-request-id"]] = (*by.split("/"), code) if by else ("", "", code)
    refused = []
    for _ in range(100):
        refused = [read(json.dumps(row).encode()) for row in lab.log() if row["id"] in expected]
        if len(refused) == len(expected):
            break
        await asyncio.sleep(0.05)
    assert {(one.namespace, one.deployment, one.code) for one in refused} == set(expected.values())


async def test_killing_a_picker_in_mid_stream_harms_no_stream(lab, ports, model, http):
    lab.publish(model(large=[ports["one"], ports["two"]]))
    streams = [asyncio.create_task(post(http, lab, hello(stream=True, n_tokens=20, slow=50))) for _ in range(40)]
    await asyncio.sleep(0.4)
    lab.kill("picker-0", signal.SIGKILL)
    fresh = [asyncio.create_task(post(http, lab, hello())) for _ in range(100)]
    ended = await asyncio.gather(*streams)
    assert [status for status, _, body in ended if status != 200 or not body.endswith(b"data: [DONE]\n\n")] == []
    assert {status for status, _, _ in await asyncio.gather(*fresh)} == {200}
    lab.picker(0)


async def test_killing_engines_under_load_loses_no_request(lab, ports, model, http):
    doomed = lab.engine("doomed")
    lab.publish(model(large=[ports["one"], ports["two"], doomed]))
    outcomes = []

    async def client():
        while len(outcomes) < 600:
            status, _, _ = await post(http, lab, hello(sleep=0.02))
            outcomes.append(status)
            if len(outcomes) == 200:
                lab.kill("doomed")

    await asyncio.gather(*(client() for _ in range(30)))
    assert set(outcomes) == {200}

"""One conversation with Envoy, message by message."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb

from jevons.core.load import Work
from jevons.gateway.inflight import Inflight
from jevons.gateway.level import DemandLevel
from jevons.gateway.picker import Picker, handed_over, header_map
from jevons.gateway.sessions import SessionTable
from jevons.gateway.steps.classify import NoScorer
from jevons.gateway.steps.decide import ROOM_TRIES, Decider
from jevons.gateway.steps.respond import ROUTER_HEADERS
from jevons.gateway.table import Model, Pod, RequestClass, Table, Variant

NOW = 1_800_000_000.0
BODY = b'{"model": "m", "messages": [{"role": "user", "content": "hi"}]}'


class Stream:
    def __init__(self, *messages):
        self.messages = list(messages)
        self.written = []

    async def read(self):
        return self.messages.pop(0) if self.messages else None

    async def write(self, message):
        self.written.append(pb.ProcessingResponse.FromString(message))


HEADERS = {":path": "/v1/chat/completions", ":method": "POST"}


def headers(end=False, **more):
    message = pb.HttpHeaders(end_of_stream=end)
    for key, value in {**HEADERS, **more}.items():
        message.headers.headers.add(key=key, raw_value=value.encode())
    return pb.ProcessingRequest(request_headers=message)


def body(raw=BODY):
    return pb.ProcessingRequest(request_body=pb.HttpBody(body=raw, end_of_stream=True))


def handed(told, raw=BODY):
    message = body(raw)
    message.metadata_context.filter_metadata["jevons.request"]["headers"] = "\n".join(f"{name}:{value}" for name, value in told.items())
    return message


@pytest.fixture
def wishes():
    return []


@pytest.fixture
def picker(tmp_path, wishes):
    small = Variant("small", state="Ready", quality=0.7, pods=(Pod("p", "10.0.0.1:8000"),))
    large = Variant("large", state="Asleep", quality=1.0)
    classes = (RequestClass("default", min_quality=0.5, min_score=(("small", 0.9),)),)
    table = Table({"n/m": Model("n", "m", "m", (large, small), classes, best="large", wake="small")}, {"m": "n/m"}, "127.0.0.1:9814", 1, NOW)
    decider = Decider(NoScorer(), Inflight(tmp_path / "i", 0), SessionTable(tmp_path / "s", 0), table)
    return Picker(decider, DemandLevel(NOW - 60), b"secret", wished=lambda: wishes.append(1), clock=lambda: NOW)


async def test_the_stream_ends_after_the_answer_to_the_body(picker):
    stream = Stream(headers(), body(), body())
    await picker.process(None, stream)
    assert [message.WhichOneof("response") for message in stream.written] == ["request_headers", "request_body"]
    assert len(stream.messages) == 1
    answer = stream.written[1]
    assert answer.dynamic_metadata["envoy.lb"]["x-gateway-destination-endpoint"].split(",") == ["10.0.0.1:8000", *["127.0.0.1:9814"] * ROOM_TRIES]
    assert set(answer.dynamic_metadata["jevons.headers"]) == set(ROUTER_HEADERS)
    (length,) = answer.request_body.response.header_mutation.set_headers
    assert length.header.key == "content-length"
    assert int(length.header.raw_value) == len(answer.request_body.response.body_mutation.body)


async def test_a_whole_request_is_answered_as_one_that_comes_in_two_messages(picker):
    stream = Stream(headers(), body())
    await picker.process(None, stream)
    whole = pb.ProcessingResponse.FromString(await picker.whole(handed(HEADERS), None))
    in_two = stream.written[1]
    assert whole.request_body == in_two.request_body
    for answer in (whole, in_two):  # the one thing that differs
        answer.dynamic_metadata["jevons"]["id"] = "id"
        answer.dynamic_metadata["jevons.headers"]["x-jevons-ticket"] = "ticket"
    assert whole.dynamic_metadata["envoy.lb"] == in_two.dynamic_metadata["envoy.lb"]
    assert set(whole.dynamic_metadata["jevons"]) == set(in_two.dynamic_metadata["jevons"])
    assert whole.dynamic_metadata["jevons.headers"] == in_two.dynamic_metadata["jevons.headers"]


async def test_a_whole_request_is_refused_in_the_same_form(picker):
    refused = pb.ProcessingResponse.FromString(await picker.whole(handed(HEADERS, b"{"), None))
    assert refused.immediate_response.status.code == 400


async def test_a_whole_request_without_its_headers_is_a_fault_and_not_the_clients(picker):
    refused = pb.ProcessingResponse.FromString(await picker.whole(body(), None))
    assert refused.immediate_response.status.code == 500


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b"plain: with colon", "plain: with colon"),
        ("Zürich 東京".encode(), "Zürich 東京"),
        (b"\xff\xc3", "\ufffd\ufffd"),
        (b"", ""),
        (b"100%", "100%"),
    ],
)
def test_headers_that_are_handed_over_are_those_that_headers_alone_would_be(raw, value):
    text = ":path:/v1/x?a=b:c\nx-value:" + raw.decode("latin-1")
    told = pb.ProcessingRequest()
    told.metadata_context.filter_metadata["jevons.request"]["headers"] = text
    assert handed_over(told) == {":path": "/v1/x?a=b:c", "x-value": value}
    listed = pb.HttpHeaders()
    listed.headers.headers.add(key="x-value", raw_value=raw)
    assert header_map(listed)["x-value"] == value


@pytest.mark.parametrize(
    ("method", "metadata", "kind"),
    [
        ("/envoy.service.ext_proc.v3.ExternalProcessor/Process", (("x-forwarded-for", "1"), ("x-jevons-whole", "1")), (False, False)),
        ("/envoy.service.ext_proc.v3.ExternalProcessor/Process", (("x-forwarded-for", "1"),), (True, True)),
        ("/grpc.health.v1.Health/Check", (("x-jevons-whole", "1"),), None),
    ],
)
def test_envoy_says_how_many_messages_an_exchange_has(picker, method, metadata, kind):
    found = picker.handler().service(SimpleNamespace(method=method, invocation_metadata=metadata))
    assert (found and (found.request_streaming, found.response_streaming)) == kind


async def test_a_wish_for_a_sleeping_variant_is_reported_at_once_and_only_once(picker, wishes):
    for _ in range(3):
        await picker.process(None, Stream(headers(), body()))
    assert wishes == [1]
    said = picker.level.level(NOW)["n/m"]
    assert said["held"] == [{"variant": "large", "count": 1, "oldest": NOW}]
    assert said["arrivals"]["default"]["perSecond"] == pytest.approx((3 - 3**0.5) / 15, abs=1e-4)  # test_demand_arrivals.py
    assert picker.level.level(NOW + 60)["n/m"]["held"] == []


def test_a_wish_is_said_also_by_a_picker_that_saw_the_request_only_when_it_came_back():
    level = DemandLevel(NOW)
    assert level.wish("n/m", "large", NOW)
    assert level.level(NOW) == {"n/m": {"held": [{"variant": "large", "count": 1, "oldest": NOW}]}}


async def test_a_refusal_is_an_immediate_answer(picker):
    stream = Stream(headers(), body(b"{"))
    await picker.process(None, stream)
    refused = stream.written[-1]
    assert refused.immediate_response.status.code == 400
    assert refused.dynamic_metadata["jevons"]["refused"] is True
    assert refused.dynamic_metadata["jevons"]["refused_by"] == ""


async def test_a_refusal_says_which_model_refused(picker):
    stream = Stream(headers(), body(BODY.replace(b'"m"', b'"m@small"', 1).replace(b"}]}", b'}], "max_tokens": 100000}')))
    await picker.process(None, stream)
    told = stream.written[-1]
    assert told.dynamic_metadata["jevons"]["refused_by"] == "n/m"
    assert {one.header.key: one.header.raw_value for one in told.immediate_response.headers.set_headers}[
        "x-jevons-error"
    ] == b"context_length_exceeded"


async def test_an_unforeseen_fault_is_500_and_says_nothing_of_the_request(picker, monkeypatch, capsys):
    def broken(*_):
        raise RuntimeError("secret prompt")

    monkeypatch.setattr(picker.decider.scorer, "score", broken, raising=False)
    stream = Stream(headers(), body())
    await picker.process(None, stream)
    assert stream.written[-1].immediate_response.status.code == 500
    assert b"secret prompt" not in stream.written[-1].immediate_response.body
    printed = capsys.readouterr()
    assert "RuntimeError" in printed.out + printed.err
    assert "secret prompt" not in printed.out + printed.err


async def test_a_client_that_leaves_before_its_body_is_no_fault(picker):
    stream = Stream(headers())
    await picker.process(None, stream)
    assert len(stream.written) == 1


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ({":method": "GET", ":path": "/v1/models"}, 200),
        ({":method": "GET", ":path": "/v1/models/m@small"}, 200),
        ({":method": "GET", ":path": "/v1/models/nobody"}, 404),
        ({":method": "GET", ":path": "/v1/else"}, 404),
        ({":method": "GET"}, 400),
    ],
)
async def test_requests_without_a_body_are_answered_here(picker, asked, status):
    stream = Stream(headers(end=True, **asked))
    await picker.process(None, stream)
    assert stream.written[0].immediate_response.status.code in (status, 0 if status == 200 else status)


async def test_a_document_that_could_not_be_sent_on_is_refused_and_leaves_no_work_on_a_pod(picker):
    stream = Stream(headers(), body(b'{"model": "m", "messages": [{"role": "user", "content": "hi"}], "metadata": ' + b"[" * 300 + b"]" * 300 + b"}"))
    await picker.process(None, stream)
    assert stream.written[-1].immediate_response.status.code == 400
    assert picker.decider.inflight.outstanding(["10.0.0.1:8000"], NOW) == [Work()]


async def test_a_fault_behind_the_decision_is_500_too(picker, monkeypatch):
    monkeypatch.setattr("jevons.gateway.picker.respond.body_for_engine", lambda *_: 1 / 0)
    stream = Stream(headers(), body())
    await picker.process(None, stream)
    assert stream.written[-1].immediate_response.status.code == 500


async def test_of_a_prompt_only_the_body_that_goes_to_the_engine_holds_a_word(picker, tmp_path, capsys):
    canary = "xyzzy-canary"
    raw = b'{"model": "m", "stream": true, "messages": [{"role": "user", "content": "%s"}], "tools": [{"%s": 1}]}' % (
        canary.encode(),
        canary.encode(),
    )
    for cold in (False, True):
        asked = raw.replace(b'"m"', b'"m@large"') if cold else raw.replace(b', "tools"', b', "x"')
        stream = Stream(headers(), body(asked))
        picker.decider.table = replace(picker.decider.table, models={"n/m": equipped(picker.decider.table.models["n/m"])})
        await picker.process(None, stream)
        answer = stream.written[-1]
        assert canary.encode() in answer.request_body.response.body_mutation.body
        answer.request_body.response.ClearField("body_mutation")
        assert canary not in str(answer)
    await picker.process(None, Stream(headers(), body(raw[:-1])))
    assert canary not in str(picker.level.level(NOW))
    assert all(canary.encode() not in path.read_bytes() for path in tmp_path.iterdir())
    printed = capsys.readouterr()
    assert canary not in printed.out + printed.err


def equipped(model):
    return replace(model, variants=tuple(replace(one, capabilities=("Tools",)) for one in model.variants))

"""Whatever bytes arrive: a request or a Refusal with a 4xx, nothing else; and what is understood survives rewriting."""

import orjson
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jevons.gateway.errors import Refusal
from jevons.gateway.steps.parse import ENDPOINTS, parse

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
FIELDS = ("model", "messages", "prompt", "input", "stream", "stream_options", "max_tokens", "n", "tools", "response_format", "text", "user", "system")
BODY = st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=8)
MESSAGES = st.lists(st.fixed_dictionaries({"role": st.just("user"), "content": JSON}), min_size=1, max_size=3)


def outcome(path, raw):
    try:
        return parse(path, {}, raw)
    except Refusal as refusal:
        told = refusal
    assert 400 <= told.status < 500
    assert orjson.loads(told.body())["error"]["message"]
    return None


@given(st.sampled_from(list(ENDPOINTS)), st.binary(max_size=200))
def test_any_bytes_are_answered(path, raw):
    outcome(path, raw)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine draws slowly
@given(st.sampled_from(list(ENDPOINTS)), BODY)
def test_any_json_object_is_answered(path, body):
    request = outcome(path, orjson.dumps(body))
    if request is not None:
        assert request.model == body["model"]
        request.text.encode()


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(MESSAGES)
def test_any_content_of_messages_is_understood_or_left_to_the_engine(messages):
    request = outcome("/v1/chat/completions", orjson.dumps({"model": "m", "messages": messages}))
    assert request is not None
    assert request.messages == len(messages)

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jevons.classifier import Classifier, RequestFeatures, read_request

CLASSIFIER = Classifier.load_default()
LEAVES = st.none() | st.booleans() | st.integers() | st.text(max_size=20)
JSON = LEAVES | st.lists(LEAVES, max_size=3) | st.dictionaries(st.sampled_from(["type", "text", "content"]), LEAVES, max_size=3)
KEYS = st.sampled_from(["messages", "input", "prompt", "tools", "functions", "max_tokens", "response_format", "text"])


@given(text=st.text(), tools=st.integers(0, 10**9), turns=st.integers(-5, 10**9), limit=st.none() | st.integers(0, 10**12), as_json=st.booleans())
def test_every_request_has_a_score_between_0_and_1(text, tools, turns, limit, as_json):
    features = RequestFeatures(tools=tools, turns=turns, max_tokens=limit, json_answer=as_json)
    assert 0.0 <= CLASSIFIER.score(text, features=features) <= 1.0


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    body=st.dictionaries(
        KEYS, JSON | st.lists(st.dictionaries(st.sampled_from(["role", "content", "type"]), JSON, max_size=3), max_size=3), max_size=4
    )
)
def test_no_json_body_breaks_the_reader(body):
    text, features = read_request(body)
    assert 0.0 <= CLASSIFIER.score(text, features=features) <= 1.0

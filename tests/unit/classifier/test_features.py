import numpy as np
import pytest

from jevons.classifier.features import BUCKETS, DENSE, EDGE_CHARS, RequestFeatures, read_request, vectorise

PLAIN = RequestFeatures()


def dense(text, **features):
    return dict(zip(DENSE, vectorise(text, RequestFeatures(**features)).dense.tolist(), strict=True))


def test_a_pair_of_words_is_not_the_word_they_spell():
    pair, word = vectorise("foot ball", PLAIN), vectorise("football", PLAIN)
    assert len(pair.buckets) == 3
    assert not set(pair.buckets.tolist()) & set(word.buckets.tolist())


def test_case_punctuation_and_stop_words_do_not_count():
    assert vectorise("The Cell, divides!", PLAIN).buckets.tolist() == vectorise("cell divides", PLAIN).buckets.tolist()


def test_only_the_ends_of_a_long_prompt_are_read():
    head, tail = "alpha beta " * 400, " gamma delta" * 400
    first, second = (vectorise(head + filler * 100_000 + tail, PLAIN) for filler in ("one ", "two "))
    assert first.buckets.tolist() == second.buckets.tolist()


def test_ratios_are_taken_from_the_bytes_of_the_window():
    found = dense("12 + 34 = ?\n```x```")
    assert found["code_fence"] == 1
    assert found["question_marks"] == 1
    assert found["digit_ratio"] == pytest.approx(4 / 19)
    assert found["operator_ratio"] == pytest.approx(2 / 19)


def test_a_list_of_choices_is_told_from_its_lead():
    found = dense("How many in 2024?\nA. 12\nB. 345")
    assert found["list_items"] == 2
    assert found["lead_digits"] == pytest.approx(np.log1p(4))
    assert found["item_digit_ratio"] == pytest.approx(5 / 13)


def test_what_a_request_says_beside_its_words_is_in_the_vector():
    found = dense("x", tools=2, images=1, turns=3, max_tokens=100, json_answer=True)
    assert (found["tools"], found["images"], found["json_answer"]) == (1, 1, 1)
    assert found["log_turns"] == pytest.approx(np.log1p(2))
    assert found["log_max_tokens"] == pytest.approx(np.log1p(100))


@pytest.mark.parametrize("text", ["", " ", "\ud800", "\x00" * 10, "x" * 3_000_000, "🙂" * 50_000, "a " * 500_000, "\nA. " * 100_000])
def test_any_string_has_a_finite_vector(text):
    vector = vectorise(text, PLAIN)
    assert np.isfinite(vector.dense).all()
    assert all(0 <= bucket < BUCKETS for bucket in vector.buckets)


def test_a_chat_request_is_read():
    text, found = read_request(
        {
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": "data:x"}}]},
                {"role": "assistant", "content": None},
                {"role": "user", "content": "And that?"},
            ],
            "tools": [{"type": "function"}],
            "max_completion_tokens": 50,
            "response_format": {"type": "json_schema"},
        }
    )
    assert text == "Be brief.\nWhat is this?\nAnd that?"
    assert found == RequestFeatures(tools=1, images=1, turns=2, max_tokens=50, json_answer=True)


@pytest.mark.parametrize(
    ("body", "text"), [({"prompt": "a"}, "a"), ({"prompt": ["a", "b"]}, "a\nb"), ({"input": [{"role": "user", "content": "c"}]}, "c")]
)
def test_completions_and_responses_are_read(body, text):
    assert read_request(body)[0] == text


@pytest.mark.parametrize(
    "body", [{}, {"messages": 3}, {"messages": [7, None, []]}, {"messages": [{"content": {"x": 1}}], "tools": 1, "max_tokens": -1}]
)
def test_a_body_of_odd_shape_is_not_counted_and_does_not_raise(body):
    assert read_request(body) == ("", PLAIN)


def test_a_long_conversation_keeps_its_length_and_its_ends():
    parts = [f"message {n} " * 300 for n in range(20)]
    text, _ = read_request({"messages": [{"role": "user", "content": part} for part in parts]})
    whole = "\n".join(parts)
    assert len(text) == len(whole)
    assert (text[:EDGE_CHARS], text[-EDGE_CHARS:]) == (whole[:EDGE_CHARS], whole[-EDGE_CHARS:])

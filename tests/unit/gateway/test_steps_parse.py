"""What is scored are the user's own words, whatever stands around them; routing and token estimates still see everything."""

import orjson
import pytest

from jevons.classifier import load_scorer
from jevons.gateway.errors import Refusal
from jevons.gateway.steps.classify import PromptScorer
from jevons.gateway.steps.parse import EDGE_BYTES, MAX_DEPTH, parse

QUESTION = "What is the capital of France? A. Paris B. Rome C. Oslo D. Bern"
FILLER = "You are a careful assistant of a large company and follow these rules without exception. " * 200


def asked(path, **body):
    return parse(path, {}, orjson.dumps({"model": "m", **body}))


def chat(*turns, **more):
    return asked("/v1/chat/completions", messages=[{"role": role, "content": content} for role, content in turns], **more)


def test_the_question_of_a_chat_is_its_last_user_turn():
    request = chat(("system", FILLER), ("user", "hello"), ("assistant", "hi"), ("user", QUESTION))
    assert request.edges == QUESTION
    assert FILLER in request.text


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
def test_content_parts_of_the_user_turn_are_joined(path):
    content = [{"type": "text", "text": "Look."}, {"type": "image_url", "image_url": {"url": "x"}}, {"type": "text", "text": QUESTION}]
    request = asked(path, system=FILLER, messages=[{"role": "user", "content": content}])
    assert request.edges == f"Look.\n{QUESTION}"


def test_the_input_of_responses_is_the_question_without_its_instructions():
    parts = [{"role": "user", "content": [{"type": "input_text", "text": QUESTION}]}, {"type": "function_call_output", "output": FILLER}]
    assert asked("/v1/responses", instructions=FILLER, input=QUESTION).edges == QUESTION
    assert asked("/v1/responses", instructions=FILLER, input=parts).edges == QUESTION


def test_a_turn_of_tool_results_or_pictures_is_passed_over():
    results = [{"type": "tool_result", "tool_use_id": "1", "content": [{"type": "text", "text": FILLER}]}]
    assert asked("/v1/messages", messages=[{"role": "user", "content": QUESTION}, {"role": "user", "content": results}]).edges == QUESTION
    assert chat(("user", QUESTION), ("tool", FILLER), ("user", [{"type": "image_url", "image_url": {"url": "x"}}])).edges == QUESTION


def test_words_beside_tool_results_are_the_users_own():
    content = [{"type": "tool_result", "content": FILLER}, {"type": "text", "text": QUESTION}]
    assert asked("/v1/messages", messages=[{"role": "user", "content": content}]).edges == QUESTION


def test_without_a_user_turn_all_text_is_scored():
    assert chat(("system", "Tell a joke."), ("assistant", "Which?")).edges == "Tell a joke.\nWhich?"


def test_the_prompt_of_completions_is_scored_as_it_is():
    assert asked("/v1/completions", prompt=QUESTION, messages=[{"role": "user", "content": "not read"}]).edges == QUESTION


def test_of_a_long_question_both_ends_are_read():
    edges = chat(("user", "a" * EDGE_BYTES + "b" * EDGE_BYTES + "c" * EDGE_BYTES)).edges
    assert edges == "a" * EDGE_BYTES + "\n" + "c" * EDGE_BYTES


def test_a_system_prompt_does_not_change_the_score():
    scorer = PromptScorer(load_scorer())
    alone, behind = chat(("user", QUESTION)), chat(("system", FILLER), ("user", QUESTION))
    assert abs(scorer.score(alone) - scorer.score(behind)) < 0.1


@pytest.mark.parametrize(
    ("more", "param"), [({"tools": 5}, "tools"), ({"tools": True}, "tools"), ({"messages": 5}, None), ({"messages": True}, None)]
)
def test_a_field_of_the_wrong_shape_is_refused_or_left_to_the_engine_and_never_a_fault(more, param):
    if param is None:
        assert asked("/v1/completions", prompt=QUESTION, **more).messages == 1
        return
    with pytest.raises(Refusal) as refusal:
        asked("/v1/completions", prompt=QUESTION, **more)
    assert (refusal.value.status, refusal.value.param) == (400, param)


@pytest.mark.parametrize(
    ("body", "choices"),
    [
        ({"prompt": QUESTION}, 1),
        ({"prompt": QUESTION, "n": 3}, 3),
        ({"prompt": [QUESTION] * 4, "n": 3}, 12),
        ({"prompt": [[1, 2], [3, 4, 5]]}, 2),
        ({"prompt": [1, 2, 3]}, 1),
        ({"prompt": [QUESTION] * 4, "n": 10**12}, 128),
        ({"prompt": [QUESTION], "n": -5}, 1),
        ({"prompt": []}, 1),
    ],
    ids=str,
)
def test_every_answer_that_is_generated_counts(body, choices):
    assert asked("/v1/completions", **body).choices == choices


def test_only_completions_take_several_prompts():
    assert chat(("user", QUESTION), prompt=["a", "b"], n=2).choices == 2


@pytest.mark.parametrize("name", ["prompt", "metadata"])
@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_what_is_accepted_can_be_written_again_and_what_is_nested_deeper_is_refused(name, opening, closing):
    def nested(depth):
        value = opening * depth + b"1" + closing * depth
        return parse("/v1/completions", {}, b'{"model":"m","prompt":"p","%s":%s}' % (name.encode(), value))

    assert orjson.dumps(nested(MAX_DEPTH - 1).body)
    for depth in (MAX_DEPTH, 1000):
        with pytest.raises(Refusal, match="nested deeper") as refusal:
            nested(depth)
        assert refusal.value.status == 400


def test_brackets_in_words_are_no_nesting():
    assert asked("/v1/completions", prompt="[{" * 500).text == "[{" * 500

"""Which pod: the one with the least load, or the one that knows the prompt as long as that costs little."""

import random

import pytest

from jevons.core.load import Work
from jevons.gateway.steps.endpoint import order
from jevons.gateway.table import Pod

PODS = [Pod(f"p{number}", f"10.0.0.{number}:8000") for number in range(4)]
IDLE = Work()
ONE = Work(900.0, 1)
PREFIX = "team\0large\000012345"


def first(booked, own=ONE, prefix="", failing=(False,) * 4):
    return order(PODS, booked, failing, own=own, prefix=prefix, draw=random.random)[0]


@pytest.fixture
def loyal():
    """Which of the pods that prefix belongs to."""
    return PODS.index(first([IDLE] * 4, prefix=PREFIX))


def with_one(place, work, others):
    return [work if number == place else others for number in range(4)]


def test_worked_example():
    two = [Work(300.0, 3), Work(900.0, 1)]
    assert order(PODS[:2], two, [False, False], own=ONE, prefix="", draw=random.random) == [PODS[1], PODS[0]]


def test_of_as_many_sequences_the_one_with_fewer_tokens_is_chosen():
    assert first([Work(9_000, 3), Work(8_000, 3), Work(7_000, 3), Work(9_500, 3)]) is PODS[2]


def test_a_sequence_more_weighs_as_much_as_three_thousand_tokens():
    assert first([Work(2_900, 4), Work(0, 5), Work(0, 6), Work(0, 6)]) is PODS[0]
    assert first([Work(3_100, 4), Work(0, 5), Work(0, 6), Work(0, 6)]) is PODS[1]


def test_an_idle_pod_keeps_its_prompts_while_the_others_are_idle_too_or_one_of_them_is_not(loyal):
    for busy in range(4):
        assert first(with_one(busy, ONE, IDLE), prefix=PREFIX) is PODS[loyal]  # also when it is the loyal one: nearly idle


@pytest.mark.parametrize("own", [ONE, Work(60_000.0, 1), Work(5_000.0, 16)])
@pytest.mark.parametrize("each", [1, 2, 3, 30])
def test_where_all_have_as_much_to_do_prompts_stay_with_their_pod_however_few_they_are(loyal, own, each):
    assert first([Work(each * own.tokens, each * own.sequences)] * 4, own, PREFIX) is PODS[loyal]


def test_a_pod_that_is_much_busier_than_the_others_loses_its_prompts(loyal):
    assert first(with_one(loyal, Work(9_000.0, 12), Work(9_000.0, 10)), prefix=PREFIX) is PODS[loyal]
    assert first(with_one(loyal, Work(9_000.0, 30), Work(9_000.0, 10)), prefix=PREFIX) is not PODS[loyal]
    assert first(with_one(loyal, Work(90_000.0, 10), Work(9_000.0, 10)), prefix=PREFIX) is not PODS[loyal]


@pytest.mark.parametrize("own", [ONE, Work(60_000.0, 1)])
def test_a_hot_prefix_overflows_to_the_other_pods(loyal, own):
    booked = [IDLE] * 4
    for _ in range(40):
        place = PODS.index(first(booked, own, PREFIX))
        booked[place] = Work(booked[place].tokens + own.tokens, booked[place].sequences + own.sequences)
    counts = [work.sequences for work in booked]
    assert max(counts) == counts[loyal]
    assert counts[loyal] in (12, 13)  # a quarter more than the mean
    assert min(counts) == 9


def test_a_loyal_pod_that_failed_a_moment_ago_is_not_tried_first(loyal):
    assert first([IDLE] * 4, prefix=PREFIX, failing=[number == loyal for number in range(4)]) is not PODS[loyal]

"""Which variant answers: gates, plan, conversation, load, budget."""

import pytest

from jevons.gateway.errors import Refusal
from jevons.gateway.steps.choose import Ask, choose
from jevons.gateway.table import Model, Pod, RequestClass, Variant

UP = (Pod("p", "127.0.0.1:1"),)


def variant(name, quality, *, up=True, state="Ready", **more):
    return Variant(name, state=state, quality=quality, pods=UP if up else (), **{"context_length": 8192, **more})


def model(*variants, **more):
    chosen = variants or (variant("large", 1.0, capabilities=("Tools",)), variant("small", 0.7))
    return Model("a", "m", "m", chosen, **{"best": "large", "wake": "small", **more})


def ask(score=0.5, **more):
    klass = more.pop("klass", RequestClass("default", min_score=(("small", 0.6),)))
    return Ask(klass=klass, score=score, **{"total_tokens": 100, **more})


def told(model_, ask_, busy=()):
    choice = choose(model_, ask_, lambda one: one.name in busy)
    return choice.variant.name, choice.reason


def test_simple_requests_go_small_and_hard_ones_large():
    assert told(model(), ask(0.6)) == ("small", "simple")
    assert told(model(), ask(0.59)) == ("large", "hard")


def test_a_named_variant_answers_whatever_the_score():
    assert told(model(), ask(0.9, explicit="large")) == ("large", "explicit")


def test_what_a_variant_cannot_do_it_is_never_asked():
    assert told(model(), ask(0.9, needs=frozenset({"Tools"}))) == ("large", "hard")


def test_a_request_longer_than_every_context_is_refused_with_the_limit_and_the_class():
    with pytest.raises(Refusal, match=r"8192 tokens \(class 'default'\)") as refusal:
        choose(model(), ask(total_tokens=9000), lambda _: False)
    assert (refusal.value.status, refusal.value.code) == (400, "context_length_exceeded")


def test_a_need_that_no_variant_has_is_refused_by_name():
    with pytest.raises(Refusal, match="Vision"):
        choose(model(), ask(needs=frozenset({"Vision"})), lambda _: False)


def test_routing_off_and_shadow_send_everything_to_the_best():
    assert told(model(mode="Off"), ask(1.0))[0] == "large"
    assert told(model(mode="Shadow"), ask(1.0))[0] == "large"


def test_a_shadow_variant_takes_no_traffic_of_its_own():
    shadowed = model(variant("large", 1.0), variant("small", 0.7, state="Shadow"))
    assert told(shadowed, ask(1.0))[0] == "large"


def test_budget_pressure_sends_its_share_of_hard_requests_small_and_a_lot_always_falls_the_same_way():
    klass = RequestClass("default", min_score=(("small", 0.6),), degraded_share=0.3)
    lots = [told(model(), ask(0.0, klass=klass, lot=f"lot-{number}")) for number in range(2000)]
    assert 0.25 < sum(name == "small" for name, _ in lots) / 2000 < 0.35
    assert {reason for name, reason in lots if name == "small"} == {"budget"}
    assert lots[:50] == [told(model(), ask(0.0, klass=klass, lot=f"lot-{number}")) for number in range(50)]


def test_variants_of_one_quality_share_by_chance_what_comes_to_them_even_if_every_request_scores_alike():
    mixed = model(variant("large", 1.0), variant("twin", 1.0), variant("small", 0.7))
    klass = RequestClass("default", min_score=(("small", 0.6), ("twin", 0.02), ("large", 0.0)))
    chosen = [told(mixed, ask(0.0, klass=klass, lot=f"lot-{number}"))[0] for number in range(2000)]
    assert 0.57 < chosen.count("twin") / 2000 < 0.63
    assert chosen.count("twin") + chosen.count("large") == 2000
    assert chosen[:50] == [told(mixed, ask(0.0, klass=klass, lot=f"lot-{number}"))[0] for number in range(50)]
    assert {told(mixed, ask(0.3, klass=klass, lot=f"lot-{number}"))[0] for number in range(50)} == {"twin"}
    assert {told(mixed, ask(0.6, klass=klass, lot=f"lot-{number}"))[0] for number in range(50)} == {"small"}


def test_what_the_thresholds_of_equals_leave_is_the_best_ones_share():
    mixed = model(variant("large", 1.0), variant("twin", 1.0))
    klass = RequestClass("default", min_score=(("twin", 0.03),))
    chosen = [told(mixed, ask(0.0, klass=klass, lot=f"lot-{number}"))[0] for number in range(2000)]
    assert 0.37 < chosen.count("twin") / 2000 < 0.43


def test_a_lesser_variant_gets_nothing_below_its_threshold_by_chance():
    klass = RequestClass("default", min_score=(("small", 0.58), ("smaller", 0.57)))
    three = model(variant("large", 1.0), variant("small", 0.7), variant("smaller", 0.7))
    assert {told(three, ask(0.565, klass=klass, lot=f"lot-{number}"))[0] for number in range(50)} == {"large"}
    assert {told(three, ask(0.575, klass=klass, lot=f"lot-{number}"))[0] for number in range(50)} == {"small", "smaller"}


def test_a_conversation_is_never_downgraded_and_may_be_upgraded():
    assert told(model(), ask(0.9, floor=1.0)) == ("large", "sticky")
    assert told(model(), ask(0.1, floor=0.7)) == ("large", "hard")


def test_a_client_may_ask_for_more_or_less_quality():
    assert told(model(), ask(1.0, quality=1.0))[0] == "large"
    assert told(model(), ask(0.62, quality=0.99))[0] == "large"
    assert told(model(), ask(0.3, quality=0.5))[0] == "small"


def test_a_borderline_request_goes_small_while_the_large_one_is_busy_a_hard_one_queues():
    assert told(model(), ask(0.55), busy={"large"}) == ("small", "large-busy")
    assert told(model(), ask(0.2), busy={"large"}) == ("large", "hard")


def test_a_cold_large_variant_is_woken_while_the_small_one_answers_if_the_class_allows():
    cold = model(variant("large", 1.0, up=False, state="Asleep"), variant("small", 0.7))
    easy_going = RequestClass("chat", min_score=(("small", 0.6),), min_quality=0.6)
    choice = choose(cold, ask(0.1, klass=easy_going), lambda _: False)
    assert (choice.variant.name, choice.reason, choice.cold, choice.wake.name) == ("small", "large-cold", False, "large")
    strict = RequestClass("chat", min_score=(("small", 0.6),), min_quality=0.95)
    choice = choose(cold, ask(0.1, klass=strict), lambda _: False)
    assert (choice.variant.name, choice.cold, choice.wake) == ("large", True, None)


def test_a_cold_small_variant_is_replaced_by_the_ready_large_one_and_woken():
    cold = model(variant("large", 1.0), variant("small", 0.7, up=False, state="Asleep"))
    choice = choose(cold, ask(0.9), lambda _: False)
    assert (choice.variant.name, choice.reason, choice.wake.name) == ("large", "small-cold", "small")


def test_when_all_sleep_a_simple_request_wakes_the_operators_choice_and_a_hard_one_the_best():
    asleep = model(variant("large", 1.0, up=False, state="Asleep"), variant("small", 0.7, up=False, state="Asleep"))
    assert told(asleep, ask(0.9)) == ("small", "small-cold")
    assert told(asleep, ask(0.1)) == ("large", "large-cold")


def test_a_capped_variant_is_not_woken():
    capped = model(variant("large", 1.0, up=False, state="Capped"), variant("small", 0.7))
    assert told(capped, ask(0.1)) == ("small", "budget")
    alone = model(variant("large", 1.0, up=False, state="Capped"))
    with pytest.raises(Refusal) as refusal:
        choose(alone, ask(0.1), lambda _: False)
    assert (refusal.value.status, refusal.value.code, refusal.value.retry_after_s) == (429, "budget_exceeded", 120)


def test_a_capped_best_variant_leaves_even_a_sticky_conversation_to_what_is_there():
    capped = model(variant("large", 1.0, up=False, state="Capped"), variant("small", 0.7))
    assert told(capped, ask(0.9, floor=1.0)) == ("small", "simple")


def test_a_failed_variant_may_be_tried_again_and_an_unavailable_one_is_503():
    gone = model(variant("large", 1.0, up=False, state="Unavailable"))
    with pytest.raises(Refusal) as refusal:
        choose(gone, ask(0.1), lambda _: False)
    assert (refusal.value.status, refusal.value.code) == (503, "no_capacity")


def test_a_ready_pod_makes_a_variant_ready_whatever_the_operator_said_last():
    stale = model(variant("large", 1.0), variant("small", 0.7, state="Asleep"))
    assert told(stale, ask(0.9)) == ("small", "simple")


def kept(model_, ask_, busy=()):
    return choose(model_, ask_, lambda one: one.name in busy).quality_ok


def klass(expected=0.96, least=None):
    return RequestClass("chat", min_score=(("small", 0.6),), min_quality=least, expected_quality=expected)


@pytest.mark.parametrize("score", [0.1, 0.9])
def test_a_plan_that_the_budget_presses_below_its_promise_keeps_it_for_nobody(score):
    assert kept(model(), ask(score, klass=klass(0.96)))
    assert not kept(model(), ask(score, klass=klass(0.93)))
    assert kept(model(min_quality=0.9), ask(score, klass=klass(0.93)))
    assert not kept(model(min_quality=0.9), ask(score, klass=klass(0.93, least=0.95)))


def test_a_plan_at_its_promise_keeps_it_although_it_was_rounded():
    assert kept(model(), ask(klass=klass(0.949)))


def test_what_the_client_named_or_asked_for_itself_is_what_it_was_promised():
    assert kept(model(), ask(klass=klass(0.5), explicit="small"))
    assert kept(model(), ask(0.9, klass=klass(0.9), quality=0.6))
    assert kept(model(), ask(klass=klass(0.9), quality=1.0))


def test_without_routing_the_best_keeps_the_promise():
    assert kept(model(mode="Off"), ask(klass=klass(0.5)))


def test_an_answer_forced_below_the_plan_needs_the_permission_of_the_class():
    cold = model(variant("large", 1.0, up=False, state="Asleep"), variant("small", 0.7))
    close = ask(0.55, klass=klass())  # a close call may be answered, and is not what was promised
    assert told(cold, close) == ("small", "large-cold")
    assert not kept(cold, close)
    assert kept(cold, ask(0.1, klass=klass(least=0.65)))
    assert not kept(model(), close, busy={"large"})
    capped = model(variant("large", 1.0, up=False, state="Capped"), variant("small", 0.7))
    assert told(capped, ask(0.1, klass=klass())) == ("small", "budget")
    assert not kept(capped, ask(0.1, klass=klass()))

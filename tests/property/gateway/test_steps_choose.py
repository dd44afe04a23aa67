"""Whatever the table says: a choice that keeps the rules, or a Refusal; and the order of pods is a short list of real ones."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jevons.core.load import Work
from jevons.gateway.errors import Refusal
from jevons.gateway.steps.choose import Ask, choose
from jevons.gateway.steps.endpoint import loyal_limit, order
from jevons.gateway.table import Model, Pod, RequestClass, Variant

NAMES = ("a", "b", "c", "d")
STATES = ("Ready", "Asleep", "Waking", "Failed", "Capped", "Shadow", "Unavailable")
UNIT = st.floats(0, 1)
QUICK = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def variants(draw):
    return tuple(
        Variant(
            name,
            state=draw(st.sampled_from(STATES)),
            quality=draw(UNIT),
            context_length=draw(st.sampled_from((100, 10_000))),
            capabilities=draw(st.sampled_from(((), ("Tools",), ("Tools", "Vision")))),
            pods=tuple(Pod(f"{name}{i}", f"10.0.0.{i}:1", *draw(st.tuples(st.booleans(), st.booleans()))) for i in range(draw(st.integers(0, 2)))),
        )
        for name in NAMES[: draw(st.integers(1, 4))]
    )


@st.composite
def asks(draw):
    scores = draw(st.lists(st.tuples(st.sampled_from(NAMES), UNIT), max_size=3))
    klass = RequestClass("k", min_quality=draw(st.none() | UNIT), min_score=tuple(scores), degraded_share=draw(UNIT))
    return Ask(
        klass=klass,
        score=draw(UNIT),
        total_tokens=draw(st.sampled_from((50, 5_000))),
        needs=draw(st.sampled_from((frozenset(), frozenset({"Tools"})))),
        explicit=draw(st.none() | st.sampled_from(NAMES)),
        quality=draw(st.none() | UNIT),
        floor=draw(st.sampled_from((0.0, 0.5))),
        lot=draw(st.text(max_size=3)),
    )


@QUICK
@given(variants(), asks(), st.sampled_from(NAMES), st.sampled_from(("Auto", "Off", "Shadow")), st.booleans())
def test_a_choice_keeps_the_rules(listed, ask, best, mode, busy):
    model = Model("n", "m", "m", listed, best=best, wake=best, mode=mode)
    if ask.explicit and model.variant(ask.explicit) is None:
        return
    try:
        choice = choose(model, ask, lambda _: busy)
    except Refusal as refusal:
        assert refusal.status in (400, 429, 503)  # noqa: PT017 - either outcome is fine
        return
    chosen = choice.variant
    assert ask.needs <= set(chosen.capabilities)
    assert ask.total_tokens <= chosen.context_length
    assert chosen.name == (ask.explicit or chosen.name)
    assert choice.cold is not chosen.ready
    assert not choice.cold or chosen.wakeable
    assert ask.explicit or chosen.state != "Shadow"
    assert choice.wake is None or (choice.wake.wakeable and not choice.wake.ready and choice.wake is not chosen)
    able = [one for one in listed if one.state != "Shadow" and ask.needs <= set(one.capabilities) and ask.total_tokens <= one.context_length]
    kept = [one for one in able if one.quality >= ask.floor and (one.ready or one.wakeable)]
    assert ask.explicit or not kept or chosen.quality >= ask.floor


WORK = st.builds(Work, st.floats(0, 1e6), st.integers(0, 200))


@QUICK
@given(st.lists(st.tuples(WORK, st.booleans()), min_size=1, max_size=8), WORK, st.sampled_from(("", "t\0v\0001")), st.randoms())
def test_the_order_is_at_most_two_real_pods_and_a_failing_one_is_not_first_while_another_is_well(readings, own, prefix, rng):
    pods = [Pod(f"p{i}", f"10.0.0.{i}:8000") for i in range(len(readings))]
    booked, failing = zip(*readings, strict=True)
    chosen = [pods.index(pod) for pod in order(pods, booked, failing, own=own, prefix=prefix, draw=rng.random)]
    assert len(chosen) == min(2, len(pods))
    assert len(set(chosen)) == len(chosen)
    assert all(failing) or not failing[chosen[0]]


@QUICK
@given(st.lists(WORK, min_size=2, max_size=8), WORK, st.sampled_from(("", "t\0v\0001")), st.randoms())
def test_no_pod_is_preferred_to_one_with_fewer_sequences_and_fewer_tokens_unless_it_knows_the_prompt_and_is_hardly_busier(booked, own, prefix, rng):
    pods = [Pod(f"p{i}", f"10.0.0.{i}:8000") for i in range(len(booked))]
    first = booked[pods.index(order(pods, booked, [False] * len(pods), own=own, prefix=prefix, draw=rng.random)[0])]
    if any(one.sequences < first.sequences and one.tokens < first.tokens for one in booked):
        assert prefix
        assert first.load + own.load <= loyal_limit([one.load for one in booked], own.load)

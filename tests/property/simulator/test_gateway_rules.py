"""The simulator's gateway is the gateway: the same counts, the same choices."""

from __future__ import annotations

import zlib

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from jevons.core.observed import Known
from jevons.core.snapshot import ClassRoute, RoutingPlan, VariantRoute
from jevons.core.spec import Deployment, Key, RequestClass, Rung, Variant
from jevons.gateway.arrivals import ArrivalWindow
from jevons.gateway.errors import Refusal
from jevons.gateway.steps.choose import SHARE, Ask, choose
from jevons.gateway.table import Model, Pod
from jevons.gateway.table import RequestClass as TableClass
from jevons.gateway.table import Variant as TableVariant
from jevons.gateway.tokens import Learned
from jevons.simulator.competitors_gateway import Counts, Directions
from jevons.simulator.competitors_spec import EPOCH_S
from jevons.simulator.policies import Sample
from jevons.simulator.scenario import Requests

STATES = ("Ready", "Asleep", "Waking", "Failed", "Capped", "Unavailable")
NAMES = ("a", "b", "c")


@st.composite
def worlds(draw: st.DrawFn) -> tuple[Deployment, RoutingPlan, list[bool]]:
    """Up to three variants in any state, and a plan for them."""
    names = NAMES[: draw(st.integers(1, 3))]
    qualities = draw(st.lists(st.sampled_from([0.6, 0.7, 0.8, 0.9, 1.0]), min_size=len(names), max_size=len(names)))
    least = draw(st.sampled_from([None, 0.65, 0.8]))
    spec = Deployment(
        Key("n", "m"),
        "uid",
        1,
        0.0,
        "m",
        tuple(Variant(name, name, "gpu", quality=quality) for name, quality in zip(names, qualities, strict=True)),
        classes=(RequestClass("own", min_quality=least),),
    )
    ready = draw(st.lists(st.booleans(), min_size=len(names), max_size=len(names)))
    routes = tuple(VariantRoute(name, draw(st.sampled_from(STATES)), "", 8000) for name in names)
    planned = draw(st.lists(st.sampled_from(names), unique=True, max_size=2))
    scores = tuple((name, draw(st.integers(0, 100)) / 100) for name in planned)
    shares = st.sampled_from([0.0, 0.3, 0.6])
    classes = (
        ClassRoute("default", scores, draw(shares)),
        ClassRoute("own", scores[::-1], draw(shares), patience_s=draw(st.sampled_from([0.0, 72.0]))),
    )
    best = spec.best.name
    return spec, RoutingPlan(best, draw(st.sampled_from(names)), Rung.NONE, 0.0, None, routes, classes), ready


def as_table(spec: Deployment, plan: RoutingPlan, ready: list[bool]) -> Model:
    """What the gateway would hold of it, the default class first."""
    variants = tuple(
        TableVariant(one.name, state=route.state, quality=one.quality, pods=(Pod(one.name, one.name),) if up else ())
        for one, route, up in zip(spec.variants, plan.variants, ready, strict=True)
    )
    least = {"own": spec.classes[0].min_quality}
    classes = tuple(
        TableClass(one.name, min_quality=least.get(one.name), min_score=one.min_score, degraded_share=one.degraded_share, wait_s=one.patience_s)
        for one in plan.classes
    )
    return Model("n", "m", "m", variants, classes, best=plan.best, wake=plan.wake)


@given(worlds(), st.sampled_from([0, 1]), st.lists(st.tuples(st.integers(0, 1000), st.text("xyz", min_size=1, max_size=8)), min_size=1, max_size=20))
@settings(max_examples=300, deadline=None)
def test_every_request_goes_where_the_picker_would_send_it(
    world: tuple[Deployment, RoutingPlan, list[bool]], of: int, asked: list[tuple[int, str]]
) -> None:
    spec, plan, ready = world
    model = as_table(spec, plan, ready)
    score = np.array([permille / 1000 for permille, _ in asked])
    lots, shares = (np.array([zlib.crc32(f"{lot}{of}".encode()) / 2**32 for _, lot in asked]) for of in ("", SHARE))
    directions = Directions(spec, plan, ready, model.classes[of].name)
    assert directions.patience_s == model.classes[of].wait_s
    variants, wishes = directions.of(score, lots, shares)
    for at, (_, lot) in enumerate(asked):
        try:
            choice = choose(model, Ask(model.classes[of], float(score[at]), 10.0, lot=lot), lambda _: False)
        except Refusal:
            assert variants[at] == -1
            continue
        assert spec.variants[variants[at]].name == choice.variant.name
        wish = choice.wake if choice.wake and not model.classes[of].wait_s else None
        assert (spec.variants[wishes[at]].name if wishes[at] >= 0 else None) == (wish.name if wish else None)


@given(st.lists(st.floats(0.0, 40.0), max_size=60), st.lists(st.floats(0.5, 30.0), min_size=1, max_size=6), st.integers(0, 2**16))
@settings(max_examples=100, deadline=None)
def test_arrivals_are_counted_as_the_picker_counts_them(gaps: list[float], passes: list[float], seed: int) -> None:
    chance, at_s = np.random.default_rng(seed), np.cumsum(np.array(gaps))
    n = len(gaps)
    own = RequestClass("own", max_output_tokens=150)
    requests = Requests(
        at_s,
        chance.integers(1, 4000, n).astype(np.int32),
        np.ones(n, np.int32),
        np.zeros(n, np.int32),
        chance.random(n).astype(np.float32),
        chance.integers(0, 2, n).astype(np.int16),
    )
    window, counts, told, now = ArrivalWindow(EPOCH_S), Counts(classes=[own]), 0, 0.0
    for step in passes:
        now += step * 8.0
        seen = int(np.searchsorted(at_s, now, "right"))
        for index in range(told, seen):
            bin_ = min(int(requests.score[index] * np.float32(20)), 19)
            name, outputs = (("default", 200.0), ("own", 150.0))[requests.klass[index]]
            window.add(EPOCH_S + float(at_s[index]), name, float(requests.input_tokens[index]), outputs, bin_)
        told = seen
        message = window.message(EPOCH_S + now)
        ours = counts.demand(requests.first(seen), now, EPOCH_S)
        assert len(ours) == len(message)
        for one in ours:
            said = message[one.name]
            assert isinstance(one.arrivals_per_s, Known)
            assert one.arrivals_per_s.value == said["perSecond"]
            assert isinstance(one.input_tokens, Known)
            assert one.input_tokens.value == said["inputTokens"]
            assert isinstance(one.output_tokens, Known)
            assert one.output_tokens.value == said["outputTokens"]
            np.testing.assert_allclose(one.scores, said["scores"], atol=0.002)  # type: ignore[arg-type]  # a list of floats


@given(st.lists(st.integers(1, 2000), min_size=1, max_size=400))
@settings(max_examples=50, deadline=None)
def test_answers_teach_their_length_as_the_log_does(lengths: list[int]) -> None:
    counts, learned = Counts(), Learned()
    for answered, length in enumerate(lengths, start=1):
        learned.observe(10.0, 10.0, float(length))
        counts.answered([Sample(0.0, completed=answered, output_tokens=sum(lengths[:answered]))])
    np.testing.assert_allclose(counts.output_tokens, learned.output, rtol=1e-6)

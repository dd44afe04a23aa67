"""Quick paths say what the general ones say."""

from __future__ import annotations

from dataclasses import replace

from core_worlds import NOW, SMALL, pod, variant_state
from hypothesis import given, settings
from hypothesis import strategies as st

from jevons.core import busy, routing
from jevons.core.demand import pods_of
from jevons.core.health import Health
from jevons.core.observed import Known, Unknown
from jevons.core.snapshot import SCORE_BINS, Pod, PodSignals

HOUSED = Health(homes=("node",))
READINGS = st.one_of(
    st.builds(
        Known,
        st.sampled_from([0.0, 0.05, 0.5, 3.0, 7.0, float("nan"), float("inf"), -1.0, 1e12, 6e11]),
        st.sampled_from([NOW, NOW - 30.0, NOW - 36.0]),
    ),
    st.just(Unknown("NoData")),
)
WELL = st.builds(Known, st.floats(0.2, 9.0), st.sampled_from([NOW, NOW - 14.0]))
SIGNALS = st.one_of(
    st.builds(PodSignals, running=WELL, waiting=st.one_of(WELL, st.just(Known(0.0, NOW))), gpu_util=WELL),
    st.builds(PodSignals, running=READINGS, waiting=READINGS, gpu_util=READINGS),
)


@st.composite
def pods(draw: st.DrawFn) -> Pod:
    """Mostly at work."""
    one = replace(
        pod(f"p{draw(st.integers(0, 99))}"), signals=draw(SIGNALS), spot=draw(st.booleans()), ready_at_s=NOW - draw(st.sampled_from([9.0, 900.0]))
    )
    odd = draw(
        st.sampled_from([{}] * 8 + [{"terminating": True}, {"failed": True}, {"ready_at_s": None}, {"marked_at_s": NOW}, {"scheduled_at_s": None}])
    )
    return replace(one, **odd)


@settings(max_examples=400, deadline=None)
@given(fleet=st.lists(pods(), max_size=4))
def test_pods_at_work_are_summed_up_as_any_others_are(fleet):
    quick = busy.summed(SMALL, tuple(fleet), HOUSED, NOW, 35.0)
    assert quick is None or quick == pods_of(SMALL, variant_state(*fleet), NOW, 35.0, health=HOUSED)


def test_the_quick_path_is_taken():
    assert busy.summed(SMALL, (pod("a", running=3.0, util=0.5), pod("b", running=1.0, util=0.9)), HOUSED, NOW, 35.0) is not None


@given(st.lists(st.floats(0.0, 1e6), min_size=SCORE_BINS, max_size=SCORE_BINS))
def test_score_shares_are_rounded_as_round_does(scores):
    total = sum(scores) + routing.PRIOR_COUNT * SCORE_BINS
    assert routing.score_shares(tuple(scores)) == tuple(round((count + routing.PRIOR_COUNT) / total * routing.QUANTUM) for count in scores)

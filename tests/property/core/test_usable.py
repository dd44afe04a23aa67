"""What may be used of a replica: less for a higher promise, more in a larger fleet, and never a smaller fleet for more work."""

from __future__ import annotations

import itertools
import math

from core_worlds import LARGE_PROFILE, SMALL_PROFILE
from hypothesis import given, settings
from hypothesis import strategies as st

from jevons.core import capacity, usable
from jevons.core.spec import Profile

QUICK = settings(max_examples=60, deadline=None)
PROFILES = st.one_of(
    st.sampled_from([LARGE_PROFILE, SMALL_PROFILE]),
    st.builds(
        Profile,
        itl_a_s=st.floats(0.003, 0.08),
        itl_b_s=st.floats(1e-5, 1e-3),
        itl_c_s=st.floats(0.0, 5e-4),
        prefill_p0_s=st.floats(0.002, 0.05),
        prefill_p1_s=st.floats(0.005, 1.2),
        prefill_p2_s=st.floats(0.0, 0.01),
        kv_tokens=st.integers(20_000, 1_200_000),
        max_num_seqs=st.integers(1, 256),
        chunk_tokens=st.sampled_from([256, 512, 2048, 8192]),
    ),
)
TOKENS = st.integers(1, 8000)
PROMISES = st.sampled_from([0.5, 0.9, 0.95, 0.99, 0.999])


def served(profile, inputs, outputs, itl_s=0.06, ttft_s=2.0):
    return capacity.served(profile, inputs, outputs, itl_s, ttft_s)


def needed(one, promise, work, dispersion=1.0):
    variance = work * one.inside.dispersion(dispersion) / (one.requests_per_s * one.inside.tau_s)
    return work / one.inside.kept(promise).share(usable.noise(variance, work))


@QUICK
@given(profile=PROFILES, inputs=TOKENS, outputs=TOKENS, promise=PROMISES)
def test_shares_are_shares_and_fall_with_the_fluctuation_of_the_load(profile, inputs, outputs, promise):
    one = served(profile, inputs, outputs)
    if one.inside is None:
        assert not one.reachable
        return
    kept = one.inside.kept(promise)
    shares = [kept.share(noise) for noise in (0.0, 0.01, 0.02, 0.05, 0.1, 0.3, 1.0, 3.0, 30.0)]
    assert all(0.0 < share <= 1.0 for share in shares)
    assert all(after <= before + 1e-12 for before, after in itertools.pairwise(shares))
    assert 1.0 <= kept.concurrency <= max(1.0, one.concurrency) + 1e-9


@QUICK
@given(profile=PROFILES, inputs=TOKENS, outputs=TOKENS, noise=st.floats(0.0, 3.0))
def test_a_higher_promise_never_allows_more(profile, inputs, outputs, noise):
    one = served(profile, inputs, outputs)
    if one.inside is not None:
        shares = [one.inside.kept(promise).share(noise) for promise in (0.5, 0.8, 0.9, 0.95, 0.99, 0.999)]
        assert all(after <= before + 1e-12 for before, after in itertools.pairwise(shares))


@QUICK
@given(profile=PROFILES, inputs=TOKENS, outputs=TOKENS, promise=PROMISES, dispersion=st.sampled_from([1.0, 4.0, 100.0]))
def test_more_work_never_needs_fewer_replicas_and_a_larger_fleet_serves_more_each(profile, inputs, outputs, promise, dispersion):
    one = served(profile, inputs, outputs)
    if one.inside is None:
        return
    works = [0.01 * 1.3**index for index in range(30)]
    fleets = [needed(one, promise, work, dispersion) for work in works]
    for index in range(1, 30):
        assert fleets[index] >= fleets[index - 1] * (1.0 - 1e-9)
        assert works[index] / fleets[index] >= works[index - 1] / fleets[index - 1] * (1.0 - 1e-9)
    assert all(fleet >= work * (1.0 - 1e-9) for fleet, work in zip(fleets, works, strict=True))


@QUICK
@given(inputs=st.integers(100, 4000), outputs=st.integers(5, 800), work=st.floats(0.1, 50.0))
def test_burstier_arrivals_never_need_fewer_replicas(inputs, outputs, work):
    one = served(SMALL_PROFILE, inputs, outputs)
    if one.inside is not None:
        fleets = [needed(one, 0.95, work, dispersion) for dispersion in (1.0, 2.0, 10.0, 100.0)]
        assert fleets == sorted(fleets)
        assert all(math.isfinite(fleet) for fleet in fleets)


@QUICK
@given(inputs=st.integers(100, 4000), outputs=st.integers(5, 800), work=st.floats(0.5, 20.0))
def test_a_slower_prefill_never_serves_more(inputs, outputs, work):
    slow = Profile(**{**_fields(SMALL_PROFILE), "prefill_p1_s": SMALL_PROFILE.prefill_p1_s * 3.0})
    quick, late = served(SMALL_PROFILE, inputs, outputs), served(slow, inputs, outputs)
    if quick.inside is not None and late.inside is not None:
        rate = work * quick.requests_per_s
        assert needed(late, 0.95, rate / late.requests_per_s) >= needed(quick, 0.95, work) * (1.0 - 1e-6)


def _fields(profile):
    return {name: getattr(profile, name) for name in profile.__dataclass_fields__}

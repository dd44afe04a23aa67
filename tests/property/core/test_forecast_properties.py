"""Whatever readings come, the forecast stays a rate, and survives a checkpoint."""

from __future__ import annotations

import math

from core_worlds import KEY
from hypothesis import given, settings
from hypothesis import strategies as st

from jevons.core import forecast
from jevons.core.memory import DeploymentMemory, Memory

READINGS = st.lists(st.tuples(st.floats(0.0, 1e4), st.sampled_from([0.0, 1.0, 15.0, 60.0, 900.0, 1e5])), min_size=1, max_size=60)
SIZES = st.one_of(st.none(), st.tuples(st.floats(1.0, 1e5), st.floats(1.0, 1e5)))


@settings(max_examples=80, deadline=None)
@given(readings=READINGS, horizon_s=st.floats(0.0, 2000.0), sizes=SIZES)
def test_expectations_are_rates_and_doubts_are_finite(readings, horizon_s, sizes):
    trend, now = None, 0.0
    for rate, dt_s in readings:
        now += dt_s
        trend = forecast.updated(trend, rate, now, horizon_s, sizes)
        expected = forecast.ahead(trend)
        assert 0.0 <= expected <= 1.5 * max(rate for rate, _ in readings) + 1e-6
        assert 0.0 <= forecast.persistence(trend) <= 1.0
        assert 0.0 <= forecast.doubt(trend, expected) < math.inf
        assert 1.0 <= trend.dispersion <= forecast.MAX_DISPERSION
        assert len(trend.pending) <= forecast.PENDING + 1
    memory = Memory({KEY: DeploymentMemory(trends={"default": trend})})
    text = memory.to_json(KEY)
    assert Memory.from_json({KEY: text}) == memory
    assert len(text) < 4000

"""When Prometheus counts as having been away."""

from __future__ import annotations

from jevons.controller.outage import Outage


def test_one_failed_reading_between_good_ones_is_no_outage():
    outage = Outage(shortest_s=30.0)
    assert outage.saw(100.0, answered=False)
    assert outage.down_since_s == 100.0
    outage.saw(115.0, answered=True)
    assert (outage.down_since_s, outage.back_since_s) == (None, None)


def test_a_return_after_longer_than_samples_stay_fresh_is_noted():
    outage = Outage(shortest_s=30.0)
    for now_s in (100.0, 115.0, 130.0):
        outage.saw(now_s, answered=False)
    assert outage.down_since_s == 100.0
    outage.saw(145.0, answered=True)
    assert (outage.down_since_s, outage.back_since_s) == (None, 145.0)


def test_a_silence_is_told_once():
    outage = Outage(shortest_s=30.0)
    assert [outage.saw(at_s, answered=False) for at_s in (1.0, 2.0, 3.0)] == [True, False, False]

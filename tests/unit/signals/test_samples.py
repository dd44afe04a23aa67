"""What counts as a number of now."""

from __future__ import annotations

import pytest

from jevons.core.observed import Known, Unknown
from jevons.signals.samples import SeriesData, Times, combine, distinct, grown_at_s, latest, number, parse, rate

TIMES = Times(now_s=1000.0, skew_s=0.0, stale_after_s=30.0)


def series(*points, **labels):
    return SeriesData(labels, tuple((float(at), str(value)) for at, value in points))


@pytest.mark.parametrize(
    ("text", "reason"), [("NaN", "NotANumber"), ("+Inf", "NotANumber"), ("-Inf", "NotANumber"), ("x", "NotANumber"), ("-1", "Negative")]
)
def test_what_is_not_a_number_of_zero_or_more_is_unknown(text, reason):
    assert number(text).reason == reason


def test_a_sample_older_than_two_scrapes_is_stale():
    assert latest(series((969, 1)), TIMES).reason == "Stale"
    assert latest(series((971, 1)), TIMES) == Known(1.0, 971.0)


def test_no_sample_is_no_data():
    assert latest(series(), TIMES).reason == "NoData"


def test_prometheus_clock_decides_what_is_old_and_ours_dates_it():
    ahead = Times(now_s=1000.0, skew_s=-300.0, stale_after_s=30.0)
    assert latest(series((990, 4)), ahead) == Known(4.0, 690.0)


def test_a_counter_reset_counts_from_zero():
    reading = rate(series((970, 10), (985, 40), (1000, 6)), TIMES)
    assert reading == Known((30 + 6) / 30, 1000.0)


def test_a_counter_tells_when_it_last_grew():
    assert grown_at_s(series((970, 10), (985, 40), (1000, 40)), TIMES) == Known(985.0, 1000.0)
    assert grown_at_s(series((970, 40), (985, 40), (1000, 40)), TIMES) == Known(0.0, 1000.0)
    assert grown_at_s(series((970, 40), (985, 40), (1000, 6)), TIMES) == Known(1000.0, 1000.0), "after a reset it counts what came since"


def test_a_counter_of_which_little_is_known_does_not_say_that_it_rests():
    assert grown_at_s(series((1000, 10)), TIMES).reason == "NoData"
    assert grown_at_s(series((940, 10), (955, 10)), TIMES).reason == "Stale"
    assert grown_at_s(series((985, "NaN"), (1000, 6)), TIMES).reason == "NotANumber"


def test_one_sample_is_no_rate():
    assert rate(series((1000, 10)), TIMES).reason == "NoData"


def test_a_counter_with_a_broken_sample_has_no_rate():
    assert rate(series((985, "NaN"), (1000, 6)), TIMES).reason == "NotANumber"


def test_a_part_of_a_sum_is_not_a_sum():
    assert combine([Known(1.0, 1.0), Unknown("Stale")], sum).reason == "Partial"
    assert combine([Unknown("Stale")], sum).reason == "Stale"
    assert combine([Known(1.0, 5.0), Known(2.0, 3.0)], sum) == Known(3.0, 3.0)


def test_the_same_thing_scraped_by_two_jobs_is_a_duplicate():
    twice = [series((1, 1), job="a", engine="0"), series((1, 1), job="b", engine="0")]
    assert distinct(twice).reason == "Duplicate"
    assert len(distinct([series((1, 1), engine="0"), series((1, 1), engine="1")])) == 2


def test_malformed_entries_are_left_out():
    assert parse([{"metric": {}, "value": ["x"]}, {"metric": None, "values": [[1, "2"]]}]) == [SeriesData({}, ((1.0, "2"),))]
    assert parse([1767225600.0, "1", None, ["x"]]) == []

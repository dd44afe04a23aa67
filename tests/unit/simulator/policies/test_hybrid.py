"""The hybrid histogram against the rule of its paper (Shahrad et al., ATC'20, section 4.2)."""

from __future__ import annotations

import pytest

from jevons.simulator.policies.hybrid import Hybrid, HybridSettings, IdleTimes, place_of
from jevons.simulator.policies.policy import Reading, Sample, View

MINUTE = 60.0
ASLEEP, READY = View(0, 0), View(1, 1)


def seen(*idle_minutes: float, settings: HybridSettings | None = None) -> IdleTimes:
    found = IdleTimes(settings or HybridSettings())
    for minutes in idle_minutes:
        found.add(minutes * MINUTE)
    return found


def test_a_regular_caller_is_loaded_before_and_let_go_after() -> None:
    windows = seen(*[30.5] * 50).windows()
    assert windows.load_s == pytest.approx(30 * MINUTE * 0.9)
    assert windows.until_s == pytest.approx(31 * MINUTE * 1.1)


def test_head_and_tail_are_the_5th_and_99th_percentile() -> None:
    windows = seen(*[2.5] * 4, *[10.5] * 94, *[90.5], *[200.5]).windows()
    assert windows.load_s == pytest.approx(10 * MINUTE * 0.9), "4 % are below the head"
    assert windows.until_s == pytest.approx(91 * MINUTE * 1.1), "1 % is above the tail"


def test_a_head_in_the_first_minute_means_it_is_not_let_go() -> None:
    assert seen(*[0.5] * 10, *[5.5] * 10).windows().load_s == 0.0


def test_a_histogram_that_says_nothing_keeps_the_model_for_its_whole_range() -> None:
    for histogram in (seen(), seen(*range(240))):
        assert (histogram.windows().load_s, histogram.windows().until_s) == (0.0, 4 * 3600.0)


def test_the_coefficient_of_variation_is_that_of_the_bins() -> None:
    assert seen(*range(240)).cv == pytest.approx(0.0)
    assert seen(*[7.5] * 9).cv == pytest.approx(240**0.5), "all in one of 240 bins"


def test_idle_times_mostly_beyond_the_range_are_forecast_with_a_margin_of_15_percent() -> None:
    windows = seen(300.0, 300.0, 5.0).windows()
    assert windows.load_s == pytest.approx(300 * MINUTE * 0.85)
    assert windows.until_s == pytest.approx(300 * MINUTE * 1.15)


def test_places_in_a_histogram() -> None:
    assert place_of([0, 0, 5], 0.05) == 2
    assert place_of([1, 1], 0.5) == 0
    assert place_of([0, 0], 0.5) == 1


class Watched:
    """A policy looked at every 10 s; `calls` last less than that."""

    def __init__(self, policy: Hybrid) -> None:
        self.policy, self.count, self.replicas = policy, 0, 0

    def until(self, start_s: float, end_s: float, *, call: bool) -> list[int]:
        wanted = []
        for now in range(int(start_s), int(end_s), 10):
            self.count += call and now == start_s
            pods = (Reading("a", running=int(call and now == start_s)),) if self.replicas else ()
            self.policy.observe(Sample(float(now), pods=pods, arrivals=self.count))
            self.replicas = self.policy.decide(float(now), READY if self.replicas else ASLEEP)
            wanted.append(self.replicas)
        return wanted


@pytest.mark.parametrize("lead_s", [0.0, 120.0])
def test_after_ten_calls_half_an_hour_apart_it_sleeps_between_them_and_is_up_for_the_next(lead_s: float) -> None:
    watched = Watched(Hybrid(HybridSettings(lead_s=lead_s)))
    for number in range(10):
        watched.until(number * 1830.0, (number + 1) * 1830.0, call=True)
    wanted = watched.until(18_300.0, 20_130.0 + 600.0, call=True)
    up = [10 * place for place, replicas in enumerate(wanted) if replicas]
    assert up[0] == 0, "the call itself"
    assert up[2] == pytest.approx(30 * MINUTE * 0.9 - lead_s, abs=20)
    assert up[-1] == pytest.approx(31 * MINUTE * 1.1, abs=20)


def test_a_call_wakes_it_and_counts_as_the_end_of_an_idle_time() -> None:
    policy = Hybrid(HybridSettings())
    policy.observe(Sample(0.0, arrivals=1))
    assert policy.wake(605.0, ASLEEP) == 1
    assert policy.idle.bins[10] == 1
    policy.observe(Sample(610.0, arrivals=2, held=1))
    assert sum(policy.idle.bins) == 1, "counted once"


def test_a_failed_scrape_says_nothing() -> None:
    policy = Hybrid(HybridSettings())
    policy.observe(Sample(0.0, failed=True))
    assert policy.decide(0.0, READY) == 1
    assert policy.decide(0.0, ASLEEP) == 0

"""The loop: what a run amounts to, who is called when, and who sees what."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jevons.core.spec import Objectives
from jevons.simulator.competitors import jevons, peer, schedule, static
from jevons.simulator.policies import Sample, View
from jevons.simulator.scenario import Controller, Requests, Scenario, Startup, met
from jevons.simulator.static import run
from jevons.simulator.traces import read_arrivals
from jevons.simulator.world import simulate

TRACE = Path(__file__).parents[4] / "examples" / "data" / "azure_conv_sample.csv"


class Watched:
    """A controller that writes down what it is shown, and answers by `answers(now, views)`."""

    period_s, sample_s = 15.0, 5.0

    def __init__(self, answers: Callable[[float, Mapping[str, View]], Mapping[str, int]], *, wakes: bool = True) -> None:
        self._answers, self._wakes = answers, wakes
        self.samples: list[Mapping[str, Sample]] = []
        self.decisions: list[tuple[float, Mapping[str, View], int]] = []
        self.wakings: list[float] = []

    def observe(self, samples: Mapping[str, Sample]) -> None:
        self.samples.append(samples)

    def decide(self, now: float, views: Mapping[str, View]) -> Mapping[str, int]:
        self.decisions.append((now, views, len(self.samples)))
        return self._answers(now, views)

    def wake(self, now: float, views: Mapping[str, View]) -> Mapping[str, int]:
        self.wakings.append(now)
        return dict.fromkeys(views, 1) if self._wakes else {name: view.replicas for name, view in views.items()}


def as_they_are(_: float, views: Mapping[str, View]) -> dict[str, int]:
    return {name: view.replicas for name, view in views.items()}


def test_a_static_fleet_is_the_static_run(scenario: Any) -> None:
    arrivals = read_arrivals(TRACE)[:800]
    columns = [np.array([getattr(one, name) for one in arrivals]) for name in ("at_s", "input_tokens", "output_tokens")]
    requests = Requests(
        columns[0], columns[1].astype(np.int32), columns[2].astype(np.int32), np.zeros(len(arrivals), np.int32), np.zeros(len(arrivals), np.float32)
    )
    setting = scenario(requests, variant={"initial_replicas": 2})
    outcome = simulate(setting, static(2))
    served = run(arrivals, replicas=2, profile=setting.variants[0].physics.profile)
    assert outcome.first_token_s.tolist() == pytest.approx([one.result.first_token_s for one in served], abs=1e-9)
    assert outcome.end_s.tolist() == pytest.approx([one.result.ended_s for one in served], abs=1e-9)
    assert met(requests, outcome, setting.objectives).tolist() == [one.met(setting.objectives) for one in served]


@pytest.mark.parametrize(
    "make", [jevons, lambda scenario: peer("keda", scenario), lambda scenario: peer("kpa", scenario)], ids=["jevons", "keda", "kpa"]
)
def test_equal_runs_have_equal_outcomes(make: Callable[[Scenario], Controller], poisson: Any, scenario: Any) -> None:
    setting = scenario(poisson([2.0, 30.0, 5.0], each_s=200.0), variant={"startup": Startup(40.0, 0.3, 0.1), "crash_per_h": 2.0}, seed=4)
    one, other = simulate(setting, make(setting)), simulate(setting, make(setting))
    for name in type(one).__slots__:
        assert np.array_equal(getattr(one, name), getattr(other, name), equal_nan=True), name
    assert one.scale_events > 0


def test_scrapes_and_decisions_come_at_their_own_periods_and_a_decision_sees_the_scrape_of_its_second(requests_at: Any, scenario: Any) -> None:
    watched = Watched(as_they_are)
    simulate(scenario(requests_at([0.0, 61.0])), watched)
    assert [sample["only"].at_s for sample in watched.samples][:7] == [0.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0]
    assert [(now, seen) for now, _, seen in watched.decisions] == [(15.0, 4), (30.0, 7), (45.0, 10), (60.0, 13), (75.0, 16)]


def test_a_loading_pod_is_in_no_scrape_and_a_draining_one_is_marked(poisson: Any, scenario: Any) -> None:
    watched = Watched(lambda now, _: {"only": 3 if now < 200.0 else 1})
    simulate(scenario(poisson([8.0], outputs=400)), watched)
    for samples in watched.samples:
        sample = samples["only"]
        loaded = 1 if sample.at_s < 75.5 else 3
        assert len(sample.pods) <= loaded, sample.at_s
        assert not any(reading.leaving for reading in sample.pods) or sample.at_s > 210.0
    assert any(reading.leaving for samples in watched.samples for reading in samples["only"].pods)
    assert max(len(samples["only"].pods) for samples in watched.samples) == 3


def test_nothing_is_counted_before_it_has_happened(poisson: Any, scenario: Any) -> None:
    setting, watched = scenario(poisson([5.0])), Watched(as_they_are)
    outcome = simulate(setting, watched)
    for samples in watched.samples:
        sample = samples["only"]
        assert sample.arrivals == np.searchsorted(setting.requests.at_s, sample.at_s, "right")
        done = outcome.end_s <= sample.at_s
        assert sample.completed == done.sum()
        assert sample.output_tokens == setting.requests.output_tokens[done].sum()


def test_an_arrival_without_any_replica_wanted_wakes_and_waits(requests_at: Any, scenario: Any) -> None:
    setting = scenario(requests_at([100.2, 100.3, 150.0, 400.0]), variant={"initial_replicas": 0})
    watched = Watched(as_they_are)
    outcome = simulate(setting, watched)
    assert watched.wakings == [100.2], "once: from then on a replica is wanted"
    held = {sample["only"].at_s: sample["only"].held for sample in watched.samples}
    assert (held[100.0], held[105.0], held[155.0], held[165.0]) == (0, 2, 3, 0)
    ready_s = 100.2 + 0.5 + 60.0
    assert outcome.first_token_s[:3] == pytest.approx(ready_s + 0.02 + 0.1 * np.array([1.5, 1.5, 1.5]), abs=0.1)
    assert outcome.variant.tolist() == [0, 0, 0, 0]


def test_who_is_not_woken_for_is_refused_after_the_longest_wait(requests_at: Any, scenario: Any) -> None:
    setting = scenario(requests_at([10.0, 10.5, 200.0]), variant={"initial_replicas": 0}, max_wait_s=120.0)
    watched = Watched(as_they_are, wakes=False)
    outcome = simulate(setting, watched)
    assert watched.wakings == [10.0, 200.0], "not again for one that comes within the second"
    assert outcome.variant.tolist() == [-1, -1, -1]
    assert np.isnan(outcome.first_token_s).all()
    assert not met(setting.requests, outcome, Objectives()).any()
    assert (outcome.usd, outcome.ended_s) == (0.0, 200.0)


def test_a_request_is_answered_by_the_variant_of_the_highest_quality_unless_routed(requests_at: Any, scenario: Any) -> None:
    setting = scenario(requests_at([float(at_s) for at_s in range(10)]))
    small = replace(setting.variants[0], name="small", quality=0.8)
    setting = replace(setting, variants=(small, setting.variants[0]))
    assert simulate(setting, static({"small": 1, "only": 1})).variant.tolist() == [1] * 10
    route = np.array([0, 1] * 5, np.int32)
    assert simulate(setting, static({"small": 1, "only": 1}), route=route).variant.tolist() == [0, 1] * 5


def test_the_timeline_tells_pods_and_requests(poisson: Any, scenario: Any) -> None:
    setting = scenario(poisson([5.0]), inventory={"gpu": 2})
    outcome = simulate(setting, schedule((0.0, 60.0), (1, 4)))
    at_s, ready, starting, pending = outcome.timeline[:, :4].T
    assert at_s.tolist() == [15.0 * row for row in range(len(at_s))]
    row = at_s.tolist().index(75.0)
    assert (ready[row], starting[row], pending[row]) == (1, 1, 2)
    assert (ready[-1], starting[-1], pending[-1]) == (2, 0, 2)
    assert outcome.timeline[-1, 4:].tolist() == [0, 0, 0], "it ends when nothing is left to do"
    assert outcome.timeline[:, 4].max() > 3


def test_a_scenario_needs_variants_and_requests(requests_at: Any, scenario: Any) -> None:
    with pytest.raises(ValueError, match="at least one variant and one request"):
        simulate(scenario(requests_at([])), static(1))


def test_a_plan_that_does_not_say_of_which_variant_is_refused(requests_at: Any, scenario: Any) -> None:
    setting = scenario(requests_at([0.0, 100.0]))
    two = replace(setting, variants=(setting.variants[0], replace(setting.variants[0], name="other")))
    with pytest.raises(ValueError, match="of which variant"):
        simulate(two, static(2))
    with pytest.raises(ValueError, match="the same number is needed"):
        schedule((0.0, 1.0), (1,))

"""Money adds up to what one works out by hand: a replica costs a cent a second."""

from __future__ import annotations

from typing import Any

import pytest

from jevons.simulator.competitors import schedule, static
from jevons.simulator.scenario import Startup
from jevons.simulator.world import simulate


def test_a_replica_that_runs_throughout_is_paid_until_the_last_completion(requests_at: Any, scenario: Any) -> None:
    outcome = simulate(scenario(requests_at([0.0, 500.0])), static(1))
    assert outcome.ended_s == pytest.approx(outcome.end_s[1])
    assert outcome.usd == pytest.approx(0.01 * outcome.ended_s)
    assert (outcome.starting_gpu_s, outcome.drained_gpu_s, outcome.scale_events) == (0.0, 0.0, 0)


def test_a_second_replica_costs_from_scheduled_to_gone(requests_at: Any, scenario: Any) -> None:
    plan = schedule((0.0, 300.0, 600.0), (1, 2, 1))
    outcome = simulate(scenario(requests_at([0.0, 1000.0]), variant={"accelerators": 4}), plan)
    assert outcome.usd == pytest.approx(0.01 * (outcome.ended_s + (600.5 - 300.5)))
    assert outcome.gpu_s == pytest.approx(4 * (outcome.ended_s + 300.0))
    assert outcome.starting_gpu_s == pytest.approx(4 * 60.0)
    assert outcome.drained_gpu_s == 0.0
    assert outcome.scale_events == 2


def test_what_was_before_the_burn_in_is_not_counted(requests_at: Any, scenario: Any) -> None:
    plan = schedule((0.0, 300.0, 600.0), (1, 2, 1))
    outcome = simulate(scenario(requests_at([0.0, 1000.0]), burn_in_s=330.0), plan)
    assert outcome.usd == pytest.approx(0.01 * (outcome.ended_s - 330.0 + 600.5 - 330.0))
    assert outcome.starting_gpu_s == pytest.approx(30.5)
    assert outcome.scale_events == 1


def test_draining_is_paid_for_and_told_apart(requests_at: Any, scenario: Any) -> None:
    plan = schedule((0.0, 300.0, 600.0), (1, 2, 1))
    outcome = simulate(scenario(requests_at([598.0, 599.0, 1000.0], outputs=300)), plan)
    assert outcome.drained_gpu_s == pytest.approx(outcome.end_s[1] - 600.5)
    assert outcome.usd == pytest.approx(0.01 * (outcome.ended_s + outcome.end_s[1] - 300.5))


def test_a_failed_start_is_paid_until_it_is_removed(requests_at: Any, scenario: Any) -> None:
    plan = schedule((0.0, 300.0, 600.0), (1, 2, 1))
    outcome = simulate(scenario(requests_at([0.0, 1000.0]), variant={"startup": Startup(60.0, fails=1.0)}), plan)
    assert outcome.usd == pytest.approx(0.01 * (outcome.ended_s + 300.0))
    assert outcome.starting_gpu_s == pytest.approx(300.0)
    assert outcome.failed_starts == 1


def test_nothing_is_paid_after_the_last_completion(requests_at: Any, scenario: Any) -> None:
    outcome = simulate(scenario(requests_at([100.0])), schedule((0.0, 90.0), (1, 5)))
    assert outcome.usd == pytest.approx(0.01 * (outcome.ended_s + 4 * (outcome.ended_s - 90.5)))

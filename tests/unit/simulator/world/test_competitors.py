"""Every competitor runs, and does under a spike what its kind does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from jevons.simulator.competitors import jevons, peer
from jevons.simulator.policies import PEERS
from jevons.simulator.policies.dynamo import DynamoSettings
from jevons.simulator.scenario import Outcome, Scenario, met
from jevons.simulator.world import simulate

QUICK_START = 30.0


@pytest.fixture
def spike(poisson: Any, scenario: Any) -> Scenario:
    """Ten minutes: four calm, four at more than one replica can carry, two calm."""
    requests = poisson([1.0, 1.0, 25.0, 25.0, 1.0], each_s=120.0, inputs=1000, outputs=150)
    setting = scenario(requests)
    return replace(setting, variants=(replace(setting.variants[0], startup=replace(setting.variants[0].startup, median_s=QUICK_START)),))


def most_ready(outcome: Outcome) -> int:
    return int(outcome.timeline[:, 1].max())


@pytest.mark.parametrize("name", [name for name in PEERS if name != "static"])
def test_a_peer_with_its_defaults_grows_under_a_spike(name: str, spike: Scenario) -> None:
    outcome = simulate(spike, peer(name, spike))
    assert most_ready(outcome) > 1
    assert outcome.scale_events > 0
    assert np.isfinite(outcome.end_s).sum() > 0.9 * len(spike.requests)
    assert outcome.usd > 0


def test_jevons_grows_under_a_spike_and_shrinks_after_it(spike: Scenario) -> None:
    outcome = simulate(spike, jevons(spike))
    assert most_ready(outcome) > 1
    assert outcome.timeline[-1, 1] < most_ready(outcome)
    assert met(spike.requests, outcome, spike.objectives).mean() > 0.4


def test_settings_of_the_grid_run(spike: Scenario) -> None:
    settings = next(iter(PEERS["hpa"].grid.settings(PEERS["hpa"].defaults)))
    assert simulate(spike, peer("hpa", spike, settings)).usd > 0


def test_a_limit_on_gpus_is_the_scenarios_not_the_peers(spike: Scenario) -> None:
    wide = replace(spike, variants=(replace(spike.variants[0], accelerators=4, initial_replicas=1),))
    outcome = simulate(wide, peer("dynamo", wide, DynamoSettings(up=0.1, down=0.02)))
    assert most_ready(outcome) > 2


@pytest.mark.parametrize(("name", "most_s"), [("kpa", 31.0), ("kubeai", 31.0)])
def test_a_peer_that_holds_requests_wakes_for_them_at_once(name: str, most_s: float, requests_at: Any, scenario: Any) -> None:
    setting = scenario(requests_at([500.25]), variant={"initial_replicas": 0})
    setting = replace(setting, variants=(replace(setting.variants[0], startup=replace(setting.variants[0].startup, median_s=QUICK_START)),))
    outcome = simulate(setting, peer(name, setting))
    assert outcome.first_token_s[0] - 500.25 < most_s


def test_one_that_looks_every_half_minute_wakes_later(requests_at: Any, scenario: Any) -> None:
    setting = scenario(requests_at([500.25, 501.0, 502.0]), variant={"initial_replicas": 0})
    outcome = simulate(setting, peer("keda", setting))
    assert 61.0 < outcome.first_token_s[0] - 500.25 < 110.0


def test_a_peer_that_knows_no_variants_leaves_all_to_the_best(poisson: Any, scenario: Any) -> None:
    setting = scenario(poisson([4.0]))
    small = replace(setting.variants[0], name="small", quality=0.8, usd_per_h=9.0)
    setting = replace(setting, variants=(small, setting.variants[0]))
    assert set(simulate(setting, peer("hpa", setting)).variant.tolist()) == {1}


def test_a_pool_of_variants_shares_by_what_they_can_do(poisson: Any, scenario: Any) -> None:
    setting = scenario(poisson([60.0], each_s=14.0))
    one = setting.variants[0]
    slow = replace(one, name="slow", physics=replace(one.physics, slowdown=3.0), usd_per_h=9.0)
    setting = replace(setting, variants=(slow, one))
    answered = np.bincount(simulate(setting, peer("wva", setting)).variant, minlength=2) / len(setting.requests)
    assert answered == pytest.approx([0.25, 0.75], abs=0.04)


def test_an_unknown_peer_is_an_error(spike: Scenario) -> None:
    with pytest.raises(KeyError):
        peer("nobody", spike)

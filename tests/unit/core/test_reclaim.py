"""Spot replicas that are taken away are counted, and spare ones bear it where the promise asks for them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from core_worlds import KEY, NOW, SMALL, demand, deployment, pod, state, variant_state, world

from jevons.core import reclaim
from jevons.core.decide import decide
from jevons.core.health import Spot
from jevons.core.memory import Memory
from jevons.core.observed import Known

ONE = deployment(replace(SMALL, startup_s=180.0, min_replicas=3, max_replicas=9))


def test_losses_over_pod_hours():
    assert reclaim.per_h(Spot(("a",), 1, NOW, 15.0, 4.0)) == pytest.approx(0.205)
    assert reclaim.per_h(Spot(("a",), 1, NOW)) == pytest.approx(0.02)
    assert reclaim.per_h(None) == 0.0
    assert reclaim.per_h(Spot(("a",), 1, NOW, 0.0, 1e9)) == reclaim.MOST_PER_H


def test_spare_replicas_for_those_that_are_taken():
    assert reclaim.ordered(3, 0.05, 0.05) == 4
    assert reclaim.ordered(10, 0.05, 0.05) == 11
    assert [reclaim.ordered(need, 0.001, 0.05) for need in (0, 1, 3, 30)] == [0, 1, 3, 30]
    assert reclaim.ordered(3, 0.9, 0.05) == 6


def test_more_need_and_more_losses_never_order_fewer():
    for missing in (0.0, 0.01, 0.05, 0.2, 0.5):
        counts = [reclaim.ordered(need, missing, 0.05) for need in range(40)]
        assert counts == sorted(counts)
        assert all(more >= count for count, more in zip(counts, [reclaim.ordered(need, missing + 0.05, 0.05) for need in range(40)], strict=True))


class Fleet:
    """Three spot replicas that are taken away now and then; what is ordered comes at once."""

    def __init__(self, *, spot=True):
        self.spot, self.born, self.uids, self.memory, self.now, self.ordered = spot, 3, ["p0", "p1", "p2"], Memory(), NOW, 3

    def passes(self, count, *, lose_every=0):
        for number in range(count):
            if lose_every and number % lose_every == lose_every - 1:
                self.uids.pop(0)
            while len(self.uids) < self.ordered:
                self.born += 1
                self.uids.append(f"p{self.born}")
            self.uids = self.uids[: self.ordered]
            pods = [pod(uid, self.now, running=2.0, util=0.5, spot=self.spot) for uid in self.uids]
            seen = state(ONE, {"small": variant_state(*pods, replicas=self.ordered)}, demand=(demand(2.0, self.now),), last_arrival_at_s=self.now)
            decision = decide(world(seen, now=self.now, memory=self.memory, metrics=Known(None, self.now)), self.now)
            self.last = decision.deployments[KEY]
            self.memory, self.ordered = decision.memory, decision.deployments[KEY].replicas[0].desired
            self.now += 15.0
        return self

    @property
    def seen(self):
        return self.memory.deployments[KEY].variants["small"].health.spot


@pytest.mark.parametrize("missing", [0.01, 0.05, 0.3])
def test_of_thousands_the_mean_counts_and_joins_what_is_ordered_for_hundreds(missing):
    assert reclaim.ordered(501, missing, 0.05) == pytest.approx(reclaim.ordered(500, missing, 0.05), rel=0.01)
    assert reclaim.ordered(20_000, missing, 0.05) == pytest.approx(20_000 * 0.975 / (1.0 - missing) if missing > 0.025 else 20_000, rel=1e-3)


def test_replicas_that_are_taken_away_are_counted_and_those_we_let_go_are_not():
    fleet = Fleet().passes(100)
    assert (fleet.ordered, fleet.seen.losses) == (3, 0.0)
    fleet.passes(100, lose_every=50)
    assert fleet.seen.losses == pytest.approx(2.0, abs=0.1)
    told = {name: text for name, text, _ in fleet.last.explanation.inputs}
    assert told["spot[small]"] == "3 of 3 pods, taken away 0.28 times an hour (2.0 in 2 pod-hours)"
    fleet.ordered = 5
    fleet.passes(200)
    assert fleet.seen.losses == pytest.approx(2.0, abs=0.1)


def test_on_demand_replicas_that_go_teach_nothing():
    assert Fleet(spot=False).passes(100, lose_every=10).seen is None


def test_what_nobody_watched_is_no_loss():
    fleet = Fleet().passes(10)
    fleet.uids, fleet.now = ["x", "y", "z"], fleet.now + 3600.0
    assert fleet.passes(1).seen.losses == 0.0


def test_the_rate_survives_a_restart():
    fleet = Fleet().passes(100, lose_every=20)
    kept = Memory.from_json({KEY: fleet.memory.to_json(KEY)})
    assert kept.deployments[KEY].variants["small"].health.spot == fleet.seen

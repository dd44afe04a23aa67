"""Who goes first when a fleet shrinks: what serves nobody, then the least busy; never a guess, and nobody else's work."""

from __future__ import annotations

import pytest

from jevons.cluster.scale import _busyness
from jevons.core.observed import Known, Unknown
from jevons.core.snapshot import Pod, PodSignals


def pod(name, *, ready=True, running=0.0, util=0.0, tokens=None, seen=True):
    known = Known(running, 0.0) if seen else Unknown("NoData")
    rate = Unknown("NoData") if tokens is None else Known(tokens, 0.0)
    signals = PodSignals(running=known, waiting=Known(0.0, 0.0), gpu_util=Known(util, 0.0), generation_tokens_per_s=rate)
    return Pod(name, name, 0.0, 0.0, 1.0 if ready else None, "node", signals=signals)


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (pod("starting", ready=False), pod("stuck", running=4.0)),
        (pod("stuck", running=4.0), pod("idle")),
        (pod("idle"), pod("busy", running=1.0, util=0.9)),
        (pod("just done", util=0.9, tokens=20.0), pod("busy", running=1.0, util=0.9)),
        (pod("busy", running=9.0, util=0.9), pod("borrowed", util=0.9)),
        (pod("busy", running=9.0, util=0.9), pod("unseen", seen=False)),
    ],
    ids=lambda one: one.name,
)
def test_the_order_of_going(first, then):
    assert _busyness(first, ["stuck"]) < _busyness(then, ["stuck"])

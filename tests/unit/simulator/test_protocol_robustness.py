from dataclasses import replace
from pathlib import Path

import numpy as np

from jevons.core.spec import Objectives, Profile
from jevons.simulator.policies import PEERS
from jevons.simulator.protocol import robustness
from jevons.simulator.protocol.cell import Cell, Machine
from jevons.simulator.protocol.conditions import conditions
from jevons.simulator.protocol.figures import Figures
from jevons.simulator.protocol.policies import FORESIGHT, JEVONS, Ours, Tier
from jevons.simulator.protocol.report import ratios, rows
from jevons.simulator.protocol.study import QUICK, Entry, Found, Study

CELL = Cell("conv", 4, 120.0, Machine("m", Profile(0.01, 0, 0, 0, 0.1, 0, 1000), 1, 3.0), Objectives(), 5)


def ran(usd):
    blocks = np.array([[500.0, 500.0, usd / 2, 500.0]] * 2)
    return ((Figures(1000, 1000, 0, 1.0, 1.0, 1.0, 1.0, 0.5, usd, 1.0, 0.1, 0.2, 1.0, 2.0, 7, 4.0, blocks),),)


def test_the_conditions_are_those_of_the_protocol():
    made = {one.cell.condition: one for one in conditions(CELL)}
    assert list(made) == ["speed x0.8", "speed x1.2", "chunk 512", "prior x3", "prior x0.33"]
    assert made["speed x0.8"].cell.slowdown == 1.25
    assert made["chunk 512"].cell.machine.profile.chunk_tokens == 512
    assert made["prior x3"].cell.slowdown == 1.0
    assert made["prior x3"].prior_scale == 3.0


def test_peers_run_again_on_wrong_physics_only_and_nobody_is_tuned_anew():
    keda = PEERS["keda"].defaults
    wanted = [(CELL, JEVONS, None, (Ours(95.0),)), (CELL, FORESIGHT, None, QUICK.plans), (CELL, "keda", Tier.DEFAULT, (keda,))]
    found = Found([Entry(CELL, JEVONS, None, (Ours(95.0),), ran(1.0)), Entry(CELL, "keda", Tier.DEFAULT, (keda,), ran(2.0))])
    seen = []

    def runner(function, given, done):
        seen.extend(given)
        return [tuple(ran(3.0)[0][0] for _ in job.settings) for job in given]

    study = Study(Path("data"), [CELL], replace(QUICK, seeds=1), competitors=("keda",), reference=False, robustness=True)
    again = study._robust(wanted, found, runner, lambda *_: lambda: None)
    peers = {job.cell.condition for job in seen if job.policy == "keda"}
    assert peers == {"speed x0.8", "speed x1.2", "chunk 512"}
    assert {job.settings[0].prior_scale for job in seen if job.cell.condition == "prior x3"} == {3.0}
    assert FORESIGHT not in {job.policy for job in seen}
    made = ratios(Found([*found.entries, *again]))
    table = list(robustness.lines(made, CELL))
    assert robustness.headings(made, CELL) == ["policy", "tier", "nominal", "speed x0.8", "speed x1.2", "chunk 512", "prior x3", "prior x0.33"]
    assert table[0][2].startswith("0.50")
    assert table[0][-1].startswith("1.50")
    assert table[-1] == ["jevons", "is cheaper than", "1 of 1", *["0 of 1"] * 5]
    settings = {row["setting"] for row in rows(Found(again))}
    assert {"speed x0.8: percentile=95", "prior x3: percentile=95 prior_scale=3", "chunk 512: defaults"} <= settings

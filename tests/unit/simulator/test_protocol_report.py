import json
import math
from dataclasses import replace

import numpy as np
import pytest

from jevons.core.spec import Objectives, Profile
from jevons.simulator.policies import PEERS
from jevons.simulator.protocol.cell import Cell, Machine
from jevons.simulator.protocol.figures import Figures
from jevons.simulator.protocol.jobs import Bounds
from jevons.simulator.protocol.plots import draw
from jevons.simulator.protocol.policies import Ours, Tier
from jevons.simulator.protocol.reference import Bound
from jevons.simulator.protocol.report import COLUMNS, document, ratios, rows
from jevons.simulator.protocol.study import Entry, Floor, Found, thinned
from jevons.simulator.protocol.tables import headings, lines, title

CELL = Cell("conv", 4, 120.0, Machine("m", Profile(0.01, 0, 0, 0, 0.1, 0, 1000), 1, 3.0), Objectives(), 5, note="as it is")
KEDA = PEERS["keda"].defaults


def a_figure(attainment, usd_per_1k, *, worst=None):
    blocks = np.array([[500.0, 500 * attainment, usd_per_1k / 2, 500 * attainment]] * 2)
    reached = (attainment, attainment, attainment if worst is None else worst, attainment)
    return Figures(1000, round(1000 * attainment), 3, *reached, 0.5, usd_per_1k, 1.0, 0.1, 0.2, 1.0, 2.0, 7, 4.0, blocks)


def an_entry(policy, tier, points, settings, **more):
    runs = tuple((a_figure(*point, **more), a_figure(*point, **more)) for point in points)
    return Entry(CELL, policy, tier, settings, runs)


@pytest.fixture
def found():
    ours = an_entry("jevons", None, [(0.9, 2.0), (0.96, 3.0)], (Ours(80.0), Ours(95.0)))
    theirs = an_entry("keda", Tier.DEFAULT, [(0.9, 4.0), (0.96, 6.0)], (KEDA, replace(KEDA, target=2.0)))
    lame = an_entry("kpa", Tier.THIS_TRACE, [(0.5, 1.0)], (PEERS["kpa"].defaults,))
    bound = tuple(Bound(1000, 0.5 * at, 0.01) for at in (1, 2, 3))
    return Found([ours, theirs, lame], [Floor(CELL, (Bounds(tuple(Bound(1000, 0.1) for _ in range(3)), bound),) * 2)])


def test_a_row_has_the_columns_of_the_design_and_nothing_json_cannot_hold(found):
    text = json.dumps(document(found, ratios(found), {"quick": True}), allow_nan=False)
    read = json.loads(text)
    assert all(tuple(row) == COLUMNS for row in read["rows"])
    assert len(read["details"]) == len(read["rows"])
    assert read["cells"][0]["needed_static_at_95"] == 5


def test_runs_and_matched_costs_are_told_apart(found):
    made = rows(found)
    runs = [row for row in made if row["seed"] is not None]
    assert len(runs) == 2 * 5
    assert all(row["attainment_target"] is None for row in runs)
    matched = {(row["policy"], row["attainment_target"]): row for row in made if row["seed"] is None}
    assert matched["keda", 0.95]["usd_per_1k_offered"] == pytest.approx(4 + 2 * 5 / 6)
    assert matched["keda", 0.95]["attainment"] == pytest.approx(0.95)
    assert matched["keda", 0.95]["setting"] == "0.17 x (defaults) + 0.83 x (target=2)"
    assert matched["keda", 0.95]["ci_low"] == pytest.approx(matched["keda", 0.95]["ci_high"])
    assert matched["keda", 0.9]["setting"] == "defaults"


def test_unreached_is_printed_never_dropped(found):
    unreached = [row for row in rows(found) if row["setting"] == "unreached"]
    assert {(row["policy"], row["attainment_target"]) for row in unreached} == {
        ("jevons", 0.99), ("keda", 0.99), ("kpa", 0.9), ("kpa", 0.95), ("kpa", 0.99),
    }  # fmt: skip
    assert all(row["usd_per_1k_offered"] is None for row in unreached)


def test_bounds_are_rows_too(found):
    bounds = {(row["policy"], row["attainment_target"]): row["usd_per_1k_offered"] for row in rows(found) if row["policy"] in ("lp", "c-lo")}
    assert bounds["c-lo", 0.95] == pytest.approx(1.0)
    assert bounds["lp", 0.99] == pytest.approx(0.1)


def test_a_bound_that_nobody_can_reach_is_in_the_table_and_in_the_file(found):
    hopeless = (*found.floors[0].bounds[0].c_lo[:2], Bound(1000, math.inf))
    one = Found(found.entries, [Floor(CELL, (Bounds(found.floors[0].bounds[0].lp, hopeless),) * 2)])
    bounds = {row["attainment_target"]: row for row in rows(one) if row["policy"] == "c-lo"}
    assert bounds[0.99]["usd"] is bounds[0.99]["usd_per_1k_offered"] is None
    assert bounds[0.95]["usd_per_1k_offered"] == pytest.approx(1.0)
    json.dumps(document(one, ratios(one), {}), allow_nan=False)
    table = [dict(zip(headings(), line, strict=True)) for line in lines(CELL, one, ratios(one))]
    assert next(row for row in table if row["policy"] == "c-lo")["$ 99%"] == "-"


def test_ratios_say_who_does_not_reach(found):
    made = {(one.policy, one.target, one.worst_window): one.interval.value for one in ratios(found)}
    assert made["keda", 0.95, True] == pytest.approx(0.5)
    assert made["kpa", 0.9, True] == 0.0
    assert math.isnan(made["kpa", 0.99, False])


def test_the_worst_window_binds_in_one_figure_and_not_in_the_other():
    ours = an_entry("jevons", None, [(0.97, 2.0)], (Ours(95.0),), worst=0.5)
    theirs = an_entry("keda", Tier.DEFAULT, [(0.97, 4.0)], (KEDA,))
    made = {(one.target, one.worst_window): one.interval.value for one in ratios(Found([ours, theirs]))}
    assert made[0.95, True] == math.inf
    assert made[0.95, False] == pytest.approx(0.5)


def test_where_we_lose_is_in_the_table(found):
    table = [dict(zip(headings(), line, strict=True)) for line in lines(CELL, found, ratios(found))]
    assert [(row["policy"], row["ours/it 95%"]) for row in table] == [
        ("jevons", ""), ("keda", "0.50 [0.50 0.50]"), ("kpa", "only ours"), ("lp", "28.33"), ("c-lo", "2.83"),
    ]  # fmt: skip
    assert table[2]["$ 90%"] == "-"
    assert table[1]["ours/it 99%"] == "neither"
    assert "as it is" in title(CELL)


def test_a_picture_in_two_formats(found, tmp_path):
    files = draw(CELL, found, tmp_path / "plots")
    assert [file.name for file in files] == ["conv-fleet4-startup120.png", "conv-fleet4-startup120.svg"]
    assert all(file.stat().st_size > 5000 for file in files)


def test_a_grid_is_thinned_at_random_and_always_alike():
    grid = tuple(range(96))
    assert thinned(grid, 200) == grid
    assert len(thinned(grid, 10)) == 10
    assert thinned(grid, 10) == thinned(grid, 10)
    assert len({number % 2 for number in thinned(grid, 10)}) == 2

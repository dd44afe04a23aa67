import json
from dataclasses import replace

import numpy as np
import pytest

from jevons.cli.bench_labels import outcomes
from jevons.core.spec import Objectives, Profile
from jevons.simulator.protocol.cell import Cell, Machine, Pair, scenario
from jevons.simulator.protocol.figures import figures
from jevons.simulator.protocol.plots import draw
from jevons.simulator.protocol.policies import LARGE, ROUTED, Routed, arm
from jevons.simulator.protocol.report import document, ratios, routings
from jevons.simulator.protocol.router import CLASSIFIER, ORACLE, ROUTERS, SHUFFLED, alone, labels, routed_world
from jevons.simulator.protocol.splits import Split, Window
from jevons.simulator.protocol.study import Entry, Found
from jevons.simulator.protocol.tables import routing_headings, routing_lines
from jevons.simulator.traces import Log, columns
from jevons.simulator.world import simulate

BIG = Machine("llama-3.1-70b/x", Profile(0.030, 0.0014, 0.0, 0.02, 0.05, 0.0, kv_tokens=100_000), 4, 12.0)
TINY = Machine("llama-3.1-8b/x", Profile(0.010, 0.0004, 0.0, 0.01, 0.01, 0.0, kv_tokens=100_000), 1, 1.0)
CELL = Cell("log", 3, 30.0, BIG, Objectives(), 3, pair=Pair(BIG, TINY, 3))


@pytest.fixture(scope="module")
def base():
    at_s = np.sort(np.random.default_rng(1).random(9600)) * 2400.0
    log = Log("log", columns(at_s, np.full(len(at_s), 500), np.full(len(at_s), 100)))
    return scenario(log, CELL, Window(Split.TEST, 0, 1200.0))


def ran(base, policy, setting):
    made = routed_world(base, CELL, setting.router)
    made = replace(made, scenario=alone(made.scenario)) if policy == LARGE else made
    return figures(made.scenario, simulate(made.scenario, arm(made, policy, setting)), right=made.right)


def test_the_packaged_labels_are_those_the_classifier_has_not_seen():
    made = labels()
    assert len(made.score) > 1000
    assert made.small.mean() == pytest.approx(0.44, abs=0.03)
    assert made.large.mean() == pytest.approx(0.63, abs=0.03)
    assert made.quality == pytest.approx(0.7, abs=0.03)


def test_a_better_router_has_the_simple_requests_higher_up():
    made = labels()
    gap = made.small - made.large

    def worth(router):
        score, curve = made.routed(router)
        assert len(curve.p_small) == len(curve.p_large) == 20
        return gap[score >= np.quantile(score, 0.7)].mean() - gap.mean()

    found = [worth(router) for router in (SHUFFLED, CLASSIFIER, *ROUTERS[2:4], ORACLE)]
    assert abs(found[0]) < 0.03
    assert found == sorted(found)


def test_everybody_meets_the_same_requests_with_the_same_labels(base):
    one, other = (routed_world(base, CELL, router) for router in (CLASSIFIER, ORACLE))
    assert np.array_equal(one.right, other.right)
    assert np.array_equal(one.scenario.requests.at_s, other.scenario.requests.at_s)
    assert not np.array_equal(one.scenario.requests.score, other.scenario.requests.score)


def test_the_oracle_pays_less_for_a_right_answer_and_keeps_the_quality(base):
    large, routed = ran(base, LARGE, Routed(95.0)), ran(base, ROUTED, Routed(95.0, router=ORACLE))
    assert large.quality == 1.0
    assert 0.93 < routed.quality < 1.3
    assert large.correct < large.met
    assert routed.usd / routed.correct < 0.9 * large.usd / large.correct
    cell = replace(CELL, trace="log")
    found = Found([Entry(cell, LARGE, None, (Routed(95.0),), ((large,),)), Entry(cell, ROUTED, None, (Routed(95.0, router=ORACLE),), ((routed,),))])
    read = json.loads(json.dumps(document(found, ratios(found), {}), allow_nan=False))
    assert {row["policy"] for row in read["rows"]} == {LARGE, ROUTED}
    assert read["routing"][0]["router"] == ORACLE
    runs = [row for row in read["rows"] if row["seed"] == 0]
    assert runs[0]["usd_per_correct_slo_answer"] > runs[0]["usd_per_slo_answer"]


def test_the_second_table_has_a_line_for_the_large_model_and_one_per_router(base, tmp_path):
    large, routed = ran(base, LARGE, Routed(95.0)), ran(base, ROUTED, Routed(95.0))
    found = Found([Entry(CELL, LARGE, None, (Routed(95.0),), ((large,),)), Entry(CELL, ROUTED, None, (Routed(95.0),), ((routed,),))])
    table = list(routing_lines(CELL, routings(found)))
    assert [line[0] for line in table] == [LARGE, CLASSIFIER]
    assert {len(line) for line in table} == {len(routing_headings())}
    cell = replace(CELL, trace="drawn")
    drawn = Found([replace(entry, cell=cell) for entry in found.entries])
    assert [file.name for file in draw(cell, drawn, tmp_path) if "routing" in file.name] == [
        f"drawn-fleet3-startup30-routing.{kind}" for kind in ("png", "svg")
    ]


def test_labels_of_ones_own_are_scored_on_the_prompts_that_were_not_learned_from(tmp_path):
    rows = "\n".join(f"prove that the number {n * n} is larger than the number {n} by hand,{n % 2},{int(n % 3 > 0)}" for n in range(300))
    file = tmp_path / "mine.csv"
    file.write_text(f"prompt,small_correct,large_correct\n{rows}\n")
    made = outcomes(file)
    assert 20 < len(made["rows"]) < 150
    (tmp_path / "made.json").write_text(json.dumps(made))
    assert len(labels(tmp_path / "made.json").score) == len(made["rows"])
    file.write_text("prompt,small_correct\nwhy,1\n")
    with pytest.raises(ValueError, match="large_correct"):
        outcomes(file)

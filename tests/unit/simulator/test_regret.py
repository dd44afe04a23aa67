"""`jevons regret`: what knowing would have saved, part by part, from a trace and from what an operator recorded."""

import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from jevons.api.profiles import table
from jevons.cli.main import build
from jevons.core import forecast
from jevons.core.memory import Trend
from jevons.core.recording import Reader, Writer, header, replayed
from jevons.core.snapshot import RouterCurve
from jevons.core.spec import AcceleratorClass, Deployment, Key, Objectives, Price, Variant
from jevons.simulator import competitors_jevons
from jevons.simulator.competitors import jevons
from jevons.simulator.oracles import CERTAIN, Part, Seer, certain_router, rates, rent_s
from jevons.simulator.protocol.pool import local
from jevons.simulator.recorded import recorded
from jevons.simulator.regret import Asked, regret, target_of
from jevons.simulator.scenario import met
from jevons.simulator.traces import columns
from jevons.simulator.whatif import scenario_of
from jevons.simulator.world import simulate

KEY = Key("team-a", "chat")
L40S = {"l40s": AcceleratorClass("l40s", prices=(Price(0.0, Decimal("1.86")),))}
PROFILE = table()["llama-3.1-8b/bf16/a100_sxm/1/vllm"]


def run(*words):
    return CliRunner().invoke(build(["regret"]), ["regret", *map(str, words)])


def written(startup_s=60.0, **changes):
    variant = Variant("only", "model", "l40s", profile=PROFILE, startup_s=startup_s, min_replicas=1, max_replicas=12)
    return Deployment(KEY, "u", 1, 0.0, "chat", (replace(variant, **changes),), objectives=Objectives(95.0, 2.0, 0.06))


def waves(hours=0.5, low=1.0, high=20.0, every_s=600.0, seed=3):
    """Traffic that rises at once for half of each ten minutes."""
    chance = np.random.default_rng(seed)
    at = np.arange(0.0, hours * 3600.0, 1.0)
    counts = chance.poisson(np.where(at % every_s < every_s / 2, low, high))
    at_s = np.sort(np.repeat(at, counts) + chance.random(counts.sum()))
    return columns(at_s, np.full(len(at_s), 900, np.int32), np.full(len(at_s), 150, np.int32))


def no_progress(_what, _total):
    return lambda: None


def played(deployment, requests, parts=frozenset(), needs=None):
    scenario = scenario_of(deployment, L40S, requests)
    seer = Seer(scenario, competitors_jevons.JevonsSettings(written=deployment, accelerators=L40S), parts, needs)
    outcome = simulate(scenario, seer)
    return outcome, float(met(requests, outcome, scenario.objectives).mean()), seer


def test_the_rate_of_a_step_is_the_mean_over_the_minute_that_ends_with_it():
    requests = columns(np.array([1.0, 2.0, 20.0, 61.0]), np.full(4, 10, np.int32), np.full(4, 10, np.int32))
    assert rates(requests).tolist() == pytest.approx([2 / 60, 3 / 60, 3 / 60, 3 / 60, 2 / 60])


def test_the_rent_of_a_spare_replica_is_a_start_and_what_is_late_meanwhile():
    assert rent_s(60.0) == 120.0


def test_a_router_that_knows_is_right_as_often_as_the_curve_says():
    requests = replace(waves(0.2), score=np.random.default_rng(1).random(len(waves(0.2))).astype(np.float32))
    curve = RouterCurve(tuple(np.linspace(0.1, 0.9, 20)), tuple(np.linspace(0.6, 1.0, 20)))
    known, sure = certain_router(requests, curve, seed=0)
    assert (known.score > 0.5).mean() == pytest.approx(0.5, abs=0.03)
    assert (sure.p_small[0], sure.p_small[-1]) == (0.0, 1.0)
    assert sure.p_large[3] == pytest.approx(0.8, abs=0.01)


def test_who_is_no_oracle_is_the_operator_itself():
    requests = waves(0.3)
    scenario = scenario_of(written(), L40S, requests)
    plain = simulate(scenario, jevons(scenario, written=written(), accelerators=L40S))
    assert played(written(), requests)[0].usd == plain.usd


def test_what_is_known_is_expected_without_doubt():
    trend = Trend(7.0, 100.0, 7.0, 12.0, None, CERTAIN)
    assert forecast.updated(trend, 2.0, 100.0) is trend
    assert forecast.ahead(trend) == 7.0
    assert forecast.doubt(trend, 7.0) == 0.0


def test_knowing_the_rate_ahead_has_replicas_ready_when_the_wave_comes():
    requests = waves()
    real, kept, _ = played(written(), requests)
    known, more, _ = played(written(), requests, frozenset({Part.FORECAST}))
    assert more > kept + 0.02
    late = (real.timeline[:, 6] + real.timeline[:, 5]).sum()
    assert (known.timeline[:, 6] + known.timeline[:, 5]).sum() < late


def test_knowing_when_replicas_are_needed_again_keeps_no_others():
    requests = waves(every_s=1200.0)
    _, _, diary = played(written(), requests)
    real, kept, _ = played(written(), requests)
    known, as_well, _ = played(written(), requests, frozenset({Part.KEEPING}), diary.diary.needs())
    assert known.usd < real.usd
    assert as_well > kept - 0.05


def test_where_the_promise_is_missed_a_few_requests_decide_nothing():
    assert target_of(95.0, 0.97) == 0.95
    assert target_of(95.0, 0.80) == pytest.approx(0.795)


def test_the_bill_is_taken_apart_at_equal_attainment():
    with local(1) as pool:
        found = regret(Asked(written(), L40S, waves(0.25)), pool, no_progress, quick=True)
    losses = {loss.name: loss for loss in found.losses}
    assert set(losses) == {"over-delivery", "forecast", "capacity", "keeping", "all parts", "starts in no time", "no replicas.min"}
    assert found.target == target_of(95.0, found.written.attained)
    assert losses["over-delivery"].saved_usd >= 0
    assert found.front_usd == pytest.approx(found.written.usd - losses["over-delivery"].saved_usd)
    assert found.avoidable_usd > 0.1 * found.written.usd
    assert found.foresight_at_promise_usd >= found.foresight_usd
    assert losses["all parts"].saved_usd > 0
    assert {name for name, loss in losses.items() if not loss.of_the_controller} == {"starts in no time", "no replicas.min"}


def test_a_recording_is_played_again_as_a_trace_like_the_one_it_saw(tmp_path, monkeypatch):
    writer, lines, decide = Writer(), [header("test")], competitors_jevons.decide

    def noted(snapshot, now, solver):
        decision = decide(snapshot, now, solver)
        lines.extend(writer.lines(now, snapshot, decision))
        return decision

    monkeypatch.setattr(competitors_jevons, "decide", noted)
    requests = waves(0.25)
    scenario = scenario_of(written(), L40S, requests)
    outcome = simulate(scenario, jevons(scenario, written=written(), accelerators=L40S))
    monkeypatch.undo()
    passes = list(Reader().passes(lines))
    assert not [difference for one in passes[::20] for difference in replayed(one)]

    key = next(iter(passes[0].snapshot.deployments))
    found = recorded(passes, key)
    assert len(found.asked.requests) == pytest.approx(len(requests), rel=0.08)
    assert found.asked.requests.input_tokens.mean() == pytest.approx(900, rel=0.05)
    assert float(found.spent_usd) == pytest.approx(outcome.usd, rel=0.1)

    path = tmp_path / "passes.jsonl"
    path.write_text("".join(f"{line}\n" for line in lines))
    result = run("--recording", path, "--jobs", 1, "--json", tmp_path / "out.json", "--hours", 0.15, "--quick")
    assert result.exit_code == 0, result.output
    made = json.loads((tmp_path / "out.json").read_text())
    assert made["recorded"]["until_s"] - made["recorded"]["from_s"] == pytest.approx(540.0, abs=16.0)
    assert made["foresight_usd"] <= made["usd_at_target"] <= made["usd"]
    assert {loss["name"] for loss in made["losses"]} >= {"forecast", "capacity", "keeping", "all parts"}
    assert "the ledger says" in result.output


def test_what_is_missing_is_said(tmp_path):
    assert run().exit_code == 2
    examples = Path(__file__).parents[3] / "examples"
    assert "no price for class" in run("-f", examples / "assistant.yaml", "--trace", examples / "data" / "azure_conv_sample.csv").output
    assert "no recorded passes" in run("--recording", tmp_path).output

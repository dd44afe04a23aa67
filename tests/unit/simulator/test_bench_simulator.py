"""`jevons bench simulator`: what it measures, and when it calls a difference a miss."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from jevons.api.profiles import table
from jevons.cli import bench_simulator
from jevons.cli.bench import app
from jevons.simulator.protocol import exactness, fidelity

EXAMPLES = Path(__file__).parents[3] / "examples" / "data"
PROFILE = table()["llama-3.1-8b/bf16/a100_sxm/1/vllm"]


def nothing():
    """Nobody counts."""


def test_the_simulator_equals_the_engine_on_the_sample():
    bench = exactness.Bench.of(exactness.conv(EXAMPLES)[:150], PROFILE)
    assert bench.capacity_per_s > 1.0
    assert exactness.equality(bench, 150, nothing)["worst_s"] <= 1e-6
    found = exactness.jittered(bench, 150, 1, nothing)
    assert set(found["at_0_85"]) == set(exactness.OFF)
    assert found["percentiles_off_percent"] == max(
        value for name, one in found.items() if name.startswith("at_") for value in list(one.values())[:-1]
    )


def results(percent, chance):
    speed = {"per_min": 2e7, "wall_per_min": 2e7, "jitter_per_min": 9e6, "jitter_wall_per_min": 9e6}
    jitter = {"at_0_50": dict.fromkeys(exactness.OFF, percent), "chance_percent": chance, "chance_points": 0.0}
    return {"speed": {"replicas_4": speed}, "equality": {"worst_s": 2e-6}, "jitter": jitter}


def test_a_difference_is_a_miss_when_it_is_no_chance():
    told = {row[0]: row[-1] for row in bench_simulator.rows(results(7.0, 3.0))}
    assert told["requests a minute of one core, replicas 4"] == "met"
    assert told["requests a minute of one core, replicas 4, jitter"] == "MISSED"
    assert told["largest difference of any time from the token-level engine, no jitter"] == "MISSED"
    assert told["p50, p95, p99 of TTFT and pace at utilisation 0.50"] == "MISSED"
    by_chance = {row[0]: row[-1] for row in bench_simulator.rows(results(7.0, 9.0))}
    assert by_chance["p50, p95, p99 of TTFT and pace at utilisation 0.50"] == "within chance: more seeds are needed"


def test_measured_rows_are_compared_where_they_are(tmp_path):
    (tmp_path / "splitwise").mkdir()
    (tmp_path / "aiconfigurator").mkdir()
    head = "model,hardware,tensor_parallel,prompt_size,batch_size,token_size,prompt_time,token_time"
    shapes = [(given, count) for given in (500, 1000, 2000) for count in (1, 2, 4, 16)]
    rows = [f"m,h,8,{given},{count},100,{10 + given * count / 10},{20 + count}" for given, count in shapes]
    (tmp_path / "splitwise" / "perf_model.csv").write_text("\n".join([head, *rows]))
    grid = "model,precision,system,tp,backend,phase,batch,isl,osl,tpot_ms,ttft_ms,req_s"
    (tmp_path / "aiconfigurator" / "aic_grid.csv").write_text(f"{grid}\nllama-3.1-8b,bf16,a100_sxm,1,vllm,prefill,1,1000,0,,63.5,\n")
    found = fidelity.measured(tmp_path, table())
    assert found["Splitwise"]["token, one prompt"]["mape"] < 1.0
    assert found["aiconfigurator"]["prefill"] == pytest.approx({"mape": 0.0, "bias": 0.0, "p90": 0.0, "rows": 1}, abs=0.5)


def test_outside_a_checkout_the_trace_is_asked_for(monkeypatch, tmp_path):
    monkeypatch.setattr(bench_simulator, "SAMPLE", tmp_path / "nowhere")
    answer = CliRunner().invoke(app, ["simulator"])
    assert answer.exit_code == 2
    assert "give --data" in " ".join(answer.output.replace("│", " ").split())
    empty = CliRunner().invoke(app, ["simulator", "--data", str(tmp_path)])
    assert "no conversation trace" in " ".join(empty.output.replace("│", " ").split())


@pytest.mark.slow
def test_the_whole_command_writes_its_figures(tmp_path):
    answer = CliRunner().invoke(app, ["simulator", "--quick", "--json", str(tmp_path / "out.json")])
    assert answer.exit_code == 0, answer.output
    made = json.loads((tmp_path / "out.json").read_text())
    assert made["equality"]["worst_s"] <= 1e-6
    assert "give --perf DIR" in answer.output

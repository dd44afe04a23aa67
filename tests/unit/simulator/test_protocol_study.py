import json

import numpy as np
import pytest
from typer.testing import CliRunner

from jevons.cli import bench_machine
from jevons.cli.bench import app
from jevons.core.spec import Objectives, Profile
from jevons.simulator.protocol import pool
from jevons.simulator.protocol.cell import Cell, Machine
from jevons.simulator.protocol.foresight import Kind, Plan
from jevons.simulator.protocol.jobs import Job, run
from jevons.simulator.protocol.policies import JEVONS, Ours, Tier
from jevons.simulator.protocol.report import ratios, rows
from jevons.simulator.protocol.splits import Split, Window
from jevons.simulator.protocol.study import Effort, Study

MACHINE = Machine("m", Profile(0.030, 0.0014, 0.0, 0.02, 0.05, 0.0, kv_tokens=100_000), 1, 3.0)
TINY = Effort(
    seeds=1, test_s=900.0, fit_s=600.0, grid=3, finalists=1, knob=(1.0,), every=4, plans=(Plan(Kind.LOAD, 0.0, 4, 1.5), Plan(Kind.STATIC, 0.3))
)


def write_log(path, *, seed, rate=4.0, minutes=40):
    chance = np.random.default_rng(seed)
    at_s = np.cumsum(chance.exponential(1 / rate, int(rate * minutes * 60)))
    stamps = np.datetime64("2024-01-01T00:00:00", "ms") + (at_s * 1000).astype("timedelta64[ms]")
    given, wanted = chance.integers(50, 900, len(at_s)), chance.integers(5, 150, len(at_s))
    lines = [f"{str(stamp).replace('T', ' ')},{some},{more}" for stamp, some, more in zip(stamps, given, wanted, strict=True)]
    path.write_text("\n".join(["TIMESTAMP,ContextTokens,GeneratedTokens", *lines]) + "\n")


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "traces"
    folder.mkdir()
    for seed, name in enumerate(("Trace_day", "Trace_night")):
        write_log(folder / f"{name}.csv", seed=seed)
    return folder


def cells(*names):
    return [Cell(name, 3, 30.0, MACHINE, Objectives(), 3) for name in names]


def quiet(what, total):
    return lambda: None


def test_a_job_is_repeatable_and_settings_do_not_disturb_each_other(data):
    cell, window = cells("day")[0], Window(Split.TEST, 1, 900.0)
    alone = run(Job(data, cell, window, JEVONS, (Ours(95.0),)))
    beside = run(Job(data, cell, window, JEVONS, (Ours(50.0), Ours(95.0))))
    assert alone[0].usd == beside[1].usd
    assert alone[0].met == beside[1].met
    assert 2500 < alone[0].offered < 4500


def test_a_whole_comparison(data):
    with pool.local(1) as runner:
        found = Study(data, cells("day", "night"), TINY, competitors=("keda", "static")).run(runner, quiet)
    tiers = {(entry.cell.trace, entry.policy, entry.tier) for entry in found.entries}
    assert {policy for trace, policy, _ in tiers if trace == "day"} == {"jevons", "foresight", "keda", "static"}
    assert {tier for trace, policy, tier in tiers if (trace, policy) == ("night", "keda")} == set(Tier)
    offered = {entry.cell.trace: {one.offered for seeds in entry.runs for one in seeds} for entry in found.entries}
    assert all(len(counts) == 1 for counts in offered.values())
    assert len(ratios(found)) > 0
    assert {row["policy"] for row in rows(found)} == {"jevons", "foresight", "keda", "static", "lp", "c-lo"}
    static = found.of(found.entries[0].cell, "static", Tier.DEFAULT)
    attainments = [seeds[0].attainment for seeds in static.runs]
    assert attainments == sorted(attainments)


def test_tuning_never_sees_the_test_part(data):
    seen = []

    def runner(function, given, done):
        seen.extend((job.window.split, type(job).__name__, getattr(job, "policy", "")) for job in given)
        return [function(job) for job in given]

    Study(data, cells("day"), TINY, competitors=("keda",), tiers=(Tier.THIS_TRACE,), reference=False).run(runner, quiet)
    assert [split for split, _, policy in seen if policy == JEVONS] == [Split.TEST]
    assert [split for split, _, policy in seen if policy == "keda"] == [Split.FIT, Split.FIT, Split.TEST]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--trace", "nowhere"], "no LLM trace named nowhere"),
        (["--tier", "best"], "not one of default, other-traces, this-trace"),
        (["--policy", "magic"], "not one of jevons, jevons-routed"),
        (["--ttft", "-1"], "not a number above 0"),
        (["--json", "/proc/none/x.json"], "cannot be written"),
    ],
)
def test_a_wrong_word_is_named_with_what_there_is(data, tmp_path, words, complaint):
    result = CliRunner().invoke(
        app, ["autoscale", "--data", str(data), "--json", str(tmp_path / "x.json"), "--jobs", "1", *words], env={"COLUMNS": "300"}
    )
    assert result.exit_code == 2
    assert complaint in result.output


def test_a_folder_without_traces_says_so(tmp_path):
    result = CliRunner().invoke(app, ["autoscale", "--data", str(tmp_path), "--json", str(tmp_path / "x.json")], env={"COLUMNS": "300"})
    assert result.exit_code == 2
    assert "no trace in it" in result.output


def test_without_the_extra_it_says_what_to_install(monkeypatch, data, tmp_path):
    monkeypatch.setattr(bench_machine, "find_spec", lambda _: None)
    result = CliRunner().invoke(app, ["autoscale", "--data", str(data), "--json", str(tmp_path / "x.json")], env={"COLUMNS": "300"})
    assert result.exit_code == 2
    assert "jevons[bench]" in result.output


@pytest.mark.slow
def test_a_quick_run_gives_the_same_whatever_the_number_of_processes(data, tmp_path):
    documents = []
    for jobs in ("1", "2"):
        words = ["autoscale", "--data", str(data), "--quick", "--seeds", "1", "--policy", "keda", "--policy", "static", "--jobs", jobs]
        result = CliRunner().invoke(app, [*words, "--json", str(tmp_path / f"{jobs}.json"), "--plots", str(tmp_path / jobs)])
        assert result.exit_code == 0, result.output
        documents.append(json.loads((tmp_path / f"{jobs}.json").read_text()))
        assert len(list((tmp_path / jobs).glob("*.svg"))) == 2
    assert documents[0] == documents[1]
    assert {row["trace"] for row in documents[0]["rows"]} == {"day", "night"}


def test_a_part_of_a_name_is_enough_and_a_broken_file_is_left_out_aloud(data, tmp_path):
    (data / "Trace_dusk.csv").write_text("TIMESTAMP,ContextTokens,GeneratedTokens\nyesterday,1,2\n")
    out = tmp_path / "x.json"
    words = ["--trace", "DAY", "--quick", "--seeds", "1", "--fleet", "2", "--tier", "default", "--policy", "static", "--no-reference", "--jobs", "1"]
    result = CliRunner().invoke(app, ["autoscale", "--data", str(data), "--json", str(out), *words], env={"COLUMNS": "300"})
    assert result.exit_code == 0, result.output
    assert "Trace_dusk.csv:2" in result.output
    document = json.loads(out.read_text())
    assert {row["policy"] for row in document["rows"]} == {"jevons", "static"}
    assert {row["peer_tier"] for row in document["rows"]} == {"default"}
    assert any("Trace_dusk.csv:2" in note for note in document["notes"])

"""`jevons bench zoo` and `jevons bench budget` from the command line to their JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from jevons.cli.bench import app

RUNNER = CliRunner()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    calls = [f"{model},{minute},2" for model in range(2) for minute in range(0, 1440, 90 + 60 * model)]
    (tmp_path / "zoo.csv").write_text("\n".join(["model_id,minute,count", *calls]))
    (tmp_path / "log.csv").write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.0,100,20\n2023-11-16 18:15:47.0,300,50\n")
    return tmp_path


def test_a_folder_without_a_zoo_is_refused(tmp_path: Path) -> None:
    answer = RUNNER.invoke(app, ["zoo", "--data", str(tmp_path), "--json", str(tmp_path / "out.json")])
    assert answer.exit_code == 2
    assert "no trace in it" in " ".join(answer.output.replace("│", " ").split())


def test_an_unknown_policy_or_period_is_refused(folder: Path) -> None:
    out = str(folder / "out.json")
    assert RUNNER.invoke(app, ["zoo", "--data", str(folder), "--policy", "nobody", "--json", out]).exit_code == 2
    assert RUNNER.invoke(app, ["budget", "--period", "Year", "--json", out]).exit_code == 2


def test_the_zoo_by_gaps_writes_points_and_both_readings_of_equal_cold_starts(folder: Path) -> None:
    out = folder / "out.json"
    asked = ["zoo", "--data", str(folder), "--by-gaps", "--seeds", "2", "--startup", "30", "--jobs", "1", "--json", str(out)]
    answer = RUNNER.invoke(app, asked)
    assert answer.exit_code == 0, answer.output
    document = json.loads(out.read_text())
    assert {row["policy"] for row in document["rows"]} == {"jevons", "keda", "always-on"}
    assert {(row["equal"], row["target"]) for row in document["ratios"] if row["policy"] == "jevons" and row["measure"] == "stretches"} == {
        ("starts", 0.55),
        ("rate", 0.55),
    }
    assert all(row["ratio"] <= 1.0 for row in document["ratios"] if row["policy"] == "keda")
    assert "chains" not in document
    assert RUNNER.invoke(app, [*asked, "--only-chains"]).exit_code == 2
    assert RUNNER.invoke(app, [*asked, "--sleep", "0.1"]).exit_code == 0
    asleep = [row for row in json.loads(out.read_text())["rows"] if row["policy"] == "jevons-sleep 0.1 5"]
    assert asleep, "points of its own"


@pytest.mark.slow
def test_the_zoo_writes_points_ratios_and_what_it_assumes(folder: Path) -> None:
    out = folder / "out.json"
    answer = RUNNER.invoke(app, ["zoo", "--data", str(folder), "--quick", "--startup", "30", "--jobs", "1", "--json", str(out)])
    assert answer.exit_code == 0, answer.output
    document = json.loads(out.read_text())
    assert {row["policy"] for row in document["rows"]} == {"jevons", "keda", "kpa", "kubeai", "hybrid", "always-on"}
    assert {row["policy"] for row in document["chains"]} == {"jevons", "jevons-alone", "keda", "hybrid", "co-wake"}
    assert all(row["ratio"] == 1.0 for row in document["ratios"] if row["policy"] == "keda")
    assert document["assumptions"]
    assert "co-wake" in answer.output


@pytest.mark.slow
def test_the_budget_writes_rows_and_summaries(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    answer = RUNNER.invoke(app, ["budget", "--period", "Day", "--seeds", "1", "--tightness", "0.8", "--jobs", "1", "--json", str(out)])
    assert answer.exit_code == 0, answer.output
    document = json.loads(out.read_text())
    assert [one["policy"] for one in document["summaries"]] == ["jevons", "linear", "cap-only", "constant"]
    assert document["summaries"][3]["over_constant"] == 1.0

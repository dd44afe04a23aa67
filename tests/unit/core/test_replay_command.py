"""`jevons replay` on recordings of operators that chose routes otherwise: with no solver, or with another version of it."""

from __future__ import annotations

import json

import pytest
from core_plant import Plant, assistant
from core_worlds import KEY, NOW
from typer.testing import CliRunner

from jevons.cli.main import build
from jevons.core.recording import Writer, header
from jevons.solver import highs


def recorded(path, *, solver, first_line, passes=14):
    plant = Plant({KEY: assistant()}, NOW, {KEY: 3.0}, solver=solver)
    writer, lines = Writer(), [first_line]
    take = plant.snapshot
    for _ in range(passes):
        seen = []
        plant.snapshot = lambda seen=seen: seen.append(take()) or seen[-1]
        decision = plant.step(15.0)
        lines += writer.lines(plant.now, seen[0], decision)
    path.write_text("\n".join(lines) + "\n")
    return path


def replay(path):
    return CliRunner().invoke(build(["replay", str(path)]), ["replay", str(path)])


def test_what_this_version_decided_is_byte_equal(tmp_path):
    result = replay(recorded(tmp_path / "a.jsonl", solver=highs.solve, first_line=header("1", highs.NAME)))
    assert result.exit_code == 0, result.output
    assert result.output.count("\n") == 1
    assert "14 passes" in result.output


@pytest.mark.parametrize("first_line", [header("1"), json.dumps({"recording": 1, "release": "0.1"})])
def test_passes_from_before_the_solver_are_decided_by_rule_again_and_it_is_said(tmp_path, first_line):
    result = replay(recorded(tmp_path / "a.jsonl", solver=None, first_line=first_line))
    assert result.exit_code == 0, result.output
    assert "passes were decided without a solver" in result.output
    assert "byte-equal" in result.output


@pytest.mark.parametrize(
    ("solver", "said"),
    [
        ("HiGHS 1.2.3", "recorded by release 0.1 with HiGHS 1.2.3; this is release"),
        ("", "recorded by release 0.1 before routes and replicas were chosen together by a solver; this is release"),
    ],
)
def test_passes_that_differ_say_by_what_solver_they_were_decided(tmp_path, solver, said):
    path = recorded(tmp_path / "a.jsonl", solver=highs.solve, first_line=header("0.1", solver))
    path.write_text(path.read_text().replace('"desired":1', '"desired":3'))
    result = replay(path)
    assert result.exit_code == 1
    assert said in result.output
    assert "other routes and replicas are expected" in result.output

"""`jevons explain` prints what the operator recorded."""

from __future__ import annotations

from core_worlds import KEY, NOW, demand, deployment, pod, state, variant_state, world
from typer.testing import CliRunner

from jevons.cli.main import build
from jevons.controller.audit import Audit
from jevons.core.decide import decide


def explain(*words):
    arguments = ["explain", *map(str, words)]
    return CliRunner().invoke(build(arguments), arguments)


def recorded(folder):
    both = {"large": variant_state(pod("l", running=3.0)), "small": variant_state(pod("s"))}
    audit = Audit(folder)
    for rate, now in ((1.0, NOW), (9.0, NOW + 15.0)):
        audit.record(decide(world(state(deployment(), both, demand=(demand(rate, now),)), now=now), now))
    return folder


def test_the_last_decision_is_explained(tmp_path):
    result = explain(KEY, "--data-dir", recorded(tmp_path))
    assert result.exit_code == 0
    assert "arrivals[default]: 9/s" in result.output
    assert "chosen" in result.output
    assert "large: 1 -> " in result.output


def test_a_line_cut_short_is_passed_over(tmp_path):
    folder = recorded(tmp_path)
    with (folder / "decisions.jsonl").open("a") as file:
        file.write('{"deployment": "team-a/assistant", "kind": "deci')
    assert explain(KEY, "--data-dir", folder).exit_code == 0


def test_a_deployment_without_a_record_is_said(tmp_path):
    assert explain("team-b/other", "--data-dir", recorded(tmp_path)).exit_code == 1
    assert explain("other", "--data-dir", tmp_path).exit_code == 2

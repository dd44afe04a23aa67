"""`jevons simulate`: the manifest as written, on a trace, through the same code as in the cluster."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from jevons.cli.main import build
from jevons.cli.simulate import _show, read_manifests, read_trace
from jevons.simulator.traces import columns
from jevons.simulator.whatif import Answer, compare, copies, multiplied, scored

EXAMPLES = Path(__file__).parents[3] / "examples"
CONV = EXAMPLES / "data" / "azure_conv_sample.csv"
ASSISTANT = [EXAMPLES / "assistant.yaml", EXAMPLES / "accelerators.yaml"]


def three():
    return columns(np.array([0.0, 1.0, 2.0]), np.array([100, 200, 300], np.int32), np.array([10, 20, 30], np.int32))


def run(*words):
    return CliRunner().invoke(build(["simulate"]), ["simulate", *map(str, words)])


def test_a_task_of_two_and_a_half_times_the_tokens_is_three_calls_one_after_another():
    tasks = multiplied(three(), 2.5, pace_s=0.1, ttft_s=1.0)
    assert len(tasks) == 9
    assert tasks.input_tokens.sum() == 2.5 * 600
    assert tasks.output_tokens.sum() == 2.5 * 60
    assert tasks.at_s.tolist() == sorted(tasks.at_s.tolist())
    assert {0.0, 2.0, 4.0} <= set(tasks.at_s.tolist())  # the first task: 1 s to the first token and 10 tokens of 0.1 s each


def test_copies_keep_the_traffic_and_spread_it():
    often = copies(three(), 4, seed=1)
    assert len(often) == 12
    assert often.input_tokens.sum() == 4 * 600
    assert often.at_s[0] >= 0.0
    assert often.at_s[-1] <= 2.1


def test_a_multiplier_below_one_is_refused():
    with pytest.raises(ValueError, match=r"multiplier: 0\.5"):
        multiplied(three(), 0.5, pace_s=0.1, ttft_s=1.0)


def test_the_manifest_as_written_beats_the_fleet_that_stands_at_its_peak():
    written, accelerators = read_manifests(ASSISTANT)
    requests = read_trace(CONV, written, multiplier=1.0, load=1, prompts=None, seed=0)
    answers = {answer.name.split(" (")[0]: answer for answer in compare(written, accelerators, requests)}
    assert set(answers) == {"as written", "no-routing", "always-large", "no-scaling"}
    ours, large = answers["as written"], answers["always-large"]
    assert ours.offered == large.offered == len(requests)
    assert ours.usd < large.usd
    assert answers["no-routing"].small == 0 < ours.small
    assert large.useful >= 0.95 * large.offered
    assert ours.refused == 0


def test_where_no_static_fleet_keeps_the_promise_that_is_said(capsys):
    one = Answer("as written", 10, 0, 0, 0, 1.0, 1.0, 1.0, 0.0, 9.0, 9.0, 0, 1, [])
    _show([one, replace(one, name="always-large (3 x best)")])
    assert "No static fleet" not in capsys.readouterr().out
    _show([one])
    assert "No static fleet of up to 64 replicas of the best variant keeps the promise" in capsys.readouterr().out


def test_a_manifest_that_is_no_yaml_is_named(tmp_path):
    file = tmp_path / "assistant.yaml"
    file.write_text("a: [1")
    with pytest.raises(yaml.YAMLError, match=str(file)):
        read_manifests([file])


def test_what_a_replica_occupies_is_read_from_its_template_as_the_operator_reads_it(tmp_path):
    written, accelerators = read_manifests(ASSISTANT)
    (document,) = (one for one in yaml.safe_load_all(ASSISTANT[0].read_text()) if one["kind"] == "InferenceDeployment")
    told = {variant.name: (variant.accelerator_class, variant.accelerator_count) for variant in written.variants}
    for variant in document["spec"]["variants"]:
        name, count = told[variant["name"]]
        assert variant.pop("accelerator") == {"className": name, "count": count}
        variant.pop("targetRef", None)
        container = {"name": "engine", "image": "engine", "resources": {"limits": {accelerators[name].resource_name: count}}}
        variant["template"] = {"spec": {"containers": [container], "nodeSelector": dict(accelerators[name].node_selector)}}
    file = tmp_path / "assistant.yaml"
    file.write_text(yaml.safe_dump(document))
    again, _ = read_manifests([file, ASSISTANT[1]])
    assert {variant.name: (variant.accelerator_class, variant.accelerator_count) for variant in again.variants} == told
    document["spec"]["variants"][0]["template"]["spec"]["containers"][0].pop("resources")
    file.write_text(yaml.safe_dump(document))
    with pytest.raises(ValueError, match=r"accelerator: the pod template requests no accelerator"):
        read_manifests([file, ASSISTANT[1]])


def test_scores_come_from_prompts_and_are_drawn_by_seed():
    written, _ = read_manifests(ASSISTANT)
    with_prompts = [
        read_trace(CONV, written, multiplier=1.0, load=1, prompts=EXAMPLES / "data" / "prompts_sample.csv.gz", seed=seed) for seed in (1, 1, 2)
    ]
    assert (with_prompts[0].score == with_prompts[1].score).all()
    assert (with_prompts[0].score != with_prompts[2].score).any()
    assert scored(three(), []).score.tolist() == [0.0, 0.0, 0.0]


def test_the_command_prints_a_table_and_writes_its_figures_and_a_plot(tmp_path):
    found = run("-f", ASSISTANT[0], "-f", ASSISTANT[1], "--trace", CONV, "--json", tmp_path / "a.json", "--plot", tmp_path / "a.png")
    assert found.exit_code == 0, found.output
    assert "as written" in found.output
    rows = json.loads((tmp_path / "a.json").read_text())
    assert rows[0]["name"] == "as written"
    assert rows[0]["attainment"] == rows[0]["useful"] / rows[0]["offered"]
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("-f", ASSISTANT[0], "--trace", CONV), "no price for class 'a100-80gb'"),
        (("-f", EXAMPLES / "zoo.yaml", "-f", ASSISTANT[1], "--trace", CONV), "name one with --deployment"),
        (("-f", EXAMPLES / "zoo.yaml", "--deployment", "nobody", "--trace", CONV), "'nobody' is not in"),
        (("-f", ASSISTANT[0], "-f", ASSISTANT[1], "--trace", EXAMPLES / "assistant.yaml"), "not a row of TIMESTAMP"),
        (("--scenario", "perpetual-motion"), "is none of inference-paradox"),
        ((), "give -f MANIFEST"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(words, told):
    found = run(*words)
    assert found.exit_code != 0
    said = " ".join((found.output + str(found.exception or "")).replace("│", " ").split())
    assert told in said

"""Whose is a request of a trace? By its column `Class`, by share, by size as the gateway does it, or nobody's."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from jevons.cli.main import build
from jevons.cli.simulate import read_manifests, read_trace
from jevons.core.spec import Objectives, RequestClass, Tier
from jevons.gateway.steps.limits import class_of
from jevons.gateway.steps.parse import parse
from jevons.gateway.table import Model
from jevons.gateway.table import RequestClass as TableClass
from jevons.simulator.classes import classed, served, unmatched
from jevons.simulator.scenario import SimClass, inside
from jevons.simulator.traces import UNTOLD, columns, read_log
from jevons.simulator.whatif import copies, multiplied

EXAMPLES = Path(__file__).parents[3] / "examples"
CONV = EXAMPLES / "data" / "azure_conv_sample.csv"
MANIFESTS = [EXAMPLES / "assistant.yaml", EXAMPLES / "accelerators.yaml"]
ROWS = ("2023-11-16 18:00:00,100,10", "2023-11-16 18:00:01,9000,10", "2023-11-16 18:00:02,100,10", "2023-11-16 18:00:03,100,2000")
DEFAULT, DOCUMENTS, CHAT = range(3)
"""As examples/assistant.yaml has them: documents by header, chat by size."""


@pytest.fixture
def written():
    return read_manifests(MANIFESTS)[0]


@pytest.fixture
def trace(tmp_path):
    def write(*kinds):
        header = "TIMESTAMP,ContextTokens,GeneratedTokens" + (",Class" if kinds else "")
        lines = [",".join(row) for row in zip(ROWS, kinds, strict=True)] if kinds else list(ROWS)
        file = tmp_path / "trace.csv"
        file.write_text("\n".join([header, *lines]) + "\n")
        return file

    return write


def read(file, written, **shares):
    return read_trace(file, written, multiplier=1.0, load=1, prompts=None, seed=0, shares=shares)


def run(*words):
    return CliRunner().invoke(build(["simulate"]), ["simulate", *map(str, words)])


def test_without_a_column_requests_fall_into_the_classes_they_fit(trace, written):
    assert read(trace(), written).klass.tolist() == [CHAT, DEFAULT, CHAT, DEFAULT]
    assert unmatched(read(trace(), written), written) == ("documents",)


def test_a_column_names_the_class_and_an_empty_field_leaves_it_to_the_size(trace, written):
    requests = read(trace("documents", "documents", "", "default"), written)
    assert requests.klass.tolist() == [DOCUMENTS, DOCUMENTS, CHAT, DEFAULT]
    assert unmatched(requests, written) == ()


def test_a_name_that_is_no_class_is_said_with_file_and_line(trace, written):
    file = trace("documents", "chat ", "document", "")
    with pytest.raises(ValueError, match=r"trace\.csv:4: no request class is called 'document'; there are default, documents, chat"):
        read(file, written)


def test_rows_may_end_before_the_column_and_blank_lines_count(tmp_path, written):
    file = tmp_path / "short.csv"
    file.write_text(f"TIMESTAMP,ContextTokens,GeneratedTokens,Class\n{ROWS[0]}\n\n{ROWS[1]},documents\n{ROWS[2]},nobody\n")
    with pytest.raises(ValueError, match=r"short\.csv:5: no request class"):
        read(file, written)
    file.write_text(f"TIMESTAMP,ContextTokens,GeneratedTokens,Class\n{ROWS[0]}\n\n{ROWS[1]},documents\n")
    assert read(file, written).klass.tolist() == [CHAT, DOCUMENTS]


def test_nobody_asks_for_classes_and_a_column_is_passed_over(trace, written):
    file = trace("documents", "nobody", "", "")
    assert not read_log(file).klass.any()
    assert not read_trace(file, written, multiplier=1.0, load=1, prompts=None, seed=0).klass.any()
    assert read_log(trace(), ["default"]).klass.tolist() == [UNTOLD] * 4


def test_a_request_that_its_class_would_refuse_is_an_error(trace, written):
    with pytest.raises(ValueError, match="9000 input and 10 output tokens is named 'chat'"):
        read(trace("", "chat", "", ""), written)


def test_shares_are_drawn_by_seed_and_leave_the_others_to_their_size(written):
    some = [read_trace(CONV, written, multiplier=1.0, load=1, prompts=None, seed=seed, shares={"documents": 0.3}).klass for seed in (1, 1, 2)]
    assert (some[0] == some[1]).all()
    assert (some[0] != some[2]).any()
    assert 0.27 < (some[0] == DOCUMENTS).mean() < 0.33
    assert set(some[0].tolist()) == {DOCUMENTS, CHAT}


def test_shares_of_several_classes_do_not_overlap(written):
    requests = read(CONV, written, documents=0.5, default=0.5)
    assert set(requests.klass.tolist()) == {DEFAULT, DOCUMENTS}


@pytest.mark.parametrize(
    ("shares", "told"),
    [
        ({"nobody": 0.1}, "no request class is called 'nobody'"),
        ({"documents": 0.7, "chat": 0.7}, "1.4 in all"),
        ({"documents": 0.1}, "a column Class"),
    ],
)
def test_shares_that_mean_nothing_are_refused(trace, written, shares, told):
    file = trace("documents", "", "", "") if "column" in told else trace()
    with pytest.raises(ValueError, match=told):
        read(file, written, **shares)


def test_copies_and_longer_tasks_stay_in_their_class(trace, written):
    requests = read_log(trace("documents", "default", "", "chat"), ["default", "documents", "chat"])
    assert sorted(copies(requests, 3).klass.tolist()) == sorted(requests.klass.tolist() * 3)
    tasks = multiplied(requests, 2.5, pace_s=0.01, ttft_s=0.1)
    assert sorted(tasks.klass.tolist()) == sorted(requests.klass.tolist() * 3)


def test_sizes_match_as_the_gateway_matches_them(written):
    chance, known = np.random.default_rng(7), [(None, None), (8000, None), (None, 300), (500, 100)]
    classes = tuple(RequestClass(f"c{at}", max_input_tokens=i, max_output_tokens=o) for at, (i, o) in enumerate(known))
    for order in (classes, classes[::-1], classes[1:], classes[2:0:-1]):
        wanted = chance.integers(1, 1000, 40)
        asked = replace(columns(np.arange(40.0), chance.integers(1, 12000, 40), wanted), klass=np.full(40, UNTOLD, np.int16))
        ours = classed(asked, replace(written, classes=order), {}).klass
        rows = (*(TableClass(one.name, None, one.max_input_tokens, one.max_output_tokens) for one in order), TableClass("default"))
        model = Model("n", "m", "m", (), rows)
        for number in range(40):
            body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x"}], "max_tokens": int(wanted[number])}).encode()
            theirs = class_of(model, parse("/v1/chat/completions", {}, body), float(asked.input_tokens[number]))
            assert theirs.name == ("default", *(one.name for one in order))[ours[number]]


def test_a_class_keeps_its_own_objectives_counted_from_the_end_of_its_patience():
    requests = replace(columns(np.zeros(6), np.full(6, 10), np.full(6, 17)), klass=np.array([0, 0, 1, 1, 2, 2], np.int16))
    classes = (
        SimClass(RequestClass("soon", objectives=Objectives(ttft_s=1.0, itl_s=0.1))),
        SimClass(RequestClass("late", tier=Tier.BATCH, objectives=Objectives(ttft_s=1.0, itl_s=0.1)), patience_s=100.0),
    )
    first_s = np.array([1.9, 2.1, 0.9, 1.1, 100.9, 101.1])
    assert inside(requests, first_s, first_s + 1.0, Objectives(ttft_s=2.0, itl_s=0.1), classes).tolist() == [True, False] * 3
    longer = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 150.0])
    assert inside(requests, first_s, first_s + 1.0, Objectives(ttft_s=2.0, itl_s=0.1), classes, longer)[5]


def test_patience_is_the_cores(written):
    documents, chat = served(written)
    assert documents.patience_s == pytest.approx(0.3 * (120.0 - 1.5 * 12.0))
    assert chat.patience_s == 0.0


def test_the_command_says_figures_of_each_class(tmp_path):
    files = [word for file in MANIFESTS for word in ("-f", file)]
    found = run(*files, "--trace", CONV, "--share", "documents=0.3", "--json", tmp_path / "a.json")
    assert found.exit_code == 0, found.output
    assert "wait p95" in found.output
    assert "Matched by a header" not in found.output
    (documents, chat) = json.loads((tmp_path / "a.json").read_text())[0]["classes"]
    assert (documents["name"], chat["name"]) == ("documents", "chat")
    assert documents["offered"] + chat["offered"] == 2000
    assert 0 < documents["useful"] <= documents["offered"]


def test_the_command_says_which_classes_a_trace_cannot_tell(tmp_path):
    found = run(*(word for file in MANIFESTS for word in ("-f", file)), "--trace", CONV)
    assert "nobody here is taken for documents" in found.output
    assert "wait p95" not in found.output
    (document,) = (one for one in yaml.safe_load_all(MANIFESTS[0].read_text()) if one["kind"] == "InferenceDeployment")
    del document["spec"]["requestClasses"]
    (tmp_path / "plain.yaml").write_text(yaml.safe_dump(document))
    assert "header" not in run("-f", tmp_path / "plain.yaml", "-f", MANIFESTS[1], "--trace", CONV).output


@pytest.mark.parametrize("share", ["documents", "documents=x", "=0.3", "documents=1.3", "documents=-0.1"])
def test_a_share_that_is_none_is_said(share):
    found = run(*(word for file in MANIFESTS for word in ("-f", file)), "--trace", CONV, "--share", share)
    assert found.exit_code != 0
    assert "is not NAME=PART" in " ".join((found.output + str(found.exception or "")).replace("│", " ").split())

import csv
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from jevons.classifier import Classifier, RequestFeatures
from jevons.classifier.dataset import fold_of, read
from jevons.classifier.evaluate import evaluate, frontier, order_of, planned_threshold
from jevons.classifier.features import DENSE
from jevons.classifier.model import Curve
from jevons.cli.main import build

EASY, HARD = ["greet", "thank", "spell", "name", "colour", "day"], ["integral", "tensor", "proof", "enzyme", "statute", "torque"]


def write(path, *, rows=600, seed=0):
    """Requests whose words say whether the small variant fails: the large one is always right on hard ones, the small one never."""
    random = np.random.default_rng(seed)
    with path.open("w", newline="") as lines:
        out = csv.writer(lines)
        out.writerow(["prompt", "small_correct", "large_correct"])
        for number in range(rows):
            hard = number % 2
            words = random.choice(HARD if hard else EASY, 5)
            out.writerow([f"request {number} {' '.join(words)}", int(not hard or random.random() < 0.1), int(random.random() < 0.9)])
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("classifier")
    data = write(folder / "labelled.csv")
    result = CliRunner().invoke(
        build(["train"]), ["train", "--data", str(data), "--out", str(folder / "w"), "--name", "mine", "--date", "2026-01-01"]
    )
    assert result.exit_code == 0, result.output
    return folder, data, result.output


def test_training_learns_what_separates_simple_from_hard(trained):
    folder, _, printed = trained
    classifier = Classifier.load(folder / "w" / "mine.npz")
    simple, hard = (
        classifier.score(text, features=RequestFeatures())
        for text in ("request 1 greet spell colour day name", "request 1 tensor enzyme torque proof statute")
    )
    assert simple > 0.6
    assert hard < 0.4
    assert classifier.card["evaluation"]["router"]["apgr"] > 0.8
    assert "shuffled, same share" in printed


def test_training_twice_gives_the_same_bytes(trained, tmp_path):
    folder, data, _ = trained
    CliRunner().invoke(build(["train"]), ["train", "--data", str(data), "--out", str(tmp_path), "--name", "mine", "--date", "2026-01-01"])
    for suffix in (".json", ".md"):
        assert (tmp_path / f"mine{suffix}").read_bytes() == (folder / "w" / f"mine{suffix}").read_bytes()
    with np.load(tmp_path / "mine.npz") as one, np.load(folder / "w" / "mine.npz") as other:
        assert all(np.array_equal(one[name], other[name]) for name in other.files)


def test_what_was_stored_is_what_was_measured(trained):
    folder, data, _ = trained
    classifier = Classifier.load(folder / "w" / "mine.npz")
    again = json.loads(json.dumps(evaluate(classifier, read(data))))
    assert again == classifier.card["evaluation"]


def test_the_plan_beats_its_shuffled_control_where_there_is_something_to_learn(trained):
    folder, _, _ = trained
    found = Classifier.load(folder / "w" / "mine.npz").card["evaluation"]
    assert found["planned"]["quality"] > found["shuffled"]["quality_ci95"][1]
    assert found["planned"]["quality_kept"] > 0.9


def test_evaluate_router_prints_and_writes_the_controls(trained, tmp_path):
    folder, data, _ = trained
    arguments = [
        "evaluate-router",
        "--data",
        str(data),
        "--weights",
        str(folder / "w" / "mine.npz"),
        "--json",
        str(tmp_path / "r.json"),
        "--small-cost",
        "0.2",
    ]
    result = CliRunner().invoke(build(arguments), arguments)
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "r.json").read_text())
    assert {"router", "planned", "shuffled", "always_small", "always_large", "random", "oracle", "calibration", "latency"} <= set(found)
    assert found["planned"]["cost_saved"] == pytest.approx(found["planned"]["share_small"] * 0.8, abs=1e-4)
    assert "always-small" in result.output


def test_frontier_worked_example():
    # 4 requests, small right on 2, large on all: sending the two simple ones first keeps everything; the worst order loses at once
    small, large = np.array([1, 1, 0, 0]), np.ones(4, dtype=np.int64)
    best, worst = (frontier(np.array(order), small, large) for order in ([0, 1, 2, 3], [2, 3, 0, 1]))
    assert (best.apgr, worst.apgr) == (pytest.approx(0.75), pytest.approx(0.25))
    assert (best.share_small, worst.share_small) == (0.5, 0.0)
    assert (best.cpt50, best.cpt95) == (0.25, 0.5)


def test_without_a_quality_gap_nothing_is_recovered_and_all_may_go_small():
    same = np.array([1, 0, 1])
    found = frontier(np.arange(3), same, same)
    assert np.isnan(found.apgr)
    assert found.share_small == 1.0


def test_constant_scores_earn_nothing_from_the_order_of_the_file():
    labels = np.repeat([1, 0], 500)
    assert frontier(order_of(np.zeros(1000)), labels, np.ones(1000, dtype=np.int64)).apgr == pytest.approx(0.5, abs=0.03)


def test_the_planned_threshold_follows_the_scores_that_are_seen():
    curve = Curve((0.6,) * 10 + (0.9,) * 10, (1.0,) * 20)
    assert planned_threshold(np.linspace(0, 0.999, 200), curve) == 0.5
    assert planned_threshold(np.full(200, 0.1), curve) == 1.01 or planned_threshold(np.full(200, 0.1), curve) > 0.1


def test_near_duplicates_stay_on_one_side():
    passage = "This question refers to the following information about the treaty of the two kings"
    assert len({fold_of(f"{passage} number {n}") for n in range(50)}) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prompt,small_correct\na,1\n", "no column large_correct"),
        ("prompt,small_correct,large_correct\n" + "a,1,0\n" * 20, "at least 200"),
        ("prompt,small_correct,large_correct\n" + "a,1,0\n" * 300 + "a,yes,0\n", "row 301: small_correct is 'yes'"),
        ("prompt,small_correct,large_correct\n" + "a,1,0\n" * 300 + "a,1,2\n", "row 301: large_correct is '2'"),
        ("prompt,small_correct,large_correct\n" + "a,1,0\n" * 300 + "a,1\n", "row 301: large_correct is None"),
    ],
)
def test_bad_labels_are_named(tmp_path, text, message):
    (tmp_path / "bad.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        read(tmp_path / "bad.csv")


def test_labelled_requests_bring_their_features(tmp_path):
    with (tmp_path / "requests.csv").open("w", newline="") as lines:
        out = csv.writer(lines)
        out.writerow(["request", "small_correct", "large_correct"])
        for number in range(200):
            out.writerow([json.dumps({"messages": [{"role": "user", "content": f"sum {number}"}], "tools": [{}]}), 1, 1])
    vectors = read(tmp_path / "requests.csv").vectors
    assert {vector.dense[DENSE.index("tools")] for vector in vectors} == {1.0}


@pytest.mark.parametrize(
    ("request_", "message"), [("{", "row 1: request is not JSON"), ("[]", "row 1: request is list"), ("[" * 100_000, "row 1: request is not JSON")]
)
def test_a_request_that_is_none_is_named(tmp_path, request_, message):
    (tmp_path / "bad.csv").write_text("request,small_correct,large_correct\n" + f'"{request_}",1,1\n' * 200)
    with pytest.raises(ValueError, match=message):
        read(tmp_path / "bad.csv")


@pytest.mark.parametrize(
    ("name", "content"),
    [("cut.csv.gz", b"\x1f\x8b\x08"), ("none.csv.gz", b"prompt"), ("huge.csv", b"prompt\n" + b"x" * 200_000), ("odd.csv", b"\xff")],
)
def test_a_file_that_is_no_csv_is_named(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=name):
        read(tmp_path / name)

import json
import shutil

import numpy as np
import pytest

from jevons.classifier import Classifier, ClassifierError, Curve, RequestFeatures, Scorer, load_scorer
from jevons.classifier.model import SCORE_BINS, WEIGHTS, bin_of

PLAIN = RequestFeatures()


class Constant:
    """A user's own scorer."""

    curve = Curve((0.5,) * SCORE_BINS, (0.6,) * SCORE_BINS)

    def score(self, text, *, features):
        return 0.5


class Nothing:
    pass


@pytest.fixture
def weights(tmp_path):
    for suffix in (".npz", ".json"):
        shutil.copy(WEIGHTS / f"default{suffix}", tmp_path / f"mine{suffix}")
    return tmp_path / "mine.npz"


def edit(weights, **arrays):
    with np.load(weights) as stored:
        np.savez(weights, **{**dict(stored), **arrays})


def test_the_shipped_weights_load_score_and_are_small():
    shipped = Classifier.load_default()
    assert isinstance(shipped, Scorer)
    assert 0 <= shipped.score("What is 2 + 2?", features=PLAIN) <= 1
    assert [len(side) for side in shipped.curve] == [SCORE_BINS, SCORE_BINS]
    assert (WEIGHTS / "default.npz").stat().st_size < 1_000_000


def test_the_shipped_curve_never_loses_more_on_simpler_requests():
    gaps = np.subtract(Classifier.load_default().curve.p_large, Classifier.load_default().curve.p_small)
    assert (np.diff(gaps) <= 2e-4).all()


def test_the_shipped_card_names_its_data_and_its_control():
    card = Classifier.load_default().card
    assert card["data"]["rows"] == 7288
    assert "Apache-2.0" in card["data"]["source"]
    assert card["evaluation"]["shuffled"]["share_small"] == card["evaluation"]["planned"]["share_small"]
    assert f"{card['evaluation']['router']['apgr']:.3f}" in (WEIGHTS / "default.md").read_text()


def test_the_same_words_always_score_the_same():
    first, second = Classifier.load_default(), Classifier.load_default()
    assert first.score("Prove it.", features=PLAIN) == second.score("Prove it.", features=PLAIN)


def test_bins_cover_the_whole_scale():
    assert [bin_of(score) for score in (0.0, 0.0499, 0.05, 0.999, 1.0)] == [0, 0, 1, 19, 19]


def test_weights_of_another_layout_are_refused(weights):
    card = weights.with_suffix(".json")
    card.write_text(json.dumps({**json.loads(card.read_text()), "layout": 99}))
    with pytest.raises(ClassifierError, match="layout 99"):
        Classifier.load(weights)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"intercept": np.zeros(3, dtype=np.float32)}, "intercept has shape"),
        ({"intercept": np.array([np.nan, 0.0], dtype=np.float32)}, "not finite"),
        ({"raw": np.array([0.1, 0.0]), "rank": np.array([0.0, 1.0])}, "must rise"),
        ({"raw": np.array([0.0, 0.1]), "rank": np.array([0.0, 1.5])}, "must rise"),
    ],
)
def test_broken_weights_are_refused_by_name(weights, arrays, message):
    edit(weights, **arrays)
    with pytest.raises(ClassifierError, match=message):
        Classifier.load(weights)


def test_missing_or_cut_weights_are_refused(weights, tmp_path):
    with pytest.raises(ClassifierError, match=r"none\.npz"):
        Classifier.load(tmp_path / "none.npz")
    weights.write_bytes(b"PK not a zip")
    with pytest.raises(ClassifierError, match="cannot read"):
        Classifier.load(weights)


def test_a_users_own_scorer_takes_the_place(monkeypatch, weights):
    monkeypatch.setattr("jevons.classifier.model.importlib.import_module", lambda _: type("module", (), {"make": Constant, "odd": Nothing}))
    assert load_scorer("mine:make").score("x", features=PLAIN) == 0.5
    with pytest.raises(ClassifierError, match="no `score`"):
        load_scorer("mine:odd")
    with pytest.raises(ClassifierError, match="cannot make"):
        load_scorer("mine:none")
    with pytest.raises(ClassifierError, match="module:factory"):
        load_scorer("mine")
    assert load_scorer(str(weights)).score("x", features=PLAIN) == load_scorer().score("x", features=PLAIN)

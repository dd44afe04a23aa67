"""Mapped files: outstanding work and sessions; and what the estimator learns."""

import numpy as np
import pytest

from jevons.core.load import Work
from jevons.gateway.inflight import EPOCH_S, EPOCHS, ROOM, TAILER, Inflight, reset
from jevons.gateway.sessions import SessionTable, session_hash
from jevons.gateway.tokens import SLACK, TokenEstimator, raw_tokens

NOW = 1_800_000_000.0
POD = "10.0.0.1:8000"


def test_work_of_all_writers_adds_up_and_the_tailer_takes_it_back(tmp_path):
    one, two, room, tailer = (Inflight(tmp_path / "f", row) for row in (0, 1, ROOM, TAILER))
    one.add(POD, Work(100, 1), NOW)
    two.add(POD, Work(50, 4), NOW)
    room.add(POD, Work(25, 1), NOW)
    assert one.outstanding([POD, "other:1"], NOW) == [Work(175.0, 6.0), Work()]
    tailer.done(POD, Work(50, 4), NOW)
    assert two.outstanding([POD], NOW) == [Work(125.0, 2.0)]
    assert two.outstanding([], NOW) == []


def test_work_that_nobody_gives_back_is_forgotten(tmp_path):
    picker = Inflight(tmp_path / "f", 0)
    picker.add(POD, Work(100, 2), NOW)
    assert picker.outstanding([POD], NOW + (EPOCHS - 1) * EPOCH_S) == [Work(100.0, 2.0)]
    assert picker.outstanding([POD], NOW + EPOCHS * EPOCH_S) == [Work()]
    picker.add(POD, Work(7, 1), NOW + EPOCHS * EPOCH_S)
    assert picker.outstanding([POD], NOW + EPOCHS * EPOCH_S) == [Work(7.0, 1.0)]


def test_giving_back_more_than_was_booked_is_not_negative_load(tmp_path):
    tailer = Inflight(tmp_path / "f", TAILER)
    tailer.done(POD, Work(100, 1), NOW)
    assert tailer.outstanding([POD], NOW) == [Work()]
    tailer.add(POD, Work(150, 0), NOW)  # each number by itself
    assert tailer.outstanding([POD], NOW) == [Work(50.0, 0.0)]


def test_a_request_from_before_a_new_beginning_gives_nothing_back(tmp_path):
    reset(tmp_path / "f", NOW)
    picker, tailer = Inflight(tmp_path / "f", 0), Inflight(tmp_path / "f", TAILER)
    picker.add(POD, Work(100, 3), NOW + 1)
    tailer.done(POD, Work(70, 1), NOW - 1)
    assert picker.outstanding([POD], NOW + 2) == [Work(100.0, 3.0)]
    tailer.done(POD, Work(100, 3), NOW + 1)
    assert picker.outstanding([POD], NOW + 2) == [Work()]
    assert (tmp_path / "f").stat().st_mode & 0o777 == 0o600


def test_a_file_that_another_version_laid_out_is_forgotten_at_the_start(tmp_path):
    (tmp_path / "f").write_bytes(np.full(4_500_000, NOW).tobytes())
    reset(tmp_path / "f", NOW)
    picker = Inflight(tmp_path / "f", 0)
    assert picker.outstanding([f"10.0.0.{number}:8000" for number in range(50)], NOW) == [Work()] * 50


def test_a_pod_that_failed_is_an_outlier_for_a_moment(tmp_path):
    tailer, picker = Inflight(tmp_path / "f", TAILER), Inflight(tmp_path / "f", 0)
    tailer.failed(POD, NOW)
    assert picker.outliers([POD, "other:1"], NOW + 1) == [True, False]
    assert picker.outliers([POD], NOW + 4) == [False]


def test_a_row_outside_the_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"16 is outside 0\.\.15"):
        Inflight(tmp_path / "f", 16)


def test_a_session_is_the_sum_of_its_rows_and_ends_with_its_time(tmp_path):
    one, two = SessionTable(tmp_path / "s", 0), SessionTable(tmp_path / "s", 1)
    session = session_hash("a/b", "team", "s1")
    one.note(session, NOW, quality=0.7, usd=0.1, calls=1)
    two.note(session, NOW + 1, quality=1.0, usd=0.2, calls=1)
    seen = one.read(session, NOW + 2, 60)
    assert (seen.quality, seen.calls, round(seen.usd, 6)) == (1.0, 2, 0.3)
    assert one.read(session, NOW + 100, 60).calls == 0
    assert one.read(session_hash("a/b", "other team", "s1"), NOW, 60).calls == 0


def test_a_slot_belongs_to_the_last_session_that_fell_into_it(tmp_path):
    table = SessionTable(tmp_path / "s", 0)
    table.note(5, NOW, calls=3)
    table.note(5 + 65_536, NOW, calls=1)
    assert table.read(5, NOW, 60).calls == 0
    assert table.read(5 + 65_536, NOW, 60).calls == 1


def test_after_learning_the_estimate_is_hardly_ever_under_by_more_than_5_percent(tmp_path):
    estimator = TokenEstimator()
    texts = [("word " * (10 + 37 * number % 400)).encode() for number in range(2_000)]
    truths = [raw_tokens(text) * (0.9 + (number * 7919 % 100) / 200) for number, text in enumerate(texts)]
    for text, truth in zip(texts[:1000], truths[:1000], strict=True):
        estimator.observe("a/b@large", raw=raw_tokens(text), prompt_tokens=truth, completion_tokens=10)
    under = [truth > SLACK * estimator.ceiling("a/b@large", raw_tokens(text)) for text, truth in zip(texts[1000:], truths[1000:], strict=True)]
    assert sum(under) <= 5
    estimator.save(tmp_path / "tokens.json")
    assert TokenEstimator.load(tmp_path / "tokens.json").learned == estimator.learned
    assert TokenEstimator.load(tmp_path / "none").learned == {}


def test_a_long_text_is_sampled_and_scaled():
    short, long = raw_tokens(b"hello world, this is text. " * 9_000), raw_tokens(b"hello world, this is text. " * 90_000)
    assert long / short == pytest.approx(10, rel=0.01)

import gzip

import numpy as np
import pytest

from jevons.simulator.traces import Log, Zoo, columns, discover, read_log, survey
from jevons.simulator.traces_clients import ClientModel, read_client_model
from jevons.simulator.traces_synthetic import Shape, level, synthetic

LENGTH_COLUMNS = [
    f"{side}_{point}" for side in ("in", "out") for point in ("mean", "p1", "p5", "p10", "p25", "p50", "p75", "p90", "p95", "p99", "p100")
]


def length_row(client, start_s, given, wanted):
    return {"client": client, "t_start_s": str(start_s)} | {name: str(given if name.startswith("in") else wanted) for name in LENGTH_COLUMNS}


def rate_row(client, window, rate, family="G", shape="1.0"):
    return {"client": client, "window": str(window), "rate_rps": str(rate), "cv": "1.0", "family": family, "shape": shape}


def as_csv(rows):
    return "\n".join([",".join(rows[0]), *(",".join(row.values()) for row in rows)]) + "\n"


def a_model(rates, lengths=(("a", 0, 100, 10),)):
    return read_client_model("m", [rate_row(*rate) for rate in rates], [length_row(*length) for length in lengths])


def test_a_folder_is_known_by_its_columns_whatever_its_files_are_called(tmp_path):
    (tmp_path / "deep" / "er").mkdir(parents=True)
    log = "TIMESTAMP,ContextTokens,GeneratedTokens\n2024-05-10 00:00:01.5+00:00,10,5\n2024-05-10 00:00:00.25+00:00,20,7\n"
    (tmp_path / "deep" / "LLM_night.csv").write_text(log)
    (tmp_path / "deep" / "LLM_noon.csv").write_text(log)
    (tmp_path / "readme.csv").write_text("who,knows\n1,2\n")
    (tmp_path / "broken.csv.gz").write_bytes(b"not zipped")
    with gzip.open(tmp_path / "deep" / "er" / "x-9_client_speed.csv.gz", "wt") as file:
        file.write(as_csv([rate_row("7", 0, 2.0)]))
    (tmp_path / "deep" / "er" / "x-9_client_words.csv").write_text(as_csv([length_row("7", 0, 100, 10)]))
    (tmp_path / "zoo.csv").write_text("model_id,minute,count\nm1,0,2\nm2,3,1\n")

    found = discover(tmp_path)

    assert {name: type(trace) for name, trace in found.items()} == {"night": Log, "noon": Log, "x-9": ClientModel, "zoo": Zoo}
    assert found["noon"].requests.at_s.tolist() == [0.0, 1.25]
    assert found["noon"].requests.input_tokens.tolist() == [20, 10]


def test_a_folder_without_a_trace_says_what_was_expected(tmp_path):
    with pytest.raises(ValueError, match="TIMESTAMP"):
        discover(tmp_path)


def test_a_bad_row_is_named(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n2024-05-10 00:00:01,ten,5\n")
    with pytest.raises(ValueError, match=r"log\.csv:2"):
        read_log(path)


def test_clients_without_lengths_beside_them_are_an_error(tmp_path):
    (tmp_path / "a_client_rates.csv").write_text(as_csv([rate_row("7", 0, 2.0)]))
    with pytest.raises(ValueError, match="token lengths"):
        discover(tmp_path)


@pytest.mark.parametrize(("family", "shape"), [("G", "0.05"), ("W", "0.4"), ("G", "1.0")])
def test_however_bursty_a_client_its_rate_is_the_recorded_one(family, shape):
    model = a_model([("a", window, 0.5, family, shape) for window in range(24)])
    counts = [len(model.sample([0], start_s=0, length_s=14400, seed=seed)) for seed in range(150)]
    standard_error = np.std(counts) / np.sqrt(len(counts))
    assert abs(np.mean(counts) - 7200) < 4 * standard_error


def test_bursts_survive():
    model = a_model([("a", window, 1.0, "G", "0.04") for window in range(24)])
    gaps = np.diff(model.sample([0], start_s=0, length_s=14400, seed=1).at_s)
    assert 3.5 < gaps.std() / gaps.mean() < 6.5  # 1 / sqrt(0.04) = 5


def test_a_client_is_silent_where_it_has_no_rate():
    model = a_model([("a", 0, 1.0), ("a", 2, 1.0)])
    at_s = model.sample([0], start_s=300, length_s=1500, seed=3).at_s
    assert len(at_s) > 600
    assert not ((at_s >= 300) & (at_s < 900)).any()
    assert at_s.max() < 1500
    assert model.recorded.tolist() == [True, False, True]


def test_sizes_follow_the_quantiles_of_the_nearest_six_hours():
    model = a_model([("a", window, 1.0) for window in range(80)], [("a", 0, 100, 10), ("a", 21600, 300, 30)])
    early, late = (model.sample([0], start_s=start, length_s=600, seed=1) for start in (0, 36000))
    assert set(early.input_tokens) == {100}
    assert set(late.output_tokens) == {30}
    assert set(model.sample([0], start_s=43200, length_s=600, seed=1).output_tokens) == {30}


def test_a_client_without_sizes_borrows_them_request_by_request():
    model = a_model([(name, 0, 1.0) for name in "abc"], [("a", 0, 100, 10), ("b", 0, 300, 30)])
    sizes = model.sample([2], start_s=0, length_s=600, seed=1)
    assert set(zip(sizes.input_tokens, sizes.output_tokens, strict=True)) == {(100, 10), (300, 30)}
    assert model.mean_tokens()[2] == pytest.approx((200, 20))


def test_the_tail_above_the_99th_percentile_is_log_linear():
    row = length_row("a", 0, 100, 10) | {"in_p100": "10000"}
    model = read_client_model("m", [rate_row("a", window, 30.0) for window in range(10)], [row])
    given = model.sample([0], start_s=0, length_s=6000, seed=1).input_tokens
    assert given[given > 100].mean() == pytest.approx(9900 / np.log(100), rel=0.1)
    assert (given > 100).mean() == pytest.approx(0.01, rel=0.2)


def test_equal_seeds_give_equal_requests_and_a_client_does_not_depend_on_the_others():
    model = a_model([(name, window, 1.0, "W", "0.5") for name in "ab" for window in range(3)])
    both, again = (model.sample([1, 0], start_s=0, length_s=1800, seed=7) for _ in range(2))
    alone = model.sample([0], start_s=0, length_s=1800, seed=7)
    assert np.array_equal(both.at_s, again.at_s)
    assert np.array_equal(both.input_tokens, again.input_tokens)
    assert set(alone.at_s) <= set(both.at_s)
    assert not np.array_equal(alone.at_s[:50], model.sample([0], start_s=0, length_s=1800, seed=8).at_s[:50])


def test_a_zoo_calls_within_the_minute():
    zoo = Zoo("z", ("m1", "m2"), np.array([[2, 0, 0], [0, 0, 3]], np.int32))
    sizes = columns(np.zeros(1), np.array([9]), np.array([4]))
    requests, model = zoo.sample(sizes, seed=1)
    assert (requests.at_s // 60).tolist() == [0, 0, 2, 2, 2]
    assert model.tolist() == [0, 0, 1, 1, 1]
    assert zoo.sample(sizes, models=[1], seed=1)[1].tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("shape", "x", "share"),
    [
        (Shape.STEP, 0.2, 0.25),
        (Shape.STEP, 0.5, 1.0),
        (Shape.SPIKE, 0.5, 1.0),
        (Shape.SPIKE, 0.6, 0.25),
        (Shape.RAMP, 0.5, 1.0),
        (Shape.RAMP, 0.0, 0.1),
        (Shape.ON_OFF, 0.04, 1.0),
        (Shape.ON_OFF, 0.1, 0.0),
        (Shape.SILENT_THEN_BURST, 0.3, 0.0),
        (Shape.SILENT_THEN_BURST, 0.55, 1.0),
        (Shape.PRICE_SHOCK, 0.7, 1.0),
        (Shape.INVENTORY_SHOCK, 0.55, 1.0),
    ],
)
def test_shapes(shape, x, share):
    assert level(shape, np.array([x]))[0] == pytest.approx(share)


def test_a_shape_in_requests():
    requests = synthetic(Shape.ON_OFF, peak_rps=2.0, length_s=3600.0, seed=1)
    assert len(requests) == pytest.approx(3600, rel=0.06)
    assert (np.floor(requests.at_s / 300) % 2 == 0).all()
    assert requests.input_tokens.mean() == pytest.approx(1155, rel=0.15)


def test_what_cannot_be_read_is_told_in_a_sentence_and_the_others_are_there(tmp_path):
    head = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
    (tmp_path / "good.csv").write_text("\ufeff" + head.replace(",", ", ") + "2024-05-10 00:00:01+00:00,7,5\r\n", encoding="utf-8")
    (tmp_path / "bad.csv").write_text(head + "2024-05-10 00:00:01,7,5\n\n2024-05-10 00:00:02,7\n")
    (tmp_path / "none.csv").write_text(head)
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "noise.csv").write_bytes(bytes(range(128, 255)))
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress((head + "2024-05-10 00:00:01,7,5\n" * 9999).encode())[:-20])

    found, complaints = survey(tmp_path)

    assert list(found) == ["good"]
    wanted = ("bad.csv:4", "none.csv", "empty.csv", "noise.csv", "cut.csv.gz")
    assert all(sum(name in complaint for complaint in complaints) == 1 for name in wanted)
    assert len(complaints) == len(wanted)


def test_a_rate_that_is_none_names_its_line(tmp_path):
    (tmp_path / "a_client_rates.csv").write_text(as_csv([rate_row("7", 0, 2.0), rate_row("7", 1, -1.0)]))
    (tmp_path / "a_client_lengths.csv").write_text(as_csv([length_row("7", 0, 100, 10)]))
    with pytest.raises(ValueError, match="line 3 of the rates"):
        discover(tmp_path)

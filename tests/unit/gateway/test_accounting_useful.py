from dataclasses import replace

import orjson
import pytest

from jevons.gateway.access_log import Record
from jevons.gateway.accounting import Accounting, useful

ARRIVED = 1_000_000.0


def line(*, llm=None, jevons=None, **more):
    chosen = {
        "id": "r1",
        "ns": "team-a",
        "deployment": "assistant",
        "variant": "small",
        "klass": "chat",
        "reason": "simple",
        "team": "blue",
        "bin": 19,
        "arrived_ms": ARRIVED,
        "ttft_ms_objective": 2000,
        "itl_ms_objective": 60,
        "quality": True,
        "limit": "none",
        "est_in": 40,
        **(jevons or {}),
    }
    row = {"id": "x", "start": f"{ARRIVED / 1000:.6f}", "path": "/v1/chat/completions", "code": 200, "flags": "-", "details": "via_upstream"}
    row |= {"duration": 900, "upstream": "127.0.0.1:1", "attempts": 1, "bytes": 10, "jevons": chosen, "llm": llm, **more}
    return orjson.dumps(row)


def record(**more):
    parsed = Record.parse(line(**more))
    assert parsed is not None
    return parsed


STREAM = {
    "events": 11,
    "first_ms": ARRIVED + 500,
    "last_ms": ARRIVED + 1100,
    "prompt_tokens": 41,
    "completion_tokens": 11,
    "finish": "stop",
    "done": True,
    "gap_100": 10,
}


@pytest.mark.parametrize(
    ("why", "changed", "expected"),
    [
        ("a complete stream inside both objectives", {}, True),
        ("tool calls are an end of their own", {"finish": "tool_calls"}, True),
        ("first token at 2,001 ms", {"first_ms": ARRIVED + 2001, "last_ms": ARRIVED + 2100}, False),
        ("61 ms per token", {"last_ms": ARRIVED + 500 + 610}, False),
        ("cut short by our ceiling", {"finish": "length"}, False),
        ("cut by a filter", {"finish": "content_filter"}, False),
        ("an error after the 200", {"finish": "error"}, False),
        ("a stream without any sign of its end", {"finish": None, "done": None}, False),
    ],
)
def test_a_stream_is_useful_when_complete_and_in_time(why, changed, expected):
    assert useful(record(llm=STREAM | changed)) is expected, why


def test_a_length_that_the_client_asked_for_is_complete():
    assert useful(record(llm=STREAM | {"finish": "length"}, jevons={"limit": "client"}))


@pytest.mark.parametrize("flags", ["DC", "UC", "DPE", "UH,DC"])
def test_an_answer_that_broke_off_is_not_useful(flags):
    assert not useful(record(llm=STREAM | {"done": None}, flags=flags))


def test_a_client_that_hangs_up_on_done_has_had_its_whole_answer():
    hung_up = record(llm=STREAM, flags="DC")
    assert useful(hung_up)
    assert Accounting().tokens(hung_up) == (41, 11)


def test_a_policy_below_the_promised_quality_is_not_useful():
    assert not useful(record(llm=STREAM, jevons={"quality": False}))


def test_an_unstreamed_answer_has_the_time_of_its_first_token_and_of_all_its_tokens():
    body = {"prompt_tokens": 41, "completion_tokens": 100, "finish": "stop"}
    assert useful(record(llm=body, duration=8_000))
    assert not useful(record(llm=body, duration=8_001))


def test_choices_are_written_side_by_side_so_each_has_its_own_share_of_the_tokens():
    four = {"work": 900.0, "sequences": 4}
    slow = {**STREAM, "events": 44, "completion_tokens": 44, "last_ms": ARRIVED + 500 + 10 * 61}
    assert not useful(record(llm=slow, jevons=four))
    assert useful(record(llm={**slow, "last_ms": ARRIVED + 500 + 10 * 59}, jevons=four))
    whole = {"completion_tokens": 40, "finish": "stop", "prompt_tokens": 9}
    assert [useful(record(llm=whole, duration=time_ms, jevons=four)) for time_ms in (2_590, 2_610)] == [True, False]


def test_tokens_of_an_abort_are_its_events_times_what_complete_answers_of_that_variant_had_per_event():
    books = Accounting()
    books.count(record(llm=STREAM | {"completion_tokens": 22}))
    aborted = record(llm={"events": 5, "first_ms": ARRIVED, "last_ms": ARRIVED}, flags="DC", jevons={"id": "r2"})
    books.count(aborted)
    key = ("team-a", "assistant", "chat", "small")
    assert books.totals.counters["output_tokens"][key] == 22 + 10
    assert books.totals.counters["input_tokens"][key] == 41 + 40


def test_a_client_that_left_before_there_was_a_status_is_499_and_used_nothing():
    books = Accounting()
    books.count(record(code=0, flags="DC", upstream=None))
    assert books.totals.counters["requests"] == {("team-a", "assistant", "chat", "small", "simple", "499", "blue"): 1}
    assert set(books.totals.counters["output_tokens"].values()) == {0}


def test_a_redirect_s_line_and_a_second_line_of_one_request_are_not_counted():
    books = Accounting()
    assert not books.count(record(details="internal_redirect", code=307))
    assert books.count(record(llm=STREAM))
    assert not books.count(record(llm=STREAM))
    assert sum(books.totals.counters["arrivals"].values()) == 1


def test_teams_beyond_the_fiftieth_share_one_label_also_after_a_restart():
    books = Accounting()
    for number in range(60):
        books.count(record(llm=STREAM, jevons={"id": f"r{number}", "team": f"team-{number}"}))
        if number == 55:
            books = Accounting.load(orjson.loads(orjson.dumps(books.dump())))
    teams = {labels[-1]: value for labels, value in books.totals.counters["requests"].items()}
    assert len(teams) == 51
    assert teams["other"] == 10


def test_waits_that_overlap_are_one_cold_start_whatever_order_they_end_in():
    books = Accounting()
    waits = [(0, 30_000), (40_000, 20_000), (5_000, 25_000), (45_000, 15_000), (31_000, 4_000)]
    for number, (arrived, wait) in enumerate(waits):
        jevons = {"id": f"r{number}", "cold": True, "arrived_ms": ARRIVED + arrived, "wait_ms": wait}
        books.count(record(llm=STREAM | {"first_ms": ARRIVED + arrived + wait}, jevons=jevons))
    books.count(record(llm=STREAM, jevons={"id": "bounced", "cold": True, "wait_ms": 60}))
    assert books.totals.counters["cold_starts"] == {("team-a", "assistant", "small"): 3}
    assert sum(books.totals.buckets["wait_seconds"]["team-a", "assistant", "small"]) == 5


def test_what_was_not_logged_is_not_known_and_never_zero():
    parsed = record(llm=None, jevons={"arrived_ms": None})
    assert (parsed.prompt_tokens, parsed.completion_tokens, parsed.first_ms, parsed.arrived_ms) == (None, None, None, None)


@pytest.mark.parametrize("raw", [b"", b"[]", b"null", b'{"jevons": 3, "llm": null}', b'{"id": 1}', b"\xff\xfe", line()[:-5], line(start="soon")])
def test_a_line_that_is_not_ours_is_refused_as_such(raw):
    with pytest.raises(ValueError, match=r"."):
        Record.parse(raw)


def test_a_line_of_a_request_that_no_picker_routed_is_no_record():
    assert Record.parse(line(jevons={"deployment": None})) is None
    assert Record.parse(orjson.dumps({**orjson.loads(line()), "jevons": None})) is None


def test_a_record_does_not_change_when_it_is_counted():
    before = record(llm=STREAM)
    Accounting().count(before)
    assert before == replace(before)

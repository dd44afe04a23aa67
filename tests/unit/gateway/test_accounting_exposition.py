"""The metrics page against the contract of docs/designs/0001-the-house.md, and what a record settles."""

import re
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

import jevons.gateway
from jevons.core.load import Work
from jevons.gateway.access_log import Record, Refused
from jevons.gateway.accounting import Accounting
from jevons.gateway.books import Books
from jevons.gateway.envoy.policy import _OWN_ANSWERS
from jevons.gateway.errors import CODES
from jevons.gateway.exposition import GatewayCollector
from jevons.gateway.inflight import TAILER, Inflight
from jevons.gateway.sessions import SessionTable
from jevons.gateway.settling import Settling
from jevons.gateway.table import Model, Table, Variant
from jevons.gateway.tailer import Tailer

JEVONS = {
    "id": "r1",
    "ns": "a",
    "deployment": "m",
    "variant": "small",
    "klass": "chat",
    "reason": "simple",
    "team": 'bl"ue\n',
    "bin": 3,
    "arrived_ms": 1_000_000.0,
    "cold": True,
    "wait_ms": 35_000.0,
    "picked": "10.0.0.1:8000",
    "work": 240.0,
    "sequences": 2,
    "session": f"{77:016x}",
    "reserved_usd": 0.004,
    "est_raw": 50.0,
}
LLM = {"events": 20, "first_ms": 1_036_000.0, "last_ms": 1_037_000.0, "prompt_tokens": 40, "completion_tokens": 20, "finish": "stop", "done": True}
ROW = {
    "id": "x",
    "start": "1000.0",
    "code": 200,
    "flags": None,
    "details": "via_upstream",
    "duration": 37_000,
    "upstream": "10.0.0.1:8000",
    "attempts": 1,
}


@pytest.fixture
def record():
    made = Record.parse(orjson.dumps({**ROW, "jevons": JEVONS, "llm": LLM}))
    assert made is not None
    return made


@pytest.fixture
def page(tmp_path):
    books = Accounting()
    registry = CollectorRegistry()
    registry.register(GatewayCollector(lambda: books.totals, tmp_path / "held.json", lambda: 12.5, clock=lambda: 100.0))

    def samples() -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
        found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
        for family in text_string_to_metric_families(generate_latest(registry).decode()):
            for sample in family.samples:
                found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
        return found

    samples.books = books
    samples.held = tmp_path / "held.json"
    return samples


def labels(**more):
    return tuple(sorted({"namespace": "a", "deployment": "m", **more}.items()))


def test_names_and_labels_are_the_contract_s(page, record):
    page.books.count(record)
    got = page()
    served = {"class": "chat", "variant": "small"}
    assert got["jevons_gateway_arrivals_total"] == {labels(**{"class": "chat"}): 1}
    assert got["jevons_gateway_requests_total"] == {labels(**served, reason="simple", code="200", team='bl"ue\n'): 1}
    assert got["jevons_gateway_input_tokens_total"] == {labels(**served): 40}
    assert got["jevons_gateway_output_tokens_total"] == {labels(**served): 20}
    assert got["jevons_gateway_useful_total"] == {labels(**served): 1}
    assert got["jevons_gateway_score_total"] == {labels(**{"class": "chat"}, bin="03"): 1}
    assert got["jevons_gateway_cold_starts_total"] == {labels(variant="small"): 1}
    assert got["jevons_gateway_wait_seconds_sum"] == {labels(variant="small"): 35}
    assert got["jevons_gateway_ttft_seconds_bucket"][labels(**served, cold="true", le="60.0")] == 1
    assert got["jevons_gateway_ttft_seconds_bucket"][labels(**served, cold="true", le="30.0")] == 0
    assert got["jevons_gateway_itl_seconds_sum"][labels(**served, cold="true")] == pytest.approx(1 / 9), "two answers of ten tokens"
    assert got["jevons_gateway_table_age_seconds"] == {(): 12.5}


@pytest.mark.parametrize(
    ("jevons", "more", "expected"),
    [
        ({"refused": True, "refused_by": "a/m"}, {"code": 429, "error": "budget_exceeded"}, {("a", "m"): "budget_exceeded"}),
        ({"refused": True, "refused_by": ""}, {"code": 400, "error": "invalid_request"}, {("", ""): "invalid_request"}),
        (None, {"code": 413, "error": "request_too_large"}, {("", ""): "request_too_large"}),
        ({**JEVONS, "picked": ""}, {"code": 504, "error": "wake_timeout"}, {("a", "m"): "wake_timeout"}),
        ({**JEVONS, "picked": ""}, {"llm": {"events": 0, "error": "wake_timeout"}}, {("a", "m"): "wake_timeout"}),
        (JEVONS, {"llm": {"events": 1, "error": "invalid_request"}}, {}),
        (JEVONS, {"code": 500, "error": "a-label-of-the-engines-own"}, {}),
        (JEVONS, {"code": 307, "details": "internal_redirect", "error": "no_capacity"}, {}),
        (None, {"code": 200}, {}),
    ],
    ids=["picker", "no model", "Envoy", "room", "room after its 200", "engine's event", "engine's header", "redirect", "health check"],
)
def test_what_the_gateway_refused_is_counted_by_code(page, tmp_path, jevons, more, expected):
    (tmp_path / "access.log").write_bytes(orjson.dumps({**ROW, "llm": None, "jevons": jevons, **more}) + b"\n")
    tailer = Tailer(tmp_path / "access.log", tmp_path / "accounting.json", accounting=page.books)
    tailer.close()
    counted = {tuple(sorted({"namespace": ns, "deployment": name, "code": code}.items())): 1 for (ns, name), code in expected.items()}
    assert page().get("jevons_gateway_refusals_total", {}) == counted


def test_every_code_that_is_raised_is_counted():
    folder = Path(jevons.gateway.__file__).parent
    raised = {code for path in folder.rglob("*.py") for code in re.findall(r'(?:Refusal\(\d+, |error_body\(\d+, |code=)"(\w+)"', path.read_text())}
    assert len(raised) > 10
    assert raised | {code for code, _ in _OWN_ANSWERS.values()} <= CODES


@pytest.mark.parametrize(
    ("content", "expected"), [(b'{"at": 95.0, "held": {"a/m": {"small": 3}}}', 3), (b'{"at": 80.0, "held": {"a/m": {"small": 3}}}', None)]
)
def test_what_the_room_holds_is_believed_for_ten_seconds(page, content, expected):
    assert "jevons_gateway_held" not in page()
    page.held.write_bytes(content)
    assert page().get("jevons_gateway_held", {}).get(labels(variant="small")) == expected


@pytest.fixture
def settling(tmp_path):
    variant = Variant("small", usd_per_1k=0.05)
    table = Table({"a/m": Model("a", "m", "m", (variant,))})
    return Settling(Inflight(tmp_path / "inflight.bin", TAILER), SessionTable(tmp_path / "sessions.bin", TAILER), lambda: table)


def test_a_finished_request_gives_back_its_work_and_pays_what_it_cost(settling, record, tmp_path):
    picker = Inflight(tmp_path / "inflight.bin", 0)
    picker.add(record.picked, Work(240.0, 2), 1_000.0)
    SessionTable(tmp_path / "sessions.bin", 0).note(77, 1_000.0, usd=0.004, calls=1)
    settling(record, True)
    assert picker.outstanding([record.picked], 1_037.0) == [Work()]
    assert settling.sessions.read(77, 1_037.0, 3600.0).usd == pytest.approx(0.05 * 60 / 1000)
    assert settling.tokens.learned["a/m@small"].count == 1


def test_the_length_of_an_answer_is_learned_by_choice_as_it_is_expected_by_choice(settling, record):
    for number in range(400):
        settling(replace(record, id=f"r{number}", completion_tokens=800, work=Work(1_000.0, 8)), True)
    assert settling.tokens.output("a/m@small", None) == pytest.approx(100.0, rel=0.2)


def test_a_request_that_left_through_the_room_gives_back_what_its_first_pick_had_taken(settling, record):
    settling(replace(record, details="internal_redirect", code=307, upstream="127.0.0.1:9814", attempts=3), False)
    assert settling.sessions.read(77, 1_037.0, 3600.0).usd == pytest.approx(-0.004)
    assert settling.inflight.outliers([record.picked], 1_037.5) == [True]
    assert settling.tokens.learned == {}


def test_a_stream_that_the_room_relayed_is_a_call_of_its_conversation(settling, record):
    settling(replace(record, picked="", work=Work(), reserved_usd=0.0), True)
    had = settling.sessions.read(77, 1_037.0, 3600.0)
    assert (had.calls, had.quality, had.usd) == (1, 1.0, pytest.approx(0.05 * 60 / 1000))


def test_a_start_that_failed_is_no_call(settling, record):
    settling(replace(record, picked="", work=Work(), reserved_usd=0.0, events=0, prompt_tokens=None, completion_tokens=None, code=503), True)
    assert settling.sessions.read(77, 1_037.0, 3600.0).calls == 0


DAY = 86_400.0


@pytest.fixture
def books(tmp_path, record):
    shown = {"table": Table({"a/m": Model("a", "m", "m", ())}, built_at=1_000.0)}
    made = Books(tmp_path, lambda: shown["table"])
    made.shown = shown
    made.tailer.accounting.count(record)
    made.tailer.accounting.refused(Refused("", "", "invalid_request"))
    yield made
    made.tailer.close()


def names(books):
    return {one.name for one in books.registry.collect() for sample in one.samples if sample.labels.get("deployment") == "m"}


def test_series_of_a_deleted_deployment_end_a_day_later_also_over_a_restart(books):
    before = names(books)
    books.forget(1_000.0)
    assert before == names(books) != set()
    books.shown["table"] = Table(built_at=2_000.0)
    books.forget(2_000.0)
    books.tailer.accounting = Accounting.load(books.tailer.accounting.dump())
    books.shown["table"] = Table(built_at=2_000.0 + DAY)
    books.forget(2_000.0 + DAY - 1)
    assert names(books) == before
    books.forget(2_000.0 + DAY)
    assert names(books) == set()
    left = books.tailer.accounting
    assert (left.gone, left.per_event) == ({}, {})
    assert left.totals.counters["refusals"] == {("", "", "invalid_request"): 1}


def test_a_deployment_that_comes_back_begins_its_day_anew(books):
    there = books.shown["table"]
    for at, table in ((2_000.0, Table()), (3_000.0, there), (2_000.0 + DAY, Table())):
        books.shown["table"] = replace(table, built_at=at)
        books.forget(at)
    assert names(books)


def test_a_table_that_nobody_confirms_lets_nothing_go(books):
    books.shown["table"] = Table(built_at=2_000.0)
    books.forget(2_000.0)
    books.forget(2_000.0 + 2 * DAY)
    assert names(books)

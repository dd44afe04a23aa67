"""The steps together, on mapped files, without a server."""

import difflib
import time
from dataclasses import replace

import pytest

from jevons.core.load import Work
from jevons.gateway.errors import Refusal
from jevons.gateway.inflight import Inflight
from jevons.gateway.sessions import SessionTable
from jevons.gateway.steps import respond
from jevons.gateway.steps.decide import ROOM_TRIES, Arrival, Decider, find_model, max_wait_of, quality_of
from jevons.gateway.steps.parse import Request
from jevons.gateway.table import Model, Pod, RequestClass, Table, Variant
from jevons.gateway.tokens import Learned, TokenEstimator

NOW = 1_800_000_000.0


class Scores:
    def __init__(self, score):
        self.value = score

    def score(self, request):
        return self.value


def table(**more):
    pods = (Pod("a", "10.0.0.1:8000"), Pod("b", "10.0.0.2:8000"))
    variants = (
        Variant("large", state="Ready", served_model="org/large", quality=1.0, usd_per_1k=0.02, pods=pods),
        Variant("small", state="Asleep", served_model="org/small", quality=0.7),
    )
    classes = (
        RequestClass("summarise", header=("x-jevons-class", "summarise"), max_input_tokens=50),
        RequestClass("chat", max_input_tokens=200, max_output_tokens=64, min_score=(("small", 0.9),)),
        RequestClass("default"),
    )
    model = Model("team-a", "assistant", "assistant", variants, **{"classes": classes, "best": "large", "wake": "small", **more})
    return Table({model.key: model}, {"assistant": model.key}, "127.0.0.1:9814", 1, NOW)


@pytest.fixture
def decider(tmp_path):
    return Decider(Scores(0.5), Inflight(tmp_path / "inflight", 0), SessionTable(tmp_path / "sessions", 0), table(), draw=lambda: 0.5)


def request(text="hello there", **more):
    body = {"model": "assistant", "messages": [{"role": "user", "content": text}]}
    return Request("chat", body, **{"model": "assistant", "text": text, **more})


def decide(decider, asked=None, number=0, **headers):
    asked = asked or request(headers=headers)
    return decider.decide(asked, Arrival(f"id-{number}", NOW * 1000), NOW)


def test_the_list_is_two_pods_and_the_room_which_may_be_started_again_meanwhile(decider):
    assert sorted(decide(decider).endpoints[:2]) == ["10.0.0.1:8000", "10.0.0.2:8000"]
    assert decide(decider).endpoints[2:] == ("127.0.0.1:9814",) * ROOM_TRIES


def test_work_goes_to_the_pod_with_least_outstanding(decider):
    first = [decide(decider, number=number).endpoints[0] for number in range(10)]
    assert first.count("10.0.0.1:8000") == 5
    decider.inflight.add("10.0.0.1:8000", Work(100_000, 1), NOW)
    assert {decide(decider, number=number).endpoints[0] for number in range(10)} == {"10.0.0.2:8000"}


def test_one_long_answer_makes_a_pod_no_busier_than_many_short_ones(decider):
    decider.inflight.add("10.0.0.1:8000", Work(8_000, 1), NOW)
    decider.inflight.add("10.0.0.2:8000", Work(800, 8), NOW)
    assert decide(decider).endpoints[0] == "10.0.0.1:8000"


@pytest.mark.parametrize(("kind", "sequences"), [("chat", 5), ("embeddings", 1)])
def test_each_choice_that_is_generated_is_a_sequence(decider, kind, sequences):
    made = decide(decider, request(choices=5) if kind == "chat" else Request(kind, {"model": "assistant"}, model="assistant", text="hi", choices=5))
    told = respond.metadata_for(made, Arrival("x", NOW * 1000), request())["jevons"]
    assert (made.work.sequences, told["sequences"], told["work"]) == (sequences, sequences, round(made.work.tokens, 1))
    assert decider.inflight.outstanding([made.endpoints[0]], NOW) == [made.work]
    assert made.work.tokens == made.input_tokens + made.output_tokens


def test_a_class_ceiling_becomes_the_answers_limit(decider):
    decision = decide(decider)
    assert (decision.klass.name, decision.output_limit) == ("chat", 64)
    assert b'"max_tokens":64' in respond.body_for_engine(request(), decision)


def test_a_request_too_large_for_the_class_it_names_is_refused_naming_both(decider):
    with pytest.raises(Refusal, match=r"class 'summarise' accepts at most 50 input tokens") as refusal:
        decide(decider, request("word " * 200, headers={"x-jevons-class": "summarise"}))
    assert refusal.value.code == "context_length_exceeded"


def test_a_request_too_large_for_a_class_of_sizes_is_the_next_ones(decider):
    assert decide(decider, request("word " * 800)).klass.name == "default"


def test_a_blocked_budget_says_when_money_returns_and_never_more_than_the_sdks_wait(decider):
    decider.table = table(rung="Block", blocked_until=NOW + 7200)
    with pytest.raises(Refusal, match="7200 s") as refusal:
        decide(decider)
    assert (refusal.value.status, refusal.value.code, refusal.value.headers()["retry-after"]) == (429, "budget_exceeded", "120")
    decider.table = table(rung="Block", blocked_until=NOW - 1)
    assert decide(decider).choice.variant.name == "large"


def test_a_session_keeps_its_quality_across_pickers(decider, tmp_path):
    other = Decider(Scores(0.95), Inflight(tmp_path / "inflight", 1), SessionTable(tmp_path / "sessions", 1), decider.table)
    assert decide(decider, **{"x-session-id": "s"}).choice.reason == "hard"
    assert decide(other, **{"x-session-id": "s"}).choice.reason == "sticky"
    assert decide(other, **{"x-session-id": "another"}).choice.reason == "small-cold"


def test_a_session_ends_at_its_calls_and_at_its_money(decider):
    decider.table = table(session_max_calls=2)
    for _ in range(2):
        decide(decider, **{"x-session-id": "calls"})
    with pytest.raises(Refusal, match="2 calls"):
        decide(decider, **{"x-session-id": "calls"})
    decider.table = table(session_budget_usd=0.005)
    decider.tokens = TokenEstimator({"team-a/assistant@large": Learned(output=500.0)})
    decide(decider, request(max_output=300, user="money"))
    with pytest.raises(Refusal) as refusal:
        decide(decider, request(max_output=300, user="money"))
    assert refusal.value.code == "budget_exceeded"


def test_a_request_that_has_to_wait_reserves_nothing_until_a_pod_has_it(decider):
    model = table().models["team-a/assistant"]
    large = replace(model.variant("large"), pods=())
    decider.table = replace(decider.table, models={model.key: replace(model, variants=(large, *model.variants[1:]))})
    decision = decide(decider, request(model="assistant@large", user="u"))
    assert (decision.held, decision.reserved_usd) == (True, 0.0)
    assert decider.sessions.read(decision.session, NOW, 3600.0).usd == 0.0


def test_a_cold_model_goes_to_the_room_alone_with_what_the_room_needs(decider):
    decision = decide(decider, request(model="assistant@small"))
    assert decision.endpoints == ("127.0.0.1:9814",) * ROOM_TRIES
    headers = respond.headers_for(decision, Arrival("id", NOW * 1000), request(), b"secret")
    assert (headers["x-jevons-model"], headers["x-jevons-wake"]) == ("team-a/assistant", "small")
    assert (headers["x-jevons-priority"], headers["x-jevons-tier"]) == ("Normal", "Interactive")
    flex = respond.headers_for(decision, Arrival("id", NOW * 1000), request(flex=True), b"secret")
    assert (flex["x-jevons-priority"], flex["x-jevons-tier"]) == ("Normal", "Flex")
    assert float(headers["x-jevons-deadline-ms"]) == (NOW + 600) * 1000
    metadata = respond.metadata_for(decision, Arrival("id", NOW * 1000), request())
    assert metadata["envoy.lb"][respond.DESTINATION].split(",") == list(decision.endpoints)
    assert set(headers) == set(respond.ROUTER_HEADERS)
    assert (metadata["jevons"]["cold"], metadata["jevons"]["picked"], metadata["jevons"]["work"], metadata["jevons"]["sequences"]) == (
        True,
        "",
        0.0,
        0,
    )


def test_x_jevons_max_wait_shortens_the_deadline(decider):
    decision = decide(decider, request(model="assistant@small", headers={"x-jevons-max-wait": "30s"}))
    assert decision.deadline_ms == (NOW + 30) * 1000


@pytest.mark.parametrize("text", ["-1", "soon", "nan", "1e9"])
def test_odd_waits_and_qualities_are_refused(text):
    with pytest.raises(Refusal):
        max_wait_of({"x-jevons-max-wait": text})
    with pytest.raises(Refusal):
        quality_of({"x-jevons-quality": text})


def test_names_resolve_short_full_and_with_a_variant():
    known = table()
    for name, variant in (("assistant", None), ("team-a/assistant", None), ("assistant@small", "small"), ("team-a/assistant@large", "large")):
        assert find_model(known, name)[1] == variant
    for name in ("assistant@", "@large", "team-b/assistant", "assistant@tiny", ""):
        with pytest.raises(Refusal) as refusal:
            find_model(known, name)
        assert refusal.value.status == 404


def test_of_many_names_the_closest_are_found_by_a_look_at_few(monkeypatch):
    looked_at = []
    close_look = difflib.get_close_matches
    monkeypatch.setattr(difflib, "get_close_matches", lambda word, names, **more: looked_at.append(len(names)) or close_look(word, names, **more))
    models = [replace(table().models["team-a/assistant"], namespace=f"team-{number}", name="assistant", variants=()) for number in range(250)]
    many = Table({one.key: one for one in models} | {"team-x/summariser": replace(models[0], variants=())}, {"summariser": "team-x/summariser"})
    for typo in ("sumariser", "ummariser", "summarizer", "team-x/sumariser", "z", ""):
        with pytest.raises(Refusal) as refusal:
            find_model(many, typo)
        assert ("summariser" in refusal.value.message.split("Did you mean")[-1]) == (len(typo) > 1)
    assert max(looked_at) <= 8


def test_a_ticket_brings_back_the_arrival_and_the_clients_own_words():
    asked = request(model="assistant", usage_asked=False, flex=True)
    arrival = Arrival("id-1", NOW * 1000)
    signed = respond.ticket(arrival, asked, b"secret")
    changed = request(model="org/large", usage_asked=True, max_output=64, headers={respond.TICKET: signed})
    again, seen = respond.returning(changed, b"secret", fresh_id="fresh", now_ms=NOW * 1000 + 1500)
    assert (again.model, again.usage_asked, again.max_output, again.flex) == ("assistant", False, None, True)
    assert (seen.id, seen.at_ms, seen.wait_ms) == ("id-1", NOW * 1000, 1500)


@pytest.mark.parametrize("forged", ["", "x", "1.2.3", "W10=.AAAA", "é.ü"])
def test_a_ticket_that_we_did_not_sign_counts_for_nothing(forged):
    asked = request(headers={respond.TICKET: forged})
    again, arrival = respond.returning(asked, b"secret", fresh_id="fresh", now_ms=5.0)
    assert (again, arrival) == (asked, Arrival("fresh", 5.0))


def test_the_engine_gets_its_own_model_name_and_nothing_of_ours(decider):
    body = {"model": "assistant", "messages": [], "service_tier": "flex", "cache_salt": "theirs", "stream": True, "temperature": 0.5}
    asked = Request("chat", body, model="assistant", text="hi", stream=True)
    sent = respond.orjson.loads(respond.body_for_engine(asked, decide(decider, asked)))
    assert sent == {
        "model": "org/large",
        "messages": [],
        "stream": True,
        "temperature": 0.5,
        "max_tokens": 64,
        "stream_options": {"include_usage": True},
    }


def test_deciding_takes_no_wall_clock(decider, monkeypatch):
    monkeypatch.setattr(time, "time", lambda: pytest.fail("asked the clock"))
    assert decide(decider).choice.variant.name == "large"


def test_embeddings_always_come_from_the_best_variant_because_vectors_of_another_do_not_compare(decider):
    decider.scorer = Scores(1.0)
    decision = decide(decider, Request("embeddings", {"model": "assistant", "input": "hi"}, model="assistant", text="hi"))
    assert (decision.choice.variant.name, decision.choice.reason) == ("large", "embeddings")


@pytest.fixture
def patient(decider):
    """The chat class can wait for 72 s; a pod with up to 1,000 tokens outstanding has little to do."""
    was = decider.table.models["team-a/assistant"]
    variants = (replace(was.variants[0], idle_tokens=1_000.0), was.variants[1])
    classes = tuple(replace(one, wait_s=72.0, tier="Flex") if one.name == "chat" else one for one in was.classes)
    decider.table = replace(decider.table, models={was.key: replace(was, variants=variants, classes=classes)})
    return decider


def test_what_can_wait_goes_to_a_pod_with_little_to_do(patient):
    patient.inflight.add("10.0.0.1:8000", Work(50_000, 1), NOW)
    made = decide(patient)
    assert not made.held
    assert made.endpoints[0] == "10.0.0.2:8000"


def test_what_can_wait_goes_to_the_room_while_all_pods_are_busy(patient):
    for address in ("10.0.0.1:8000", "10.0.0.2:8000"):
        patient.inflight.add(address, Work(50_000, 1), NOW)
    made = decide(patient)
    assert made.held
    assert made.endpoints == ("127.0.0.1:9814",) * ROOM_TRIES
    assert patient.inflight.outstanding(["10.0.0.1:8000"], NOW) == [Work(50_000, 1)]
    headers = respond.headers_for(made, Arrival("x", NOW * 1000), request(), b"secret")
    assert float(headers["x-jevons-patience-ms"]) == (NOW + 72) * 1000
    assert headers["x-jevons-tier"] == "Flex"
    told = respond.metadata_for(made, Arrival("x", NOW * 1000), request())["jevons"]
    assert (told["cold"], told["work"], told["ttft_ms_objective"]) == (False, 0.0, 74_000.0)
    # it is somebody else's turn to wait when it comes back
    again = patient.decide(request(), Arrival("x", NOW * 1000, 500.0), NOW)
    assert not again.held


def test_what_cannot_wait_is_sent_at_once_and_a_client_with_little_time_waits_half_of_it(patient):
    for address in ("10.0.0.1:8000", "10.0.0.2:8000"):
        patient.inflight.add(address, Work(50_000, 1), NOW)
    assert not decide(patient, **{"x-jevons-class": "summarise"}).held
    made = decide(patient, **{"x-jevons-max-wait": "20"})
    headers = respond.headers_for(made, Arrival("x", NOW * 1000), request(), b"secret")
    assert float(headers["x-jevons-patience-ms"]) == (NOW + 10) * 1000

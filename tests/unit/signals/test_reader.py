"""From answers to Metrics: no data is never zero."""

from __future__ import annotations

from jevons.core.observed import Known
from jevons.core.snapshot import Outcomes
from jevons.core.spec import Key
from jevons.signals import queries
from jevons.signals.prometheus import MetricsUnavailable
from jevons.signals.reader import join

NOW = 1000.0
KEY = Key("team-a", "assistant")


def matrix(name, value, *, at=NOW, pod="p", **labels):
    return {"metric": {"__name__": name, "namespace": "team-a", "pod": pod, **labels}, "values": [[at, str(value)]]}


def vector(series, value, **labels):
    return {"metric": {"series": series, "namespace": "team-a", "deployment": "assistant", **labels}, "value": [NOW, str(value)]}


ALIVE = [{"metric": {"series": "now"}, "value": [NOW, str(NOW)]}, {"metric": {"series": "fresh"}, "value": [NOW, str(NOW - 1)]}]


def read(*, gauges=(), counters=(), gpus=(), gateways=ALIVE, rates=(), scores=(), totals=()):
    answers = [part if isinstance(part, Exception) else list(part) for part in (gauges, counters, gpus, gateways, rates, scores, totals)]
    return join(answers, clock_s=NOW, stale_after_s=30.0)


def test_every_engine_is_recognised_by_its_own_names():
    metrics = read(
        gauges=[
            matrix("vllm:num_requests_waiting", 1, pod="v"),
            matrix("sglang:num_queue_reqs", 2, pod="s"),
            matrix("tgi_queue_size", 3, pod="t"),
            matrix("trtllm_num_requests_waiting", 4, pod="n"),
            matrix("nv_trt_llm_request_metrics", 5, pod="x", request_type="waiting"),
            matrix("nv_trt_llm_request_metrics", 7, pod="x", request_type="scheduled"),
            matrix("llamacpp:requests_deferred", 6, pod="l"),
        ]
    )
    assert {pod: signals.waiting.value for (_, pod), signals in metrics.pods.items()} == {"v": 1, "s": 2, "t": 3, "n": 4, "x": 5, "l": 6}
    assert metrics.pods["team-a", "x"].running.value == 7
    assert metrics.pods["team-a", "t"].kv_used.reason == "NotExposed"
    assert metrics.pods["team-a", "v"].kv_used.reason == "NoData"


def test_a_pod_that_is_not_scraped_any_more_is_stale_not_idle():
    metrics = read(gauges=[matrix("vllm:num_requests_running", 0, at=NOW - 40)])
    assert metrics.pods["team-a", "p"].running.reason == "Stale"


def test_engines_of_a_data_parallel_pod_add_up():
    metrics = read(gauges=[matrix("vllm:num_requests_running", 2, engine="0"), matrix("vllm:num_requests_running", 3, engine="1")])
    assert metrics.pods["team-a", "p"].running == Known(5.0, NOW)


def test_gpus_join_the_pod_that_holds_them():
    labels = {"exported_namespace": "team-a", "exported_pod": "p"}
    gpus = [matrix("DCGM_FI_DEV_GPU_UTIL", value, pod="dcgm", gpu=str(gpu), **labels) for gpu, value in enumerate((40, 60))]
    gpus += [matrix("DCGM_FI_DEV_POWER_USAGE", 100, pod="dcgm", gpu=str(gpu), **labels) for gpu in range(2)]
    signals = read(gpus=gpus).pods["team-a", "p"]
    assert signals.gpu_util == Known(0.5, NOW)
    assert signals.power_watts == Known(200.0, NOW)


def test_one_gpu_without_a_reading_makes_the_pod_unknown():
    gpus = [matrix("DCGM_FI_DEV_GPU_UTIL", 40, gpu="0"), matrix("DCGM_FI_DEV_GPU_UTIL", "NaN", gpu="1")]
    assert read(gpus=gpus).pods["team-a", "p"].gpu_util.reason == "Partial"


def test_demand_is_known_while_every_gateway_reports():
    rates = [vector(queries.ARRIVALS, 2.0, **{"class": "chat"}), vector(queries.INPUT_TOKENS, 1000.0, **{"class": "chat"})]
    (demand,) = read(rates=rates, scores=[vector("", 5, bin="03", **{"class": "chat"})]).demand[KEY]
    assert (demand.name, demand.arrivals_per_s.value, demand.input_tokens.value) == ("chat", 2.0, 500.0)
    assert demand.scores[3] == 5.0
    assert sum(demand.scores) == 5.0


def test_with_one_gateway_down_the_sums_are_partial():
    down = [*ALIVE, {"metric": {"series": "down", "instance": "gw-1"}, "value": [NOW, "0"]}]
    metrics = read(rates=[vector(queries.ARRIVALS, 2.0, **{"class": "chat"})], totals=[vector(queries.REQUESTS, 9)], gateways=down)
    assert metrics.demand[KEY][0].arrivals_per_s.reason == "Partial"
    assert metrics.outcomes[KEY].reason == "Partial"


def test_outcomes_without_a_useful_answer_yet():
    assert read(totals=[vector(queries.REQUESTS, 9)]).outcomes[KEY].value == Outcomes(offered=9.0)


def test_held_requests_as_scraped():
    (held,) = read(totals=[vector(queries.HELD, 2, variant="small"), vector(queries.HELD, 0, variant="large")]).held[KEY]
    assert (held.variant, held.count) == ("small", 2)


def test_a_query_that_failed_makes_health_partial_and_leaves_the_rest():
    metrics = read(gauges=[matrix("vllm:num_requests_running", 1)], rates=MetricsUnavailable("Partial", "one store did not answer"))
    assert metrics.health.reason == "Partial"
    assert metrics.pods["team-a", "p"].running.value == 1.0


def test_prometheus_clock_five_minutes_off_changes_no_age():
    gateways = [{"metric": {"series": "now"}, "value": [NOW - 300, str(NOW - 300)]}]
    metrics = read(gauges=[matrix("vllm:num_requests_running", 1, at=NOW - 305)], gateways=gateways)
    assert metrics.pods["team-a", "p"].running == Known(1.0, NOW - 5)


def test_ten_queries_are_never_exceeded_and_hold_no_users_text():
    asked = queries.build(15.0).all
    assert len(asked) <= 10
    assert not any("team-a" in query or "{{" in query for query in asked)


def counter(name, *points, pod="p", **labels):
    return {**matrix(name, 0, pod=pod, **labels), "values": [[at, str(value)] for at, value in points]}


def test_a_pod_tells_when_it_last_made_tokens_by_all_of_its_counters():
    prompt = counter("vllm:prompt_tokens_total", (NOW - 45, 10), (NOW - 30, 10), (NOW - 15, 90), (NOW, 90))
    generation = counter("vllm:generation_tokens_total", (NOW - 45, 5), (NOW - 30, 50), (NOW - 15, 50), (NOW, 50))
    assert read(counters=[prompt, generation]).pods["team-a", "p"].tokens_at_s == Known(NOW - 15, NOW)
    assert read(counters=[prompt]).pods["team-a", "p"].tokens_at_s.reason == "Partial", "half of the counters say nothing about rest"
    assert read(gauges=[matrix("vllm:num_requests_running", 0)]).pods["team-a", "p"].tokens_at_s.reason == "NoData"

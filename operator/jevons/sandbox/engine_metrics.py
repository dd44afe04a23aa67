"""The metrics pages of the engines the fleet plays, in each engine's own names.

The truth (`Reading`) is the same for all; what an engine calls it, and what it does not tell at all, differs: TGI and Triton have no gauge for the KV
cache, Triton and "none" no queue. Names are those of vLLM 0.24 (V1), SGLang 0.5, TGI 3.3, llama.cpp's server and Triton 25.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field, replace

TTFT_BOUNDS_S = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0)
ITL_BOUNDS_S = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0)


@dataclass(slots=True)
class Histogram:
    """Counts per bucket (not cumulative), the last one for all above the highest bound."""

    bounds: tuple[float, ...]
    counts: list[int] = field(init=False)
    total: float = 0.0

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


@dataclass(frozen=True, slots=True)
class Metric:
    """One family: (suffix, labels as on the page, value) per sample."""

    name: str
    kind: str
    samples: tuple[tuple[str, str, float], ...]

    def map(self, change: Callable[[float], float]) -> Metric:
        """The same family with other values."""
        return replace(self, samples=tuple((suffix, labels, change(value)) for suffix, labels, value in self.samples))


@dataclass(frozen=True, slots=True)
class Reading:
    """The truth about an engine at one moment; counters since it started. `finished` by reason: stop, length, abort."""

    model: str
    running: int
    waiting: int
    kv_usage: float
    prompt_tokens: int
    cached_tokens: int
    generated_tokens: int
    preemptions: int
    finished: dict[str, int]
    iterations: int
    busy_s: float
    ttft: Histogram
    itl: Histogram


def render(metrics: list[Metric], *, timestamp_ms: int | None = None) -> str:
    """The page in Prometheus' text format, with explicit timestamps when asked."""
    stamp = "" if timestamp_ms is None else f" {timestamp_ms}"
    lines = []
    for metric in metrics:
        lines.append(f"# TYPE {metric.name} {metric.kind}")
        lines.extend(f"{metric.name}{suffix}{labels} {_number(value)}{stamp}" for suffix, labels, value in metric.samples)
    return "\n".join(lines) + "\n"


def engine_page(engine: str, reading: Reading) -> list[Metric] | None:
    """The families `engine` shows; None where it has no metrics page at all."""
    if engine == "none":
        return None
    return _PAGES[engine](reading)


def gauge(name: str, labels: str, value: float) -> Metric:
    """A family of one gauge."""
    return Metric(name, "gauge", (("", labels, value),))


def counter(name: str, labels: str, value: float) -> Metric:
    """A family of one counter."""
    return Metric(name, "counter", (("", labels, value),))


def histogram(name: str, labels: str, counted: Histogram) -> Metric:
    """A histogram's cumulative buckets, sum and count. `labels` without braces."""
    samples, total = [], 0
    comma = "," if labels else ""
    for bound, count in zip((*counted.bounds, math.inf), counted.counts, strict=True):
        total += count
        samples.append(("_bucket", f'{{{labels}{comma}le="{_number(bound)}"}}', float(total)))
    braces = f"{{{labels}}}" if labels else ""
    return Metric(name, "histogram", (*samples, ("_sum", braces, counted.total), ("_count", braces, float(total))))


def _vllm(reading: Reading) -> list[Metric]:
    inner = f'engine="0",model_name="{reading.model}"'
    labels = f"{{{inner}}}"
    reasons = tuple(("", f'{{{inner},finished_reason="{reason}"}}', float(count)) for reason, count in reading.finished.items())
    return [
        gauge("vllm:num_requests_running", labels, reading.running),
        gauge("vllm:num_requests_waiting", labels, reading.waiting),
        gauge("vllm:kv_cache_usage_perc", labels, reading.kv_usage),
        counter("vllm:prefix_cache_queries_total", labels, reading.prompt_tokens),
        counter("vllm:prefix_cache_hits_total", labels, reading.cached_tokens),
        counter("vllm:num_preemptions_total", labels, reading.preemptions),
        counter("vllm:prompt_tokens_total", labels, reading.prompt_tokens),
        counter("vllm:generation_tokens_total", labels, reading.generated_tokens),
        Metric("vllm:request_success_total", "counter", reasons),
        histogram("vllm:time_to_first_token_seconds", inner, reading.ttft),
        histogram("vllm:inter_token_latency_seconds", inner, reading.itl),
    ]


def _sglang(reading: Reading) -> list[Metric]:
    inner = f'engine_type="unified",model_name="{reading.model}",pp_rank="0",tp_rank="0"'
    labels = f"{{{inner}}}"
    return [
        gauge("sglang:num_running_reqs", labels, reading.running),
        gauge("sglang:num_queue_reqs", labels, reading.waiting),
        gauge("sglang:token_usage", labels, reading.kv_usage),
        gauge("sglang:cache_hit_rate", labels, reading.cached_tokens / reading.prompt_tokens if reading.prompt_tokens else 0.0),
        counter("sglang:prompt_tokens_total", labels, reading.prompt_tokens),
        counter("sglang:cached_tokens_total", labels, reading.cached_tokens),
        counter("sglang:generation_tokens_total", labels, reading.generated_tokens),
        counter("sglang:num_requests_total", labels, sum(reading.finished.values())),
        histogram("sglang:time_to_first_token_seconds", inner, reading.ttft),
        histogram("sglang:inter_token_latency_seconds", inner, reading.itl),
    ]


def _tgi(reading: Reading) -> list[Metric]:
    done = reading.finished["stop"] + reading.finished["length"]
    return [
        gauge("tgi_batch_current_size", "", reading.running),
        gauge("tgi_queue_size", "", reading.waiting),
        counter("tgi_request_count", "", sum(reading.finished.values()) + reading.running + reading.waiting),
        counter("tgi_request_success", "", done),
        Metric("tgi_request_input_length", "histogram", _sums(reading.prompt_tokens, sum(reading.ttft.counts))),
        Metric("tgi_request_generated_tokens", "histogram", _sums(reading.generated_tokens, done)),
        histogram("tgi_request_mean_time_per_token_duration", "", reading.itl),
    ]


def _llamacpp(reading: Reading) -> list[Metric]:
    return [
        counter("llamacpp:prompt_tokens_total", "", reading.prompt_tokens),
        counter("llamacpp:tokens_predicted_total", "", reading.generated_tokens),
        counter("llamacpp:tokens_predicted_seconds_total", "", reading.busy_s),
        counter("llamacpp:n_decode_total", "", reading.iterations),
        gauge("llamacpp:requests_processing", "", reading.running),
        gauge("llamacpp:requests_deferred", "", reading.waiting),
    ]


def _triton(reading: Reading) -> list[Metric]:
    labels = f'{{model="{reading.model}",version="1"}}'
    done = reading.finished["stop"] + reading.finished["length"]
    return [
        counter("nv_inference_request_success", labels, done),
        counter("nv_inference_request_failure", labels, reading.finished["abort"]),
        counter("nv_inference_count", labels, done),
        counter("nv_inference_exec_count", labels, reading.iterations),
        counter("nv_inference_request_duration_us", labels, reading.ttft.total * 1e6 + reading.itl.total * 1e6),
    ]


def _sums(total: float, count: int) -> tuple[tuple[str, str, float], ...]:
    """A histogram of which only the sum and the count are told."""
    return (("_bucket", '{le="+Inf"}', float(count)), ("_sum", "", float(total)), ("_count", "", float(count)))


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return repr(float(value))


_PAGES: dict[str, Callable[[Reading], list[Metric]]] = {
    "vllm": _vllm,
    "sglang": _sglang,
    "tgi": _tgi,
    "llamacpp": _llamacpp,
    "triton": _triton,
}

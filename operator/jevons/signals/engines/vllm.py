"""vLLM (V1 engine, 0.8 and later; `gpu_cache_usage_perc` is the name before 0.10)."""

from __future__ import annotations

from jevons.signals.engines.table import EngineTable, Series

TABLE = EngineTable(
    engine="VLLM",
    running=(Series("vllm:num_requests_running"),),
    waiting=(Series("vllm:num_requests_waiting"),),
    kv_used=(Series("vllm:kv_cache_usage_perc"), Series("vllm:gpu_cache_usage_perc")),
    prompt_tokens=(Series("vllm:prompt_tokens_total"),),
    generation_tokens=(Series("vllm:generation_tokens_total"),),
)

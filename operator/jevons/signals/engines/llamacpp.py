"""llama.cpp's server, started with `--metrics`; the KV gauge exists up to early 2025 only."""

from __future__ import annotations

from jevons.signals.engines.table import EngineTable, Series

TABLE = EngineTable(
    engine="LlamaCpp",
    running=(Series("llamacpp:requests_processing"),),
    waiting=(Series("llamacpp:requests_deferred"),),
    kv_used=(Series("llamacpp:kv_cache_usage_ratio"),),
    prompt_tokens=(Series("llamacpp:prompt_tokens_total"),),
    generation_tokens=(Series("llamacpp:tokens_predicted_total"),),
)

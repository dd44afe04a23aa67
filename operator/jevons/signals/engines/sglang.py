"""SGLang, started with `--enable-metrics`."""

from __future__ import annotations

from jevons.signals.engines.table import EngineTable, Series

TABLE = EngineTable(
    engine="SGLang",
    running=(Series("sglang:num_running_reqs"),),
    waiting=(Series("sglang:num_queue_reqs"),),
    kv_used=(Series("sglang:token_usage"),),
    prompt_tokens=(Series("sglang:prompt_tokens_total"),),
    generation_tokens=(Series("sglang:generation_tokens_total"),),
)

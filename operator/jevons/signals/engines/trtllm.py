"""TensorRT-LLM's own server, `trtllm-serve`: no token counters."""

from __future__ import annotations

from jevons.signals.engines.table import EngineTable, Series

TABLE = EngineTable(
    engine="TensorRTLLM",
    running=(Series("trtllm_num_requests_running"),),
    waiting=(Series("trtllm_num_requests_waiting"),),
    kv_used=(Series("trtllm_kv_cache_utilization"),),
)

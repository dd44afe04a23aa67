"""TensorRT-LLM behind Triton: one metric with the request's phase as a label; no token counters.

Triton without that backend exposes `nv_inference_*` alone, which has no queue of requests: such pods are sized by GPU utilisation.
"""

from __future__ import annotations

from jevons.signals.engines.table import EngineTable, Series

TABLE = EngineTable(
    engine="Triton",
    running=(Series("nv_trt_llm_request_metrics", (("request_type", "scheduled"),)),),
    waiting=(Series("nv_trt_llm_request_metrics", (("request_type", "waiting"),)),),
    kv_used=(Series("nv_trt_llm_kv_cache_block_metrics", (("kv_cache_block_type", "fraction"),)),),
)

"""Text Generation Inference: no KV-cache gauge, and token counts only as sums of histograms."""

from __future__ import annotations

from jevons.signals.engines.table import EngineTable, Series

TABLE = EngineTable(
    engine="TGI",
    running=(Series("tgi_batch_current_size"),),
    waiting=(Series("tgi_queue_size"),),
    prompt_tokens=(Series("tgi_request_input_length_sum"),),
    generation_tokens=(Series("tgi_request_generated_tokens_sum"),),
)

"""Metric names of inference engines: one module per engine, one table each."""

from __future__ import annotations

from jevons.signals.engines import llamacpp, sglang, tgi, triton, trtllm, vllm
from jevons.signals.engines.table import EngineTable

TABLES: tuple[EngineTable, ...] = (vllm.TABLE, sglang.TABLE, tgi.TABLE, trtllm.TABLE, triton.TABLE, llamacpp.TABLE)
"""Every engine that can be read, in the order in which a pod's metrics are recognised."""

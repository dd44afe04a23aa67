"""The packaged table of performance profiles: how fast one replica of a model is on an accelerator, before anything was measured.

A row is named by its path `model/precision/gpu/num_gpus/backend`. Times in the file are milliseconds; `Profile` has seconds. Where the numbers come
from, and how far to trust them, is in `data/README.md`.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from jevons.core.spec import Profile

_PATH = ("model", "precision", "gpu", "num_gpus", "backend")


@cache
def table() -> Mapping[str, Profile]:
    """All rows by path. Example: `table()["llama-3.1-70b/bf16/a100_sxm/4/vllm"].itl_a_s == 0.028269` (test_profiles.py)."""
    with files("jevons.api").joinpath("data/seed_profiles.csv").open(encoding="utf-8") as file:
        return {"/".join(row[column] for column in _PATH): _profile(row) for row in csv.DictReader(file)}


def _profile(row: Mapping[str, str]) -> Profile:
    return Profile(
        itl_a_s=float(row["itl_a_ms"]) / 1000,
        itl_b_s=float(row["itl_b_ms_per_seq"]) / 1000,
        itl_c_s=float(row["itl_c_ms_per_seq_per_ktok"]) / 1000,
        prefill_p0_s=float(row["pre_p0_ms"]) / 1000,
        prefill_p1_s=float(row["pre_p1_ms_per_ktok"]) / 1000,
        prefill_p2_s=float(row["pre_p2_ms_per_ktok2"]) / 1000,
        kv_tokens=int(float(row["kv_tokens_capacity"])),
    )

"""Words into numbers."""

from __future__ import annotations

from decimal import Decimal

import pytest

from jevons.api import profiles
from jevons.api.quantities import bytes_from, duration_s_from, instant_from


@pytest.mark.parametrize(
    ("text", "seconds"), [("1h30m", "5400"), ("250ms", "0.25"), ("1m1ms", "60.001"), ("99999h", "359996400"), ("1h1h", "7200"), ("0s", "0")]
)
def test_a_duration_is_seconds(text, seconds) -> None:
    assert duration_s_from(text) == Decimal(seconds)


@pytest.mark.parametrize(("text", "size"), [("80Gi", 85899345920), ("24576Mi", 25769803776), ("2039G", 2039 * 10**9), ("3.35T", 3350 * 10**9)])
def test_a_quantity_is_bytes(text, size) -> None:
    assert bytes_from(text) == size


def test_an_instant_is_utc() -> None:
    assert instant_from("2026-01-01T00:00:00Z").timestamp() == 1767225600.0


def test_the_profile_table_is_in_seconds() -> None:
    row = profiles.table()["llama-3.1-70b/bf16/a100_sxm/4/vllm"]
    assert row.itl_a_s == 0.028269
    assert len(profiles.table()) == 36

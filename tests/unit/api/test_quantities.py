"""Words into numbers."""

from __future__ import annotations

from decimal import Decimal

import pytest

from jevons.api import profiles
from jevons.api.conditions import instant, merged
from jevons.api.quantities import bytes_from, duration_s_from, instant_from
from jevons.core.snapshot import Condition


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
    assert instant(0) == "1970-01-01T00:00:00Z"


def test_an_unchanged_status_keeps_its_transition_time() -> None:
    ready = Condition("Ready", "True", "Serving", "1 of 1 variants serve")
    first = merged(None, [ready], observed_generation=1, now_s=0)
    again = merged(first, [Condition("Ready", "True", "Serving", "2 of 2 variants serve")], observed_generation=2, now_s=60)
    changed = merged(again, [Condition("Ready", "False", "Asleep")], observed_generation=2, now_s=120)
    assert [one["lastTransitionTime"] for one in (*first, *again, *changed)] == [instant(0), instant(0), instant(120)]
    assert again[0]["message"] == "2 of 2 variants serve"
    assert again[0]["observedGeneration"] == 2


def test_a_condition_nobody_wants_any_more_is_gone() -> None:
    before = merged(None, [Condition("Accepted", "True", "Valid"), Condition("Ready", "True", "Serving")], observed_generation=1, now_s=0)
    assert [one["type"] for one in merged(before, [Condition("Ready", "True", "Serving")], observed_generation=1, now_s=1)] == ["Ready"]


def test_the_profile_table_is_in_seconds() -> None:
    row = profiles.table()["llama-3.1-70b/bf16/a100_sxm/4/vllm"]
    assert row.itl_a_s == 0.028269
    assert len(profiles.table()) == 36

"""Whatever is stored, resolving it either works or says InvalidSpec: one object can never take the loop down."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jevons.api.errors import InvalidSpec
from jevons.api.kinds import API_VERSION
from jevons.api.quantities import duration_s_from
from jevons.api.resolve import resolve_accelerator, resolve_budget, resolve_deployment

SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=30))
FIELDS = st.sampled_from(
    ["name", "namespace", "uid", "generation", "creationTimestamp", "model", "variants", "budget", "amount", "timeZone", "prices", "effectiveFrom"]
)
JSON = st.recursive(
    SCALARS, lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(FIELDS | st.text(max_size=5), inner, max_size=4)), max_leaves=20
)
TIMES = st.one_of(st.none(), st.just("2026-01-01T00:00:00Z"), st.text(max_size=30), st.integers(), st.floats())
RESOLVERS = {
    "InferenceDeployment": resolve_deployment,
    "AcceleratorClass": resolve_accelerator,
    "InferenceBudget": lambda obj: resolve_budget(obj, ()),
}


@pytest.mark.parametrize("kind", RESOLVERS)
@settings(max_examples=150, deadline=None)
@given(metadata=JSON, spec=JSON)
def test_nothing_but_invalid_spec_is_raised(kind, metadata, spec) -> None:
    obj = {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": spec}
    with contextlib.suppress(InvalidSpec):
        RESOLVERS[kind](obj)


@settings(max_examples=100, deadline=None)
@given(
    created=TIMES, zone=st.text(max_size=20) | st.sampled_from(["Europe/Paris", "Europe", "posixrules", "UTC/UTC", "a/b/c", "Etc/GMT+5", "x" * 64])
)
def test_a_valid_spec_with_an_odd_time_or_zone_resolves_or_is_invalid(created, zone) -> None:
    spec: dict[str, Any] = {"variants": [{"name": "a", "targetRef": {"name": "b"}}], "budget": {"amount": "1", "timeZone": zone}}
    obj = {"apiVersion": API_VERSION, "kind": "InferenceDeployment", "metadata": {"name": "a", "creationTimestamp": created}, "spec": spec}
    with contextlib.suppress(InvalidSpec):
        resolved = resolve_deployment(obj)
        assert resolved.budget is not None
        assert resolved.budget.time_zone == zone


@given(st.lists(st.tuples(st.integers(0, 99999), st.sampled_from(["h", "m", "s", "ms"])), min_size=1, max_size=4))
def test_a_duration_is_the_sum_of_its_parts(parts) -> None:
    ms = {"h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
    assert duration_s_from("".join(f"{number}{unit}" for number, unit in parts)) * 1000 == sum(number * ms[unit] for number, unit in parts)

"""From what people write to what the core reads."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from jevons.api.errors import InvalidSpec
from jevons.api.inferencebudget import selects
from jevons.api.resolve import resolve_accelerator, resolve_budget, resolve_deployment
from jevons.core.spec import Key, Period, Promotion, Rung, Sleep, Tier


def deployment(**spec: Any) -> dict[str, Any]:
    minimal = {"model": "chat", "variants": [{"name": "large", "targetRef": {"name": "llama"}}], "budget": {"amount": "20000"}}
    return {
        "apiVersion": "jevons.dev/v1alpha1",
        "kind": "InferenceDeployment",
        "metadata": {"name": "assistant", "namespace": "team-a", "uid": "u-1", "generation": 3, "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {**minimal, **spec},
    }


def variant(**fields: Any) -> list[dict[str, Any]]:
    return [{"name": "large", "targetRef": {"name": "llama"}, **fields}]


def test_the_minimal_object_gets_every_default() -> None:
    resolved = resolve_deployment(deployment())
    large = resolved.variant("large")
    assert (resolved.key, resolved.uid, resolved.generation, resolved.created_at_s) == (Key("team-a", "assistant"), "u-1", 3, 1767225600.0)
    assert (resolved.objectives.ttft_s, resolved.objectives.itl_s, resolved.objectives.late_cost_usd) == (2.0, 0.06, None)
    assert (resolved.routing.min_quality, resolved.routing.max_degraded_share) == (0.95, 0.6)
    assert (large.served_model, large.min_replicas, large.max_replicas, large.profile) == ("chat", 0, 10, None)
    assert resolved.budget is not None
    assert (resolved.budget.amount_usd, resolved.budget.period, resolved.budget.when_exceeded) == (Decimal(20000), Period.MONTH, Rung.CAP)


def test_the_model_is_called_as_the_object_when_it_says_nothing() -> None:
    without = deployment()
    del without["spec"]["model"]
    assert resolve_deployment(without).model == "assistant"


def test_a_profile_row_becomes_seconds() -> None:
    profile = resolve_deployment(deployment(variants=variant(capacity={"profile": "llama-3.1-70b/bf16/a100_sxm/4/vllm"}))).best.profile
    assert profile is not None
    assert (profile.itl_a_s, profile.itl_b_s, profile.prefill_p1_s, profile.kv_tokens) == pytest.approx((0.028269, 0.0001517, 0.151782, 458846))


def test_numbers_and_engine_settings_stand_in_for_a_row() -> None:
    numbers = {
        "itlBase": "10",
        "itlPerSequence": "0.1",
        "itlPerSequenceKiloToken": "0.05",
        "prefillBase": "8",
        "prefillPerKiloToken": "50",
        "kvTokens": 90,
    }
    profile = resolve_deployment(deployment(variants=variant(capacity={"numbers": numbers, "maxNumSeqs": 64}))).best.profile
    assert profile is not None
    assert (profile.itl_a_s, profile.prefill_p2_s, profile.kv_tokens, profile.max_num_seqs) == (0.01, 0.0, 90, 64)


def test_a_class_inherits_what_it_does_not_say() -> None:
    classes = [{"name": "documents", "objectives": {"timeToFirstToken": "10s"}, "tier": "Flex"}]
    [documents] = resolve_deployment(deployment(requestClasses=classes, objectives={"interTokenLatency": "40ms"})).classes
    assert (documents.objectives.ttft_s, documents.objectives.itl_s, documents.tier) == (10.0, 0.04, Tier.FLEX)


def test_a_null_where_there_is_a_default_means_not_given() -> None:
    assert resolve_deployment(deployment(objectives=None, variants=variant(promotion=None))).best.promotion == Promotion.AUTO


def test_a_null_label_is_no_label() -> None:
    """Found by the differential test: the API server drops it before it looks at the key."""
    obj = {"apiVersion": "jevons.dev/v1alpha1", "kind": "AcceleratorClass", "metadata": {"name": "l4"}}
    resolved = resolve_accelerator({**obj, "spec": {"nodeSelector": {"a b": None, "zone": "x"}}})
    assert resolved.node_selector == {"zone": "x"}


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"variants": variant(replicas={"min": 4, "max": 2})}, "spec.variants[0].replicas: min 4 is above max 2; raise max or lower min"),
        ({"variants": variant(capacity={"profile": "a/b/c/d/e"})}, 'spec.variants[0].capacity.profile: "a/b/c/d/e": is not in the profile table'),
        ({"budget": {"amount": "1O0"}}, 'spec.budget.amount: "1O0": String should match pattern'),
        ({"budget": {"amount": float("inf")}}, "spec.budget.amount: inf: Input should be a valid string"),
        ({"budget": {"amount": "1", "timeZone": "Mars/Olympus"}}, 'spec.budget.timeZone: "Mars/Olympus": is not an IANA time zone'),
        ({"routing": {"mode": False}}, "spec.routing.mode: False: Input should be 'Auto', 'Shadow' or 'Off'"),
        ({"variants": None}, "spec.variants: Field required"),
        ({"variants": []}, "spec.variants: []: Tuple should have at least 1 item"),
        ({"surprise": 1}, "spec.surprise: 1: Extra inputs are not permitted"),
    ],
)
def test_what_is_wrong_is_named_with_field_value_and_bound(spec: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        resolve_deployment(deployment(**spec))
    assert said in str(caught.value)


def test_all_that_is_wrong_is_named_at_once() -> None:
    with pytest.raises(InvalidSpec) as caught:
        resolve_deployment(deployment(objectives={"percentile": 101, "timeToFirstToken": "0s"}))
    assert [problem.field for problem in caught.value.problems] == ["spec.objectives.percentile", "spec.objectives.timeToFirstToken"]


def test_a_hostile_object_says_no_more_than_eight_things() -> None:
    with pytest.raises(InvalidSpec) as caught:
        resolve_deployment(deployment(**{f"x{number}": "y" * 10_000 for number in range(500)}))
    assert len(str(caught.value)) < 2000
    assert str(caught.value).endswith("and 492 more")


def test_an_accelerator_has_its_prices_in_order_of_time() -> None:
    resolved = resolve_accelerator(
        {
            "apiVersion": "jevons.dev/v1alpha1",
            "kind": "AcceleratorClass",
            "metadata": {"name": "a100-80gb"},
            "spec": {
                "memory": "80Gi",
                "memoryBandwidth": "2039G",
                "prices": [
                    {"effectiveFrom": "2026-09-06T00:00:00Z", "onDemand": "3.673", "spot": "0.6788"},
                    {"effectiveFrom": "2026-05-17T00:00:00Z", "onDemand": "3.4"},
                ],
                "committed": {"count": 8, "price": "2.5", "until": "2027-01-01T00:00:00Z"},
            },
        }
    )
    assert (resolved.memory_gb, resolved.bandwidth_gb_s, resolved.resource_name) == (80.0, 2039.0, "nvidia.com/gpu")
    assert [price.on_demand_usd_per_h for price in resolved.prices] == [Decimal("3.4"), Decimal("3.673")]
    assert resolved.prices[1].spot_usd_per_h == Decimal("0.6788")
    assert resolved.committed is not None
    assert resolved.committed.until_s == 1798761600.0


def test_a_shared_budget_has_the_members_it_is_given() -> None:
    member = Key("team-a", "assistant")
    obj = {
        "apiVersion": "jevons.dev/v1alpha1",
        "kind": "InferenceBudget",
        "metadata": {"name": "team-a", "uid": "u", "generation": 2},
        "spec": {"amount": "50", "period": "Day", "whenExceeded": "Block", "namespaceSelector": {"matchLabels": {"team": "a"}}},
    }
    resolved = resolve_budget(obj, {member})
    assert (resolved.members, resolved.budget.when_exceeded, resolved.budget.period) == (frozenset({member}), Rung.BLOCK, Period.DAY)


def test_a_budget_of_teams_alone_says_that_it_binds_nobody() -> None:
    obj = {"apiVersion": "jevons.dev/v1alpha1", "kind": "InferenceBudget", "metadata": {"name": "t"}, "spec": {"amount": "5", "teams": ["search"]}}
    with pytest.raises(InvalidSpec, match=r"spec\.teams: .*set namespaceSelector"):
        resolve_budget(obj, [])


def test_selectors_choose_as_kubernetes_does() -> None:
    def chosen(**selector: Any) -> bool:
        return selects(selector, {"team": "a"})

    assert selects({}, {"team": "a"})
    assert not selects(None, {"team": "a"})
    assert chosen(matchLabels={"team": "a"})
    assert not chosen(matchLabels={"team": "b"})
    assert chosen(matchExpressions=[{"key": "team", "operator": "In", "values": ["a", "b"]}])
    assert chosen(matchExpressions=[{"key": "zone", "operator": "NotIn", "values": ["a"]}])
    assert not chosen(matchExpressions=[{"key": "team", "operator": "DoesNotExist"}])


def test_sleep_is_left_out_unless_somebody_says_what_it_costs() -> None:
    assert resolve_deployment(deployment()).best.sleep is None
    told = resolve_deployment(deployment(variants=variant(sleep={"holdingCost": "0.1"}))).best.sleep
    assert told == Sleep(Decimal("0.1"), 10.0)
    quick = resolve_deployment(deployment(variants=variant(sleep={"holdingCost": "0", "wake": "500ms"}))).best.sleep
    assert quick == Sleep(Decimal(0), 0.5)
    for wrong in ({}, {"wake": "5s"}, {"holdingCost": "1.5"}, {"holdingCost": "0.1", "wake": "1h"}):
        with pytest.raises(InvalidSpec):
            resolve_deployment(deployment(variants=variant(sleep=wrong)))
    with pytest.raises(InvalidSpec, match="sleep needs an engine that offers it: VLLM, got TGI"):
        resolve_deployment(deployment(variants=variant(sleep={"holdingCost": "0.1"}, engine={"type": "TGI"})))

"""Each CEL rule, once, on the real API server: what it refuses, in which words, and that pydantic says the same."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from jevons.api.acceleratorclass import AcceleratorClass
from jevons.api.errors import InvalidSpec
from jevons.api.inferencebudget import InferenceBudget
from jevons.api.inferencedeployment import InferenceDeployment
from jevons.api.kinds import ACCELERATOR_CLASS, API_VERSION, INFERENCE_BUDGET, INFERENCE_DEPLOYMENT, Kind
from jevons.api.resolve import parse

pytestmark = pytest.mark.cluster

MODELS = {INFERENCE_DEPLOYMENT: InferenceDeployment, INFERENCE_BUDGET: InferenceBudget, ACCELERATOR_CLASS: AcceleratorClass}
TARGET = {"name": "large", "targetRef": {"name": "llama"}}
PRICE = {"effectiveFrom": "2026-09-06T00:00:00Z", "onDemand": "3.673"}
NUMBERS = {"itlBase": "1", "itlPerSequence": "1", "itlPerSequenceKiloToken": "1", "prefillBase": "1", "prefillPerKiloToken": "1", "kvTokens": 1}
PROFILE = "llama-3.1-8b/bf16/h100_sxm/1/vllm"
DAY = {"amount": "5", "period": "Day"}


def infd(**spec: Any) -> tuple[Kind, dict[str, Any]]:
    return INFERENCE_DEPLOYMENT, {"variants": [TARGET], **spec}


def large(**fields: Any) -> tuple[Kind, dict[str, Any]]:
    return infd(variants=[{**TARGET, **fields}])


def accel(**spec: Any) -> tuple[Kind, dict[str, Any]]:
    return ACCELERATOR_CLASS, spec


def infb(**spec: Any) -> tuple[Kind, dict[str, Any]]:
    return INFERENCE_BUDGET, {**DAY, **spec}


def selecting(**line: Any) -> tuple[Kind, dict[str, Any]]:
    return infb(namespaceSelector={"matchExpressions": [{"key": "team", **line}]})


REFUSED = {
    "ReplicasMinMax": (large(replicas={"min": 4, "max": 2}), "spec.variants[0].replicas", "min 4 is above max 2; raise max or lower min"),
    "ReplicasMinAboveDefaultMax": (large(replicas={"min": 11}), "spec.variants[0].replicas", "min 11 is above max 10; raise max or lower min"),
    "WorkloadBoth": (
        large(template={"spec": {}}),
        "spec.variants[0]",
        "variant large: exactly one of targetRef and template must be set, got both",
    ),
    "WorkloadNeither": (
        infd(variants=[{"name": "large"}]),
        "spec.variants[0]",
        "variant large: exactly one of targetRef and template must be set, got neither",
    ),
    "SleepEngine": (
        large(sleep={"holdingCost": "0.1"}, engine={"type": "SGLang"}),
        "spec.variants[0]",
        "variant large: sleep needs an engine that offers it: VLLM, got SGLang",
    ),
    "CapacityNeither": (large(capacity={}), "spec.variants[0].capacity", "exactly one of profile and numbers must be set, got neither"),
    "CapacityBoth": (
        large(capacity={"profile": PROFILE, "numbers": NUMBERS}),
        "spec.variants[0].capacity",
        "exactly one of profile and numbers must be set, got both",
    ),
    "TargetsUnique": (
        infd(variants=[TARGET, {**TARGET, "name": "small"}]),
        "spec",
        'variants: each targetRef must be another workload, got ["llama", "llama"]',
    ),
    "RequestClassNamesUnique": (
        infd(requestClasses=[{"name": "chat"}, {"name": "chat"}]),
        "spec",
        'requestClasses: names must be unique and not `default`, got ["chat", "chat"]',
    ),
    "RequestClassNamedDefault": (
        infd(requestClasses=[{"name": "default"}]),
        "spec",
        'requestClasses: names must be unique and not `default`, got ["default"]',
    ),
    "TtftZero": (infd(objectives={"timeToFirstToken": "0s"}), "spec.objectives.timeToFirstToken", "must be from 1ms to 1h, got 0s"),
    "TtftAbove": (infd(objectives={"timeToFirstToken": "61m"}), "spec.objectives.timeToFirstToken", "must be from 1ms to 1h, got 61m"),
    "ItlAbove": (infd(objectives={"interTokenLatency": "11s"}), "spec.objectives.interTokenLatency", "must be from 1ms to 10s, got 11s"),
    "StickyAbove": (infd(routing={"stickiness": {"duration": "25h"}}), "spec.routing.stickiness.duration", "must be from 1s to 24h, got 25h"),
    "IdleAbove": (infd(scaling={"idleAfter": "169h"}), "spec.scaling.idleAfter", "must be Auto or from 1s to 168h, got 169h"),
    "WakeZero": (infd(scaling={"wake": {"timeout": "0h"}}), "spec.scaling.wake.timeout", "must be from 1s to 1h, got 0h"),
    "FallbackBelow": (infd(scaling={"fallback": {"after": "29s"}}), "spec.scaling.fallback.after", "must be from 30s to 24h, got 29s"),
    "CacheZero": (infd(cache={"ttl": "0m0s"}), "spec.cache.ttl", "must be from 1s to 168h, got 0m0s"),
    "StartupAbove": (large(startup={"expected": "121m"}), "spec.variants[0].startup.expected", "must be from 1s to 2h, got 121m"),
    "BudgetZero": (infd(budget={"amount": "0.000"}), "spec.budget.amount", "must be above 0 USD, got 0.000"),
    "LateCostZero": (infd(objectives={"lateAnswerCost": "0"}), "spec.objectives.lateAnswerCost", "must be Auto or above 0 USD, got 0"),
    "PowerIdlePeak": (accel(power={"idleWatts": 700, "peakWatts": 300}), "spec.power", "idleWatts 700 is above peakWatts 300"),
    "PriceZero": (accel(prices=[{**PRICE, "onDemand": "0"}]), "spec.prices[0].onDemand", "must be above 0 USD, got 0"),
    "InstantBefore": (
        accel(prices=[{**PRICE, "effectiveFrom": "1999-12-31T23:59:59Z"}]),
        "spec.prices[0].effectiveFrom",
        "must be a date of the calendar from 2000 to 2199, got 1999-12-31T23:59:59Z",
    ),
    "MemoryZero": (accel(memory="0Gi"), "spec.memory", "must be from 1Mi to 16Ti, got 0Gi"),
    "BandwidthAbove": (accel(memoryBandwidth="1001T"), "spec.memoryBandwidth", "must be from 1M to 1000T, got 1001T"),
    "BudgetSelects": (infb(), "spec", "namespaceSelector or teams must be set, got neither; `namespaceSelector: {}` selects every namespace"),
    "SelectorValues": (
        selecting(operator="In"),
        "spec.namespaceSelector.matchExpressions[0]",
        "0 values for operator In; In and NotIn need some, Exists and DoesNotExist none",
    ),
    "SelectorNoValues": (
        selecting(operator="Exists", values=["a"]),
        "spec.namespaceSelector.matchExpressions[0]",
        "1 values for operator Exists; In and NotIn need some, Exists and DoesNotExist none",
    ),
}


def whole(kind: Kind, spec: dict[str, Any], namespace: str, name: str = "assistant") -> dict[str, Any]:
    metadata = {"name": name, **({"namespace": namespace} if kind.namespaced else {})}
    return {"apiVersion": API_VERSION, "kind": kind.kind, "metadata": metadata, "spec": copy.deepcopy(spec)}


@pytest.mark.parametrize("rule", REFUSED)
async def test_both_refuse_it_naming_field_value_and_bound(rule, server, namespace) -> None:
    (kind, spec), field, said = REFUSED[rule]
    obj = whole(kind, spec, namespace)
    verdict = await server.create(obj)
    with pytest.raises(InvalidSpec) as ours:
        parse(MODELS[kind], obj)
    assert f"{field}: Invalid value: " in verdict.said
    assert said in verdict.said
    assert [(problem.field, problem.bound) for problem in ours.value.problems] == [(field, said)]

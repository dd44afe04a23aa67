"""The restated peers answer what the systems' own tests say they answer.

Each vector names a rule, its settings and steps in order; a step is given to the rule and every key `want` or `want_*` of it is one check.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from jevons.simulator.policies.aibrix import AibrixSettings
from jevons.simulator.policies.aibrix_apa import AibrixApa, proportional
from jevons.simulator.policies.aibrix_kpa import AibrixKpa, windowed
from jevons.simulator.policies.hpa_rules import Behavior, Stabiliser, Tolerance, from_average, from_pods, from_value
from jevons.simulator.policies.keda_rules import Behavior as FallbackBehavior
from jevons.simulator.policies.keda_rules import Fallback, ZeroOne
from jevons.simulator.policies.kpa_rules import Rates, Scaler
from jevons.simulator.policies.policy import Reading, Sample, Signal, View
from jevons.simulator.policies.windows import Buckets
from jevons.simulator.policies.wva_cost import Offer, plan
from jevons.simulator.policies.wva_saturation import Standing, Thresholds, Verdict, targets, verdict
from jevons.simulator.policies.wva_tokens import Need

DATA = json.loads((Path(__file__).parents[3] / "data" / "peer_vectors.json").read_text(encoding="utf-8"))

Step = Mapping[str, Any]
Answer = Mapping[str, Any]
Rule = Callable[[Step], Answer]


def knative(settings: dict[str, Any]) -> Rule:
    memory = {"panic_since_s": settings.pop("panic_since_s", None), "most_in_panic": settings.pop("most_in_panic", 0)}
    settings.setdefault("total", settings["target"] / 0.75)
    scaler = Scaler(Rates(**settings), **memory)

    def answer(step: Step) -> Answer:
        scaled = scaler.scale(step["now"], ready=step["ready"], stable=step["stable"], panic=step["panic"])
        spare = pytest.approx(scaled.spare_burst, abs=1)
        return {"want": scaled.wanted, "want_spare_burst": spare, "want_panic_since": scaler.panic_since_s}

    return answer


def aibrix_apa(settings: dict[str, Any]) -> Rule:
    return lambda step: {"want": proportional(step["current"], step["use"], AibrixSettings(**settings))}


def aibrix_kpa(settings: dict[str, Any]) -> Rule:
    def answer(step: Step) -> Answer:
        memory = {"in_panic": step.get("in_panic", False), "most_in_panic": step.get("most_in_panic", 0)}
        return {"want": windowed(step["current"], step["stable"], step["panic"], AibrixSettings(**settings), **memory)}

    return answer


def aibrix_guard(settings: dict[str, Any]) -> Rule:
    strategy = {"apa": AibrixApa, "kpa": AibrixKpa}[settings.pop("strategy")](AibrixSettings(signal=Signal.WAITING, **settings))

    def answer(step: Step) -> Answer:
        strategy.observe(Sample(0.0, (Reading("all alike", waiting=step["use"]),)))
        return {"want": strategy.decide(0.0, View(step["current"], ready=step["ready"], starting=step["current"] - step["ready"]))}

    return answer


def buckets(settings: dict[str, Any]) -> Rule:
    window = Buckets(**settings)

    def answer(step: Step) -> Answer:
        window.add(step["now"], step["value"])
        return {"want": window.mean(step["now"])}

    return answer


def wva_saturation(settings: dict[str, Any]) -> Rule:
    def answer(step: Step) -> Answer:
        found = verdict([(kv, queue) for kv, queue in step["pods"]], Thresholds(**settings))
        return {"want_up": found.up, "want_safe": found.safe}

    return answer


def wva_targets(settings: dict[str, Any]) -> Rule:
    del settings
    return lambda step: {
        "want": targets({name: Standing(**variant) for name, variant in step["variants"].items()}, Verdict(step["up"], step["safe"]))
    }


def wva_optimiser(settings: dict[str, Any]) -> Rule:
    del settings
    return lambda step: {"want": plan({name: Offer(**offer) for name, offer in step["offers"].items()}, Need(step["required"], step["spare"]))}


def keda_fallback(settings: dict[str, Any]) -> Rule:
    fallback = Fallback(settings["replicas"], behavior=FallbackBehavior(settings.get("behavior", "static")))
    return lambda step: {"want": fallback.metric(step["target"], current=step["current"])}


def keda_zero_one(settings: dict[str, Any]) -> Rule:
    loop = ZeroOne(**settings)
    return lambda step: {"want": loop.step(step["now"], step["current"], active=step["active"], error=step.get("error", False))}


def hpa_stabiliser(settings: dict[str, Any]) -> Rule:
    stabiliser = Stabiliser(Behavior(), **settings)
    return lambda step: {"want": stabiliser.next(step["now"], step["current"], step["wanted"])}


def hpa_average(settings: dict[str, Any]) -> Rule:
    del settings
    return lambda step: {"want": from_average(step["total"], target=step["target"], current=step["current"], tolerance=Tolerance())}


def hpa_pods(settings: dict[str, Any]) -> Rule:
    del settings

    def answer(step: Step) -> Answer:
        silent = {"missing": step.get("missing", 0), "unready": step.get("unready", 0)}
        return {"want": from_pods(step["values"], target=step["target"], current=step["current"], tolerance=Tolerance(), **silent)}

    return answer


def hpa_value(settings: dict[str, Any]) -> Rule:
    del settings
    return lambda step: {"want": from_value(**{key: value for key, value in step.items() if key != "want"}, tolerance=Tolerance())}


RULES: Mapping[str, Callable[[dict[str, Any]], Rule]] = {
    "knative": knative,
    "aibrix-apa": aibrix_apa,
    "aibrix-kpa": aibrix_kpa,
    "aibrix-guard": aibrix_guard,
    "buckets": buckets,
    "wva-saturation": wva_saturation,
    "wva-targets": wva_targets,
    "wva-optimiser": wva_optimiser,
    "keda-fallback": keda_fallback,
    "keda-zero-one": keda_zero_one,
    "hpa-stabiliser": hpa_stabiliser,
    "hpa-average": hpa_average,
    "hpa-pods": hpa_pods,
    "hpa-value": hpa_value,
}


def failures(vector: Mapping[str, Any]) -> tuple[int, list[str]]:
    """How many checks a vector has, and those that fail."""
    rule = RULES[vector["rule"]](dict(vector["settings"]))
    checks, failed = 0, []
    for number, step in enumerate(vector["steps"]):
        answer = rule(step)
        for key in step:
            if key == "want" or key.startswith("want_"):
                checks += 1
                if answer[key] != step[key]:
                    failed.append(f"step {number}: {key} is {answer[key]}, their test says {step[key]}")
    return checks, failed


@pytest.mark.parametrize("vector", [*DATA["vectors"], *DATA["more"]], ids=lambda vector: vector["id"])
def test_a_peer_answers_as_its_own_tests_say(vector):
    checks, failed = failures(vector)
    assert checks > 0
    assert failed == []


def test_all_106_checks_of_the_survey_are_among_them_and_hold():
    results = [failures(vector) for vector in DATA["vectors"]]
    checks, failed = sum(checks for checks, _ in results), [line for _, lines in results for line in lines]
    print(f"peers certified: {checks - len(failed)} of {checks}")
    assert failed == []
    assert checks == DATA["checks"] == 106


def test_every_vector_names_where_it_is_from():
    assert {vector["source"] for vector in [*DATA["vectors"], *DATA["more"]]} <= set(DATA["sources"])

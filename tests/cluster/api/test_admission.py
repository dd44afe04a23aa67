"""The bad-input list at the door of the real API server, in the words of the real kubectl where the words are YAML's."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from jevons.api.kinds import API_VERSION
from jevons.sandbox.processes import KubectlError

pytestmark = pytest.mark.cluster

CYRILLIC_A = "\u0430"


def deployment(namespace: str, name: str = "assistant") -> dict[str, Any]:
    return {
        "apiVersion": API_VERSION,
        "kind": "InferenceDeployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "model": "assistant",
            "variants": [{"name": "large", "targetRef": {"name": "llama"}, "accelerator": {"className": "a100-80gb"}}],
            "budget": {"amount": "20000"},
        },
    }


def changed(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """A function that puts `value` at `path` (dots; numbers are list indices) below spec."""
    steps: list[Any] = [int(step) if step.isdigit() else step for step in path.split(".")]

    def apply(obj: dict[str, Any]) -> None:
        node: Any = obj["spec"]
        for step in steps[:-1]:
            node = node.setdefault(step, {}) if isinstance(node, dict) else node[step]
        node[steps[-1]] = value

    return apply


REFUSED = {
    "min below zero": (changed("variants.0.replicas.min", -1), "spec.variants[0].replicas.min: Invalid value: -1", "greater than or equal to 0"),
    "max above the limit": (
        changed("variants.0.replicas.max", 1001),
        "spec.variants[0].replicas.max: Invalid value: 1001",
        "less than or equal to 1000",
    ),
    "negative money": (changed("budget.amount", "-5"), 'spec.budget.amount: Invalid value: "-5"', "should match"),
    "money that is not a number": (changed("budget.amount", "NaN"), 'spec.budget.amount: Invalid value: "NaN"', "should match"),
    "money beyond all bounds": (changed("budget.amount", "1e309"), 'spec.budget.amount: Invalid value: "1e309"', "should match"),
    "money with a letter O": (changed("budget.amount", "1O0"), 'spec.budget.amount: Invalid value: "1O0"', "should match"),
    "money as a float": (changed("budget.amount", 20000.5), "spec.budget.amount: Invalid value", "must be of type string"),
    "money in another currency": (changed("budget.amount", "20000 EUR"), 'spec.budget.amount: Invalid value: "20000 EUR"', "should match"),
    "a currency field": (changed("budget.currency", "EUR"), 'unknown field "spec.budget.currency"', ""),
    "a negative duration": (changed("objectives.timeToFirstToken", "-5m"), 'spec.objectives.timeToFirstToken: Invalid value: "-5m"', "should match"),
    "an endless duration": (
        changed("objectives.timeToFirstToken", "999999h"),
        'timeToFirstToken: Invalid value: "999999h"',
        "must be from 1ms to 1h",
    ),
    "a duration in words": (changed("scaling.idleAfter", "2 weeks"), 'spec.scaling.idleAfter: Invalid value: "2 weeks"', "should match"),
    "percentile 0": (changed("objectives.percentile", 0), "spec.objectives.percentile: Invalid value: 0", "greater than or equal to 1"),
    "percentile 101": (changed("objectives.percentile", 101), "spec.objectives.percentile: Invalid value: 101", "less than or equal to 99"),
    "percent 101": (changed("routing.maxDegradedPercent", 101), "spec.routing.maxDegradedPercent: Invalid value: 101", "less than or equal to 100"),
    "quality above 1": (changed("routing.minQuality", "1.01"), 'spec.routing.minQuality: Invalid value: "1.01"', "should match"),
    "no variants": (changed("variants", []), "spec.variants: Invalid value: 0", "at least 1 items"),
    "513 variants": (
        changed("variants", [{"name": f"v{number}", "targetRef": {"name": f"t{number}"}} for number in range(513)]),
        "spec.variants: Too many: 513",
        "at most 16",
    ),
    "duplicate variants": (
        changed("variants", [{"name": "a", "targetRef": {"name": "x"}}, {"name": "a", "targetRef": {"name": "y"}}]),
        'spec.variants[1]: Duplicate value: {"name":"a"}',
        "",
    ),
    "17 request classes": (
        changed("requestClasses", [{"name": f"c{number}"} for number in range(17)]),
        "spec.requestClasses: Too many: 17",
        "at most 16",
    ),
    "variants null": (changed("variants", None), "spec.variants: Required value", ""),
    "a null variant": (changed("variants", [None]), "spec.variants[0] in body must be of type object", "null"),
    "a model name with a look-alike letter": (
        changed("model", f"{CYRILLIC_A}ssistant"),
        f'spec.model: Invalid value: "{CYRILLIC_A}ssistant"',
        "match",
    ),
    "a variant name with a look-alike letter": (
        changed("variants.0.name", f"l{CYRILLIC_A}rge"),
        "spec.variants[0].name: Invalid value",
        "should match",
    ),
    "a model name that names a namespace": (changed("model", "team-b/assistant"), 'spec.model: Invalid value: "team-b/assistant"', "should match"),
    "a query in a name": (changed("model", '"} or vector(0) #'), "spec.model: Invalid value", "should match"),
    "a template in a name": (changed("model", "{{ .Values }}"), "spec.model: Invalid value", "should match"),
    "a target in another namespace": (
        changed("variants.0.targetRef.namespace", "team-b"),
        'unknown field "spec.variants[0].targetRef.namespace"',
        "",
    ),
    "a Prometheus of one's own": (changed("prometheusUrl", "http://169.254.169.254/"), 'unknown field "spec.prometheusUrl"', ""),
    "an unknown enum": (
        changed("budget.whenExceeded", "Panic"),
        'spec.budget.whenExceeded: Unsupported value: "Panic"',
        '"Alert", "Degrade", "Cap", "Block"',
    ),
}


@pytest.mark.parametrize("what", REFUSED)
async def test_admission_refuses(what, server, namespace) -> None:
    change, field_and_value, bound = REFUSED[what]
    obj = deployment(namespace)
    change(obj)
    verdict = await server.create(obj)
    assert not verdict.accepted
    assert field_and_value in verdict.said
    assert bound in verdict.said


async def test_a_name_that_fits_no_label_is_refused(server, namespace) -> None:
    assert (await server.create(deployment(namespace, "a" * 63))).accepted
    verdict = await server.create(deployment(namespace, "a" * 64))
    assert "metadata.name must have at most 63 characters, got 64" in verdict.said
    assert not (await server.create(deployment(namespace, "a" * 254))).accepted


async def test_the_controller_is_final(sandbox, server, namespace) -> None:
    obj = deployment(namespace)
    await sandbox.kubectl("create", "-f", "-", input=json.dumps(obj))
    stored = await sandbox.get("infd", "assistant", namespace=namespace)
    stored["spec"]["controllerName"] = "other"
    verdict = await server.replace(stored)
    assert "spec.controllerName: Invalid value" in verdict.said
    assert "controllerName is immutable: it is jevons, got other; delete and create instead" in verdict.said


async def test_a_mebibyte_of_spec_is_refused_and_not_echoed(server, namespace) -> None:
    obj = deployment(namespace)
    obj["spec"]["variants"][0]["servedModel"] = "m" * 2**20
    verdict = await server.create(obj)
    assert "spec.variants[0].servedModel: Too long: may not be more than 253 bytes" in verdict.said
    assert len(verdict.said) < 10_000


@pytest.mark.parametrize("word", ["off", "Off", "on", "no"])
async def test_a_bare_word_that_yaml_reads_as_a_boolean_is_refused_by_field(word, sandbox, namespace) -> None:
    obj = deployment(namespace)
    obj["spec"]["routing"] = {"mode": "WORD"}
    manifest = json.dumps(obj).replace('"WORD"', word)
    with pytest.raises(KubectlError) as caught:
        await sandbox.kubectl("create", "--dry-run=server", "-f", "-", input=manifest)
    assert "spec.routing.mode in body must be of type string" in str(caught.value)


async def test_the_quoted_word_is_taken(sandbox, namespace) -> None:
    obj = deployment(namespace)
    obj["spec"]["routing"] = {"mode": "Off"}
    await sandbox.kubectl("create", "--dry-run=server", "-f", "-", input=json.dumps(obj))


async def test_an_object_from_before_the_rules_still_takes_status_and_labels(sandbox, namespace) -> None:
    """Rules stand at or below spec: what an unchanged spec says is not judged again when something else is written."""
    loose = json.loads(await sandbox.kubectl("get", "crd", "inferencedeployments.jevons.dev", "-o", "json"))
    loose.pop("status")
    loose["metadata"] = {"name": "olds.test.jevons.dev"}
    loose["spec"] |= {"group": "test.jevons.dev", "names": {"kind": "Old", "plural": "olds", "singular": "old", "listKind": "OldList"}}
    rules = _replicas(loose).pop("x-kubernetes-validations")
    try:
        await sandbox.kubectl("create", "-f", "-", input=json.dumps(loose))
        await sandbox.kubectl("wait", "--for=condition=Established", "crd/olds.test.jevons.dev")
        old = deployment(namespace) | {"apiVersion": "test.jevons.dev/v1alpha1", "kind": "Old"}
        old["spec"]["variants"][0]["replicas"] = {"min": 4, "max": 2}
        await sandbox.kubectl("create", "-f", "-", input=json.dumps(old))
        _replicas(loose)["x-kubernetes-validations"] = rules
        await sandbox.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", input=json.dumps(loose))
        await sandbox.kubectl("label", "old", "assistant", "team=a", "-n", namespace)
        ready = {"type": "Ready", "status": "False", "reason": "Invalid", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}
        patch = json.dumps({"status": {"conditions": [ready]}})
        await sandbox.kubectl("patch", "old", "assistant", "-n", namespace, "--subresource=status", "--type=merge", "-p", patch)
    finally:
        await sandbox.kubectl("delete", "crd", "olds.test.jevons.dev", "--ignore-not-found")


def _replicas(crd: dict[str, Any]) -> dict[str, Any]:
    spec = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    replicas: dict[str, Any] = spec["properties"]["variants"]["items"]["properties"]["replicas"]
    return replicas

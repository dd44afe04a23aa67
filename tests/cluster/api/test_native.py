"""The kinds feel native: columns, explain, categories, a status that is stored as written, a chart whose removal keeps them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from jevons.api.kinds import API_VERSION, KINDS

pytestmark = pytest.mark.cluster

CHART = Path(__file__).resolve().parents[3] / "helm/jevons-crds"
CONDITION = {
    "type": "Ready",
    "status": "True",
    "reason": "Serving",
    "message": "",
    "observedGeneration": 1,
    "lastTransitionTime": "2026-01-01T00:00:00Z",
}
ROUTING = {
    "generation": 7,
    "asOf": "2026-01-01T00:00:00Z",
    "best": "large",
    "wake": "small-int4",
    "rung": "Degrade",
    "pressure": "0.40",
    "blockedUntil": None,
    "variants": [{"name": "large", "state": "Ready", "selector": "app=llama-70b", "port": 8000, "usdPer1kTokens": "0.0109", "startupSeconds": 240}],
    "classes": [
        {"name": "chat", "minScore": [{"variant": "small-int4", "score": "0.62"}], "degradedShare": "0.10", "expectedQuality": "0.957"},
    ],
}
"""The example of docs/designs/0001-the-house.md."""
STATUS = {
    "observedGeneration": 1,
    "model": "chat",
    "reason": "Serving",
    "message": "ready: 1 of large",
    "conditions": [CONDITION],
    "variants": [
        {
            "name": "large",
            "acceleratorClass": "h100-80gb",
            "acceleratorCount": 1,
            "desired": 2,
            "current": 1,
            "ready": 1,
            "hourlyRate": "14.69",
            "reason": "Demand",
        }
    ],
    "cost": {"hourlyRate": "14.69", "periodSpend": "120.50", "periodForecast": None, "perThousandUseful": "0.96", "asOf": "2026-01-01T00:00:00Z"},
    "routing": ROUTING,
    "lastDecision": {"id": "d-1", "time": "2026-01-01T00:00:00Z", "reason": "Demand", "message": "large 1 -> 2"},
}


@pytest.fixture
async def stored(sandbox, namespace) -> str:
    spec = {"model": "chat", "variants": [{"name": "large", "targetRef": {"name": "llama"}}], "budget": {"amount": "20000"}}
    await sandbox.apply(
        {"apiVersion": API_VERSION, "kind": "InferenceDeployment", "metadata": {"name": "assistant"}, "spec": spec}, namespace=namespace
    )
    patch = json.dumps({"status": STATUS})
    await sandbox.kubectl("patch", "infd", "assistant", "-n", namespace, "--subresource=status", "--type=merge", "-p", patch)
    return namespace


async def test_the_status_is_stored_as_the_operator_writes_it(sandbox, stored) -> None:
    obj = await sandbox.get("infd", "assistant", namespace=stored)
    assert _without_nulls(obj["status"]) == _without_nulls(STATUS)


async def test_kubectl_get_shows_money_and_readiness(sandbox, stored) -> None:
    header, line = (await sandbox.kubectl("get", "infd", "-n", stored)).strip().splitlines()
    assert header.split() == ["NAME", "MODEL", "READY", "REASON", "RATE", "SPEND", "BUDGET", "$/1K", "USEFUL", "AGE"]
    assert line.split()[:8] == ["assistant", "chat", "True", "Serving", "14.69", "120.50", "20000", "0.96"]


async def test_the_category_lists_the_object(sandbox, stored) -> None:
    assert "inferencedeployment.jevons.dev/assistant" in await sandbox.kubectl("get", "jevons", "-n", stored, "-o", "name")


async def test_kubectl_explain_says_what_a_field_means(sandbox) -> None:
    said = await sandbox.kubectl("explain", "infd.spec.scaling.idleAfter")
    assert "Auto weighs its price" in said


async def test_uninstalling_the_chart_keeps_definitions_and_objects(sandbox, stored) -> None:
    def helm(*arguments: str) -> None:
        command = [str(sandbox.tools["helm"]), "--kubeconfig", str(sandbox.kubeconfig), *arguments, "--namespace", stored]
        subprocess.run(command, check=True, capture_output=True, timeout=60)

    helm("install", "jevons-crds", str(CHART), "--take-ownership")
    helm("uninstall", "jevons-crds")
    for kind in KINDS:
        assert await sandbox.get("crd", kind.crd_name) is not None
    assert await sandbox.get("infd", "assistant", namespace=stored) is not None


def _without_nulls(value):
    if isinstance(value, dict):
        return {key: _without_nulls(part) for key, part in value.items() if part is not None}
    return [_without_nulls(part) for part in value] if isinstance(value, list) else value

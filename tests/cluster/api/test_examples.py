"""Every manifest in examples/ is taken by the API server as it stands, and resolves against the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from jevons.api.kinds import ACCELERATOR_CLASS, API_VERSION, INFERENCE_BUDGET, INFERENCE_DEPLOYMENT
from jevons.api.resolve import resolve_accelerator, resolve_budget, resolve_deployment
from jevons.sandbox.nodes import ACCELERATOR_LABEL, DEFAULT_NODES

EXAMPLES = sorted((Path(__file__).resolve().parents[3] / "examples").glob("*.yaml"))


def documents(path: Path) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(path.read_text(encoding="utf-8")) if document]


def of_kind(kind: str) -> list[dict[str, Any]]:
    return [document for path in EXAMPLES for document in documents(path) if document["kind"] == kind]


@pytest.mark.cluster
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
async def test_the_api_server_takes_the_example(path, sandbox, namespace) -> None:
    await sandbox.kubectl("apply", "-n", namespace, "-f", str(path))
    try:
        for document in documents(path):
            if document["apiVersion"] == API_VERSION:
                stored = await sandbox.get(document["kind"].lower(), document["metadata"]["name"], namespace=namespace)
                assert stored is not None
    finally:
        await sandbox.kubectl("delete", "-n", namespace, "-f", str(path), "--wait=false")


@pytest.mark.parametrize("document", of_kind(INFERENCE_DEPLOYMENT.kind), ids=lambda document: document["metadata"]["name"])
def test_a_deployment_resolves_and_names_a_class_of_the_catalogue(document) -> None:
    resolved = resolve_deployment(document)
    assert resolved.budget is not None
    assert {variant.accelerator_class for variant in resolved.variants} <= {one["metadata"]["name"] for one in of_kind(ACCELERATOR_CLASS.kind)}


def test_the_catalogue_is_priced_and_its_nodes_exist_in_the_sandbox() -> None:
    labels = {node.accelerator for node in DEFAULT_NODES}
    for document in of_kind(ACCELERATOR_CLASS.kind):
        resolved = resolve_accelerator(document)
        assert resolved.prices
        assert resolved.bandwidth_gb_s is not None
        assert resolved.node_selector[ACCELERATOR_LABEL] in labels


def test_the_shared_budget_resolves() -> None:
    [document] = of_kind(INFERENCE_BUDGET.kind)
    assert resolve_budget(document, []).budget.time_zone == "Europe/Paris"


def test_what_a_pod_asks_for_is_what_its_variant_says_it_costs() -> None:
    classes = {document["metadata"]["name"]: document["spec"] for document in of_kind(ACCELERATOR_CLASS.kind)}
    for document in of_kind(INFERENCE_DEPLOYMENT.kind):
        for variant in document["spec"]["variants"]:
            if "template" not in variant:
                continue
            pod, use = variant["template"]["spec"], variant["accelerator"]
            spec = classes[use["className"]]
            asked = sum(int(container["resources"]["limits"][spec["resourceName"]]) for container in pod["containers"])
            assert asked == use.get("count", 1)
            assert pod["nodeSelector"] == spec["nodeSelector"]
            annotations = variant["template"]["metadata"]["annotations"]
            assert annotations["sandbox.jevons.dev/profile"] == variant["capacity"]["profile"]
            assert annotations["pod-ready.stage.kwok.x-k8s.io/delay"] == variant["startup"]["expected"]
            assert annotations["sandbox.jevons.dev/model"] == variant["servedModel"]
            assert annotations["sandbox.jevons.dev/context-length"] == str(variant["contextLength"])

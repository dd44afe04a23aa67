"""A template that the API server, a policy or Pod Security turns down: its object says so in their words, and the one beside it goes on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from jevons.sandbox.kubectl import KubectlError

pytestmark = pytest.mark.cluster

GOOD = {"name": "engine", "image": "engine", "resources": {"limits": {"nvidia.com/gpu": "1"}}}
REFUSED = {
    "quantity": ({"containers": [{**GOOD, "resources": {"limits": {"nvidia.com/gpu": "1,5"}}}]}, "quantities must match the regular expression"),
    "invalid": ({"containers": [{**GOOD, "name": "No_Name"}]}, 'spec.template.spec.containers[0].name: Invalid value: "No_Name"'),
    "policy": ({"containers": [{**GOOD, "image": "forbidden"}]}, "images named forbidden are not run here"),
}


def variant(accelerator: str, pod: dict[str, Any]) -> dict[str, Any]:
    return {"name": "small", "accelerator": {"className": accelerator, "count": 1}, "replicas": {"min": 0, "max": 3}, "template": {"spec": pod}}


@pytest_asyncio.fixture
async def policy(sandbox, namespace, eventually) -> AsyncIterator[None]:
    """An admission policy of the cluster's admins, in force in this namespace."""
    await sandbox.apply(
        {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": namespace},
            "spec": {
                "matchConstraints": {
                    "resourceRules": [
                        {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["deployments"]}
                    ]
                },
                "validations": [
                    {
                        "expression": "object.spec.template.spec.containers.all(c, c.image != 'forbidden')",
                        "message": "images named forbidden are not run here",
                        "reason": "Forbidden",
                    }
                ],
            },
        },
        {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": namespace},
            "spec": {
                "policyName": namespace,
                "validationActions": ["Deny"],
                "matchResources": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}},
            },
        },
    )

    async def in_force() -> bool:
        try:
            await sandbox.kubectl("create", "deployment", "probe", "--image=forbidden", "--dry-run=server", "-n", namespace)
        except KubectlError as error:
            return "not run here" in str(error)
        return False

    await eventually(in_force, within_s=60)
    yield
    await sandbox.kubectl("delete", f"validatingadmissionpolicybinding/{namespace}", f"validatingadmissionpolicy/{namespace}", "--wait=false")


async def events_of(sandbox, namespace: str, name: str) -> list[tuple[str, str, str]]:
    found = await sandbox.items("events", namespace=namespace)
    return [(each["type"], each["reason"], each["message"]) for each in found if each["involvedObject"]["name"] == name]


@pytest.mark.usefixtures("policy")
async def test_a_refused_template_is_told_in_the_servers_words_and_heals_with_the_template(sandbox, namespace, operators, assistant, accelerator):
    for name, (pod, _) in REFUSED.items():
        await assistant(name, variants=[variant(accelerator, pod)], target=False)
    await assistant("fine", variants=[variant(accelerator, {"containers": [GOOD]})], target=False)
    leader = await operators.start()
    for name in (*REFUSED, "fine"):
        leader.holds(name, "small", 1)
    await leader.passes(3)

    assert await leader.replicas("fine-small") == 1
    assert (await leader.condition("fine", "ResolvedRefs"))["status"] == "True"
    for name, (_, sentence) in REFUSED.items():
        told = await leader.condition(name, "ResolvedRefs")
        assert (told["status"], told["reason"]) == ("False", "TemplateRefused"), name
        assert sentence in told["message"], name
        assert (await leader.infd(name))["status"]["reason"] == "TemplateRefused"
        warnings = [
            message for kind, reason, message in await events_of(sandbox, namespace, name) if (kind, reason) == ("Warning", "TemplateRefused")
        ]
        assert len(warnings) == 1, name
        assert sentence in warnings[0], name
        assert await leader.replicas(f"{name}-small") is None
    assert sum(1 for method, path in leader.writes if method == "POST" and path.endswith("/deployments")) == 4, "refused ones are not sent again"

    for name in REFUSED:
        await assistant(name, variants=[variant(accelerator, {"containers": [GOOD]})], target=False)
    await leader.passes(3)
    for name in REFUSED:
        assert await leader.replicas(f"{name}-small") == 1, name
        assert (await leader.condition(name, "ResolvedRefs"))["status"] == "True", name


async def test_what_runs_goes_on_when_its_next_template_is_refused(operators, assistant, accelerator):
    await assistant(variants=[variant(accelerator, {"containers": [GOOD]})], target=False)
    leader = await operators.start()
    await leader.passes(2)
    await assistant(variants=[variant(accelerator, REFUSED["invalid"][0])], target=False)
    leader.holds("assistant", "small", 1)
    await leader.passes(3)
    assert (await leader.condition("assistant", "ResolvedRefs"))["reason"] == "TemplateRefused"
    assert await leader.replicas("assistant-small") == 1


async def test_pods_that_pod_security_refuses_are_told_on_the_object_and_heal_with_the_template(
    *, sandbox, namespace, operators, assistant, accelerator, eventually
):
    await sandbox.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    context = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    decent = variant(accelerator, {"containers": [{**GOOD, "securityContext": context}]})
    await assistant("careless", variants=[variant(accelerator, {"containers": [GOOD]})], target=False)
    await assistant("decent", variants=[decent], target=False)
    leader = await operators.start()
    leader.holds("careless", "small", 1)
    leader.holds("decent", "small", 1)

    async def told(name: str) -> dict[str, Any]:
        await leader.passes(1)
        return await leader.condition(name, "ResolvedRefs")

    async def is_told(name: str, status: str) -> bool:
        return (await told(name))["status"] == status

    await leader.passes(2)
    await eventually(lambda: is_told("careless", "False"), within_s=40)
    condition = await leader.condition("careless", "ResolvedRefs")
    assert condition["reason"] == "TemplateRefused"
    assert 'violates PodSecurity "restricted' in condition["message"]
    assert (await leader.condition("decent", "ResolvedRefs"))["status"] == "True"
    reasons = [reason for _, reason, _ in await events_of(sandbox, namespace, "careless")]
    assert "TemplateRefused" in reasons

    await assistant("careless", variants=[decent], target=False)
    await eventually(lambda: is_told("careless", "True"), within_s=40)
    pods = await eventually(lambda: sandbox.items("pods", namespace=namespace, selector="jevons.dev/deployment=careless"), within_s=40)
    assert len(pods) == 1

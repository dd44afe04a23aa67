"""An object may only do what its author could do; and the operator only what it owns."""

from __future__ import annotations

import asyncio
import json

import pytest
import yaml

from jevons.sandbox.processes import KubectlError

pytestmark = pytest.mark.cluster

WRITER = {"apiGroups": ["jevons.dev"], "resources": ["inferencedeployments"], "verbs": ["get", "list", "create", "update", "patch"]}
CREATES = {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["create"]}
SCALES = {"apiGroups": ["apps"], "resources": ["deployments/scale"], "verbs": ["patch"]}
POD = {"spec": {"containers": [{"name": "engine", "image": "engine"}]}}
TEMPLATE = {"template": POD}
TARGET = {"targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "llama"}}


def infd(variant: dict, *, name: str = "assistant", **labels: str) -> dict:
    return {
        "apiVersion": "jevons.dev/v1alpha1",
        "kind": "InferenceDeployment",
        "metadata": {"name": name, "labels": labels},
        "spec": {"variants": [{"name": "only", "servedModel": "m", "accelerator": {"className": "h100-80gb"}, **variant}]},
    }


@pytest.fixture
def as_user(release):
    """Apply an object as a user of the namespace; rights are given by `allow`."""

    class User:
        async def allow(self, name: str, *rules: dict) -> None:
            meta = {"name": name}
            role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": meta, "rules": [WRITER, *rules]}
            binding = {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "RoleBinding",
                "metadata": meta,
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
                "subjects": [{"kind": "User", "name": name, "apiGroup": "rbac.authorization.k8s.io"}],
            }
            await release.box.apply(role, binding, namespace=release.namespace)

        async def apply(self, name: str, thing: dict) -> None:
            words = ("apply", "--server-side", "-n", release.namespace, "--as", name, "-f", "-")
            await release.box.kubectl(*words, input=yaml.safe_dump(thing))

    return User()


async def test_a_template_needs_the_right_to_create_deployments(release, as_user):
    await release.install("--set", "catalogue.enabled=false")
    await as_user.allow("poor")
    await as_user.allow("rich", CREATES)
    await _enforced(release)
    with pytest.raises(KubectlError, match=r"template needs the right to create deployments\.apps in namespace .*, which poor does not have"):
        await as_user.apply("poor", infd(TEMPLATE))
    await as_user.apply("rich", infd(TEMPLATE))
    # what was there already may be labelled by one who could not have made it, but not changed
    await release.box.kubectl("label", "infd", "assistant", "-n", release.namespace, "--as", "poor", "team=a")
    changed = '[{"op": "replace", "path": "/spec/variants/0/template/spec/containers/0/image", "value": "other"}]'
    with pytest.raises(KubectlError, match="poor does not have"):
        await release.box.kubectl("patch", "infd", "assistant", "-n", release.namespace, "--as", "poor", "--type=json", "-p", changed)


async def test_a_target_needs_the_right_to_scale_it_and_a_kind_from_the_list(release, as_user):
    await release.install("--set", "catalogue.enabled=false")
    await as_user.allow("poor", CREATES)
    await as_user.allow("rich", SCALES)
    await _enforced(release)
    with pytest.raises(KubectlError, match=r"needs the right to patch deployments\.apps/scale .* which poor does not have"):
        await as_user.apply("poor", infd(TARGET))
    await as_user.apply("rich", infd(TARGET))
    replica_set = {"targetRef": {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "llama"}}
    with pytest.raises(KubectlError, match="targetRef must be one of apps/v1/Deployment"):
        await as_user.apply("rich", infd(replica_set, name="other"))


async def test_the_operator_may_not_write_a_deployment_that_it_does_not_own(release):
    box, namespace = release.box, release.namespace
    await release.install("--set", "catalogue.enabled=false")
    labels = {"app": "llama"}
    spec = {"replicas": 0, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, **POD}}
    await box.apply({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "llama"}, "spec": spec}, namespace=namespace)
    me = ("-n", namespace, "--as", f"system:serviceaccount:{namespace}:jevons-operator")
    await box.kubectl("scale", "deployment", "llama", "--replicas=1", *me)
    await _refused(box, "patch", "deployment", "llama", *me, "--type=merge", "-p", '{"metadata": {"labels": {"x": "y"}}}')
    await _refused(box, "delete", "deployment", "llama", *me)
    assert (await box.get("deployment", "llama", namespace=namespace))["spec"]["replicas"] == 1


async def test_the_operator_may_mark_a_pod_but_not_change_what_it_runs(release):
    box, namespace = release.box, release.namespace
    await release.install("--set", "catalogue.enabled=false")
    await box.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "engine-0"}, **POD}, namespace=namespace)
    me = ("-n", namespace, "--as", f"system:serviceaccount:{namespace}:jevons-operator")
    # kubectl reads before it patches, the operator does not: the right to read is the test's own
    await box.kubectl("create", "role", "reads", "--verb=get", "--resource=pods", "-n", namespace)
    await box.kubectl("create", "rolebinding", "reads", "--role=reads", f"--serviceaccount={namespace}:jevons-operator", "-n", namespace)
    cost = '{"metadata": {"annotations": {"controller.kubernetes.io/pod-deletion-cost": "-100"}}}'
    await _refused(box, "patch", "pod", "engine-0", *me, "-p", '{"spec": {"containers": [{"name": "engine", "image": "other"}]}}')
    await box.kubectl("patch", "pod", "engine-0", *me, "-p", cost)
    assert (await box.get("pod", "engine-0", namespace=namespace))["spec"]["containers"][0]["image"] == "engine"


async def _enforced(release) -> None:
    """The API server takes up a new policy within seconds: wait until it refuses what nobody may do."""
    nobodys = infd({"targetRef": {**TARGET["targetRef"], "kind": "DaemonSet"}})
    await _refused(release.box, "create", "-n", release.namespace, "-f", "-", thing=nobodys)


async def _refused(box, *words: str, thing: dict | None = None) -> None:
    for _ in range(100):
        try:
            await box.kubectl(*words, "--dry-run=server", input=json.dumps(thing) if thing else None)
        except KubectlError as error:
            if "denied" in str(error):
                return
            raise
        await asyncio.sleep(0.1)
    pytest.fail(f"kubectl {' '.join(words)} was allowed for 10 s")

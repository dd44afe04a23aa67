"""What the rendered chart may never be, whatever the values."""

import re
from pathlib import Path

import pytest
import yaml

GOLDEN = Path(__file__).parent / "rbac.yaml"
EVERYTHING = {
    "monitoring": {"enabled": True, "rules": True, "labels": {"release": "prometheus"}},
    "defaultBudget": {"amount": "20000", "period": "Month"},
    "image": {"digest": f"sha256:{'a' * 64}"},
    "gateway": {"envoy": {"digest": f"sha256:{'b' * 64}"}, "service": {"type": "LoadBalancer"}},
}
CASES = [{}, EVERYTHING, {"watchNamespaces": ["team-a", "team-b"]}, {"gateway": {"enabled": False}}, {"admissionPolicy": {"enabled": False}}]


def of(objects, *kinds):
    return [one for one in objects if one["kind"] in kinds]


def pods(objects):
    return [one["spec"]["template"] for one in of(objects, "Deployment")]


def containers(pod):
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


def rights(objects):
    """{(subject, role kind, namespace): sorted lines of "verb resource.group [names]"}."""
    roles = {(one["kind"], one["metadata"].get("namespace"), one["metadata"]["name"]): one["rules"] for one in of(objects, "Role", "ClusterRole")}
    found = {}
    for binding in of(objects, "RoleBinding", "ClusterRoleBinding"):
        namespace = binding["metadata"].get("namespace", "jevons-system" if binding["kind"] == "RoleBinding" else "*")
        rules = roles.pop((binding["roleRef"]["kind"], binding["metadata"].get("namespace"), binding["roleRef"]["name"]))
        (subject,) = binding["subjects"]
        lines = found.setdefault(f"{subject['name']} in {namespace}", set())
        for rule in rules:
            names = f" {' '.join(rule['resourceNames'])}" if "resourceNames" in rule else ""
            for group in rule["apiGroups"]:
                lines |= {f"{verb} {resource}{'.' + group if group else ''}{names}" for resource in rule["resources"] for verb in rule["verbs"]}
    assert roles == {}, "a role is bound to nobody"
    return {who: sorted(lines) for who, lines in found.items()}


@pytest.mark.parametrize("name", ["default", "namespaced", "least"])
def test_rights_are_exactly_the_written_list(render, name):
    values = {
        "default": {},
        "namespaced": {"watchNamespaces": ["team-a"]},
        "least": {
            "watchNamespaces": ["team-a"],
            "admissionPolicy": {"enabled": False},
            "clusterReader": {"enabled": False},
            "gateway": {"enabled": False},
        },
    }[name]
    assert rights(render(**values)) == yaml.safe_load(GOLDEN.read_text())[name]


@pytest.mark.parametrize("values", CASES)
def test_no_right_is_a_wildcard_or_one_that_makes_others(render, values):
    for role in of(render(**values), "Role", "ClusterRole"):
        for rule in role["rules"]:
            assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
            assert not {"escalate", "bind", "impersonate", "deletecollection"} & set(rule["verbs"])
            assert not {"secrets", "pods/exec", "pods/attach", "serviceaccounts/token", "roles", "clusterroles"} & set(rule["resources"])


def test_target_kinds_become_rights_on_their_scale_and_no_more(render):
    kinds = [{"group": "example.com", "version": "v1", "kind": "Server", "resource": "servers"}]
    lines = rights(render(targetKinds=kinds, admissionPolicy={"enabled": False}))["jevons-operator in *"]
    assert [line for line in lines if "servers" in line] == [
        "get servers/scale.example.com",
        "list servers.example.com",
        "patch servers/scale.example.com",
        "watch servers.example.com",
    ]
    assert not [line for line in lines if "apps" in line]


def test_without_the_admission_policy_nothing_but_scale_is_written(render):
    lines = rights(render(admissionPolicy={"enabled": False}))["jevons-operator in *"]
    assert not [line for line in lines if re.match(r"(create|delete|patch|update) deployments\.apps", line)]


@pytest.mark.parametrize("values", CASES)
def test_every_pod_meets_the_restricted_standard(render, values):
    for pod in pods(render(**values)):
        spec = pod["spec"]
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert {kind for volume in spec["volumes"] for kind in volume if kind != "name"} <= {"emptyDir", "projected"}
        for container in containers(pod):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert not any("hostPort" in port for port in container["ports"])


@pytest.mark.parametrize("values", CASES)
def test_every_container_has_probes_and_limits(render, values):
    for pod in pods(render(**values)):
        for container in containers(pod):
            assert {"startupProbe", "livenessProbe", "readinessProbe"} <= set(container)
            assert {"cpu", "memory"} == set(container["resources"]["limits"]) == set(container["resources"]["requests"])


def test_the_api_token_is_in_the_containers_that_use_it_alone(render):
    holders = set()
    for pod in pods(render()):
        assert pod["spec"]["automountServiceAccountToken"] is False
        holders |= {c["name"] for c in containers(pod) if "api-token" in {mount["name"] for mount in c["volumeMounts"]}}
    assert holders == {"operator", "jevons"}
    assert all(account["automountServiceAccountToken"] is False for account in of(render(), "ServiceAccount"))


def test_a_digest_wins_over_the_tag(render):
    images = {c["image"] for pod in pods(render(**EVERYTHING)) for c in containers(pod)}
    assert images == {f"jevons@sha256:{'a' * 64}", f"envoyproxy/envoy@sha256:{'b' * 64}"}


@pytest.mark.parametrize("values", CASES)
def test_every_pod_is_under_a_network_policy_and_a_disruption_budget(render, values):
    objects = render(**values)
    selected = [policy["spec"]["podSelector"]["matchLabels"] for policy in of(objects, "NetworkPolicy")]
    protected = [budget["spec"]["selector"]["matchLabels"] for budget in of(objects, "PodDisruptionBudget")]
    for deployment in of(objects, "Deployment"):
        labels = deployment["spec"]["template"]["metadata"]["labels"].items()
        assert any(selector.items() <= labels for selector in selected)
        assert any(selector.items() <= labels for selector in protected)
    for policy in of(objects, "NetworkPolicy"):
        assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
        for rule in policy["spec"]["egress"]:
            assert rule.get("to"), "egress to anywhere"


def test_only_gateways_reach_the_demand_port(render):
    (policy,) = (one for one in of(render(), "NetworkPolicy") if one["metadata"]["name"] == "jevons-operator")
    (rule,) = (rule for rule in policy["spec"]["ingress"] if {"protocol": "TCP", "port": 9810} in rule["ports"])
    assert [peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"] for peer in rule["from"]] == ["gateway"]


def test_only_the_gateways_own_account_may_report_demand(render):
    accounts = {pod["metadata"]["labels"]["app.kubernetes.io/component"]: pod["spec"]["serviceAccountName"] for pod in pods(render())}
    (operator,) = (container for pod in pods(render()) for container in containers(pod) if container["name"] == "operator")
    users = [word for word in operator["args"] if word.startswith("--demand-user=")]
    assert users == [f"--demand-user=system:serviceaccount:$(POD_NAMESPACE):{accounts['gateway']}"]


def test_envoy_starts_after_and_ends_before_the_process_that_configures_it(render):
    (pod,) = (pod for pod in pods(render()) if pod["metadata"]["labels"]["app.kubernetes.io/component"] == "gateway")
    (sidecar,) = pod["spec"]["initContainers"]
    assert sidecar["restartPolicy"] == "Always"
    drain = pod["spec"]["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["spec"]["terminationGracePeriodSeconds"] > drain


def test_each_expression_asks_the_authorizer_at_most_twice(render):
    policies = of(render(), "ValidatingAdmissionPolicy")
    assert policies
    for policy in policies:
        assert policy["spec"]["failurePolicy"] == "Fail"
        assert all(check["expression"].count("authorizer.") <= 2 for check in policy["spec"]["validations"])


def test_arguments_are_options_the_commands_have(render):
    from typer.main import get_command

    from jevons.cli.main import build

    for pod in pods(render(watchNamespaces=["team-a"])):
        for container in containers(pod):
            if container["name"] == "envoy":
                continue
            name, *options = container["args"]
            known = {option for parameter in get_command(build([name])).commands[name].params for option in parameter.opts}
            assert {option.partition("=")[0] for option in options} <= known


def test_explain_run_in_the_operators_pod_finds_what_the_operator_keeps(render):
    from typer.main import get_command

    from jevons.cli.main import build

    container = next(each for pod in pods(render()) for each in containers(pod) if each["name"] == "operator")
    (kept,) = [mount["mountPath"] for mount in container["volumeMounts"] if mount["name"] == "data"]
    told = [each["name"] for each in container["env"] if each.get("value") == kept]
    for command in ("operator", "explain"):
        options = {parameter.name: parameter for parameter in get_command(build([command])).commands[command].params}
        assert [options["data_dir"].envvar] == told


def test_classes_of_the_catalogue_are_made_once_and_dated(render):
    classes = of(render(), "AcceleratorClass")
    assert len(classes) >= 5
    for one in classes:
        assert one["metadata"]["annotations"]["helm.sh/hook"] == "post-install"
        assert "2026-09-06" in one["metadata"]["annotations"]["jevons.dev/price-source"]
        assert one["spec"]["prices"][0]["effectiveFrom"].startswith("2026-09-06")


def test_the_default_budget_holds_for_namespaces_without_one(render):
    (budget,) = of(render(**EVERYTHING), "InferenceBudget")
    assert budget["spec"]["namespaceSelector"]["matchExpressions"] == [{"key": "jevons.dev/budget", "operator": "DoesNotExist"}]
    assert of(render(), "InferenceBudget") == []

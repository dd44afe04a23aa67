import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "jevons"


def test_the_chart_passes_helms_lint(helm):
    result = helm("lint", "--strict", str(CHART))
    assert result.returncode == 0, result.stdout + result.stderr


def test_schema_and_values_are_those_of_the_commented_source():
    result = subprocess.run([sys.executable, str(ROOT / "tools" / "chart_values.py"), "--check"], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout


def test_the_defaults_fit_their_own_schema():
    schema = json.loads((CHART / "values.schema.json").read_text())
    jsonschema.Draft7Validator.check_schema(schema)
    jsonschema.validate(yaml.safe_load((CHART / "values.yaml").read_text()), schema)


@pytest.mark.parametrize(
    ("values", "where"),
    [
        ({"operater": {}}, "operater"),
        ({"operator": {"replica": 2}}, "replica"),
        ({"gateway": {"service": {"Port": 80}}}, "Port"),
        ({"operator": {"replicas": 0}}, "/operator/replicas"),
        ({"image": {"digest": "latest"}}, "/image/digest"),
        ({"prometheus": {"url": "http://user:password@prometheus"}}, "/prometheus/url"),
        ({"targetKinds": [{"group": "apps", "version": "v1", "kind": "Deployment"}]}, "/targetKinds/0"),
        ({"targetKinds": [{"group": "*", "version": "v1", "kind": "Deployment", "resource": "*"}]}, "/targetKinds/0"),
        ({"defaultBudget": {"amount": 10}}, "/defaultBudget/amount"),
        ({"defaultBudget": {"amount": "10", "whenExceeded": "Stop"}}, "/defaultBudget/whenExceeded"),
    ],
)
def test_a_typo_or_a_value_out_of_bounds_is_refused_by_name(helm, values, where):
    result = helm("template", "jevons", str(CHART), values=values)
    assert result.returncode != 0
    assert where in result.stderr


def test_envoys_heap_is_a_value_and_its_probes_do_not_ask_where_overload_answers(render):
    (pod,) = (
        one["spec"]["template"]["spec"]
        for one in render(gateway={"envoy": {"maxHeapBytes": 1342177280}})
        if one["kind"] == "Deployment" and "gateway" in one["metadata"]["name"]
    )
    (jevons,), (envoy,) = pod["initContainers"], pod["containers"]
    assert {"--max-heap-bytes=1342177280", "--health-port=8081"} <= set(jevons["args"])
    assert {"name": "health", "containerPort": 8081} in envoy["ports"]
    assert {envoy[probe]["httpGet"]["port"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")} == {"health"}

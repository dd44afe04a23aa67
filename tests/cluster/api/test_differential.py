"""The API server and pydantic agree on every object: accepted by both with the same defaults, or refused by both.

Objects are generated from the schemas themselves: a likely valid one, then up to three mutations anywhere in it (another value, a missing or unknown
field, a doubled entry, a null). What `template` holds is exempt: it is the Pod's schema, which neither side checks here.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from jevons.api.crds import MODELS, root_schema
from jevons.api.errors import InvalidSpec
from jevons.api.kinds import API_VERSION, INFERENCE_DEPLOYMENT, KINDS, Kind
from jevons.api.resolve import parse

pytestmark = pytest.mark.cluster

FITTING = (
    *("1s", "2s", "10s", "45s", "1m30s", "2026-09-06T00:00:00Z", "2024-02-29T23:59:59Z", "2000-01-01T00:00:00Z"),
    *("20000", "0.5", "3.673", "999999999999.999999", "80Gi", "24576Mi", "2039G", "3.35T", "Auto", "0", "1.0", "0.95"),
    *("a", "b", "a-1", "a.b", "Abc", "x-team", "UTC", "Europe/Paris", "v1", "apps/v1", "a/b/c/d/e", "nvidia.com/gpu"),
)
"""Strings of which each field takes some."""
POISON: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 7, 101, 65536, 1.0, 4.0, -0.0, 10**12, 10**19, -(10**19), 1.5, -0.5, 1e300),
    *("", "0", "0.00", "0.000001", "-1", "NaN", "1e309", "1O0", "1e3", "0.1m", "+1", "0x10", "1_000", "2.0", "0.99999"),
    *("0s", "1ms", "60ms", "59m59s1000ms", "1h", "0h30m", "24h", "168h", "-5m", "999999h", "99999h99999h", "2 weeks", "Auto", "auto", "Off", "on"),
    *("2023-02-29T00:00:00Z", "2026-01-01T00:00:60Z", "2200-01-01T00:00:00Z", "0000-01-01T00:00:00Z", "2026-01-01T24:00:00Z", "2026-01-01"),
    *("0Gi", "1Mi", "0.5Gi", "16Ti", "17Ti", "1M", "999999T", "80GB", "default", "jevons", "x" * 400, "a\n", "\n", " a", "a "),
    *("\u0430", "\u0663", "\u00e9", "caf\u0065\u0301", "{{ . }}", '"} or vector(0) #', "a/b", "a@b", "A", "a..b", "-a", "a-"),
    *(
        [],
        {},
        [None],
        ["a"],
        ["a", "a"],
        {"a": None},
        {"a": "b"},
        {"/": "b"},
        {"-": ""},
        {"a b": "c"},
        {"a b": None},
        {"a": "b c"},
        {"name": "a"},
        [[]],
        [{}],
    ),
)


def strings(schema: dict[str, Any]) -> st.SearchStrategy[str]:
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    return st.sampled_from([word for word in FITTING if re.search(schema["pattern"], word)])


def values(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values that mostly fit the schema's node."""
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        return st.builds(lambda: {"spec": {"containers": []}})
    if schema["type"] == "object" and "properties" in schema:
        required = {name: values(part) for name, part in schema["properties"].items() if name in schema.get("required", ())}
        optional = {name: values(part) for name, part in schema["properties"].items() if name not in required}
        return st.fixed_dictionaries(required, optional=optional)
    if schema["type"] == "object":
        return st.dictionaries(st.sampled_from(["a", "a.b/c", "A_1"]), values(schema["additionalProperties"]), max_size=2)
    if schema["type"] == "array":
        return st.lists(values(schema["items"]), min_size=schema.get("minItems", 0), max_size=3)
    if schema["type"] == "integer":
        return st.one_of(st.integers(schema["minimum"], min(schema["maximum"], schema["minimum"] + 9)), st.just(schema["maximum"]))
    return strings(schema)


def places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths to everything in a JSON value, except inside templates."""
    entries = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in entries:
        yield (*path, key)
        if key != "template":
            yield from places(value, (*path, key))


@st.composite
def objects(draw: st.DrawFn) -> tuple[Kind, dict[str, Any]]:
    kind = draw(st.sampled_from([INFERENCE_DEPLOYMENT, *KINDS]))
    root = {"spec": draw(SPECS[kind])}
    if kind is INFERENCE_DEPLOYMENT:
        for number, variant in enumerate(root["spec"]["variants"]):
            one_workload(variant, number, draw(st.integers(0, 9)))
    for _ in range(draw(st.sampled_from([0, 0, 1, 1, 2, 3]))):
        mutate(root, draw)
    name = draw(st.sampled_from([*["assistant"] * 18, "a" * 63, "a" * 64]))
    return kind, {"apiVersion": API_VERSION, "kind": kind.kind, "metadata": {"name": name}, **root}


SPECS = {kind: values(root_schema(model)["properties"]["spec"]) for kind, model in MODELS.items()}


def one_workload(variant: dict[str, Any], number: int, luck: int) -> None:
    """Usually a name of its own and one workload, so that other rules are reached."""
    if luck == 0:
        return
    variant["name"] = f"v{number}"
    variant.pop("template" if luck < 8 else "targetRef", None)
    if luck < 8:
        variant.setdefault("targetRef", {})["name"] = f"t{number}"
    else:
        variant["template"] = {"spec": {}}


def mutate(root: dict[str, Any], draw: st.DrawFn) -> None:
    path = draw(st.sampled_from(sorted(places(root), key=repr)))
    parent: Any = root
    for step in path[:-1]:
        parent = parent[step]
    deed = draw(st.sampled_from(["replace", "replace", "replace", "drop", "unknown", "double"]))
    if deed == "drop":
        del parent[path[-1]]
    elif deed == "double" and isinstance(parent, list):
        parent.append(copy.deepcopy(parent[path[-1]]))
    elif deed == "unknown" and isinstance(parent, dict):
        parent["surprise"] = copy.deepcopy(draw(st.sampled_from(POISON)))
    else:
        parent[path[-1]] = copy.deepcopy(draw(st.sampled_from(POISON)))
    if "spec" not in root:
        root["spec"] = {}
    elif not isinstance(root["spec"], dict):
        root["spec"] = {"spec": root["spec"]}


def generated(count: int) -> list[tuple[Kind, dict[str, Any]]]:
    """`count` objects, another set each time; what disagrees is printed in full, so nothing is lost by not shrinking."""
    out: list[tuple[Kind, dict[str, Any]]] = []

    @settings(max_examples=count, phases=[Phase.generate], database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(objects())
    def collect(pair: tuple[Kind, dict[str, Any]]) -> None:
        out.append(copy.deepcopy(pair))

    collect()
    return out


def ours(kind: Kind, obj: dict[str, Any]) -> tuple[dict[str, Any] | None, str]:
    """The spec with its defaults as pydantic has it, or its refusal."""
    try:
        parsed = parse(MODELS[kind], obj)
    except InvalidSpec as error:
        return None, str(error)
    dumped: dict[str, Any] = parsed.model_dump(mode="json", by_alias=True, exclude_none=True)["spec"]
    return dumped, ""


def disagreement(kind: Kind, obj: dict[str, Any], verdict: Any) -> str:
    """Empty when both sides say the same; else what each says of which object."""
    spec, refusal = ours(kind, obj)
    if verdict.accepted != (spec is not None):
        return f"{json.dumps(obj)}\n  server: {verdict.said or 'accepted'}\n  pydantic: {refusal or 'accepted'}"
    if spec is not None and without_templates(spec) != without_templates(verdict.body["spec"]):
        return f"{json.dumps(obj)}\n  server stores: {json.dumps(verdict.body['spec'])}\n  pydantic reads: {json.dumps(spec)}"
    return ""


def without_templates(spec: dict[str, Any]) -> dict[str, Any]:
    out = copy.deepcopy(spec)
    for variant in out.get("variants", ()):
        variant.pop("template", None)
    return out


async def compare(count: int, server: Any, namespace: str) -> None:
    pairs = generated(count)
    for kind, obj in pairs:
        if kind.namespaced:
            obj["metadata"]["namespace"] = namespace
    verdicts = await server.create_all([obj for _, obj in pairs])
    both_ways = sum(verdict.accepted for verdict in verdicts)
    said = [text for (kind, obj), verdict in zip(pairs, verdicts, strict=True) if (text := disagreement(kind, obj, verdict))]
    assert not said, f"{len(said)} disagreements\n" + "\n".join(said[:5])
    assert len(pairs) >= count * 0.9
    assert 0 < both_ways < len(pairs)


async def test_the_api_server_and_pydantic_agree(server, namespace) -> None:
    await compare(150, server, namespace)


@pytest.mark.slow
@pytest.mark.timeout(1200)
async def test_the_api_server_and_pydantic_agree_on_five_thousand_objects(server, namespace) -> None:
    await compare(5000, server, namespace)

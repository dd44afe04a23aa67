"""What is generated: bounded everywhere, committed as generated, kept by Helm."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import Result
from typer.testing import CliRunner

from jevons.api.crds import MODELS, manifest, root_schema
from jevons.api.kinds import INFERENCE_DEPLOYMENT, KINDS
from jevons.api.reference import RESOLVED
from jevons.cli.crds import files
from jevons.cli.main import build

ROOT = Path(__file__).parents[3]


def nodes(path: str, schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, part in schema.get("properties", {}).items():
        yield from nodes(f"{path}.{name}", part)
    for inner in ("items", "additionalProperties"):
        if inner in schema:
            yield from nodes(f"{path}[]", schema[inner])


def parts(kind, *roots: str) -> list[tuple[str, dict[str, Any]]]:
    properties = root_schema(MODELS[kind])["properties"]
    return [node for root in roots for node in nodes(root, properties[root])]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_everything_has_a_bound(kind) -> None:
    for path, part in parts(kind, "spec", "status"):
        if part["type"] == "string":
            assert "maxLength" in part or "enum" in part, path
        if part["type"] == "array":
            assert {"maxItems", "x-kubernetes-list-type"} <= part.keys(), path
        if "additionalProperties" in part:
            assert "maxProperties" in part, path
    for path, part in parts(kind, "spec"):
        if part["type"] == "integer":
            assert {"minimum", "maximum"} <= part.keys(), path


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_every_field_of_the_spec_says_what_it_means(kind) -> None:
    assert [path for path, part in parts(kind, "spec") if not path.endswith("[]") and not part.get("description")] == []


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_the_only_rule_at_the_root_is_the_names_length(kind) -> None:
    assert [rule["rule"] for rule in root_schema(MODELS[kind])["x-kubernetes-validations"]] == ["size(self.metadata.name) <= 63"]


def test_kubectl_shows_what_the_design_names() -> None:
    [version] = manifest(INFERENCE_DEPLOYMENT)["spec"]["versions"]
    shown = [column["name"] for column in version["additionalPrinterColumns"]]
    assert shown == ["MODEL", "READY", "REASON", "RATE", "SPEND", "BUDGET", "$/1K USEFUL", "AGE", "MESSAGE"]
    assert [column["name"] for column in version["additionalPrinterColumns"] if column.get("priority")] == ["MESSAGE"], "only with -o wide"
    assert manifest(INFERENCE_DEPLOYMENT)["spec"]["names"]["shortNames"] == ["infd"]


def test_words_for_defaults_belong_to_fields_that_exist() -> None:
    for kind, path in RESOLVED:
        assert path in {where for where, _ in parts(kind, "spec")}


def test_what_is_committed_is_what_the_models_say() -> None:
    wanted = files(ROOT / "crds", ROOT / "helm/jevons-crds", ROOT / "docs/reference/api.md")
    assert [str(path) for path, text in wanted.items() if path.read_text(encoding="utf-8") != text] == []


def test_the_chart_keeps_the_definitions_and_says_the_same_as_crds(tmp_path) -> None:
    wanted = files(tmp_path, tmp_path / "chart")
    for kind in KINDS:
        plain = yaml.safe_load(wanted[tmp_path / f"{kind.plural}.yaml"])
        charted = yaml.safe_load(wanted[tmp_path / "chart/templates" / f"{kind.plural}.yaml"])
        assert charted["metadata"].pop("annotations") == {"helm.sh/resource-policy": "keep"}
        assert charted == plain


def test_check_fails_on_drift_and_writes_nothing(tmp_path) -> None:
    def crds(*options: str) -> Result:
        return CliRunner().invoke(build(["crds"]), ["crds", "--out", str(tmp_path), *options])

    assert crds().exit_code == 0
    assert crds("--check").exit_code == 0
    drifted = tmp_path / "inferencebudgets.yaml"
    drifted.write_text("drifted", encoding="utf-8")
    refused = crds("--check")
    assert refused.exit_code == 1
    assert f"{drifted} differs from the models" in refused.output
    assert drifted.read_text(encoding="utf-8") == "drifted"

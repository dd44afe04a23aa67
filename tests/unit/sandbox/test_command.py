"""`jevons sandbox` says what is where, and why not."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from jevons.cli.sandbox import app
from jevons.sandbox import ToolError, Tools
from jevons.sandbox.tools import Found


def test_tools_prints_each_with_its_version_and_origin(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Tools({"etcd": Found(path=Path("/somewhere/etcd"), version="3.6.8", origin="cache")})
    monkeypatch.setattr(Tools, "resolve", lambda **_: found)
    lines = CliRunner().invoke(app, ["tools"]).stdout.splitlines()
    assert lines[1].split() == ["etcd", "3.6.8", "cache", "/somewhere/etcd"]


def test_a_tool_that_cannot_be_had_ends_the_command_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_at_all(**_: object) -> Tools:
        raise ToolError("etcd: go build failed")

    monkeypatch.setattr(Tools, "resolve", none_at_all)
    result = CliRunner().invoke(app, ["tools"])
    assert result.exit_code == 1
    assert "etcd: go build failed" in result.output

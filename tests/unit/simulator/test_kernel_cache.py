"""Where machine code is kept: a folder that is ours, writable, and of these very sources."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from jevons.simulator.kernel_cache import cache_folder, digest


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "package"
    folder.mkdir()
    (folder / "kernel.py").write_text("1")
    (folder / "kernel_fleet.py").write_text("2")
    return folder


def blocked(folder: Path) -> Path:
    """A place where nobody, root included, can make a folder."""
    folder.write_text("a file")
    return folder


def test_the_named_folder_comes_first_then_the_package_then_the_home(package, tmp_path):
    given = {"NUMBA_CACHE_DIR": str(tmp_path / "given")}
    assert cache_folder(package, given, tmp_path).parent == tmp_path / "given"
    assert cache_folder(package, {}, tmp_path).parent == package / "__pycache__"
    (package / "__pycache__" / cache_folder(package, {}, tmp_path).name).rmdir()
    (package / "__pycache__").rmdir()
    blocked(package / "__pycache__")
    assert cache_folder(package, {}, tmp_path).parent == tmp_path / ".cache"
    assert cache_folder(package, {"XDG_CACHE_HOME": str(tmp_path / "xdg")}, tmp_path).parent == tmp_path / "xdg"


def test_where_nothing_can_be_written_it_is_a_fresh_private_folder(package, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    blocked(package / "__pycache__")
    home = blocked(tmp_path / "home")
    first, second = (cache_folder(package, {}, home) for _ in range(2))
    assert first != second
    assert first.parent == tmp_path
    assert first.stat().st_mode & 0o077 == 0


def test_a_change_in_any_kernel_is_another_folder(package):
    before = digest(package)
    assert digest(package) == before
    (package / "kernel_fleet.py").write_text("3")
    assert digest(package) != before

"""The house itself: what may be imported under which name."""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[2]


def test_import_operator_is_the_standard_library_even_from_the_checkout() -> None:
    found = subprocess.run(
        [sys.executable, "-c", "import operator; print(operator.__file__, operator.itemgetter(0)([7]))"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert str(ROOT) not in found
    assert found.strip().endswith("operator.py 7")


def test_the_operator_folder_is_no_package() -> None:
    assert not (ROOT / "operator" / "__init__.py").exists()


def test_every_room_opens_with_a_paragraph() -> None:
    silent = [path for path in (ROOT / "operator" / "jevons").rglob("*.py") if path.stat().st_size and not path.read_text().startswith(('"""', "#!"))]
    assert silent == []


def test_locked_requirements_carry_hashes_and_no_addresses() -> None:
    for path in (ROOT / "requirements").glob("*.txt"):
        text = path.read_text()
        assert "--hash=sha256:" in text, path
        assert "://" not in text, path
        assert not re.search(r"^\s*(--index-url|--extra-index-url|-i|--find-links|-f)\b", text, re.MULTILINE), path

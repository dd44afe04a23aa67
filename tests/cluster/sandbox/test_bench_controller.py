"""`jevons bench controller` from the command line to its JSON, on a sandbox of its own."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.cluster, pytest.mark.slow]


def test_the_operator_is_measured_beside_an_idle_one(tmp_path):
    command = [sys.executable, "-m", "jevons", "bench", "controller", "--deployments", "5", "--seconds", "8", "--json", str(tmp_path / "out.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads((tmp_path / "out.json").read_text())
    assert figures["deployments"] == 5
    assert figures["passes"] >= 1
    assert figures["promql_queries"] <= 10
    assert figures["writes_at_rest"] == 0
    assert figures["rss_mb"] > figures["idle_kopf_rss_mb"] > 30
    assert "all routed after" in done.stdout

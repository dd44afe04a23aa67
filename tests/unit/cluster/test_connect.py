"""Where the cluster is: told in one sentence when it cannot be read."""

from __future__ import annotations

import subprocess
import sys

import pytest

from jevons.cluster.connect import NoClusterError, connect


@pytest.fixture(autouse=True)
def outside(monkeypatch):
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)


@pytest.mark.parametrize("content", [None, "", "a: [1", "[]", "current-context: x"])
async def test_a_kubeconfig_that_cannot_be_read_is_named(tmp_path, content):
    path = tmp_path / "kubeconfig"
    if content is not None:
        path.write_text(content)
    with pytest.raises(NoClusterError, match=str(path)) as caught:
        async with connect(str(path)):
            pass
    assert "\n" not in str(caught.value)


async def test_outside_of_a_pod_a_kubeconfig_is_asked_for():
    with pytest.raises(NoClusterError, match="no kubeconfig given"):
        async with connect():
            pass


def test_the_operator_ends_with_that_sentence(tmp_path):
    command = [sys.executable, "-m", "jevons", "operator", "--prometheus-url", "http://127.0.0.1:9", "--kubeconfig", str(tmp_path / "none")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert ended.returncode == 1
    assert f"\noperator: {tmp_path / 'none'}: " in f"\n{ended.stderr}"
    assert "Traceback" not in ended.stderr

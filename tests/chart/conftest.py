"""The chart rendered by the real Helm binary; nothing here needs a cluster."""

import os
import subprocess
from pathlib import Path

import pytest
import yaml

from jevons.sandbox import Tools

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "jevons"


@pytest.fixture(scope="session")
def helm(tmp_path_factory):
    """Run Helm with arguments; returns the finished process."""
    found = Tools.present()
    if "helm" not in found.found:
        pytest.fail("helm not found; run `make tools` first")
    home = tmp_path_factory.mktemp("helm")
    env = {**os.environ, **{f"HELM_{kind}_HOME": str(home / kind) for kind in ("CACHE", "CONFIG", "DATA")}}

    def run(*arguments, values=None):
        extra = ()
        if values is not None:
            path = home / "values.yaml"
            path.write_text(yaml.safe_dump(values))
            extra = ("-f", str(path))
        return subprocess.run([str(found["helm"]), *arguments, *extra], env=env, capture_output=True, text=True, timeout=60, check=False)

    return run


@pytest.fixture(scope="session")
def render(helm):
    """Objects of the chart with these values, each rendering made once."""
    done = {}

    def objects(**values):
        key = repr(values)
        if key not in done:
            result = helm("template", "jevons", str(CHART), "--namespace", "jevons-system", values=values)
            assert result.returncode == 0, result.stderr
            done[key] = [one for one in yaml.safe_load_all(result.stdout) if one]
        return done[key]

    return objects

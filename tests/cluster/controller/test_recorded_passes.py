"""What a real operator saw and decided on a real API server is decided again, byte for byte, from its recording."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from jevons.cli.main import build
from jevons.cli.recordings import lines, passes, segments
from jevons.controller.recorder import Recorder

pytestmark = pytest.mark.cluster


def run(*words):
    arguments = list(map(str, words))
    return CliRunner().invoke(build(arguments), arguments)


async def test_the_passes_of_an_operator_replay_to_the_same_bytes(operators, assistant, namespace, tmp_path, eventually):
    await assistant(budget={"amount": "100", "period": "Day"})
    recorder = Recorder(tmp_path / "passes", limit_bytes=1 << 24)
    op = await operators.start(recorder=recorder)
    op.holds("assistant", "small", 3)

    async def woken():
        await op.passes(1)
        return await op.replicas("assistant-small")

    await eventually(woken)
    op.signals.demand.clear()
    await op.passes(3)
    recorder.close()
    found = list(passes(tmp_path))
    assert len(found) >= 4
    assert any(target.reason == "Wake" for one in found for made in one.decision.deployments.values() for target in made.replicas)
    result = run("replay", tmp_path)
    assert result.exit_code == 0, result.output
    assert "byte-equal" in result.output
    assert "small: " in run("explain", f"{namespace}/assistant", "--recording", tmp_path).output


async def test_the_operators_own_process_leaves_a_recording_without_what_pods_are_told(
    *, sandbox, assistant, accelerator, namespace, tmp_path, eventually
):
    use = {"className": accelerator, "count": 1}
    engine = {
        "name": "engine",
        "image": "engine",
        "resources": {"limits": {"nvidia.com/gpu": "1"}},
        "env": [{"name": "TOKEN", "value": "canary-5151"}],
    }
    small = {"name": "small", "quality": "1.0", "accelerator": use, "replicas": {"min": 1, "max": 2}, "template": {"spec": {"containers": [engine]}}}
    await assistant(target=False, variants=[small])

    async with sandbox.operator(options=["--data-dir", str(tmp_path), "--record-mib", "8"]):

        async def made():
            found = list(passes(tmp_path)) if (tmp_path / "passes").exists() else []
            return any(target.reason == "Steady" for one in found for made in one.decision.deployments.values() for target in made.replicas)

        await eventually(made)
        live = run("replay", tmp_path)  # while it is being written
        assert live.exit_code == 0, live.output
    assert "byte-equal" in run("replay", tmp_path).output
    recorded = "".join(line for path in segments(tmp_path) for line in lines(path))
    assert f"{namespace}/assistant" in recorded
    assert "canary-5151" not in recorded

"""What a real operator saw and decided on a real API server is decided again, byte for byte, from its recording."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from jevons.cli.main import build
from jevons.cli.recordings import passes
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
    assert recorder.recorded >= 4

    found = list(passes(tmp_path))
    assert any(target.reason == "Wake" for one in found for made in one.decision.deployments.values() for target in made.replicas)
    result = run("replay", tmp_path)
    assert result.exit_code == 0, result.output
    assert "byte-equal" in result.output
    assert "small: " in run("explain", f"{namespace}/assistant", "--recording", tmp_path).output

"""What `jevons sandbox up` starts its operator with."""

from __future__ import annotations

import contextlib
from pathlib import Path
from types import SimpleNamespace

import pytest

from jevons.cli import sandbox


class Box:
    """Notes what it is asked for."""

    kubeconfig, api_url, prometheus_url, dir = Path("k"), "a", "p", Path("d")

    def __init__(self) -> None:
        self.options: list[str] = []

    async def kubectl(self, *words: str) -> str:
        return " ".join(words)

    @contextlib.asynccontextmanager
    async def operator(self, *, options):
        self.options = list(options)
        yield SimpleNamespace(demand_address="o", metrics_url="m")

    @contextlib.asynccontextmanager
    async def gateway(self, *, operators):
        yield SimpleNamespace(url=f"g of {operators}")


@pytest.mark.parametrize(("data_dir", "words"), [(None, []), (Path("kept"), ["--data-dir", "kept"])])
async def test_the_operator_keeps_its_passes_where_it_is_told_to(monkeypatch, data_dir, words):
    box = Box()

    @contextlib.asynccontextmanager
    async def start(**_):
        yield box

    monkeypatch.setattr(sandbox.Sandbox, "start", start)
    async with contextlib.AsyncExitStack() as stack:
        lines = await sandbox._start(stack, None, gateway=True, time_scale=1.0, scrape_interval_s=2.0, data_dir=data_dir)
    assert box.options == words
    assert lines[0] == "export KUBECONFIG=k"

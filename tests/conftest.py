"""For every suite: waiting for what happens elsewhere."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

import pytest

SLOW_S = 3600.0
"""Limit of a slow test that names none of its own: on a laden machine some take longer than the ordinary 300 s."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow tests are given time."""
    for item in items:
        if item.get_closest_marker("slow") is not None and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(SLOW_S))


@pytest.fixture
def eventually() -> Callable[..., Any]:
    async def wait(check: Callable[[], Any], *, within_s: float = 60.0, every_s: float = 0.05) -> Any:
        """The first true value of `check()` (sync or async); fails with the last one after `within_s`."""
        value, limit = None, asyncio.timeout(within_s)
        try:
            async with limit:
                while True:
                    value = check()
                    value = await value if inspect.isawaitable(value) else value
                    if value:
                        return value
                    await asyncio.sleep(every_s)
        except TimeoutError:
            if not limit.expired():
                raise
        pytest.fail(f"after {within_s:g} s still {value!r}")

    return wait

"""For every suite: waiting for what happens elsewhere."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

import pytest


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

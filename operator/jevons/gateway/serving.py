"""How a process of the gateway runs: what it does goes on until somebody tells it to end, or until a part of it ends, which none should."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any


async def _nothing() -> None:
    return


class Serving:
    """Made first thing, in the process's event loop: SIGTERM and SIGINT that come while it starts are not lost."""

    def __init__(self) -> None:
        self._stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._stop.set)

    async def run(self, *work: Coroutine[Any, Any, None], ending: Callable[[], Awaitable[None]] = _nothing) -> None:
        """All of `work`, side by side. At the end `ending` is awaited while they still run; then they are cancelled.

        Raises the error of a part that failed: whoever runs the process starts it again.
        """
        tasks = [asyncio.create_task(one) for one in work]
        told = asyncio.create_task(self._stop.wait())
        await asyncio.wait([told, *tasks], return_when=asyncio.FIRST_COMPLETED)
        await ending()
        for task in (told, *tasks):
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        broken = next((one for one in results if isinstance(one, Exception)), None)
        if broken is not None:
            raise broken

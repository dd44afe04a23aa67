"""kopf that does not end when told keeps no process alive."""

from __future__ import annotations

import asyncio
import threading

import pytest

from jevons.controller import handlers
from jevons.controller.handlers import Watcher


async def test_an_end_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handlers, "END_S", 0.05)
    release, began = threading.Event(), threading.Event()

    def deaf(_self: Watcher, _loop: asyncio.AbstractEventLoop) -> str:
        began.set()
        release.wait()
        return "released"

    monkeypatch.setattr(Watcher, "_watch", deaf)
    running = asyncio.create_task(Watcher(None, lambda *_: None, (), ()).run())
    await asyncio.to_thread(began.wait, 5)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(running, 5)
    kopf = next(thread for thread in threading.enumerate() if thread.name == "kopf")
    assert kopf.daemon
    release.set()
    await asyncio.to_thread(kopf.join, 5)

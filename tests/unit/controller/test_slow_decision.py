"""A decision that takes long keeps nothing else of the process waiting: the Lease's renewal above all."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from jevons.cluster.checkpoints import Saved
from jevons.cluster.view import Viewer
from jevons.cluster.world import empty
from jevons.controller import loop as loop_module
from jevons.controller.audit import Audit
from jevons.controller.health import Heartbeat
from jevons.controller.loop import Bell, Loop, Timing
from jevons.controller.metrics import OperatorMetrics
from jevons.controller.recorder import Recorder
from jevons.core.ledger import Ledger
from jevons.core.memory import Memory
from jevons.core.observed import Known
from jevons.ports import Metrics


class Nothing:
    """No demand, no metrics, nothing to act on."""

    async def read(self) -> Metrics:
        return Metrics(health=Known(None, 0.0), pods={}, demand={}, outcomes={}, held={})

    def current(self) -> dict[Any, Any]:
        return {}

    async def act(self, *_: Any) -> Any:
        return loop_module.Outcome()


async def test_a_slow_decision_does_not_stop_the_event_loop(monkeypatch):
    begun, go_on = threading.Event(), threading.Event()
    decide = loop_module.decide

    def slow(*given: Any) -> Any:
        begun.set()
        assert go_on.wait(30)
        return decide(*given)

    monkeypatch.setattr(loop_module, "decide", slow)
    nothing: Any = Nothing()
    loop = Loop(
        viewer=Viewer(empty([])),
        actuator=nothing,
        source=nothing,
        demand=nothing,
        checkpoints=nothing,
        saved=Saved(Memory(), Ledger()),
        bell=Bell(),
        metrics=OperatorMetrics(),
        audit=Audit(None),
        recorder=Recorder(None, limit_bytes=0),
        heartbeat=Heartbeat(),
        timing=Timing(),
    )
    loop._reading = await nothing.read()
    passing = asyncio.create_task(loop.one_pass())
    async with asyncio.timeout(30):
        while not begun.is_set():  # noqa: ASYNC110
            await asyncio.sleep(0)
    assert not passing.done(), "the event loop turns while the decision is taken"
    go_on.set()
    await passing
    assert loop._metrics.last.decision is not None

"""The control loop: observe, decide, act; every period, and at once when something happened.

Prometheus is read beside the loop, once a period, so that a wake-up never waits for it: a pass takes the last reading, with the ages of its
samples. Waking requests start a pass at once; other news (a spec, a pod that became ready) at most once a second. Every pass starts from the whole
world, so one that fails, or never ran, costs a period and nothing else.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any

import structlog

from jevons.cluster.actuator import Actuator, Outcome
from jevons.cluster.checkpoints import Checkpoints, Saved
from jevons.cluster.connect import ApiError
from jevons.cluster.lease import NotLeadingError
from jevons.cluster.view import Signals, View, Viewer
from jevons.controller.audit import Audit, document
from jevons.controller.health import Heartbeat
from jevons.controller.metrics import LastPass, OperatorMetrics
from jevons.controller.outage import Outage
from jevons.controller.recorder import Recorder
from jevons.core.decide import decide
from jevons.core.observed import Known, Unknown
from jevons.core.snapshot import Decision, RouterCurve, Snapshot
from jevons.core.spec import Key
from jevons.ports import Clock, DemandSource, Metrics, MetricSource
from jevons.solver.highs import solve

ACT_DEADLINE_S = 30.0
LAST_SAVE_S = 2.0
"""Of the 5 s within which another operator follows one that is asked to go."""
NEWS_GAP_S = 1.0
WAKE_GAP_S = 0.05

log = structlog.get_logger(__name__)


class SystemClock:
    """The machine's clocks."""

    def now(self) -> float:
        """Wall-clock seconds since the epoch."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return time.monotonic()


class Bell:
    """Wakes the loop. `urgent` = somebody waits for a sleeping model."""

    def __init__(self) -> None:
        self.any, self.urgent = asyncio.Event(), asyncio.Event()
        self.rung_at: float | None = None
        """Monotonic second of the first urgent ring not yet answered."""

    def ring(self, *, urgent: bool = False) -> None:
        """Ask for a pass."""
        self.any.set()
        if urgent:
            self.urgent.set()
            self.rung_at = self.rung_at or time.monotonic()

    def answer(self) -> float | None:
        """The pass begins: rings from now on ask for another one. Returns when the first urgent one rang."""
        self.any.clear()
        self.urgent.clear()
        rung_at, self.rung_at = self.rung_at, None
        return rung_at

    async def wait(self, *, last_pass_at: float, within_s: float) -> None:
        """Until a pass is due: at once for an urgent ring, a second after the last pass for others, after `within_s` in any case."""
        try:
            async with asyncio.timeout(within_s):
                await self.any.wait()
                if not self.urgent.is_set():
                    async with asyncio.timeout(max(0.0, last_pass_at + NEWS_GAP_S - time.monotonic())):
                        await self.urgent.wait()
        except TimeoutError:
            pass
        await asyncio.sleep(max(0.0, last_pass_at + WAKE_GAP_S - time.monotonic()))


@dataclass(frozen=True, slots=True)
class Timing:
    """Intervals in seconds."""

    period_s: float = 15.0
    scrape_interval_s: float = 15.0


class Loop:
    """One leader's loop, from the checkpoints it found to the ones it leaves."""

    def __init__(
        self,
        *,
        viewer: Viewer,
        actuator: Actuator,
        source: MetricSource,
        demand: DemandSource,
        checkpoints: Checkpoints,
        saved: Saved,
        bell: Bell,
        metrics: OperatorMetrics,
        audit: Audit,
        recorder: Recorder,
        heartbeat: Heartbeat,
        timing: Timing,
        router: RouterCurve | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._viewer, self._actuator, self._source, self._demand = viewer, actuator, source, demand
        self._checkpoints, self._bell, self._metrics, self._audit = checkpoints, bell, metrics, audit
        self._heartbeat, self._timing, self._router, self._recorder = heartbeat, timing, router, recorder
        self._clock = clock or SystemClock()
        self._started_at_s = self._clock.now()
        self._memory, self._ledger = saved.memory, saved.ledger
        self._reading: Metrics | None = None
        self._saving: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._saving.set_result(None)
        self._outage = Outage(shortest_s=2 * timing.scrape_interval_s)

    async def run(self) -> None:
        """Until cancelled; then what is worth keeping is stored."""
        polling = asyncio.create_task(self._poll(), name="prometheus")
        try:
            while self._reading is None:
                await self._bell.any.wait()
                self._bell.any.clear()
            while True:
                await self._guarded_pass()
                await self._bell.wait(last_pass_at=self._clock.monotonic(), within_s=self._timing.period_s + 6.0)
        finally:
            polling.cancel()
            await self._last_save()
            self._saving.cancel()

    async def _poll(self) -> None:
        """Read Prometheus each period, and ask for a pass on each reading."""
        while True:
            began = self._clock.monotonic()
            reading = await self._source.read()
            now_s = self._clock.now()
            if self._outage.saw(now_s, answered=isinstance(reading.health, Known)) and isinstance(reading.health, Unknown):
                log.warning("metrics unavailable", reason=reading.health.reason, detail=reading.health.detail)
            self._reading = reading
            self._metrics.queries.set(reading.queries)
            self._bell.ring()
            await asyncio.sleep(max(0.2, began + self._timing.period_s - self._clock.monotonic()))

    async def _guarded_pass(self) -> None:
        """One pass; whatever goes wrong in it is logged and counted, and the loop goes on."""
        rung_at = self._bell.answer()
        self._heartbeat.beat()
        try:
            with self._metrics.pass_seconds.time():
                await self.one_pass()
            if self._saving.done():
                self._saving = asyncio.create_task(self.save(), name="checkpoints")
        except Exception:
            self._metrics.decision_errors.inc()
            log.exception("pass failed")
        if rung_at is not None:
            self._metrics.wake_seconds.observe(time.monotonic() - rung_at)
        self._metrics.passes.inc()

    async def one_pass(self) -> Outcome:
        """Observe, decide, act."""
        now_s = self._clock.now()
        snapshot, view = self._observe(now_s)
        # in a thread: whatever a decision takes, the Lease is renewed and gateways are heard meanwhile
        decision = await asyncio.to_thread(decide, snapshot, now_s, solve)
        self._memory, self._ledger = decision.memory, decision.ledger
        self._metrics.last = LastPass(decision, view)
        outcome = Outcome()
        try:
            async with asyncio.timeout(ACT_DEADLINE_S):
                outcome = await self._actuator.act(decision, view, now_s)
        except TimeoutError:
            outcome.failures["Deadline"] = 1
            log.warning("acting did not end in time", deadline_s=ACT_DEADLINE_S)
        if outcome.left:
            log.info("acting goes on in the next pass", objects_left=outcome.left)
            self._bell.ring()
        self._metrics.decision_errors.inc(sum(outcome.failures.values()))
        self._audit.record(decision)
        self._recorder.offer(now_s, snapshot, decision)
        return outcome

    def _observe(self, now_s: float) -> tuple[Snapshot, View]:
        reading = self._reading
        if reading is None:
            raise RuntimeError("no reading yet")
        view = self._viewer.build(Signals(reading, self._demand.current()), now_s)
        snapshot = Snapshot(
            deployments=view.deployments,
            accelerators=view.accelerators,
            inventory=view.inventory,
            shared_budgets=view.budgets,
            metrics=reading.health,
            metrics_down_since_s=self._outage.down_since_s,
            metrics_back_since_s=self._outage.back_since_s,
            started_at_s=self._started_at_s,
            scrape_interval_s=self._timing.scrape_interval_s,
            router=self._router,
            memory=self._memory,
            ledger=self._ledger,
        )
        return snapshot, view

    async def _last_save(self) -> None:
        """Store everything before the Lease is given back, within a deadline: the next leader bills what is missing as a gap."""
        try:
            async with asyncio.timeout(LAST_SAVE_S):
                await self.save(now=True)
        except TimeoutError:
            log.warning("not every checkpoint was stored in time", deadline_s=LAST_SAVE_S)

    async def save(self, *, now: bool = False) -> None:
        """Store what changed, beside the loop: a wake-up does not wait for it."""
        try:
            await self._checkpoints.save(self._memory, self._ledger, now=now)
        except (ApiError, NotLeadingError) as error:
            log.warning("checkpoint not stored", error=str(error))


def explained(metrics: OperatorMetrics, namespace: str, name: str) -> dict[str, Any] | None:
    """The last decision about one deployment, as JSON; None when there is none here."""
    decision: Decision | None = metrics.last.decision
    decided = decision.deployments.get(Key(namespace, name)) if decision is not None else None
    return None if decided is None else document(decided)

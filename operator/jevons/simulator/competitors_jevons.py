"""Jevons as a competitor: the operator's own `decide`, on a Snapshot made of what the operator would have read.

Scrapes come through the same door as everybody's; the API server's pods and the gateway's counts come from `Inside`, as the operator lists the former
and hears the latter. Memory and ledger travel from pass to pass. A pass runs each period, at once when somebody waits for a sleeping variant, and a
second after a pod became ready, as in `controller/loop.py`. Before a scale-down the pods with the least work are marked to go first.

Nothing here decides: replicas and routes are `core.decide`'s.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from functools import cache
from itertools import pairwise

import numpy as np

from jevons.core.decide import decide
from jevons.core.ledger import Ledger
from jevons.core.memory import Memory
from jevons.core.observed import Known
from jevons.core.snapshot import (
    DeploymentDecision,
    DeploymentState,
    Held,
    Outcomes,
    Pod,
    PodSignals,
    Snapshot,
    TargetState,
    VariantState,
)
from jevons.core.spec import DEFAULT_CLASS, AcceleratorClass
from jevons.simulator.cluster import Pod as SimPod
from jevons.simulator.competitors_gateway import Counts, Directions
from jevons.simulator.competitors_spec import EPOCH_S, KEY, JevonsSettings, accelerators, deployment
from jevons.simulator.policies.policy import Sample, View
from jevons.simulator.scenario import Floats, Ints, Scenario
from jevons.simulator.shocks import listed
from jevons.simulator.world import Inside

NEWS_GAP_S = 1.0
WISH_S = 15.0
RATE_S = 60.0


NO_SIGNALS = PodSignals()


class Jevons:
    """One operator over one scenario; a Controller and an Insider."""

    def __init__(self, scenario: Scenario, settings: JevonsSettings) -> None:
        self.settings = settings
        self.period_s, self.sample_s = settings.period_s, scenario.scrape_s
        self.due_s = math.inf
        self.decision: DeploymentDecision | None = None
        """The last one."""
        self.spec = deployment(scenario, settings)
        self._variants = scenario.variants
        self._classes = (DEFAULT_CLASS, *(one.written.name for one in scenario.classes))
        lots = np.random.default_rng((scenario.seed, len(scenario.requests)))
        self._lots, self._shares = lots.random(len(scenario.requests)), lots.random(len(scenario.requests))
        self._accelerators = accelerators(self.spec, scenario, settings)
        self._memory, self._ledger = Memory(), Ledger()
        self._counts = Counts(scored=len(scenario.variants) > 1, classes=[one.written for one in scenario.classes])
        self._signals: dict[str, PodSignals] = {}
        """Of the pods in the last scrape, by the name of their series."""
        self._busy_s: dict[str, float] = {}
        self._tokens: dict[str, deque[tuple[float, int]]] = {variant.name: deque() for variant in scenario.variants}
        self._scraped_s = 0.0
        self._passed_s = -math.inf
        self._wishes: dict[int, tuple[float, float]] = {}
        """By variant: when it was first wished awake lately, and last."""
        self._directed: tuple[Floats, Ints] = np.empty(0), np.empty(0, np.int32)
        """Arrivals that were given their way, and the variant that each will wish awake."""
        self._inside: Inside

    @property
    def spent_usd(self) -> float:
        """What its own ledger says was spent until the last pass."""
        account = self._ledger.accounts.get(KEY)
        return float(account.usd) if account is not None else 0.0

    def meet(self, inside: Inside) -> None:
        """See `Insider`."""
        self._inside = inside

    def turned(self, now: float, *, readied: bool) -> None:
        """Pods that became ready ask for a pass; the gateway sees them at once, and those that went."""
        if readied:
            self.due_s = min(self.due_s, max(now, self._passed_s + NEWS_GAP_S))
        self._direct(now)

    def observe(self, samples: Mapping[str, Sample]) -> None:
        """Prometheus has scraped engines and accelerators."""
        signals: dict[str, PodSignals] = {}
        busy_s: dict[str, float] = {}
        at = EPOCH_S + max(sample.at_s for sample in samples.values())
        known = cache(lambda value: Known(value, at))
        for index, (name, sample) in enumerate(samples.items()):
            tokens, grown = known(self._tokens_per_s(name, sample)), known(self._grown_at_s(name))
            readings = {reading.pod: reading for reading in sample.pods}
            for pod in self._inside.pods(index):
                reading = readings.get(pod.series)
                if reading is None or pod.slot is None:
                    continue
                busy_s[pod.series] = self._inside.busy_s(pod)
                since_s = max(self._scraped_s, pod.ready_s or 0.0)
                worked_s = busy_s[pod.series] - self._busy_s.get(pod.series, 0.0)
                signals[pod.series] = PodSignals(
                    running=known(float(reading.running)),
                    waiting=known(float(reading.waiting)),
                    kv_used=known(reading.kv_usage),
                    generation_tokens_per_s=tokens,
                    tokens_at_s=grown,
                    gpu_util=known(min(1.0, worked_s / (sample.at_s - since_s)) if sample.at_s > since_s else float(reading.running > 0)),
                )
        self._signals, self._busy_s = signals, busy_s
        self._scraped_s = at - EPOCH_S

    def _tokens_per_s(self, name: str, sample: Sample) -> float:
        """Tokens of completed requests per pod over the last minute: all that tells of work which began and ended between two scrapes."""
        seen = self._tokens[name]
        seen.append((sample.at_s, sample.prompt_tokens + sample.output_tokens))
        while seen[0][0] < sample.at_s - RATE_S:
            seen.popleft()
        span_s = seen[-1][0] - seen[0][0]
        return (seen[-1][1] - seen[0][1]) / span_s / max(1, len(sample.pods)) if span_s > 0 else 0.0

    def _grown_at_s(self, name: str) -> float:
        """When those tokens last grew; 0 = not within the minute."""
        grown = [EPOCH_S + after[0] for before, after in pairwise(self._tokens[name]) if after[1] > before[1]]
        return grown[-1] if grown else 0.0

    def wake(self, now: float, views: Mapping[str, View]) -> Mapping[str, int]:
        """Somebody waits for a sleeping variant."""
        del views
        return self.decide(now, self._inside.views())

    def decide(self, now: float, views: Mapping[str, View]) -> Mapping[str, int]:
        """One pass."""
        self._passed_s, self.due_s = now, math.inf
        self._hear_wishes(now)
        at = EPOCH_S + now
        answer = decide(self.snapshot(now, views), at, self.settings.solver)
        self._memory, self._ledger = answer.memory, answer.ledger
        self.decision = answer.deployments[KEY]
        wanted = {target.variant: target.desired for target in self.decision.replicas if target.desired is not None}
        self._rest(now)
        for index, variant in enumerate(self._variants):
            desired, current = wanted.get(variant.name, 0), views[variant.name].replicas
            if 0 < desired < current:
                self._inside.mark(index, self._victims(index, current - desired))
        self._direct(now)
        return wanted

    def _rest(self, now: float) -> None:
        """Put pods to sleep and wake others, as decided."""
        asleep = {target.variant: target.asleep for target in self.decision.replicas if target.desired} if self.decision is not None else {}
        for index, variant in enumerate(self._variants):
            if variant.sleep is not None and variant.name in asleep:
                self._inside.rest(index, frozenset(asleep[variant.name]), now)

    def snapshot(self, now: float, views: Mapping[str, View]) -> Snapshot:
        """The world as the operator sees it at `now`."""
        at = EPOCH_S + now
        arrived = self._inside.arrived(now)
        self._counts.answered([self._inside.counts(index, now) for index in range(len(self._variants))])
        state = DeploymentState(
            spec=self.spec,
            variants={variant.name: self._state(index, views[variant.name]) for index, variant in enumerate(self._variants)},
            demand=self._counts.demand(arrived, now, EPOCH_S),
            held=self._held(now),
            outcomes=Known(Outcomes(*map(float, self._inside.outcomes(now))), at),
            last_arrival_at_s=EPOCH_S + float(arrived.at_s[-1]) if len(arrived) else None,
        )
        return Snapshot(
            deployments={KEY: state},
            accelerators=self._priced(now),
            metrics=Known(None, at),
            started_at_s=EPOCH_S,
            scrape_interval_s=self.sample_s,
            router=self.settings.curve,
            memory=self._memory,
            ledger=self._ledger,
        )

    def _priced(self, now: float) -> Mapping[str, AcceleratorClass]:
        """The classes with their prices as they have become."""
        shocks = self._inside.scenario.shocks
        if not shocks:
            return self._accelerators
        of = {written.accelerator_class: variant.accelerator for written, variant in zip(self.spec.variants, self._variants, strict=True)}
        return listed(self._accelerators, of, shocks, now, EPOCH_S)

    def _state(self, index: int, view: View) -> VariantState:
        name, spot = self._variants[index].name, self._variants[index].reclaim_per_h > 0
        pods = tuple([self._pod(pod, spot=spot) for pod in self._inside.pods(index)])
        return VariantState(TargetState(exists=True, replicas=view.replicas, uid=name), pods, selector=name)

    def _pod(self, pod: SimPod, *, spot: bool) -> Pod:
        return Pod(
            name=pod.name,
            uid=pod.name,
            created_at_s=EPOCH_S + pod.created_s if pod.created_s > 0 else EPOCH_S - 1.0,
            scheduled_at_s=None if pod.scheduled_s is None else EPOCH_S + pod.scheduled_s,
            ready_at_s=None if pod.ready_s is None else EPOCH_S + pod.ready_s,
            node=pod.place.name if pod.place is not None else None,
            unschedulable=pod.scheduled_s is None,
            terminating=pod.leaving_s is not None,
            failed=pod.failed,
            spot=spot,
            signals=self._signals.get(pod.series, NO_SIGNALS),
            marked_at_s=None if pod.marked_s is None else EPOCH_S + pod.marked_s,
            asleep=pod.asleep,
        )

    def _held(self, now: float) -> tuple[Held, ...]:
        """What waits at the gateway, and what it wishes to be awake although nobody waits."""
        held = {}
        for index, variant in enumerate(self._variants):
            count, patient = self._inside.counts(index, now).held, self._inside.patient(index)
            if count or patient:
                held[variant.name] = Held(variant.name, count, EPOCH_S + self._inside.held_since_s(index, now), patient)
        for index, (first_s, last_s) in self._wishes.items():
            name = self._variants[index].name
            known = held.get(name)
            if now - last_s <= WISH_S and (known is None or not known.count):
                oldest_s = EPOCH_S + first_s if known is None else min(known.oldest_at_s, EPOCH_S + first_s)
                held[name] = Held(name, 1, oldest_s, 0 if known is None else known.patient)
        return tuple(held.values())

    def _victims(self, index: int, leaving: int) -> frozenset[str]:
        """The pods with the least work: those that do not serve, then by requests in the engine; unknown counts as busy."""

        def busyness(pod: SimPod) -> tuple[bool, float]:
            signals = self._signals.get(pod.series)
            if signals is None or not isinstance(signals.running, Known) or not isinstance(signals.waiting, Known):
                return pod.ready, math.inf
            return pod.ready, signals.running.value + signals.waiting.value

        staying = [pod for pod in self._inside.pods(index) if pod.leaving_s is None]
        return frozenset(pod.name for pod in sorted(staying, key=busyness)[:leaving])

    def _direct(self, now: float) -> None:
        """Write where requests go that arrive from now on, and how long they may wait, until the plan or the pods can have changed."""
        if self.decision is None or (len(self._variants) == 1 and len(self._classes) == 1):
            return
        self._hear_wishes(now)
        inside, requests, plan = self._inside, self._inside.scenario.requests, self.decision.routing
        first, last = np.searchsorted(requests.at_s, (now, now + self.period_s + NEWS_GAP_S), "right").tolist()
        ready = [any(pod.ready for pod in inside.pods(index)) for index in range(len(self._variants))]
        wishes = np.full(last - first, -1, np.int32)
        for klass, name in enumerate(self._classes):
            directions = Directions(self.spec, plan, ready, name)
            mine = first + np.flatnonzero(requests.klass[first:last] == klass)
            if len(mine) and len(self._variants) > 1:
                score, lot, share = requests.score[mine].astype(np.float64), self._lots[mine], self._shares[mine]
                inside.route[mine], wishes[mine - first] = directions.of(score, lot, share)
            inside.patience_s[mine] = directions.patience_s
            inside.booked[mine] = requests.input_tokens[mine] + self._counts.answer_tokens(klass)
        for index, route in enumerate(plan.variants):
            inside.keep_idle(index, route.idle_tokens or 0.0)
        self._directed = requests.at_s[first:last], wishes
        for index in range(len(self._variants)):
            known = self._wishes.get(index)
            news = self._directed[0][wishes == index]
            if len(news) and (known is None or news[0] - known[1] > WISH_S):
                self.due_s = min(self.due_s, float(news[0]))

    def _hear_wishes(self, now: float) -> None:
        """Note the wishes of those that have arrived by `now`."""
        at_s, wishes = self._directed
        heard = int(np.searchsorted(at_s, now, "right"))
        for index in range(len(self._variants)):
            times = at_s[:heard][wishes[:heard] == index]
            if len(times):
                known = self._wishes.get(index)
                fresh = known is None or times[0] - known[1] > WISH_S
                self._wishes[index] = (float(times[0]) if fresh or known is None else known[0], float(times[-1]))
        self._directed = at_s[heard:], wishes[heard:]

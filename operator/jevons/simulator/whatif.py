"""What would this manifest cost and do on this traffic? One InferenceDeployment, as written, against a trace and beside three simpler ways to run it.

The same `decide` runs as in the cluster, on the same spec; replicas are played by the engine model from each variant's profile. Beside it:

    always-large     the smallest static fleet of the best variant that keeps the promise on this traffic (known only afterwards)
    no-scaling       this manifest with every variant at replicas.max all the time
    no-routing       this manifest with routing off

A task that uses N times the tokens (an agent instead of a chat) is N calls of the same size, each one sent when the one before it should be answered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from jevons.core.money import accelerator_usd_per_h
from jevons.core.snapshot import RouterCurve
from jevons.core.spec import DEFAULT_CLASS, AcceleratorClass, Deployment, RoutingMode, Variant
from jevons.simulator.classes import served
from jevons.simulator.competitors import jevons, static
from jevons.simulator.competitors_spec import EPOCH_S
from jevons.simulator.scenario import Controller, HostMemory, Outcome, Physics, Requests, Scenario, SimVariant, Startup, met
from jevons.simulator.static import smallest
from jevons.simulator.world import simulate

MOST_STATIC = 64
"""Static fleets are tried up to this size."""


@dataclass(frozen=True, slots=True)
class ClassAnswer:
    """One request class in one way to run it. Times of those that were answered: in front of the replicas, and from arrival to first token."""

    name: str
    offered: int
    useful: int
    wait_p95_s: float
    ttft_p95_s: float


@dataclass(frozen=True, slots=True)
class Answer:
    """One way to run it. Shares are 0..1; useful: answered inside the objectives.

    usd_per_h is the mean over the run; replicas: (at_s, ready, starting or pending) per scrape.
    """

    name: str
    offered: int
    useful: int
    small: int
    refused: int
    usd: float
    hours: float
    gpu_hours: float
    starting_gpu_hours: float
    ttft_p50_s: float
    ttft_p95_s: float
    scale_events: int
    peak_replicas: int
    replicas: Sequence[tuple[float, float, float]]
    classes: tuple[ClassAnswer, ...] = ()
    """Those of which there were requests, the default one first."""

    @property
    def usd_per_1k_useful(self) -> float | None:
        """USD per 1,000 useful answers; None when there was none."""
        return 1000.0 * self.usd / self.useful if self.useful else None

    @property
    def usd_per_month(self) -> float:
        """At this pace for 30 days."""
        return self.usd / self.hours * 720.0


def multiplied(requests: Requests, factor: float, *, pace_s: float, ttft_s: float) -> Requests:
    """Tasks of `factor` >= 1 times the tokens: call k of a task follows when call k-1 should be answered (ttft_s + output * pace_s later).

    Of a factor that is not whole the last call has the remaining part of the tokens. Raises ValueError below 1.
    """
    if factor < 1.0:
        raise ValueError(f"multiplier: {factor} must be at least 1")
    whole = int(factor)
    parts = [1.0] * whole + ([factor - whole] if factor > whole else [])
    answer_s = ttft_s + requests.output_tokens * pace_s
    at_s = np.concatenate([requests.at_s + number * answer_s for number in range(len(parts))])
    given = np.concatenate([np.maximum(1, np.rint(requests.input_tokens * part)).astype(np.int32) for part in parts])
    wanted = np.concatenate([np.maximum(1, np.rint(requests.output_tokens * part)).astype(np.int32) for part in parts])
    order = np.argsort(at_s, kind="stable")
    cached = np.tile(requests.cached_tokens, len(parts))
    score, klass = np.tile(requests.score, len(parts)), np.tile(requests.klass, len(parts))
    return Requests(at_s[order], given[order], wanted[order], np.minimum(cached, given - 1)[order].astype(np.int32), score[order], klass[order])


def copies(requests: Requests, count: int, *, seed: int = 0) -> Requests:
    """`count` times the traffic: each further copy is shifted around the trace's length by a random part of it, so that bursts do not coincide."""
    if count <= 1:
        return requests
    length_s = float(requests.at_s[-1]) + 1e-9
    shifts = np.random.default_rng([seed, 21]).random(count - 1) * length_s
    at_s = np.concatenate([requests.at_s, *((requests.at_s + shift) % length_s for shift in shifts)])
    order = np.argsort(at_s, kind="stable")
    given, wanted, cached = (np.tile(column, count)[order] for column in (requests.input_tokens, requests.output_tokens, requests.cached_tokens))
    return Requests(at_s[order], given, wanted, cached, np.tile(requests.score, count)[order], np.tile(requests.klass, count)[order])


def scored(requests: Requests, scores: Sequence[float], *, seed: int = 0) -> Requests:
    """The requests with router scores drawn from `scores` (traces do not hold their prompts)."""
    if not scores:
        return requests
    drawn = np.random.default_rng([seed, 20]).choice(np.asarray(scores, np.float32), len(requests))
    return replace(requests, score=drawn)


def scenario_of(written: Deployment, accelerators: Mapping[str, AcceleratorClass], requests: Requests, *, seed: int = 0) -> Scenario:
    """The world that the manifest describes. Raises ValueError naming the variant that has no profile or no price, or whose context is too short."""
    variants = tuple(_variant(variant, accelerators) for variant in written.variants)
    longest = int((requests.input_tokens + requests.output_tokens).max())
    best = written.best
    if best.profile is not None and longest > min(best.context_length, best.profile.kv_tokens):
        raise ValueError(
            f"trace: a request of {longest} tokens exceeds what variant {best.name!r} can hold "
            f"(contextLength {best.context_length}, KV cache {best.profile.kv_tokens} tokens)"
        )
    return Scenario(
        str(written.key),
        requests,
        variants,
        written.objectives,
        max_wait_s=written.scaling.wake_timeout_s,
        seed=seed,
        classes=served(written),
        max_waiting=written.scaling.max_waiting,
    )


def _variant(variant: Variant, accelerators: Mapping[str, AcceleratorClass]) -> SimVariant:
    if variant.profile is None:
        raise ValueError(
            f"spec.variants[{variant.name}].capacity: without a profile there is nothing to simulate; name one of the table or give numbers"
        )
    known = accelerators.get(variant.accelerator_class)
    usd_per_h = accelerator_usd_per_h(known, EPOCH_S) if known is not None else None
    if usd_per_h is None:
        raise ValueError(
            f"spec.variants[{variant.name}].accelerator: no price for class {variant.accelerator_class!r}; add its AcceleratorClass with another -f"
        )
    return SimVariant(
        name=variant.name,
        physics=Physics(variant.profile),
        startup=Startup(variant.startup_s),
        usd_per_h=float(usd_per_h) * variant.accelerator_count,
        accelerator=variant.accelerator_class,
        accelerators=variant.accelerator_count,
        min_replicas=variant.min_replicas,
        max_replicas=variant.max_replicas,
        initial_replicas=variant.min_replicas,
        quality=variant.quality,
        sleep=None if variant.sleep is None else HostMemory(float(variant.sleep.holding), variant.sleep.wake_s),
    )


def compare(
    written: Deployment, accelerators: Mapping[str, AcceleratorClass], requests: Requests, *, curve: RouterCurve | None = None, seed: int = 0
) -> list[Answer]:
    """The manifest as written first, then the simpler ways (those that differ from it)."""
    scenario = scenario_of(written, accelerators, requests, seed=seed)
    answers = [_answer("as written", scenario, jevons(scenario, written=written, accelerators=accelerators, curve=curve))]
    if len(written.variants) > 1 and written.routing.mode is RoutingMode.AUTO:
        unrouted = replace(written, routing=replace(written.routing, mode=RoutingMode.OFF))
        answers.append(_answer("no-routing", scenario, jevons(scenario, written=unrouted, accelerators=accelerators, curve=curve)))
    best = written.best.name
    smallest = _smallest(scenario, best)
    if smallest is not None:
        answers.append(_fixed(f"always-large ({smallest} x {best})", scenario, {best: smallest}))
    pinned = replace(written, variants=tuple(replace(variant, min_replicas=variant.max_replicas) for variant in written.variants))
    standing = scenario_of(pinned, accelerators, requests, seed=seed)
    answers.append(_answer("no-scaling", standing, jevons(standing, written=pinned, accelerators=accelerators, curve=curve)))
    return answers


def _fixed(name: str, scenario: Scenario, fleet: Mapping[str, int]) -> Answer:
    variants = tuple(
        replace(variant, min_replicas=0, initial_replicas=fleet.get(variant.name, 0), max_replicas=max(1, fleet.get(variant.name, 0)))
        for variant in scenario.variants
    )
    return _answer(name, replace(scenario, variants=variants), static(fleet))


def _smallest(scenario: Scenario, name: str) -> int | None:
    """The fewest replicas of the variant alone that keep every class' promise; None when MOST_STATIC do not."""
    promised = {DEFAULT_CLASS: scenario.objectives, **{one.written.name: one.written.objectives for one in scenario.classes}}

    def keeps(replicas: int) -> bool:
        found = _fixed("", scenario, {name: replicas}).classes
        return all(one.useful >= promised[one.name].percentile / 100.0 * one.offered for one in found)

    return smallest(keeps, guess=1, most=MOST_STATIC)


def _answer(name: str, scenario: Scenario, controller: Controller) -> Answer:
    outcome = simulate(scenario, controller)
    requests = scenario.requests
    good = met(requests, outcome, scenario.objectives, scenario.classes)
    best = max(range(len(scenario.variants)), key=lambda index: scenario.variants[index].quality)
    ttft_s = (outcome.first_token_s - requests.at_s)[np.isfinite(outcome.first_token_s)]
    p50, p95 = np.percentile(ttft_s, (50, 95)) if len(ttft_s) else (float("nan"), float("nan"))
    replicas = [(float(row[0]), float(row[1]), float(row[2] + row[3])) for row in outcome.timeline]
    return Answer(
        name=name,
        offered=len(requests),
        useful=int(good.sum()),
        small=int(((outcome.variant >= 0) & (outcome.variant != best)).sum()),
        refused=_refused(outcome),
        usd=outcome.usd,
        hours=max(outcome.ended_s, float(requests.at_s[-1])) / 3600.0,
        gpu_hours=outcome.gpu_s / 3600.0,
        starting_gpu_hours=outcome.starting_gpu_s / 3600.0,
        ttft_p50_s=float(p50),
        ttft_p95_s=float(p95),
        scale_events=outcome.scale_events,
        peak_replicas=int(max((ready for _, ready, _ in replicas), default=0)),
        replicas=replicas,
        classes=_by_class(scenario, outcome, good),
    )


def _by_class(scenario: Scenario, outcome: Outcome, good: NDArray[np.bool_]) -> tuple[ClassAnswer, ...]:
    requests, told = scenario.requests, []
    for number, name in enumerate((DEFAULT_CLASS, *(one.written.name for one in scenario.classes))):
        mine = requests.klass == number
        answered = mine & np.isfinite(outcome.first_token_s)
        if mine.any():
            waits, firsts = outcome.waited_s[answered], (outcome.first_token_s - requests.at_s)[answered]
            p95s = [float(np.percentile(times, 95)) if len(times) else float("nan") for times in (waits, firsts)]
            told.append(ClassAnswer(name, int(mine.sum()), int(good[mine].sum()), *p95s))
    return tuple(told)


def _refused(outcome: Outcome) -> int:
    return int((~np.isfinite(outcome.end_s)).sum())

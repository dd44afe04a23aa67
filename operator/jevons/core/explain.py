"""Why a deployment has what it has: what was read and how old it is, which plans were weighed at what cost, and which bounds bind."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from jevons.core import attainment, forecast, moving, reclaim, season, shadow, startup
from jevons.core.budget import Pace
from jevons.core.facts import VariantFacts
from jevons.core.funding import Funded
from jevons.core.memory import Learned
from jevons.core.observed import Known, Observed
from jevons.core.plan import Plan
from jevons.core.snapshot import Explanation


def explanation(funded: Funded, source: Observed[None]) -> Explanation:
    """The explanation that goes with a decision; every figure in it was used. source: whether Prometheus answered."""
    facts, plan = funded.facts, funded.plan
    inputs: list[tuple[str, str, float | None]] = [("metrics", *_health(source, facts.now))]
    for demand, load in zip(facts.state.demand, facts.loads, strict=True):
        inputs.append(
            (f"arrivals[{load.name}]", f"{load.now_per_s:.3g}/s, {load.ahead_per_s:.3g}/s at startup time", _age(demand.arrivals_per_s, facts.now))
        )
        trend = facts.trends.get(load.name)
        if trend is not None and trend.learned.bets:
            inputs.append((f"forecast[{load.name}]", _forecast(round(forecast.persistence(trend), 2), trend.dispersion, trend.learned), None))
        inputs.append((f"tokens[{load.name}]", f"{load.input_tokens} in, {load.output_tokens} out", _age(demand.input_tokens, facts.now)))
    if facts.memory.attained is not None:
        inputs.append(("promise", _promise(attainment.deviations(facts.memory.attained)), None))
    if facts.held:
        oldest = min(item.oldest_at_s for item in facts.state.held if item.count > 0)
        inputs.append(("held", str(facts.held), max(0.0, facts.now - oldest)))
    for variant in facts.variants:
        seen = variant.seen
        age = max(0.0, facts.now - seen.oldest_sample_s) if seen.oldest_sample_s is not None else None
        inputs.append(
            (f"pods[{variant.spec.name}]", _pods(seen.ready, seen.expected, seen.running, seen.waiting, seen.unseen, len(seen.resting)), age)
        )
        inputs.extend(_shown(variant))
    asleep = next((item for item in plan.variants if item.facts.spec.name == plan.wake), None)
    if asleep is not None and asleep.facts.spec.min_replicas == 0 and facts.spec.scaling.idle_after_s is None:
        age = facts.now - facts.last_arrival_at_s if facts.last_arrival_at_s is not None else None
        inputs.append((f"sleep[{plan.wake}]", moving.programme(facts, plan, asleep), age))
    inputs.extend((f"season[{pace.standing.name or 'spec.budget'}]", _season(funded, pace), None) for pace in funded.paces)
    inputs.extend(shadow.inputs(funded))
    binding = [*dict.fromkeys(plan.binding), *shadow.binding(funded)]
    binding.extend(f"budget {pace.standing.name or 'spec.budget'} at {pace.cap_usd_per_h:.4g} USD/h" for pace in funded.paces if funded.shed)
    if facts.no_down:
        binding.append(facts.no_down)
    return Explanation(tuple(inputs), _alternatives(funded), tuple(binding))


def _shown(variant: VariantFacts) -> Iterator[tuple[str, str, None]]:
    """What a variant's pods have shown beside their load: starts, standstill, losses."""
    name, health = variant.spec.name, variant.memory.health
    if health.starts_s:
        yield (
            f"startup[{name}]",
            f"{variant.startup_s:.0f} s by the last {len(health.starts_s)} starts{_at_home(variant)}; the spec says {variant.spec.startup_s:.0f}",
            None,
        )
    if variant.seen.stuck:
        yield (
            f"stuck[{name}]",
            f"{len(variant.seen.stuck)} ready pods have requests, a quiet GPU and no tokens; {health.replacements} replaced",
            None,
        )
    if health.spot is not None:
        lost = f"{health.spot.losses:.1f} in {health.spot.pod_hours:.0f} pod-hours"
        yield (
            f"spot[{name}]",
            f"{len(health.spot.uids)} of {health.spot.pods} pods, taken away {reclaim.per_h(health.spot):.2g} times an hour ({lost})",
            None,
        )


def _at_home(variant: VariantFacts) -> str:
    """What nodes that had its weights already made of it, where some had and some had not."""
    health = variant.memory.health
    known = sum(health.at_home)
    if known in {0, len(health.at_home)}:
        return ""
    there_s, fresh_s = [startup.on_node_s(health, variant.spec.startup_s, node) for node in (health.homes[-1], "")]
    return f" ({known} on nodes that had served it: {there_s:.0f} s there, {fresh_s:.0f} s elsewhere)"


def _season(funded: Funded, pace: Pace) -> str:
    """What the rest of a budget's period is expected to cost, and by what."""
    known = season.shape(funded.facts.memory.season, pace.standing.time_zone)
    now = known.at(funded.facts.now, pace.standing.time_zone)
    return f"{pace.expected_usd:.4g} USD to come; {known.days} whole days known, this hour {now:.2f} of the mean, {funded.level_usd_per_h:.4g} USD/h"


@lru_cache(maxsize=64)
def _promise(tight: float) -> str:
    return f"sized for {tight:+.2f} standard deviations beside its percentile, by the share of useful answers"


@lru_cache(maxsize=4096)
def _forecast(lasting: float, dispersion: float, learned: Learned) -> str:
    return (
        f"{lasting:.0%} of a difference lasts a startup time, dispersion {dispersion:.3g}; "
        f"{learned.covered:.0%} of {learned.bets:.0f} readings inside the {forecast.COVERED:.0%} band, pinball loss {learned.pinball:.2g}/s"
    )


@lru_cache(maxsize=4096)
def _pods(ready: int, expected: float, running: float, waiting: float, unseen: int, resting: int) -> str:  # noqa: PLR0917  a cache's key is positional
    asleep = f", {resting} asleep in host memory" if resting else ""
    return f"{ready} ready, {expected - resting:.1f} expected, {running:.0f} running, {waiting:.0f} waiting, {unseen} unseen{asleep}"


def _alternatives(funded: Funded) -> tuple[tuple[str, str, str], ...]:
    chosen = (_shape(funded.plan), f"{_cost(funded.plan):.4g} USD/h", "chosen")
    rows = [chosen]
    if funded.full is not funded.plan:
        rows.append((f"without budget pressure: {_shape(funded.full)}", f"{funded.full.usd_per_h:.4g} USD/h", "costs more than the budget carries"))
    moved = next((item.reason for item in funded.plan.variants if item.replicas != item.facts.current), None)
    if moved is not None:
        current = ", ".join(f"{item.facts.current} {item.facts.spec.name}" for item in funded.plan.variants)
        cost = sum(item.facts.current * (item.facts.usd_per_h or 0.0) for item in funded.plan.variants)
        rows.append((f"no change: {current}", f"{cost:.4g} USD/h", moved))
    rows.extend(shadow.ways(funded))
    return tuple(rows)


def _shape(plan: Plan) -> str:
    return ", ".join([f"{item.replicas} {item.facts.spec.name}" for item in plan.variants])


def _cost(plan: Plan) -> float:
    return sum([item.paid * (item.facts.usd_per_h or 0.0) for item in plan.variants])


def _health(metrics: Observed[None], now: float) -> tuple[str, float | None]:
    return ("answered", metrics.age_s(now)) if isinstance(metrics, Known) else (metrics.reason, None)


def _age(observed: Observed[float], now: float) -> float | None:
    return observed.age_s(now) if isinstance(observed, Known) else None

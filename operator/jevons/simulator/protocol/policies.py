"""Who competes, which knob of each trades money for attainment, and which settings a tier allows.

Jevons has one knob, `objectives.percentile`, and one fixed set of defaults everywhere; nothing of it is ever tuned. A peer's knob is the one its grid
names. `foresight` knows the future (see `foresight.py`, `foresight_mixed.py`) and is no competitor.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from typing import Any

from jevons.simulator import competitors
from jevons.simulator.policies import PEERS
from jevons.simulator.policies.grid import Axis, Grid
from jevons.simulator.protocol.router import CLASSIFIER, RoutedWorld
from jevons.simulator.scenario import Controller, Dispatch, Scenario

JEVONS = "jevons"
ROUTED, LARGE = "jevons-routed", "always-large"
"""Ours before a large and a small model, and ours with the large one alone: what routing is worth."""
FORESIGHT = "foresight"
COMPETITORS = ("hpa", "keda", "kpa", "aibrix-apa", "wva", "dynamo", "kubeai", "static")
REFERENCES = (FORESIGHT, "c-lo", "lp")
ARMS = (ROUTED, LARGE)
EVERYBODY = (JEVONS, *ARMS, *COMPETITORS, "aibrix-kpa", *REFERENCES)
DISPATCHERS = {
    "kpa": Dispatch.TWO_CHOICES,  # activator, random choice of two where the concurrency is not bounded hard
    "kubeai": Dispatch.LEAST_REQUESTS,  # LeastLoad
    "wva": Dispatch.LEAST_REQUESTS,  # llm-d's endpoint picker, by queue
    "dynamo": Dispatch.ROUND_ROBIN,  # its router's default
    **dict.fromkeys(("hpa", "keda", "aibrix-apa", "aibrix-kpa", "static"), Dispatch.RANDOM),  # a Service, or a gateway's `random`
}
"""What each system sends requests by where nobody sets up anything else; everybody not named has ours."""
STATIC = (0.3, 0.45, 0.6, 0.75, 0.9, 1.0, 1.15, 1.35, 1.6, 2.0, 2.5)
MIN_QUALITY = 0.95
"""What the arm that routes promises of the large model's quality."""
PERCENTILES = (50.0, 70.0, 80.0, 90.0, 95.0, 98.0, 99.0, 99.5, 99.9)


class Tier(StrEnum):
    """How well a peer was set up."""

    DEFAULT = "default"
    OTHER_TRACES = "other-traces"
    THIS_TRACE = "this-trace"


@dataclasses.dataclass(frozen=True, slots=True)
class Ours:
    """A setting of Jevons. The priors may be made wrong on purpose."""

    percentile: float
    prior_scale: float | None = 1.0


@dataclasses.dataclass(frozen=True, slots=True)
class Routed(Ours):
    """A setting of an arm that routes: by which router's scores (see `router`). The large model alone has none."""

    router: str = CLASSIFIER


def arm(world: RoutedWorld, policy: str, setting: Routed) -> Controller:
    """A fresh competitor for a world of two models, or the large one alone."""
    curve = world.curve if policy == ROUTED else None
    return competitors.jevons(world.scenario, percentile=setting.percentile, prior_scale=setting.prior_scale, curve=curve, min_quality=MIN_QUALITY)


def controller(scenario: Scenario, policy: str, setting: Any) -> Controller:
    """A fresh competitor. Raises KeyError for a policy nobody knows."""
    if policy == JEVONS:
        return competitors.jevons(scenario, percentile=setting.percentile, prior_scale=setting.prior_scale)
    return competitors.peer(policy, scenario, setting)


def front(policy: str, base: Any = None, *, needed: int = 8, every: int = 1) -> tuple[Any, ...]:
    """The settings of a policy along its knob, from `base` or the defaults; every so-many-th of them, the unchanged one always among them.

    needed: about how many replicas the trace needs; the sizes of a static fleet are spread around it.
    """
    if policy in ARMS:
        return tuple(Routed(one.percentile) for one in front(JEVONS, every=every))
    if policy == JEVONS:
        return tuple(Ours(percentile) for percentile in PERCENTILES[(len(PERCENTILES) - 1) % every :: every])
    if policy == "static":
        sizes = sorted({max(1, round(needed * factor)) for factor in STATIC[::every]})
        return tuple(dataclasses.replace(PEERS[policy].defaults, replicas=size) for size in sizes)
    factors = PEERS[policy].grid.factors
    kept = [factor for at, factor in enumerate(factors) if (at - factors.index(1.0)) % every == 0]
    return near(policy, [PEERS[policy].defaults if base is None else base], kept)


def grid(policy: str) -> tuple[Any, ...]:
    """Every combination that may be tuned, at most 200, without those that the peer's own validation refuses."""
    axes = PEERS[policy].grid.axes
    one_each = (
        tuple(Axis(axis.fields, (row,)) for axis, row in zip(axes, rows, strict=True)) for rows in itertools.product(*(axis.rows for axis in axes))
    )
    return tuple(itertools.chain.from_iterable(_valid(Grid(single, "").settings, PEERS[policy].defaults) for single in one_each))


def near(policy: str, settings: Sequence[Any], factors: Sequence[float]) -> tuple[Any, ...]:
    """Settings with their knob turned by each of `factors`, none twice."""
    knob = PEERS[policy].grid
    turned = (_valid(dataclasses.replace(knob, factors=(factor,)).front, setting) for setting in settings for factor in factors)
    return tuple(dict.fromkeys(itertools.chain.from_iterable(turned)))


def _valid(make: Callable[[Any], Iterator[Any]], base: Any) -> list[Any]:
    """What `make(base)` yields; nothing when the peer refuses it."""
    try:
        return list(make(base))
    except ValueError:
        return []


def described(policy: str, setting: Any) -> str:
    """What differs from the defaults, in words. Example: `target=8 minimum=2`."""
    if not dataclasses.is_dataclass(setting):
        return str(setting)
    base = PEERS[policy].defaults if policy in PEERS else Routed(-1.0) if policy in ARMS else Ours(-1.0) if policy == JEVONS else None
    changed = [field.name for field in dataclasses.fields(setting) if base is None or getattr(setting, field.name) != getattr(base, field.name)]
    return " ".join(f"{name}={_short(getattr(setting, name))}" for name in changed) or "defaults"


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, StrEnum):
        return value.value
    if dataclasses.is_dataclass(value):
        return "+".join(f"{field.name}:{_short(getattr(value, field.name))}" for field in dataclasses.fields(value))
    return "/".join(map(_short, value)) if isinstance(value, tuple) else str(value)

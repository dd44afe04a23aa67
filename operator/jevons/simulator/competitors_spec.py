"""What somebody would write to have a scenario's model served by Jevons: an InferenceDeployment, resolved, and the prices of its accelerators.

What is written may be wrong: the profile and the startup time are priors, and a benchmark makes them wrong on purpose.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal

from jevons.core.milp import Solver
from jevons.core.snapshot import RouterCurve
from jevons.core.spec import AcceleratorClass, Deployment, Key, Price, RoutingMode, RoutingSpec, ScalingSpec, Sleep, Variant
from jevons.core.speed import slower
from jevons.simulator.scenario import Scenario, SimVariant
from jevons.solver.highs import solve

EPOCH_S = 1_699_999_200.0
"""The core's clock is the wall's: the scenario begins here."""
CONTEXT = 1 << 20
KEY = Key("simulator", "model")


@dataclass(frozen=True, slots=True)
class JevonsSettings:
    """What may differ between runs; the defaults are those of the API.

    percentile: None = the scenario's; the knob that trades money against attainment. prior_scale: the profile it is given takes this many
    times as long as the truth (3 = believes replicas to be three times slower than they are), None = it is given no profile. startup_scale:
    the same for startup.
    """

    percentile: float | None = None
    prior_scale: float | None = 1.0
    startup_scale: float = 1.0
    idle_after_s: float | None = None
    min_quality: float = 0.95
    routing: RoutingMode = RoutingMode.AUTO
    curve: RouterCurve | None = None
    """The router's calibration."""
    solver: Solver | None = solve
    """Chooses routes and replicas together, as the operator's; None = routes by rule."""
    period_s: float = 15.0
    written: Deployment | None = None
    """What somebody did write, with the scenario's variants in the scenario's order; of the fields above `curve` and `period_s` alone count then."""
    accelerators: Mapping[str, AcceleratorClass] | None = None
    """The classes that `written` names."""


def deployment(scenario: Scenario, settings: JevonsSettings) -> Deployment:
    """The InferenceDeployment that somebody would write for the scenario, or has written."""
    if settings.written is not None:
        return replace(settings.written, key=KEY, created_at_s=EPOCH_S)
    percentile = settings.percentile if settings.percentile is not None else scenario.objectives.percentile
    return Deployment(
        key=KEY,
        uid="simulator",
        generation=1,
        created_at_s=EPOCH_S,
        model="model",
        variants=tuple(_variant(variant, settings) for variant in scenario.variants),
        objectives=replace(scenario.objectives, percentile=percentile),
        classes=tuple(one.written for one in scenario.classes),
        routing=RoutingSpec(mode=settings.routing, min_quality=settings.min_quality),
        scaling=ScalingSpec(idle_after_s=settings.idle_after_s, wake_timeout_s=scenario.max_wait_s),
    )


def _variant(variant: SimVariant, settings: JevonsSettings) -> Variant:
    scale = settings.prior_scale
    return Variant(
        name=variant.name,
        served_model=variant.name,
        accelerator_class=f"{variant.accelerator}-{variant.name}",
        quality=variant.quality,
        context_length=CONTEXT,
        accelerator_count=variant.accelerators,
        profile=None if scale is None else slower(variant.physics.profile, scale),
        startup_s=variant.startup.median_s * settings.startup_scale,
        min_replicas=variant.min_replicas,
        max_replicas=variant.max_replicas,
        sleep=None if variant.sleep is None else Sleep(Decimal(f"{variant.sleep.holding:.6f}"), variant.sleep.wake_s * settings.startup_scale),
    )


def accelerators(spec: Deployment, scenario: Scenario, settings: JevonsSettings) -> Mapping[str, AcceleratorClass]:
    """Every class of the spec with its price."""
    if settings.accelerators is not None:
        return settings.accelerators
    return {variant.accelerator_class: accelerator(variant, of) for variant, of in zip(spec.variants, scenario.variants, strict=True)}


def accelerator(variant: Variant, of: SimVariant) -> AcceleratorClass:
    """A class of its own for every variant: two variants may pay differently for the same accelerator (spot and not)."""
    price = Decimal(f"{of.usd_per_h / of.accelerators:.6f}")
    return AcceleratorClass(name=variant.accelerator_class, prices=(Price(0.0, price),))

"""Worlds for tests of the core: one assistant (large + small) on A100s, with the profiles of the seed table, and pods as a test wants them."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from jevons.core import capacity
from jevons.core.ledger import Account, Ledger, Mark
from jevons.core.observed import Known, Unknown
from jevons.core.snapshot import (
    ClassDemand,
    DeploymentState,
    Held,
    Inventory,
    Pod,
    PodSignals,
    RouterCurve,
    Snapshot,
    TargetState,
    VariantState,
)
from jevons.core.spec import DEFAULT_CLASS, AcceleratorClass, Deployment, Key, Price, Profile, ScalingSpec, Variant

NOW = 1_767_261_600.0
"""2026-01-01 10:00 UTC."""
KEY = Key("team-a", "assistant")
LARGE_PROFILE = Profile(0.028269, 0.0001517, 0.00005662, 0.02069, 0.151782, 0.0016515, 458_846)
SMALL_PROFILE = Profile(0.006818, 0.0001177, 0.00006133, 0.00699, 0.059733, 0.0016988, 515_356)
LARGE = Variant("large", "llama-70b", "a100", quality=1.0, accelerator_count=4, profile=LARGE_PROFILE, startup_s=120.0, max_replicas=6)
SMALL = Variant("small", "llama-8b", "a100", quality=0.7, accelerator_count=1, profile=SMALL_PROFILE, startup_s=60.0, max_replicas=10)
A100 = AcceleratorClass("a100", prices=(Price(0.0, Decimal("3.67")),))
CURVE = RouterCurve(tuple(0.20 + 0.03 * i for i in range(20)), tuple(0.50 + 0.0155 * i for i in range(20)))


def pod(
    uid: str, now: float = NOW, *, running: float = 0.0, waiting: float = 0.0, util: float = 0.0, age_s: float = 3600.0, **changes: object
) -> Pod:
    """A ready pod whose signals were read just now."""
    signals = PodSignals(running=Known(running, now), waiting=Known(waiting, now), kv_used=Known(0.1, now), gpu_util=Known(util, now))
    ready = Pod(uid, uid, now - age_s, now - age_s, now - age_s / 2, "node", signals=signals)
    return replace(ready, **changes)  # type: ignore[arg-type]


def busy(variant: Variant, per_s: float) -> float:
    """Requests that one replica of the variant runs at once at `per_s` [1/s], by its profile (Little's law); at most what its promise allows."""
    assert variant.profile is not None
    one = capacity.of_replica(variant.profile, 1155, 211, 0.060, 2.0)
    alone_s, engine_s, prefill_s = one.seconds
    free = 1.0 - per_s * engine_s
    return min(one.concurrency, per_s * (alone_s / free + prefill_s)) if free > 0.0 else one.concurrency


def blind(uid: str, now: float = NOW, reason: str = "NoData", **changes: object) -> Pod:
    """A ready pod without any reading."""
    nothing = Unknown(reason)
    return pod(uid, now, signals=PodSignals(nothing, nothing, nothing, nothing, nothing, nothing), **changes)


def variant_state(*pods: Pod, replicas: int | None = None, **changes: object) -> VariantState:
    """A target with as many replicas as pods, unless said otherwise."""
    return VariantState(TargetState(True, len(pods) if replicas is None else replicas, "uid", **changes), pods, "app=x")  # type: ignore[arg-type]


def deployment(*variants: Variant, key: Key = KEY, **changes: object) -> Deployment:
    """An assistant of these variants (large and small by default) that sleeps after 300 s."""
    plain = Deployment(key, f"uid-{key}", 1, NOW - 86_400.0, key.name, variants or (LARGE, SMALL), scaling=ScalingSpec(idle_after_s=300.0))
    return replace(plain, **changes)  # type: ignore[arg-type]


def demand(
    per_s: float, now: float = NOW, name: str = DEFAULT_CLASS, *, inputs: float = 1155.0, outputs: float = 211.0, **changes: object
) -> ClassDemand:
    """Arrivals of one class as the pickers report them."""
    plain = ClassDemand(name, Known(per_s, now), Known(inputs, now), Known(outputs, now), (5.0,) * 20)
    return replace(plain, **changes)  # type: ignore[arg-type]


def state(spec: Deployment, variants: dict[str, VariantState], **changes: object) -> DeploymentState:
    """One deployment as seen."""
    return replace(DeploymentState(spec, variants), **changes)  # type: ignore[arg-type]


def held(variant: str, count: int, now: float = NOW) -> Held:
    """Requests that wait since ten seconds."""
    return Held(variant, count, now - 10.0)


def world(*states: DeploymentState, now: float = NOW, **changes: object) -> Snapshot:
    """A cluster with these deployments, healthy metrics and free accelerators; led by this operator for an hour."""
    plain = Snapshot(
        deployments={item.spec.key: item for item in states},
        accelerators={"a100": A100},
        inventory={"a100": Known(Inventory(4, 32, 8), now)},
        metrics=Known(None, now),
        started_at_s=now - 3600.0,
        router=CURVE,
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def spent(usd: str | float | Decimal, key: Key = KEY) -> Ledger:
    """A ledger that knows of this much spent since midnight."""
    amount = Decimal(str(usd)).quantize(Decimal("0.01"))
    return Ledger({key: Account(as_of_s=NOW, usd=amount, marks=(Mark(int((NOW - 36_000.0) // 900), Decimal(0), 0.0, 0.0),))})

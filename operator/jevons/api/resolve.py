"""From a stored object to the core's value: validate, fill in what depends on the object, turn words into numbers.

`resolve_*` takes the object as the API server gives it. Stored objects can be older than the schema that guards the door, or written past it, so
everything is checked again; whatever is wrong becomes one InvalidSpec that names field, value and bound, and the caller reports it on that object
alone. `status` is not read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC
from decimal import Decimal
from typing import Any, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import ValidationError

from jevons.api import profiles
from jevons.api.acceleratorclass import AcceleratorClass, Price
from jevons.api.base import Model
from jevons.api.budget import BudgetFields
from jevons.api.errors import InvalidSpec, Problem
from jevons.api.inferencebudget import InferenceBudget
from jevons.api.inferencedeployment import ClassObjectives, InferenceDeployment, InferenceDeploymentSpec, Objectives, RequestClass
from jevons.api.quantities import AUTO, bytes_from, duration_s_from, instant_from
from jevons.api.variant import Capacity, CapacityNumbers, Variant
from jevons.core import spec as core

AnyKind = TypeVar("AnyKind", bound=Model)


def resolve_deployment(obj: Mapping[str, Any]) -> core.Deployment:
    """The InferenceDeployment `obj` with every default filled in; InvalidSpec says what is wrong with it.

    An accelerator that is left out stays "" and 0: only its pods can tell (cluster/accelerators.py).

    Example: `model: chat`, one variant with a targetRef and a budget give ttft_s 2.0, min_quality 0.95, 0..10 replicas (test_resolve.py).
    """
    parsed = parse(InferenceDeployment, obj)
    meta, spec = parsed.metadata, parsed.spec
    model = spec.model or meta.name
    objectives = _objectives(spec.objectives)
    budget = None if spec.budget is None else _budget(spec.budget, "spec.budget")
    return core.Deployment(
        key=core.Key(meta.namespace, meta.name),
        uid=meta.uid,
        generation=meta.generation,
        created_at_s=0.0 if meta.creation_timestamp is None else meta.creation_timestamp.astimezone(UTC).timestamp(),
        model=model,
        variants=tuple(_variant(variant, model, f"spec.variants[{index}]") for index, variant in enumerate(spec.variants)),
        objectives=objectives,
        classes=tuple(_request_class(each, objectives) for each in spec.request_classes),
        routing=_routing(spec),
        scaling=_scaling(spec),
        budget=budget,
        session_budget_usd=None if spec.sessions is None else _decimal(spec.sessions.budget),
        session_max_calls=None if spec.sessions is None else spec.sessions.max_calls,
        cache_ttl_s=None if spec.cache is None else _seconds(spec.cache.ttl),
        team_header=None if spec.team_from is None else spec.team_from.header,
    )


def resolve_accelerator(obj: Mapping[str, Any]) -> core.AcceleratorClass:
    """The AcceleratorClass `obj`, its prices in order of time; InvalidSpec says what is wrong with it."""
    parsed = parse(AcceleratorClass, obj)
    spec, power, committed = parsed.spec, parsed.spec.power, parsed.spec.committed
    return core.AcceleratorClass(
        name=parsed.metadata.name,
        resource_name=spec.resource_name,
        node_selector=dict(spec.node_selector),
        memory_gb=None if spec.memory is None else float(bytes_from(spec.memory) / 2**30),
        bandwidth_gb_s=None if spec.memory_bandwidth is None else float(bytes_from(spec.memory_bandwidth) / 10**9),
        prices=tuple(sorted((_price(price) for price in spec.prices), key=lambda price: price.effective_from_s)),
        spot_selector=dict(spec.spot_selector),
        committed=None
        if committed is None
        else core.Committed(count=committed.count, usd_per_h=Decimal(committed.price), until_s=instant_from(committed.until).timestamp()),
        idle_watts=None if power is None else power.idle_watts,
        peak_watts=None if power is None else power.peak_watts,
        limit_watts=None if power is None else power.limit_watts,
        limit=spec.limit,
    )


def resolve_budget(obj: Mapping[str, Any], members: Iterable[core.Key]) -> core.SharedBudget:
    """The InferenceBudget `obj` over `members` (see inferencebudget.selects); InvalidSpec says what is wrong with it."""
    parsed = parse(InferenceBudget, obj)
    meta = parsed.metadata
    if parsed.spec.namespace_selector is None:
        raise InvalidSpec([Problem("spec.teams", "", "spend is not counted by team yet, so this would bind nobody; set namespaceSelector")])
    return core.SharedBudget(
        name=meta.name, uid=meta.uid, generation=meta.generation, budget=_budget(parsed.spec, "spec"), members=frozenset(members)
    )


def parse(kind: type[AnyKind], obj: Mapping[str, Any]) -> AnyKind:
    """`obj` as the pydantic model `kind`, without its status; InvalidSpec names every field that is wrong."""
    try:
        return kind.model_validate({key: value for key, value in obj.items() if key != "status"})
    except ValidationError as error:
        errors = error.errors(include_url=False)
        broken = {each["loc"][:length] for each in errors for length in range(len(each["loc"]))}
        # a list whose only entry is broken is "too short" as well: that is an echo
        told = [each for each in errors if not (each["type"] == "too_short" and each["loc"] in broken)]
        raise InvalidSpec([_problem(dict(each)) for each in told]) from None


def _problem(error: Mapping[str, Any]) -> Problem:
    path = ""
    for step in error["loc"]:
        path += f"[{step}]" if isinstance(step, int) else f".{step}" if path else str(step)
    value = error["input"]
    if error["type"] in ("rule", "missing") and not isinstance(value, str):
        shown = ""  # the message of a rule names the values that matter
    else:
        text = f'"{value}"' if isinstance(value, str) else repr(value)
        shown = text if len(text) <= 80 else text[:77] + "..."
    return Problem(path, shown, error["msg"])


def _seconds(text: str) -> float:
    return float(duration_s_from(text))


def _decimal(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)


def _late_cost(text: str) -> Decimal | None:
    return None if text == AUTO else Decimal(text)


def _objectives(spec: Objectives) -> core.Objectives:
    return core.Objectives(
        percentile=float(spec.percentile),
        ttft_s=_seconds(spec.time_to_first_token),
        itl_s=_seconds(spec.inter_token_latency),
        late_cost_usd=_late_cost(spec.late_answer_cost),
    )


def _class_objectives(spec: ClassObjectives | None, inherited: core.Objectives) -> core.Objectives:
    if spec is None:
        return inherited
    return core.Objectives(
        percentile=inherited.percentile if spec.percentile is None else float(spec.percentile),
        ttft_s=inherited.ttft_s if spec.time_to_first_token is None else _seconds(spec.time_to_first_token),
        itl_s=inherited.itl_s if spec.inter_token_latency is None else _seconds(spec.inter_token_latency),
        late_cost_usd=inherited.late_cost_usd if spec.late_answer_cost is None else _late_cost(spec.late_answer_cost),
    )


def _request_class(spec: RequestClass, inherited: core.Objectives) -> core.RequestClass:
    return core.RequestClass(
        name=spec.name,
        header=None if spec.match is None else (spec.match.header.name.lower(), spec.match.header.value),
        max_input_tokens=spec.max_input_tokens,
        max_output_tokens=spec.max_output_tokens,
        min_quality=None if spec.min_quality is None else float(spec.min_quality),
        objectives=_class_objectives(spec.objectives, inherited),
        priority=core.Priority(spec.priority),
        tier=core.Tier(spec.tier),
    )


def _variant(spec: Variant, model: str, path: str) -> core.Variant:
    target = spec.target_ref
    return core.Variant(
        name=spec.name,
        served_model=spec.served_model or model,
        accelerator_class=spec.accelerator.class_name or "",
        quality=float(spec.quality),
        precision=spec.precision,
        techniques=spec.techniques,
        context_length=spec.context_length,
        capabilities=frozenset(spec.capabilities),
        accelerator_count=spec.accelerator.count or 0,
        engine=spec.engine.type,
        port=spec.engine.port,
        profile=None if spec.capacity is None else _profile(spec.capacity, f"{path}.capacity"),
        startup_s=_seconds(spec.startup.expected),
        min_replicas=spec.replicas.min,
        max_replicas=spec.replicas.max,
        target=None if target is None else core.TargetRef(target.api_version, target.kind, target.name),
        promotion=core.Promotion(spec.promotion),
        sleep=None if spec.sleep is None else core.Sleep(Decimal(spec.sleep.holding_cost), _seconds(spec.sleep.wake)),
    )


def _profile(spec: Capacity, path: str) -> core.Profile:
    name = spec.profile or ""
    if spec.numbers is not None:
        found = _profile_from_numbers(spec.numbers)
    elif name in profiles.table():
        found = profiles.table()[name]
    else:
        model = name.split("/", maxsplit=1)[0]
        near = [known for known in profiles.table() if known.startswith(f"{model}/")] or sorted({known.split("/")[0] for known in profiles.table()})
        bound = f"is not in the profile table; known are {', '.join(near)}; or give capacity.numbers, or leave capacity out to learn it"
        raise InvalidSpec([Problem(f"{path}.profile", f'"{name}"', bound)])
    return replace(found, max_num_seqs=spec.max_num_seqs, chunk_tokens=spec.max_num_batched_tokens)


def _profile_from_numbers(numbers: CapacityNumbers) -> core.Profile:
    return core.Profile(
        itl_a_s=float(numbers.itl_base) / 1000,
        itl_b_s=float(numbers.itl_per_sequence) / 1000,
        itl_c_s=float(numbers.itl_per_sequence_kilo_token) / 1000,
        prefill_p0_s=float(numbers.prefill_base) / 1000,
        prefill_p1_s=float(numbers.prefill_per_kilo_token) / 1000,
        prefill_p2_s=float(numbers.prefill_per_kilo_token_squared) / 1000,
        kv_tokens=numbers.kv_tokens,
    )


def _routing(spec: InferenceDeploymentSpec) -> core.RoutingSpec:
    routing = spec.routing
    return core.RoutingSpec(
        mode=core.RoutingMode(routing.mode),
        min_quality=float(routing.min_quality),
        max_degraded_share=routing.max_degraded_percent / 100,
        sticky_header=routing.stickiness.header.lower(),
        sticky_s=_seconds(routing.stickiness.duration),
    )


def _scaling(spec: InferenceDeploymentSpec) -> core.ScalingSpec:
    scaling, fallback = spec.scaling, spec.scaling.fallback
    return core.ScalingSpec(
        mode=core.ScalingMode(scaling.mode),
        idle_after_s=None if scaling.idle_after == AUTO else _seconds(scaling.idle_after),
        wake_timeout_s=_seconds(scaling.wake.timeout),
        max_waiting=scaling.wake.max_waiting,
        on_delete_restore=scaling.on_delete == "Restore",
        fallback_after_s=None if fallback is None else _seconds(fallback.after),
        fallback_replicas=1 if fallback is None else fallback.replicas,
    )


def _budget(spec: BudgetFields, path: str) -> core.BudgetSpec:
    try:
        ZoneInfo(spec.time_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidSpec(
            [Problem(f"{path}.timeZone", f'"{spec.time_zone}"', "is not an IANA time zone; use one such as Europe/Paris or UTC")]
        ) from None
    return core.BudgetSpec(
        amount_usd=Decimal(spec.amount), period=core.Period(spec.period), time_zone=spec.time_zone, when_exceeded=core.Rung(spec.when_exceeded)
    )


def _price(price: Price) -> core.Price:
    return core.Price(
        effective_from_s=instant_from(price.effective_from).timestamp(),
        on_demand_usd_per_h=Decimal(price.on_demand),
        spot_usd_per_h=_decimal(price.spot),
    )

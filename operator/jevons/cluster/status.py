"""What people and gateways read: the status of our own objects, written when it changed and not otherwise.

Three clocks share one object: what is structural (conditions, replicas, states, reasons) is written at once; the routing plan when it moved
materially; money every ten minutes, when it moved by 1 % of the budget, when pods came or went, and along with the others. Everything else that moves
stays out, because 1,000 objects rewritten each pass would fill etcd. These functions are pure; `write` sends the result with the version it was
computed on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from jevons.cluster import plan
from jevons.cluster.accelerators import UNKNOWN_CLASS
from jevons.cluster.connect import MERGE_PATCH, Api, ApiError, Kind
from jevons.cluster.headline import headline
from jevons.cluster.plan import instant, mergeable
from jevons.cluster.records import CustomRecord, seconds
from jevons.cluster.world import Collection
from jevons.core.snapshot import BudgetDecision, Condition, CostView, DeploymentDecision, DeploymentState, Inventory
from jevons.core.spec import AcceleratorClass

NUMBERS_S = 600.0
"""Money is rewritten this often at most, unless it moved by 1 % of the amount."""
CENT = Decimal("0.01")
RATE = Decimal("0.0001")


def _usd(amount: Decimal | None, *, cents_from: Decimal = CENT) -> str | None:
    """As people read money: cents, and hundredths of a cent below `cents_from`."""
    return None if amount is None else f"{amount.quantize(CENT if amount == 0 or abs(amount) >= cents_from else RATE):f}"


def conditions(wanted: Sequence[Condition], before: Sequence[Mapping[str, Any]], generation: int, now_s: float) -> list[dict[str, Any]]:
    """Conditions with transition times, which are kept while the status stays."""
    known = {entry.get("type"): entry for entry in before}
    result = []
    for condition in wanted:
        old = known.get(condition.type, {})
        same = old.get("status") == condition.status
        result.append(
            {
                "type": condition.type,
                "status": condition.status,
                "observedGeneration": generation,
                "lastTransitionTime": old["lastTransitionTime"] if same else instant(now_s),
                "reason": condition.reason,
                "message": condition.message[:32768],
            }
        )
    return result


def _cost(cost: CostView, now_s: float) -> dict[str, Any]:
    return {
        "hourlyRate": _usd(cost.hourly_usd),
        "periodSpend": _usd(cost.period_spend_usd),
        "periodForecast": _usd(cost.period_forecast_usd),
        "perThousandUseful": _usd(cost.per_thousand_useful_usd, cents_from=Decimal(1)),
        "estimated": cost.estimated,
        "asOf": instant(now_s),
    }


def _cost_due(old: Mapping[str, Any], new: Mapping[str, Any], budget: Decimal | None, now_s: float) -> bool:
    as_of = seconds(old.get("asOf"))
    if as_of is None:
        return True
    values = [(old.get(field), new.get(field)) for field in ("hourlyRate", "periodSpend", "periodForecast", "perThousandUseful", "estimated")]
    if now_s - as_of >= NUMBERS_S:
        return any(a != b for a, b in values)
    if _rate_moved(old.get("hourlyRate"), new.get("hourlyRate")):
        return True
    step = budget / 100 if budget else None
    return any((a is None) != (b is None) for a, b in values[1:3]) or any(
        step is not None and isinstance(a, str) and isinstance(b, str) and abs(Decimal(a) - Decimal(b)) >= step for a, b in values[1:3]
    )


def _rate_moved(old: str | None, new: str | None) -> bool:
    """By 5 %, or to or from nothing: pods came or went. It stands still between such moves, so this costs no write per pass."""
    if old is None or new is None:
        return old is not new
    return abs(Decimal(old) - Decimal(new)) > Decimal("0.05") * Decimal(old)


def deployment_status(
    record: CustomRecord, state: DeploymentState, decision: DeploymentDecision, now_s: float, *, first: bool = False
) -> dict[str, Any] | None:
    """The whole next status of an InferenceDeployment, or None when what is stored will do.

    first: this process sees the object for the first time, so a field that the version before it did not tell is told now. Otherwise such a field
    waits for the money's turn: definitions older than the program prune it, and it would be written in every pass.
    """
    before: Mapping[str, Any] = record.body.get("status") or {}
    generation = record.meta.generation
    variants = []
    for target in decision.replicas:
        seen = state.variants[target.variant]
        spec = state.spec.variant(target.variant)
        known = spec.accelerator_class != UNKNOWN_CLASS
        entry = {
            "name": target.variant,
            "acceleratorClass": spec.accelerator_class if known else None,
            "acceleratorCount": spec.accelerator_count if known else None,
            "desired": target.desired if target.desired is not None else target.recommended,
            "current": target.current,
            "ready": sum(pod.ready for pod in seen.pods),
            "asleep": sum(pod.asleep for pod in seen.pods) or None,
            "reason": target.reason,
            "hourlyRate": _usd(decision.cost.variant_hourly_usd.get(target.variant)),
            "message": target.message or None,
        }
        variants.append({key: value for key, value in entry.items() if value is not None})
    route, old_route = plan.published(decision.routing), before.get("routing") or {}
    # an object that became unreadable keeps the routing it had: its pods still serve
    moved = not state.invalid and (old_route.get("generation") != generation or plan.moved(old_route, route))
    cost, old_cost = _cost(decision.cost, now_s), before.get("cost") or {}
    cost_due = _cost_due(old_cost, cost, decision.cost.budget_usd, now_s)
    found = conditions(decision.conditions, before.get("conditions") or [], generation, now_s)
    reason, message = headline(found, state.spec.scaling.mode)
    after = {
        "observedGeneration": generation,
        "model": state.spec.model if state.name_taken_by is None else str(state.spec.key),
        "reason": reason,
        "message": message,
        "conditions": found,
        "variants": variants,
        "cost": cost,
        "routing": mergeable({"generation": generation, "asOf": instant(now_s), **route}) if moved else old_route,
    }
    parts = ("observedGeneration", "conditions", "variants")  # the rest follows from them
    due = first or now_s - (seconds(old_cost.get("asOf")) or 0.0) >= NUMBERS_S
    if (
        not moved
        and not cost_due
        and not (due and _lacks(before, after))
        and all(_structure(before.get(part)) == _structure(after[part]) for part in parts)
    ):
        return None
    last = before.get("lastDecision") or {}
    decided = {"id": decision.id, "time": instant(now_s), "reason": decision.reason, "message": decision.message}
    changed = _wishes(variants) != _wishes(before.get("variants") or []) or last.get("reason") != decision.reason
    after["lastDecision"] = decided if changed else last
    return after


def _wishes(variants: Sequence[Mapping[str, Any]]) -> list[tuple[object, ...]]:
    return [(entry.get("name"), entry.get("desired"), entry.get("reason")) for entry in variants]


def _lacks(before: Any, after: Any) -> bool:
    """Whether `after` has a field that `before` has not."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        return any(value is not None and (key not in before or _lacks(before[key], value)) for key, value in after.items())
    return isinstance(before, list) and isinstance(after, list) and any(_lacks(old, new) for old, new in zip(before, after, strict=False))


def _structure(part: Any) -> Any:
    """A part of the status without what may move unseen, or follows from the spec: a field that an older CRD prunes must not be missed each pass."""
    if isinstance(part, list):
        unseen = {"message", "hourlyRate", "acceleratorClass", "acceleratorCount"}
        return [{key: value for key, value in entry.items() if key not in unseen} for entry in part]
    return part


def budget_status(record: CustomRecord, decision: BudgetDecision, members: int, now_s: float) -> dict[str, Any] | None:
    """The next status of an InferenceBudget, or None when what is stored will do (money: as above)."""
    before: Mapping[str, Any] = record.body.get("status") or {}
    after = {
        "observedGeneration": record.meta.generation,
        "conditions": conditions(decision.conditions, before.get("conditions") or [], record.meta.generation, now_s),
        "rung": decision.rung.value,
        "members": members,
        "periodStart": instant(decision.period_start_s),
        "periodEnd": instant(decision.period_end_s),
    }
    spend = {"spend": _usd(decision.spend_usd), "forecast": _usd(decision.forecast_usd)}
    as_of = seconds(before.get("asOf"))
    stale = as_of is None or (now_s - as_of >= NUMBERS_S and any(before.get(key) != value for key, value in spend.items()))
    amount = Decimal(str((record.body.get("spec") or {}).get("amount") or 0))
    jumped = before.get("spend") is not None and abs(Decimal(before["spend"]) - decision.spend_usd) >= amount / 100 > 0
    if not stale and not jumped and all(_structure(before.get(key)) == _structure(value) for key, value in after.items()):
        return None
    result: dict[str, Any] = mergeable({**after, **spend, "asOf": instant(now_s)})
    return result


def class_status(record: CustomRecord, accelerator: AcceleratorClass, inventory: Inventory, now_s: float) -> dict[str, Any] | None:
    """The next status of an AcceleratorClass, or None when what is stored will do."""
    before: Mapping[str, Any] = record.body.get("status") or {}
    price = next((price for price in reversed(accelerator.prices) if price.effective_from_s <= now_s), None)
    after = mergeable(
        {
            "observedGeneration": record.meta.generation,
            "conditions": conditions([Condition("Accepted", "True", "Accepted")], before.get("conditions") or [], record.meta.generation, now_s),
            "nodes": inventory.nodes,
            "allocatable": inventory.allocatable,
            "allocated": inventory.allocated,
            "free": max(0, inventory.allocatable - inventory.allocated),
            "priceInUse": None if price is None else _usd(price.on_demand_usd_per_h),
            "priceEffectiveFrom": None if price is None else instant(price.effective_from_s),
        }
    )
    if all(_structure(before.get(key)) == _structure(value) for key, value in after.items()):
        return None
    return {**after, "asOf": instant(now_s)}


def refused(record: CustomRecord, message: str, now_s: float) -> dict[str, Any] | None:
    """The status of an admin's object that cannot be resolved: one False condition."""
    before: Mapping[str, Any] = record.body.get("status") or {}
    wanted = conditions([Condition("Accepted", "False", "InvalidSpec", message)], before.get("conditions") or [], record.meta.generation, now_s)
    if _structure(before.get("conditions")) == _structure(wanted):
        return None
    return {"observedGeneration": record.meta.generation, "conditions": wanted}


async def write(api: Api, kind: Kind, collection: Collection[CustomRecord], record: CustomRecord, status: Mapping[str, Any]) -> bool:
    """Patch the status of the version it was computed on. Raises ApiError.

    On a conflict the object is read again (three times); False when the spec changed meanwhile, because the status would describe another one.
    """
    namespace, name = record.meta.namespace, record.meta.name
    version = str(record.meta.version)
    for _ in range(4):
        body = {"metadata": {"resourceVersion": version, "uid": record.meta.uid}, "status": status}
        try:
            answer = await api.write("PATCH", kind.path(namespace, name, "status"), body, query={"fieldManager": "jevons"}, content_type=MERGE_PATCH)
        except ApiError as error:
            if not error.conflict:
                raise
            fresh = await api.get(kind.path(namespace, name))
            collection.apply("MODIFIED", fresh)
            if fresh["metadata"]["uid"] != record.meta.uid or fresh["metadata"].get("generation") != record.meta.generation:
                return False
            version = fresh["metadata"]["resourceVersion"]
            continue
        collection.apply("MODIFIED", answer)
        return True
    return False

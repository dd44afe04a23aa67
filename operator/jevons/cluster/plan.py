"""`status.routing`: the plan that gateways read, and when it moved enough to tell them.

Numbers are strings (there are no floats in the API). A small move is kept back, because each write wakes every gateway's watch.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from jevons.core.snapshot import RoutingPlan


def instant(at_s: float) -> str:
    """RFC 3339 in UTC, whole seconds."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _share(value: float) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".")


def mergeable(value: Any, *, in_list: bool = False) -> Any:
    """A value as a merge patch wants it: nulls in objects delete what stood there, nulls inside lists are left out (the schema refuses them)."""
    if isinstance(value, dict):
        return {key: mergeable(item, in_list=in_list) for key, item in value.items() if item is not None or not in_list}
    return [mergeable(item, in_list=True) for item in value] if isinstance(value, list) else value


def published(plan: RoutingPlan) -> dict[str, Any]:
    """The plan as gateways read it, without generation and time."""
    return {
        "best": plan.best,
        "wake": plan.wake,
        "rung": plan.rung.value,
        "pressure": _share(plan.pressure),
        "blockedUntil": None if plan.blocked_until_s is None else instant(plan.blocked_until_s),
        "variants": [
            {
                "name": route.name,
                "state": route.state,
                "selector": route.selector,
                "port": route.port,
                "usdPer1kTokens": None if route.usd_per_1k_tokens is None else f"{route.usd_per_1k_tokens:.6f}",
                "startupSeconds": round(route.startup_s),
                **({"idleTokens": round(route.idle_tokens)} if route.idle_tokens is not None else {}),
            }
            for route in plan.variants
        ],
        "classes": [
            {
                "name": route.name,
                "minScore": [{"variant": variant, "score": _share(score)} for variant, score in route.min_score],
                "degradedShare": _share(route.degraded_share),
                "expectedQuality": _share(route.expected_quality),
                **({"waitSeconds": round(route.patience_s)} if route.patience_s else {}),
            }
            for route in plan.classes
        ],
    }


def moved(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether gateways should be told: anything but a small move (0.02 of a share, 10 % of a price or startup time)."""
    if _skeleton(old) != _skeleton(new):
        return True
    shares, amounts = zip(_shares(old), _shares(new), strict=False), zip(_amounts(old), _amounts(new), strict=False)
    return any(abs(a - b) > 0.02 for a, b in shares) or any(abs(a - b) > 0.1 * max(abs(a), 1e-9) for a, b in amounts)


def _skeleton(plan: Mapping[str, Any]) -> object:
    variants = [
        (entry.get("name"), entry.get("state"), entry.get("selector"), entry.get("port"), entry.get("usdPer1kTokens") is None)
        for entry in plan.get("variants") or []
    ]
    classes = [
        (entry.get("name"), [pair.get("variant") for pair in entry.get("minScore") or []], float(entry.get("degradedShare") or 0) > 0)
        for entry in plan.get("classes") or []
    ]
    return plan.get("best"), plan.get("wake"), plan.get("rung"), plan.get("blockedUntil"), variants, classes


def _shares(plan: Mapping[str, Any]) -> list[float]:
    shares = [float(plan.get("pressure") or 0)]
    for entry in plan.get("classes") or []:
        shares += [float(entry.get("degradedShare") or 0), float(entry.get("expectedQuality") or 0)]
        shares += [float(pair.get("score") or 0) for pair in entry.get("minScore") or []]
    return shares


def _amounts(plan: Mapping[str, Any]) -> list[float]:
    return [float(entry.get(field) or 0) for entry in plan.get("variants") or [] for field in ("usdPer1kTokens", "startupSeconds", "idleTokens")] + [
        float(entry.get("waitSeconds") or 0) for entry in plan.get("classes") or []
    ]

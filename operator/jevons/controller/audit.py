"""The operator's own record: what was decided, as JSON lines, in a folder of bounded size.

One line when a decision changed (with its inputs, alternatives and binding constraints) and one per event of a budget; the file is turned over at a
size and few old ones are kept. A full or read-only disk costs the record, never the loop.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import structlog

from jevons.core.snapshot import BudgetDecision, Decision, DeploymentDecision
from jevons.core.spec import Key, Rung

log = structlog.get_logger(__name__)


def plain(value: Any) -> Any:
    """What JSON has no word for: money as a string, sets as sorted lists."""
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, frozenset | set):
        return sorted(map(str, value))
    return str(value)


def document(decision: DeploymentDecision) -> dict[str, Any]:
    """A decision as JSON: readable without this program."""
    return {
        "deployment": str(decision.key),
        "id": decision.id,
        "reason": decision.reason,
        "message": decision.message,
        "replicas": [
            {
                "variant": each.variant,
                "current": each.current,
                "desired": each.desired,
                "recommended": each.recommended,
                "reason": each.reason,
                "message": each.message,
            }
            for each in decision.replicas
        ],
        "routing": {
            "best": decision.routing.best,
            "wake": decision.routing.wake,
            "rung": decision.routing.rung.value,
            "pressure": decision.routing.pressure,
        },
        "conditions": [{"type": each.type, "status": each.status, "reason": each.reason, "message": each.message} for each in decision.conditions],
        "cost": {
            "hourlyUsd": None if decision.cost.hourly_usd is None else str(decision.cost.hourly_usd),
            "periodSpendUsd": str(decision.cost.period_spend_usd),
            "budgetUsd": None if decision.cost.budget_usd is None else str(decision.cost.budget_usd),
        },
        "inputs": [{"name": name, "value": value, "ageSeconds": age} for name, value, age in decision.explanation.inputs],
        "alternatives": [{"plan": plan, "cost": cost, "verdict": verdict} for plan, cost, verdict in decision.explanation.alternatives],
        "binding": list(decision.explanation.binding),
    }


class Audit:
    """Appends to `decisions.jsonl` in `folder`; None records nothing. At most (keep + 1) * limit_bytes on disk."""

    def __init__(self, folder: Path | None, *, limit_bytes: int = 16 * 1024 * 1024, keep: int = 3) -> None:
        self._path = folder / "decisions.jsonl" if folder is not None else None
        self._limit, self._keep = limit_bytes, keep
        self._ids: dict[Key, str] = {}
        self._rungs: dict[str, Rung] = {}
        self.failures = 0

    def record(self, decision: Decision) -> None:
        """Write what changed since the last pass."""
        if self._path is None:
            return
        lines = [self._line(decision.at_s, "decision", document(each)) for key, each in decision.deployments.items() if self._ids.get(key) != each.id]
        self._ids = {key: each.id for key, each in decision.deployments.items()}
        lines += [self._line(decision.at_s, "budget", _budget(each)) for name, each in decision.budgets.items() if self._rungs.get(name) != each.rung]
        self._rungs = {name: each.rung for name, each in decision.budgets.items()}
        if not lines:
            return
        try:
            self._append(self._path, b"".join(lines))
        except OSError as error:
            self.failures += 1
            log.warning("audit not written", error=str(error))

    @staticmethod
    def _line(at_s: float, kind: str, body: Mapping[str, Any]) -> bytes:
        stamp = datetime.fromtimestamp(at_s, UTC).isoformat()
        return orjson.dumps({"time": stamp, "kind": kind, **body}, default=plain, option=orjson.OPT_APPEND_NEWLINE)

    def _append(self, path: Path, data: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and path.stat().st_size + len(data) > self._limit:
            for number in range(self._keep - 1, 0, -1):
                older = path.with_suffix(f".{number}.jsonl")
                if older.exists():
                    older.replace(path.with_suffix(f".{number + 1}.jsonl"))
            path.replace(path.with_suffix(".1.jsonl"))
        with path.open("ab") as file:
            file.write(data)


def _budget(decision: BudgetDecision) -> dict[str, Any]:
    return {
        "budget": decision.name,
        "rung": decision.rung.value,
        "spendUsd": str(decision.spend_usd),
        "forecastUsd": None if decision.forecast_usd is None else str(decision.forecast_usd),
    }

"""Spend so far, as a value: metered from pods that held accelerators, integrated over prices, summed per period.

A pod costs from the moment it is scheduled until it is gone, whether it served or not. Each pass adds the stretch since the last one. Spend is kept
as running totals with a mark per 15 minutes, so that the spend of any period is one subtraction and a changed time zone simply re-sums. Accounts are
keyed by namespace/name: deleting and re-creating an object does not reset what it spent.

After a gap (a restart, a cut watch) nobody saw what happened, so the bill is the larger of the rate before and the rate after, plus the pods created
inside it, and is marked estimated. `accrue(ledger, snapshot, now) -> Ledger` in `metering.py` is the only way it grows. The shell stores it as JSON
in an operator-owned ConfigMap per deployment.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

from jevons.core.periods import BUCKET_S
from jevons.core.spec import Key
from jevons.core.value import value

KEEP_BUCKETS = 33 * 96
"""Marks kept: 33 days, so that the longest month is whole in every time zone."""
NANO = Decimal("0.000000001")
VERSION = 1


class Mark(NamedTuple):
    """The running totals at the beginning of a bucket in which something was spent or answered."""

    bucket: int
    usd: Decimal
    offered: float
    useful: float


@value
class MeteredPod:
    """What a pod holds: `count` accelerators of the class."""

    variant: str
    accelerator: str
    count: int
    spot: bool
    share: Decimal = Decimal(1)
    """Of the price that it costs: less than 1 while it sleeps in host memory."""


@value
class Meter:
    """Totals of one variant on one accelerator class since the account began: for Prometheus counters."""

    variant: str
    accelerator: str
    usd: Decimal = Decimal(0)
    gpu_s: float = 0.0
    unpriced_gpu_s: float = 0.0
    """Accelerator seconds for which no usable price was known: in no total, named in the condition."""


@value
class Account:
    """One deployment's spend. All metered pods are billed up to `as_of_s`."""

    as_of_s: float
    usd: Decimal = Decimal(0)
    offered: float = 0.0
    useful: float = 0.0
    marks: tuple[Mark, ...] = ()
    pods: Mapping[str, MeteredPod] = field(default_factory=dict)
    """By uid: what is being paid for now."""
    meters: tuple[Meter, ...] = ()
    counters: tuple[float, float] | None = None
    """The gateway's (offered, useful) as last read, to see what was added and when it was reset."""
    estimated_at_s: float | None = None
    """When a gap was last billed pessimistically."""
    budgets: tuple[str, ...] = ()
    """Shared budgets that it counted towards when last seen: spend of a deleted member still counts."""
    closed: bool = False
    """The deployment is gone; nothing accrues until it is back."""

    def before(self, start_s: float) -> Mark:
        """The totals when the bucket of `start_s` began."""
        bucket = int(start_s // BUCKET_S)
        at = bisect_left(self.marks, bucket, key=lambda mark: mark.bucket)
        if at < len(self.marks):
            return self.marks[at]
        return Mark(bucket, self.usd, self.offered, self.useful)

    def spent_since(self, start_s: float) -> Decimal:
        """USD from `start_s` (aligned to 15 minutes) until `as_of_s`."""
        return self.usd - self.before(start_s).usd

    @property
    def unpriced(self) -> bool:
        """Some accelerator time could not be priced."""
        return any(meter.unpriced_gpu_s > 0 for meter in self.meters)


@dataclass(frozen=True, slots=True)
class Ledger:
    """Spend of all deployments, by deployment (gone ones included, for 33 days)."""

    accounts: Mapping[Key, Account] = field(default_factory=dict)

    def to_json(self, key: Key) -> str:
        """One deployment's account as JSON, under 200 KB; KeyError if there is none."""
        account = self.accounts[key]
        document = {
            "version": VERSION,
            "asOf": account.as_of_s,
            "usd": str(account.usd),
            "offered": account.offered,
            "useful": account.useful,
            "marks": [[mark.bucket, str(mark.usd), round(mark.offered), round(mark.useful)] for mark in account.marks],
            "pods": {uid: _listed(pod) for uid, pod in account.pods.items()},
            "meters": [[m.variant, m.accelerator, str(m.usd), m.gpu_s, m.unpriced_gpu_s] for m in account.meters],
            "counters": account.counters,
            "estimatedAt": account.estimated_at_s,
            "budgets": list(account.budgets),
            "closed": account.closed,
        }
        return json.dumps(document, separators=(",", ":"))

    @classmethod
    def from_json(cls, documents: Mapping[Key, str]) -> Ledger:
        """The ledger from checkpoints by deployment; a broken one is left out (that account begins anew)."""
        accounts = {}
        for key, text in documents.items():
            account = _account(text)
            if account is not None:
                accounts[key] = account
        return cls(accounts)

    def worth_saving(self, before: Ledger, key: Key) -> bool:
        """Whether the account of `key` moved enough since `before` was stored that losing the difference would matter.

        Pods that came or went, a new bucket, or a minute of spend: in between, a restart bills the same amount from the stored pods and prices.
        """
        new, old = self.accounts.get(key), before.accounts.get(key)
        if new is None or old is None:
            return new is not old
        if new.pods != old.pods or new.marks != old.marks or new.closed != old.closed or new.budgets != old.budgets:
            return True
        moved = new.usd != old.usd or new.useful != old.useful
        return moved and new.as_of_s - old.as_of_s >= 60.0


def _listed(pod: MeteredPod) -> list[object]:
    """As a row for JSON; the share of one that is awake is left out."""
    row: list[object] = [pod.variant, pod.accelerator, pod.count, pod.spot]
    return row if pod.share == 1 else [*row, str(pod.share)]


def _account(text: str) -> Account | None:
    try:
        raw: dict[str, Any] = json.loads(text)
        if raw["version"] != VERSION:
            return None
        return Account(
            as_of_s=float(raw["asOf"]),
            usd=_money(raw["usd"]),
            offered=float(raw["offered"]),
            useful=float(raw["useful"]),
            marks=tuple(Mark(int(bucket), _money(usd), float(offered), float(useful)) for bucket, usd, offered, useful in raw["marks"]),
            pods={
                str(uid): MeteredPod(str(variant), str(accelerator), int(count), bool(spot), *[_money(part) for part in share])
                for uid, (variant, accelerator, count, spot, *share) in raw["pods"].items()
            },
            meters=tuple(Meter(str(v), str(a), _money(usd), float(gpu_s), float(unpriced)) for v, a, usd, gpu_s, unpriced in raw["meters"]),
            counters=(float(raw["counters"][0]), float(raw["counters"][1])) if raw["counters"] is not None else None,
            estimated_at_s=float(raw["estimatedAt"]) if raw["estimatedAt"] is not None else None,
            budgets=tuple(str(name) for name in raw["budgets"]),
            closed=bool(raw["closed"]),
        )
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, InvalidOperation):
        return None


def _money(raw: object) -> Decimal:
    usd = Decimal(str(raw))
    if not usd.is_finite() or usd < 0:
        raise ValueError(f"{raw!r} is not an amount")
    return usd

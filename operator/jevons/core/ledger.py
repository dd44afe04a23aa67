"""Spend so far, as a value: metered from pods that held accelerators, integrated over prices, summed per period.

`accrue(ledger, snapshot, now) -> Ledger` is the only way it grows. The shell stores it as JSON in an operator-owned ConfigMap.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ledger:
    """Spend of all deployments. (Fields are the core's own affair.)"""

"""What the core learned and must not forget between two passes, as plain values.

`decide` takes a `Memory` and returns the next one; the shell stores it as JSON in an operator-owned ConfigMap per deployment. An unknown or broken
checkpoint is an empty memory, never an error: everything here can be learned again.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Memory:
    """Learned state of all deployments. (Fields are the core's own affair.)"""

"""Did someone else move the replicas?

The API server records in managedFields who last wrote `.spec.replicas`. As long as it is our scaler (or nobody we have to answer to), all is well.
When the field has passed from us to another manager, that is a foreign change, dated by the server. Within one process we remember that it was
ours; after a restart the last published decision stands in: a value that differs from it and was written after it is somebody else's.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from jevons.cluster.records import OURS, WorkloadRecord

WINDOW_S = 1800.0
"""Foreign changes are counted over this long."""


@dataclass(frozen=True, slots=True)
class Published:
    """What status said last about one variant: the replicas wanted, and when that was decided."""

    desired: int | None = None
    decided_at_s: float | None = None


@dataclass(slots=True)
class _History:
    ours: bool = False
    seen: tuple[str, float] | None = None
    changes: deque[tuple[float, str]] = field(default_factory=lambda: deque(maxlen=64))


class ForeignChanges:
    """Remembers, per workload UID, foreign changes of its replicas."""

    def __init__(self) -> None:
        self._histories: dict[str, _History] = {}

    def observe(self, workload: WorkloadRecord, published: Published, now_s: float) -> tuple[float | None, int, str]:
        """(when someone else last moved the replicas or None, how often within 30 minutes, who)."""
        history = self._histories.setdefault(workload.meta.uid, _History())
        if workload.writer in OURS:
            history.ours = True
        elif workload.written_at_s is not None and history.seen != (stamp := (workload.writer, workload.written_at_s)):
            if history.ours or _after(workload, published):
                history.changes.append((workload.written_at_s, workload.writer))
            history.ours, history.seen = False, stamp
        while history.changes and history.changes[0][0] < now_s - WINDOW_S:
            history.changes.popleft()
        if not history.changes:
            return None, 0, ""
        at_s, writer = history.changes[-1]
        return at_s, len(history.changes), writer

    def forget_all_but(self, uids: set[str]) -> None:
        """Drop workloads that are gone."""
        for uid in self._histories.keys() - uids:
            del self._histories[uid]


def _after(workload: WorkloadRecord, published: Published) -> bool:
    """A write that we cannot have seen before: later than our last decision, and not what it wanted."""
    if published.desired is None or published.decided_at_s is None or workload.written_at_s is None:
        return False
    return workload.replicas != published.desired and workload.written_at_s > published.decided_at_s

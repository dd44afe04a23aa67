"""Did someone else move the replicas?

The API server records in managedFields who owns `.spec.replicas`, but stamps no time on writes through the scale subresource (measured on 1.36): a
change is dated by when it was first seen. As long as the owner is our scaler (or nobody we have to answer to), all is well; when the field has
passed from us to another manager, that is a foreign change. Within one process we remember that it was ours. After a restart the published status
stands in: replicas that are neither what was wanted nor what was seen then are somebody else's, and a pause that had begun goes on.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from jevons.cluster.records import OURS, SOMEONE, WorkloadRecord

WINDOW_S = 1800.0
"""Foreign changes are counted over this long."""


@dataclass(frozen=True, slots=True)
class Published:
    """What status said last about one variant: replicas wanted and seen, and since when it is left alone to someone else (None = it is not)."""

    desired: int | None = None
    current: int | None = None
    contested_since_s: float | None = None


@dataclass(slots=True)
class _History:
    ours: bool = False
    seen: tuple[str, int | None] | None = None
    changes: deque[tuple[float, str]] = field(default_factory=lambda: deque(maxlen=64))


class ForeignChanges:
    """Remembers, per workload UID, foreign changes of its replicas."""

    def __init__(self) -> None:
        self._histories: dict[str, _History] = {}

    def observe(self, workload: WorkloadRecord, published: Published, now_s: float) -> tuple[float | None, int, str]:
        """(when someone else last moved the replicas or None, how often within 30 minutes, who).

        Changes that follow one another without a write of ours between them are one: somebody who makes up their mind is not a rival.
        """
        history = self._histories.setdefault(workload.meta.uid, _History())
        stamp = (workload.writer, workload.replicas)
        if workload.writer in OURS:
            history.ours = True
        elif history.seen != stamp and (workload.writer or history.seen is None):
            writer = workload.writer or SOMEONE
            if history.seen is None and not history.ours and published.contested_since_s is not None:
                history.changes.append((published.contested_since_s, writer))
            elif history.ours or _unknown(workload, published):
                if history.changes and not history.ours:
                    history.changes.pop()
                history.changes.append((now_s, writer))
            history.ours = False
        history.seen = stamp
        while history.changes and history.changes[0][0] < now_s - WINDOW_S:
            history.changes.popleft()
        if not history.changes:
            return None, 0, ""
        at_s, who = history.changes[-1]
        return at_s, len(history.changes), who

    def forget_all_but(self, uids: set[str]) -> None:
        """Drop workloads that are gone."""
        for uid in self._histories.keys() - uids:
            del self._histories[uid]


def _unknown(workload: WorkloadRecord, published: Published) -> bool:
    """Replicas that the last published decision neither wanted nor saw."""
    return published.desired is not None and workload.replicas not in {published.desired, published.current}

"""Who waits for which sleeping variant, who goes first, and when it is too much: the waiting room's order, without any IO.

Interactive requests go before flex and batch ones; within that High before Normal before Low; within that teams take turns; within a team
first come, first served. The queue is bounded per model in requests, and over all in requests and in bytes of body; for requests with patience
the bounds are lower, so that they leave room for those that cannot wait. Every operation costs O(1) in the number of waiters (there are at most 9
ranks per line).

One gateway pod owns every model it sees here. With several gateway pods a model gets one owner by rendezvous hashing over them, so that one order
holds; until then each pod has an order of its own, and the operator adds up what they hold.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field

_TIERS = {"Interactive": 0, "Flex": 1, "Batch": 2}
_PRIORITIES = {"High": 0, "Normal": 1, "Low": 2}

WAITER_BYTES = 16_384
"""What a held request costs besides its body: task, connection, headers (measured: 15 KB)."""

FOR_OTHERS = 0.8
"""Who can wait is refused where this part of a bound is taken: the rest is for those who cannot."""

Line = tuple[str, str]
"""Who waits together: (`namespace/name`, variant)."""


class QueueFull(Exception):  # noqa: N818 - the field's word
    """The request cannot be held. `bound` says which limit it met, in words for the client."""

    def __init__(self, bound: str) -> None:
        super().__init__(bound)
        self.bound = bound


@dataclass(slots=True, eq=False)
class Waiter:
    """One held request. Times are seconds since the epoch; `size` is bytes of body that the gateway keeps for it.

    `settled`: no other variant will do for it (the picker has been asked twice, or its stream has begun).
    """

    model: str
    variant: str
    arrived: float
    deadline: float
    team: str = ""
    tier: str = "Interactive"
    priority: str = "Normal"
    size: int = 0
    settled: bool = False
    patient_until: float = 0.0
    """Until then it waits for idle capacity, and for no start (a request of tier Flex or Batch)."""

    @property
    def line(self) -> Line:
        """Which line it stands in."""
        return (self.model, self.variant)

    @property
    def rank(self) -> tuple[int, int]:
        """(tier, priority); smaller goes first. Unknown words count as the middle ones."""
        return (_TIERS.get(self.tier, 0), _PRIORITIES.get(self.priority, 1))


@dataclass(slots=True)
class _Line:
    """Rank -> team -> waiters in order of arrival. Teams rotate: the one just served goes to the end."""

    ranks: dict[tuple[int, int], OrderedDict[str, OrderedDict[int, Waiter]]] = field(default_factory=dict)
    count: int = 0


@dataclass(frozen=True, slots=True)
class HeldLine:
    """What one line holds, for the demand message."""

    model: str
    variant: str
    count: int
    oldest: float
    patient: int = 0
    """Of those the ones that can still wait for idle capacity."""


class RoomQueue:
    """All lines. `max_count` and `max_bytes` bound the whole room; each model's own bound comes with `join`."""

    def __init__(self, *, max_count: int = 5_000, max_bytes: int = 256 * 1024 * 1024) -> None:
        self.max_count = max_count
        self.max_bytes = max_bytes
        self.count = 0
        self.bytes = 0
        self._lines: dict[Line, _Line] = {}
        self._models: dict[str, int] = {}

    def join(self, waiter: Waiter, *, model_max: int) -> bool:
        """Put `waiter` at the end of its team's queue. True when its line was empty. Raises QueueFull and holds nothing then."""
        cost, mine, part = WAITER_BYTES + waiter.size, self._models.get(waiter.model, 0), FOR_OTHERS if waiter.patient_until else 1.0
        if mine >= part * model_max:
            raise QueueFull(f"{mine} requests already wait for {waiter.model}")
        if self.count >= part * self.max_count:
            raise QueueFull(f"{self.count} requests already wait at this gateway")
        if self.bytes + cost > part * self.max_bytes:
            raise QueueFull(f"waiting requests already fill {self.max_bytes // (1024 * 1024)} MiB at this gateway")
        line = self._lines.setdefault(waiter.line, _Line())
        line.ranks.setdefault(waiter.rank, OrderedDict()).setdefault(waiter.team, OrderedDict())[id(waiter)] = waiter
        line.count += 1
        self.count += 1
        self.bytes += cost
        self._models[waiter.model] = self._models.get(waiter.model, 0) + 1
        return line.count == 1

    def leave(self, waiter: Waiter) -> bool:
        """Take `waiter` out wherever it stands (client gone, deadline). False when it is not in the queue any more."""
        line = self._lines.get(waiter.line)
        teams = line.ranks.get(waiter.rank) if line else None
        team = teams.get(waiter.team) if teams else None
        if line is None or team is None or team.pop(id(waiter), None) is None:
            return False
        self._left(line, waiter)
        return True

    def resize(self, waiter: Waiter, size: int) -> None:
        """Its body is known to be, or has shrunk to, `size` bytes. QueueFull when it grew past the room's bound; the waiter then stays as it was."""
        if self.bytes + size - waiter.size > self.max_bytes:
            raise QueueFull(f"waiting requests already fill {self.max_bytes // (1024 * 1024)} MiB at this gateway")
        self.bytes += size - waiter.size
        waiter.size = size

    def release(self, line: Line, most: int) -> list[Waiter]:
        """Take the next `most` waiters of `line` out, in the order in which they go."""
        gone: list[Waiter] = []
        queue = self._lines.get(line)
        while queue is not None and len(gone) < most and queue.count:
            rank = min(queue.ranks)
            teams = queue.ranks[rank]
            name, team = next(iter(teams.items()))
            waiter = team.popitem(last=False)[1]
            teams.move_to_end(name)
            gone.append(waiter)
            self._left(queue, waiter)
        return gone

    def held(self, now: float = 0.0) -> list[HeldLine]:
        """Every line that holds somebody."""
        lines = []
        for (model, variant), line in self._lines.items():
            waiters = list(_waiters(line))
            if waiters:
                patient = sum(waiter.patient_until > now for waiter in waiters)
                lines.append(HeldLine(model, variant, line.count, min(waiter.arrived for waiter in waiters), patient))
        return lines

    def lines(self) -> list[Line]:
        """The lines that hold somebody."""
        return list(self._lines)

    def holds(self, line: Line) -> bool:
        """Whether anybody waits in `line`."""
        return line in self._lines

    def waiting(self, line: Line) -> list[Waiter]:
        """Those who wait in `line`, rank by rank."""
        queue = self._lines.get(line)
        return list(_waiters(queue)) if queue else []

    def _left(self, line: _Line, waiter: Waiter) -> None:
        teams = line.ranks[waiter.rank]
        if not teams[waiter.team]:
            del teams[waiter.team]
        if not teams:
            del line.ranks[waiter.rank]
        line.count -= 1
        if not line.count:
            self._lines.pop(waiter.line, None)
        self.count -= 1
        self.bytes -= WAITER_BYTES + waiter.size
        self._models[waiter.model] -= 1
        if not self._models[waiter.model]:
            del self._models[waiter.model]


def _waiters(line: _Line) -> Iterator[Waiter]:
    return (waiter for rank in sorted(line.ranks) for team in line.ranks[rank].values() for waiter in team.values())

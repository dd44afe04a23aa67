"""What can be wrong with an object that people wrote.

    InvalidSpec(ValueError)   one object cannot be resolved; every problem names field, value and bound

There is one exception because there is one reaction: a False condition on that object alone, while all others go on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: where, what stands there, and what would be right. Prints as one sentence."""

    field: str
    """JSON path from the object's root, e.g. `spec.variants[2].replicas`."""
    value: str
    """What stands there, shortened to 80 characters; empty when nothing does."""
    bound: str
    """What is allowed, in words that also say what to do."""

    def __str__(self) -> str:
        """`spec.budget.amount: "1O0": should match ...`."""
        return ": ".join(part for part in (self.field, self.value, self.bound) if part)


class InvalidSpec(ValueError):  # noqa: N818 - the reason on a condition, by the same name
    """The object cannot be resolved. `problems` has at least one entry; the message is all of them, at most eight, on one line."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        shown = "; ".join(str(problem) for problem in self.problems[:8])
        more = len(self.problems) - 8
        super().__init__(f"{shown}; and {more} more" if more > 0 else shown)

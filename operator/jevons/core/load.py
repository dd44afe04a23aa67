"""How busy is a replica with what it has been given? One number, to compare replicas of one variant by.

The gap between two tokens of an answer is a + b * sequences + c * context on an engine that batches continuously. Tokens alone say little
about it: one long answer makes a replica look loaded while the batch on the others grows. Sequences alone do not see a long context. So both
are added up, in sequences: c/b is 0.2 to 0.7 per 1,000 tokens for most profiles (median of the 36 seeds 0.55; 2 and more for models of up to
32B on one L4 or L40S), that is, one sequence more weighs as much as 1,400 to 5,000 tokens. From 3,000 to 10,000 it hardly
matters which (docs/designs/0019-which-replica.md).
"""

from __future__ import annotations

from dataclasses import dataclass

TOKENS_PER_SEQUENCE = 3_000.0
"""So many tokens (in and out, booked until the end of their request) weigh as much as one sequence."""


@dataclass(frozen=True, slots=True)
class Work:
    """What requests put on a replica: tokens, in and out, and sequences (one per choice that is generated)."""

    tokens: float = 0.0
    sequences: float = 0.0

    @property
    def load(self) -> float:
        """Both as one number [sequences]. Example: 2 sequences with 1,500 tokens together -> 2.5 (test_worked_examples.py::test_load)."""
        return self.sequences + self.tokens / TOKENS_PER_SEQUENCE

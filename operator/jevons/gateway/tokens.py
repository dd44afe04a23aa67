"""How many tokens is this text, before any tokenizer has seen it?

A tokenizer per model would cost megabytes and milliseconds. Instead one pass counts bytes by kind (letters, digits, spaces, punctuation,
line ends, the rest), each kind weighs what byte-pair encodings of its kind usually need, and a factor per variant, learned from the usage
its engine reports, corrects the sum upwards until at most 1 in 1,000 requests was longer than said by more than 5 %. So the ceilings hold
without a tokenizer: the estimate errs upwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson
from numpy.typing import NDArray

from jevons.gateway.table import write_atomic

SLACK = 1.05
"""The estimate may be under the true count by this factor, and by no more."""
QUANTILE_STEP = 0.0002
IMAGE_TOKENS = 1_000.0
MESSAGE_TOKENS = 5.0
SAMPLE_BYTES = 262_144


def _weights() -> NDArray[np.float64]:
    """Tokens per byte, for each of the 256 byte values, on the high side of what common vocabularies need."""
    weights = np.full(256, 0.55)  # multi-byte characters: 3 bytes of CJK are about 1.5 tokens at worst
    for low, high, weight in ((0x00, 0x1F, 1.0), (0x21, 0x7E, 0.75), (0x61, 0x7A, 0.23), (0x41, 0x5A, 0.40), (0x30, 0x39, 0.60)):
        weights[low : high + 1] = weight
    weights[0x20] = 0.12
    weights[0x0A] = 0.75
    weights[0x09] = 0.50
    return weights


_WEIGHTS = _weights()


def raw_tokens(text: bytes) -> float:
    """The uncorrected sum. Of a text over 256 KiB only 16 evenly spread pieces are counted, and scaled up."""
    if len(text) <= SAMPLE_BYTES:
        return float(np.bincount(np.frombuffer(text, dtype=np.uint8), minlength=256) @ _WEIGHTS)
    piece = SAMPLE_BYTES // 16
    stride = (len(text) - piece) / 15
    sample = b"".join(text[int(i * stride) : int(i * stride) + piece] for i in range(16))
    return float(np.bincount(np.frombuffer(sample, dtype=np.uint8), minlength=256) @ _WEIGHTS) * len(text) / len(sample)


FIRST_ANSWERS = 20
"""For so many answers counts what is thought of their length before the first: the first to finish are the short ones."""


@dataclass(slots=True)
class Learned:
    """What one variant's usage taught: `factor` for ceilings (a high quantile of true / raw), `mean` for load and money, after `count` requests."""

    factor: float = 1.0
    mean: float = 0.8
    count: int = 0
    output: float = 200.0
    """Mean tokens of an answer."""

    def observe(self, raw: float, prompt_tokens: float, completion_tokens: float) -> None:
        """One request's truth. The quantile moves up at once, and 3 % more, when it was passed, and down very slowly when not."""
        if raw <= 0 or prompt_tokens <= 0:
            return
        ratio = prompt_tokens / raw
        self.count += 1
        self.mean += (ratio - self.mean) / min(self.count, 200)
        self.output += (completion_tokens - self.output) / min(self.count + FIRST_ANSWERS, 200)
        needed = ratio / SLACK
        if needed > self.factor:
            self.factor = needed * 1.03
        else:
            self.factor -= (self.factor - needed) * QUANTILE_STEP


class TokenEstimator:
    """Per `namespace/name@variant`. The log tailer observes and saves; pickers load."""

    def __init__(self, learned: Mapping[str, Learned] | None = None) -> None:
        self.learned = dict(learned or {})

    def observe(self, variant: str, *, raw: float, prompt_tokens: float, completion_tokens: float) -> None:
        """One finished request: `raw` as the picker wrote it into the log (`est_raw`), and the engine's own counts."""
        self.learned.setdefault(variant, Learned()).observe(raw, prompt_tokens, completion_tokens)

    def ceiling(self, variant: str, raw: float) -> float:
        """At least the true count / 1.05, as far as usage has taught."""
        return raw * self.learned.get(variant, _PRIOR).factor

    def expected(self, variant: str, raw: float) -> float:
        """The likely count, for load and money."""
        return raw * self.learned.get(variant, _PRIOR).mean

    def output(self, variant: str, limit: int | None) -> float:
        """The likely length of an answer that may have `limit` tokens."""
        likely = self.learned.get(variant, _PRIOR).output
        return likely if limit is None else min(likely, float(limit))

    def save(self, path: Path) -> None:
        """As JSON, by atomic rename."""
        write_atomic(path, orjson.dumps(self.learned))

    @classmethod
    def load(cls, path: Path) -> TokenEstimator:
        """From `save`'s file; a fresh one when there is none that can be read."""
        try:
            return cls({key: Learned(**row) for key, row in orjson.loads(path.read_bytes()).items()})
        except (OSError, ValueError, TypeError, AttributeError):
            return cls()


_PRIOR = Learned()

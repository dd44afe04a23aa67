"""A request as numbers: hashed words and pairs of words, and a few dense features.

Only the first and the last `EDGE_WORDS` words count, taken from the first and the last `EDGE_CHARS` characters, so a request of any length costs
the same. Everything is one linear pass: a byte table lowers letters and turns the rest into spaces, `crc32` hashes what is left, one histogram of
bytes gives the ratios. No prompt is kept: what leaves this module are bucket numbers and counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import log1p
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

BUCKETS = 65_536
"""Hash buckets of the n-grams; a power of two, because the low 16 bits choose."""
EDGE_WORDS = 300
EDGE_CHARS = 4_096
"""How much of either end is looked at."""

STOP_WORDS = frozenset(
    (
        b"about above after again all also am an and any are as at be because been before being below between both but by can could did do does "
        b"doing done down during each either else ever every few for from further had has have having he her here hers him his how however if in "
        b"into is it its itself just me might more most much must my neither no nor not of off often on once one only or other others our out "
        b"over own per perhaps rather same several she should since so some such than that the their them then there these they this those "
        b"through thus to together too toward under until up upon us very was we were what whatever when where whether which while who whom whose "
        b"why will with within without would yet you your "
    ).split()
)
"""Words that say nothing about difficulty; leaving them out costs nothing and gains accuracy (see docs/explanation/classifier.md)."""

DENSE = (
    "log_words",
    "log_chars",
    "newline_ratio",
    "digit_ratio",
    "backslash_ratio",
    "operator_ratio",
    "dollar_ratio",
    "upper_ratio",
    "question_marks",
    "mean_word_length",
    "code_fence",
    "blank_to_fill",
    "list_items",
    "log_item_length",
    "item_digit_ratio",
    "log_lead_length",
    "lead_digits",
    "lead_upper_ratio",
    "tools",
    "images",
    "log_turns",
    "log_max_tokens",
    "json_answer",
)
"""Names of the dense features, in the order of the vector."""

_WORD_BYTES = bytes(
    byte + 32 if 65 <= byte <= 90 else byte if 48 <= byte <= 57 or 97 <= byte <= 122 or byte >= 128 or byte == 95 else 32 for byte in range(256)
)
_CLASSES = (b"\n", b"0123456789", b"\\", b"+-*/=^<>", b"$", b"ABCDEFGHIJKLMNOPQRSTUVWXYZ", b"?")
_CLASS_OF_BYTE = np.array([[byte in members for members in _CLASSES] for byte in range(256)], dtype=np.float32)
_ITEM = re.compile(rb"\n[A-Za-z0-9]{1,2}[.)] ")
_PAIR_MIX = 0x9E3779B1
_SKIPPED = STOP_WORDS | {bytes((byte,)) for byte in range(256)}
"""Stop words and single characters."""


@dataclass(frozen=True, slots=True)
class RequestFeatures:
    """What a request says besides its words. Counts are >= 0; `max_tokens` None = the client set no limit."""

    tools: int = 0
    images: int = 0
    turns: int = 1
    max_tokens: int | None = None
    json_answer: bool = False
    """A JSON object or schema was asked for."""


@dataclass(frozen=True, slots=True)
class Vector:
    """One request as the heads see it."""

    buckets: NDArray[np.int64]
    """Distinct hash buckets, ascending, each 0 .. BUCKETS - 1."""
    dense: NDArray[np.float32]
    """One number per name in DENSE."""


def vectorise(text: str, features: RequestFeatures) -> Vector:
    """The vector of one request. Takes any string (lone surrogates too) and time bounded by the edges, not by the length of `text`."""
    window = _window(text)
    words = window.translate(_WORD_BYTES).split()
    if len(words) > 2 * EDGE_WORDS:
        words = words[:EDGE_WORDS] + words[-EDGE_WORDS:]
    return Vector(_buckets(words), _dense(window, words, len(text), features))


def _window(text: str) -> bytes:
    if len(text) > 2 * EDGE_CHARS:
        text = f"{text[:EDGE_CHARS]}\n{text[-EDGE_CHARS:]}"
    return text.encode("utf-8", "replace")


def _buckets(words: Sequence[bytes]) -> NDArray[np.int64]:
    """Distinct buckets of the words and of neighbouring pairs; single characters and stop words are left out before pairs are made."""
    kept = [word for word in words if word not in _SKIPPED]
    if not kept:
        return np.empty(0, dtype=np.int64)
    single = list(map(crc32, kept))
    hashes = np.array([*single, *map(crc32, kept[1:], single)], dtype=np.uint64)
    pairs = hashes[len(single) :]
    pairs *= np.uint64(_PAIR_MIX)
    pairs >>= np.uint64(16)  # a pair "to gether" must not share a bucket with the word "together"
    buckets = (hashes & np.uint64(BUCKETS - 1)).astype(np.int64)
    buckets.sort()
    distinct = np.empty(len(buckets), dtype=bool)  # as np.unique, in a third of its time for so few
    distinct[0] = True
    np.not_equal(buckets[1:], buckets[:-1], out=distinct[1:])
    return buckets[distinct]


def _dense(window: bytes, words: Sequence[bytes], chars: int, features: RequestFeatures) -> NDArray[np.float32]:
    counts = np.bincount(np.frombuffer(window, dtype=np.uint8), minlength=256).astype(np.float32) @ _CLASS_OF_BYTE
    size = max(1, len(window))
    newlines, digits, backslashes, operators, dollars, uppers, questions = (float(count) for count in counts)
    marks = [match.start() for match in _ITEM.finditer(window)]
    lead, items = (window[: marks[0]], window[marks[0] :]) if marks else (window, b"")
    lead_digits = sum(map(lead.count, (b"%d" % digit for digit in range(10)))) if marks else digits
    item_digits = digits - lead_digits
    return np.array(
        (
            log1p(len(words)),
            log1p(chars),
            newlines / size,
            digits / size,
            backslashes / size,
            operators / size,
            dollars / size,
            uppers / size,
            min(questions, 10.0),
            min(sum(map(len, words)) / max(1, len(words)), 20.0),
            b"```" in window,
            b"___" in window,
            min(len(marks), 20),
            log1p(len(items) / max(1, len(marks))),
            item_digits / max(1, len(items)),
            log1p(len(lead)),
            log1p(lead_digits),
            _uppers(lead) / max(1, len(lead)),
            features.tools > 0,
            features.images > 0,
            log1p(max(0, features.turns - 1)),
            log1p(features.max_tokens or 0),
            features.json_answer,
        ),
        dtype=np.float32,
    )


def _uppers(part: bytes) -> int:
    return len(part) - len(part.translate(None, b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"))


def read_request(body: Mapping[str, Any]) -> tuple[str, RequestFeatures]:
    """Text and features of a parsed OpenAI-style body: `messages` (chat), `input` (responses, embeddings) or `prompt` (completions).

    Never raises on a body of odd shape: what is not understood is not counted. The text is the messages' in order; of long ones the ends are joined.
    """
    messages = body.get("messages")
    if not isinstance(messages, list):
        messages = body.get("input", body.get("prompt"))
    if not isinstance(messages, list):
        messages = [messages]
    images = 0
    parts: list[str] = []
    for message in messages:
        for text, image in _contents(message):
            images += image
            if text:
                parts.append(text)
    tools = body.get("tools", body.get("functions"))
    return _ends(parts), RequestFeatures(
        tools=len(tools) if isinstance(tools, list) else 0,
        images=images,
        turns=max(1, sum(isinstance(message, Mapping) and message.get("role") == "user" for message in messages)),
        max_tokens=_limit(body),
        json_answer=_json_answer(body),
    )


def _contents(message: object) -> Iterable[tuple[str, int]]:
    """(text, images) of each part of one message."""
    content = message.get("content") if isinstance(message, Mapping) else message
    for part in content if isinstance(content, list) else [content]:
        if isinstance(part, str):
            yield part, 0
        elif isinstance(part, Mapping):
            text = part.get("text")
            yield (text if isinstance(text, str) else ""), int(str(part.get("type", "")) in {"image", "image_url", "input_image"})


def _ends(parts: Sequence[str]) -> str:
    """All parts joined by newlines, or, when they are long, as much of both ends as `vectorise` looks at and a filler that keeps the length."""
    total = sum(map(len, parts)) + max(0, len(parts) - 1)
    if total <= 2 * EDGE_CHARS:
        return "\n".join(parts)
    head = _take(parts, EDGE_CHARS)
    tail = _take([part[-EDGE_CHARS:][::-1] for part in reversed(parts)], EDGE_CHARS)[::-1]
    return head + " " * (total - len(head) - len(tail)) + tail


def _take(parts: Iterable[str], chars: int) -> str:
    taken: list[str] = []
    left = chars
    for part in parts:
        if left <= 0:
            break
        taken.append(part[:left])
        left -= len(part) + 1
    return "\n".join(taken)[:chars]


def _limit(body: Mapping[str, Any]) -> int | None:
    for name in ("max_completion_tokens", "max_tokens", "max_output_tokens"):
        value = body.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return min(value, 1_000_000)
    return None


def _json_answer(body: Mapping[str, Any]) -> bool:
    wanted = body.get("response_format")
    if not isinstance(wanted, Mapping):
        text = body.get("text")
        wanted = text.get("format") if isinstance(text, Mapping) else None
    return isinstance(wanted, Mapping) and str(wanted.get("type", "")).startswith("json")

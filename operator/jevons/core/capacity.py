"""What can one replica serve *inside the objectives*?

From the profile ITL(B, ctx) = a + (b + c ctx) B and prefill(L): while requests arrive at rate r, prefill takes the share r P of the engine's time and
decode gets the rest, so the gap that a client sees is ITL(B) / (1 - r P), and by Little's law B = r n_out ITL_seen. At the objective I both hold with
equality:

    r = (I - a) / (I ((b + c ctx) n_out + P))

which reproduces the profile table's own figures (1.77 against 1.76 requests/s for Llama-3.1-70B on four A100s at 50 ms). Prefill may take no more
than MAX_PREFILL_SHARE of the time, KV memory and max_num_seqs bound B. This is *fluid* capacity, the unit in which work is measured; how much of it
keeps the promise is `usable.py`'s question. All of it is a prior: where no profile is known, capacity is the concurrency that a replica was seen to
run without a queue.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

from jevons.core.spec import Profile
from jevons.core.usable import Replica, replica

KV_USABLE = 0.9
MAX_PREFILL_SHARE = 0.85
DEFAULT_INPUT_TOKENS = 512.0
DEFAULT_OUTPUT_TOKENS = 200.0
DEFAULT_BATCH = 8.0
"""Requests at once that a replica nobody has measured is trusted with."""
SATURATED_UTIL = 0.95
SATURATED_KV = 0.9


@dataclass(frozen=True, slots=True)
class Capacity:
    """One replica inside the objectives, for one mix of tokens. `reachable` False = the objectives cannot be met even by one request alone."""

    requests_per_s: float
    concurrency: float
    bound: str
    """What binds: InterTokenLatency, TimeToFirstToken, KVMemory, MaxSequences, Objectives."""
    reachable: bool = True
    seconds: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Of one request by the profile: decoding alone on the engine, engine time in all, and of that prefill (`speed.py`)."""
    inside: Replica | None = None
    """How many requests keep their objectives below that rate; only of `served`."""


@lru_cache(maxsize=8192)
def of_replica(profile: Profile, input_tokens: int, output_tokens: int, itl_s: float, ttft_s: float) -> Capacity:
    """The most requests/s at which one replica's mean gap is `itl_s`, with the concurrency at which that happens.

    Tokens are means per request. When even a lone request misses an objective, the capacity is what one request at a time gives, and `reachable` is
    False. Example: Llama-3.1-70B BF16 on 4 A100, 1,155 in and 211 out, 50 ms, 2 s -> 1.77 requests/s at batch 18.7, bound by InterTokenLatency
    (test_worked_examples.py::test_capacity_reproduces_the_table).
    """
    k_in, outputs = input_tokens / 1000.0, max(1.0, float(output_tokens))
    prefill_s = max(1e-6, profile.prefill_p0_s + profile.prefill_p1_s * k_in + profile.prefill_p2_s * k_in * k_in)
    per_seq_s = profile.itl_b_s + profile.itl_c_s * (k_in + outputs / 2000.0)
    alone_s = profile.itl_a_s + per_seq_s
    seconds = (outputs * profile.itl_a_s, prefill_s + outputs * per_seq_s, prefill_s)
    if alone_s >= itl_s or prefill_s >= ttft_s:
        return Capacity(1.0 / (prefill_s + outputs * alone_s), 1.0, "Objectives", reachable=False, seconds=seconds)
    rate, bound = (itl_s - profile.itl_a_s) / (itl_s * (per_seq_s * outputs + prefill_s)), "InterTokenLatency"
    if MAX_PREFILL_SHARE / prefill_s < rate:
        rate, bound = MAX_PREFILL_SHARE / prefill_s, "TimeToFirstToken"
    sequences = min(float(profile.max_num_seqs), KV_USABLE * profile.kv_tokens / (input_tokens + outputs))
    name = "MaxSequences" if sequences >= profile.max_num_seqs else "KVMemory"
    concurrency = _concurrency(profile.itl_a_s, per_seq_s, prefill_s, outputs, rate)
    if concurrency > sequences:
        seen_s = (profile.itl_a_s + per_seq_s * sequences) * outputs
        rate, bound, concurrency = sequences / (seen_s + sequences * prefill_s), name, sequences
    return Capacity(rate, max(1.0, concurrency), bound, seconds=seconds)


@lru_cache(maxsize=8192)
def served(profile: Profile, input_tokens: int, output_tokens: int, itl_s: float, ttft_s: float) -> Capacity:
    """`of_replica`, with what of it may be used (`usable.py`) where the objectives can be reached at all."""
    one = of_replica(profile, input_tokens, output_tokens, itl_s, ttft_s)
    if not one.reachable:
        return one
    return replace(one, inside=replica(profile, input_tokens, output_tokens, itl_s, ttft_s, one.requests_per_s, one.concurrency))


def _concurrency(a_s: float, per_seq_s: float, prefill_s: float, outputs: float, rate: float) -> float:
    """Batch B at which B = rate * outputs * ITL(B) / (1 - rate * prefill); infinite when the engine cannot keep up."""
    free = 1.0 - rate * prefill_s - rate * outputs * per_seq_s
    return rate * outputs * a_s / free if free > 0 else math.inf


def tokens(count: float | None, default: float) -> int:
    """Mean tokens rounded to about 5 % (steps of 2^(1/14)), so that small drifts neither flap a plan nor miss the cache."""
    return _whole(round(math.log2(default if count is None or count < 1.0 else count) * 14.0))


@lru_cache(maxsize=1024)
def _whole(step: int) -> int:
    """2^(step/14) as a whole number."""
    return round(math.pow(2.0, step / 14.0))


def learned_batch(batch: float | None, running: float, waiting: float, gpu_util: float | None, kv_used: float | None) -> float | None:
    """The concurrency a replica is trusted with, after seeing one pod: raised to what it ran without a queue and without saturation.

    A load without a queue is only a lower bound of the capacity, so this never falls by itself. None = nothing learned yet (`DEFAULT_BATCH` stands).
    """
    if waiting > 0 or running <= (batch or DEFAULT_BATCH):
        return batch
    if (gpu_util is not None and gpu_util >= SATURATED_UTIL) or (kv_used is not None and kv_used >= SATURATED_KV):
        return batch
    return float(math.floor(running))

"""One replica of an LLM engine: what continuous batching does to the requests it is given.

An engine works in iterations. Each gives one token to every sequence that decodes and pushes up to `chunk_tokens` of waiting prompts forward (chunked
prefill); sequences join and leave between iterations. How long an iteration takes is the `Profile`:

    decode  a + (b + c * ctx_k) * B           B sequences of mean context ctx_k [1,000 tokens]
    prefill p0 + p1 * n_k + p2 * (e_k^2 - s_k^2)   a chunk of n tokens that covers s..e of its prompt; p0 once per iteration

so a prompt of L <= chunk_tokens on an idle engine has its first token after prefill(L), and B decoding sequences one token each ITL(B, ctx).
The KV cache is counted in tokens: a request is admitted, first come first served, when its prompt fits, and when decoding outgrows the cache the
youngest is preempted and later recomputed, as vLLM does. Nothing here reads a clock: `submit` and `advance` are told the time, and the same calls
give the same answers.

Cost per iteration does not grow with the batch unless the caller wants every token: a decoding sequence knows the iteration it will finish in.
"""

from __future__ import annotations

import heapq
import math
import random
from bisect import bisect_right
from collections import deque
from dataclasses import dataclass, field

from jevons.core.spec import Profile


@dataclass(frozen=True, slots=True)
class Request:
    """What an engine is asked: `input_tokens` >= 1 to read and `output_tokens` >= 0 to write (0: prefill only, as an embedding).

    `cached_tokens` of the prompt need no computing (prefix-cache hit); at least one token always does.
    """

    id: str
    input_tokens: int
    output_tokens: int
    cached_tokens: int = 0


@dataclass(frozen=True, slots=True)
class TokenEvent:
    """Token number `index` (1 .. output_tokens) of a request exists since `at_s`. A prefill-only request has one event, of index 0."""

    request_id: str
    index: int
    at_s: float
    last: bool


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one request. Times are those of the caller's clock [s]; `finished` is False when the caller aborted it."""

    request_id: str
    arrived_s: float
    first_token_s: float | None
    ended_s: float
    tokens: int
    largest_gap_s: float
    preemptions: int
    finished: bool

    @property
    def ttft_s(self) -> float | None:
        """Seconds from arrival to the first token; None when there was none."""
        return None if self.first_token_s is None else self.first_token_s - self.arrived_s

    @property
    def itl_mean_s(self) -> float | None:
        """Mean gap between tokens [s]; None with fewer than two tokens."""
        return None if self.first_token_s is None or self.tokens < 2 else (self.ended_s - self.first_token_s) / (self.tokens - 1)


@dataclass(slots=True)
class Counters:
    """What an engine has done since it started; only grows. `kv_reads` is the sum of contexts read by decode iterations [tokens]."""

    iterations: int = 0
    busy_s: float = 0.0
    kv_reads: int = 0
    prompt_tokens: int = 0
    computed_prompt_tokens: int = 0
    cached_prompt_tokens: int = 0
    generated_tokens: int = 0
    preemptions: int = 0
    finished: int = 0
    aborted: int = 0


@dataclass(slots=True, eq=False)
class _Sequence:
    """A request inside the engine. While it decodes, everything about it follows from the iteration it `joined` in."""

    request: Request
    arrived_s: float
    target: int
    """Tokens to prefill: the prompt, and after a preemption what had been generated too."""
    prefilled: int
    generated: int = 0
    decoding: bool = False
    joined: int = 0
    finishes: int = 0
    first_token_s: float | None = None
    last_token_s: float = 0.0
    largest_gap_s: float = 0.0
    preemptions: int = 0

    def tokens(self, iteration: int) -> int:
        """Tokens generated when `iteration` is complete."""
        return self.generated + (iteration - self.joined if self.decoding else 0)

    def kv(self, iteration: int) -> int:
        """KV tokens held during `iteration`."""
        return self.target + (iteration - self.joined if self.decoding else 0)


@dataclass(slots=True)
class Engine:
    """One replica. `jitter` is the sigma of a lognormal factor of mean 1 on each iteration (0.376 gives p99/p50 = 2.4).

    `slowdown` multiplies what iterations take and may change at any time.
    `every_token` False leaves out the events of tokens between the first and the last, which the offline simulator does not need.
    """

    profile: Profile
    jitter: float = 0.0
    seed: int = 0
    every_token: bool = True
    slowdown: float = 1.0
    counters: Counters = field(default_factory=Counters)
    kv_used: int = 0
    _random: random.Random = field(init=False)
    _waiting: deque[_Sequence] = field(default_factory=deque)
    _running: dict[str, _Sequence] = field(default_factory=dict)
    _known: dict[str, _Sequence] = field(default_factory=dict)
    _prefilling: list[_Sequence] = field(default_factory=list)
    _context: int = 0
    _plan: list[tuple[_Sequence, int]] = field(default_factory=list)
    _iteration: int = 0
    _started_s: float = 0.0
    _ends_s: float | None = None
    _ending: list[tuple[int, int, _Sequence]] = field(default_factory=list)
    _ticket: int = 0
    _gap_iterations: list[int] = field(default_factory=list)
    _gaps: list[float] = field(default_factory=list)
    _results: list[Result] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    @property
    def running(self) -> int:
        """Sequences in the batch, prefilling or decoding; never above `profile.max_num_seqs`."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return len(self._waiting)

    @property
    def kv_usage(self) -> float:
        """Share of the KV cache in use, 0..1."""
        return self.kv_used / self.profile.kv_tokens

    @property
    def booked_tokens(self) -> int:
        """Tokens of all requests inside, in and out, however much of them is done."""
        return sum(sequence.request.input_tokens + sequence.request.output_tokens for sequence in self._known.values())

    def busy_s(self, now_s: float) -> float:
        """Seconds spent in iterations until `now_s`, the unfinished one included."""
        return self.counters.busy_s + (0.0 if self._ends_s is None else max(0.0, min(now_s, self._ends_s) - self._started_s))

    def submit(self, request: Request, now_s: float) -> None:
        """Queue a request. Advance to `now_s` first.

        Raises ValueError for a size that can never fit, an id that is inside already, or iterations that ended before `now_s` and were not taken.
        """
        if self._ends_s is not None and self._ends_s <= now_s:
            raise ValueError(f"an iteration ended at {self._ends_s}: advance to {now_s} before submitting at it")
        if request.input_tokens < 1 or request.output_tokens < 0 or request.cached_tokens < 0:
            raise ValueError(f"request {request.id}: token counts must be at least 1 (input) and 0 (output, cached), got {request}")
        if request.input_tokens + request.output_tokens > self.profile.kv_tokens:
            raise ValueError(
                f"request {request.id}: {request.input_tokens} + {request.output_tokens} tokens exceed the KV cache of {self.profile.kv_tokens}"
            )
        if request.id in self._known:
            raise ValueError(f"request {request.id} is inside already")
        sequence = _Sequence(request, now_s, request.input_tokens, self._cached(request))
        self._known[request.id] = sequence
        self._waiting.append(sequence)
        if self._ends_s is None:
            self._begin(now_s)

    def abort(self, request_id: str, now_s: float) -> Result | None:
        """Drop a request whose client has gone; its memory is free at once. None when it is not inside. The running iteration goes on."""
        sequence = self._known.get(request_id)
        if sequence is None:
            return None
        if request_id in self._running:
            tokens = sequence.tokens(self._iteration) - (1 if sequence.decoding and self._ends_s is not None else 0)
            self._remove(sequence)
        else:
            tokens = sequence.generated
            self._waiting.remove(sequence)
        self.counters.aborted += 1
        return self._end(sequence, tokens, now_s, finished=False)

    def next_event_at(self) -> float | None:
        """When the running iteration ends; None while idle."""
        return self._ends_s

    def advance(self, now_s: float) -> list[TokenEvent]:
        """Complete every iteration that ends by `now_s` and start the next ones. Events are in order of time."""
        events: list[TokenEvent] = []
        while self._ends_s is not None and self._ends_s <= now_s:
            at_s = self._ends_s
            self._complete(at_s, events)
            self._begin(at_s)
        return events

    def take_results(self) -> list[Result]:
        """The requests that ended since the last call, in that order."""
        results, self._results = self._results, []
        return results

    @staticmethod
    def _cached(request: Request) -> int:
        return min(request.cached_tokens, request.input_tokens - 1)

    def _begin(self, now_s: float) -> None:
        """Choose what the next iteration does, and how long it takes; idle when there is nothing to do."""
        profile = self.profile
        preempted = False
        while self.kv_used + len(self._running) - len(self._prefilling) > profile.kv_tokens:
            self._preempt(now_s)
            preempted = True
        decoding = len(self._running) - len(self._prefilling)
        budget = max(1, profile.chunk_tokens - decoding)
        plan = self._plan = []
        for sequence in self._prefilling:
            budget -= self._schedule(sequence, budget)
        while self._waiting and not preempted and budget > 0 and len(self._running) < profile.max_num_seqs:
            head = self._waiting[0]
            if self.kv_used + decoding + head.target > profile.kv_tokens:
                break
            self._waiting.popleft()
            self._running[head.request.id] = head
            self._prefilling.append(head)
            self.kv_used += head.target
            budget -= self._schedule(head, budget)
        if not decoding and not plan:
            self._ends_s = None
            return
        duration_s = self._duration_s(decoding)
        self._iteration += 1
        self.counters.kv_reads += self._context
        self._context += decoding
        self.kv_used += decoding
        self._started_s, self._ends_s = now_s, now_s + duration_s

    def _schedule(self, sequence: _Sequence, budget: int) -> int:
        """Put up to `budget` tokens of the sequence's prompt into this iteration; how many it took."""
        take = min(budget, sequence.target - sequence.prefilled)
        if take > 0:
            self._plan.append((sequence, take))
        return take

    def _duration_s(self, decoding: int) -> float:
        profile = self.profile
        duration_s = 0.0
        if decoding:
            duration_s = profile.itl_a_s + profile.itl_b_s * decoding + profile.itl_c_s * self._context / 1e3
        if self._plan:
            duration_s += profile.prefill_p0_s
            for sequence, take in self._plan:
                start_k, end_k = sequence.prefilled / 1e3, (sequence.prefilled + take) / 1e3
                duration_s += profile.prefill_p1_s * (end_k - start_k) + profile.prefill_p2_s * (end_k * end_k - start_k * start_k)
        if self.jitter > 0:
            duration_s *= math.exp(self._random.gauss(-0.5 * self.jitter * self.jitter, self.jitter))
        return duration_s * self.slowdown

    def _preempt(self, now_s: float) -> None:
        """Send the youngest back to the head of the queue; it will be recomputed with what it had generated."""
        sequence = next(reversed(self._running.values()))
        tokens = sequence.tokens(self._iteration)
        if sequence.decoding:
            sequence.largest_gap_s = self._largest_gap_s(sequence)
            sequence.last_token_s = now_s
        self._remove(sequence)
        sequence.decoding = False
        sequence.generated = tokens
        sequence.target = sequence.request.input_tokens + tokens
        sequence.prefilled = self._cached(sequence.request)
        sequence.preemptions += 1
        self.counters.preemptions += 1
        self._waiting.appendleft(sequence)

    def _complete(self, at_s: float, events: list[TokenEvent]) -> None:
        """The running iteration is done: tokens for those that decode, progress for those that prefill."""
        duration_s = at_s - self._started_s
        self.counters.iterations += 1
        self.counters.busy_s += duration_s
        self.counters.generated_tokens += len(self._running) - len(self._prefilling)
        while self._gaps and self._gaps[-1] <= duration_s:
            self._gaps.pop()
            self._gap_iterations.pop()
        self._gaps.append(duration_s)
        self._gap_iterations.append(self._iteration)
        if self.every_token:
            iteration = self._iteration
            events.extend(
                TokenEvent(request_id, sequence.generated + iteration - sequence.joined, at_s, last=sequence.finishes == iteration)
                for request_id, sequence in self._running.items()
                if sequence.decoding
            )
        while self._ending and self._ending[0][0] <= self._iteration:
            finishes, _, sequence = heapq.heappop(self._ending)
            if sequence.decoding and sequence.finishes == finishes and self._known.get(sequence.request.id) is sequence:
                if not self.every_token:
                    events.append(TokenEvent(sequence.request.id, sequence.request.output_tokens, at_s, last=True))
                self._finish(sequence, at_s)
        for sequence, take in self._plan:
            if self._running.get(sequence.request.id) is sequence:
                self._prefill(sequence, take, at_s, events)
        if len(self._running) == len(self._prefilling):
            self._gaps.clear()
            self._gap_iterations.clear()
            self._ending.clear()

    def _prefill(self, sequence: _Sequence, take: int, at_s: float, events: list[TokenEvent]) -> None:
        """Move a prompt forward; when it is whole, its next token is there."""
        request = sequence.request
        sequence.prefilled += take
        self.counters.computed_prompt_tokens += take
        if sequence.prefilled < sequence.target:
            return
        self._prefilling.remove(sequence)
        if sequence.first_token_s is None:
            sequence.first_token_s = at_s
            self.counters.prompt_tokens += request.input_tokens
            self.counters.cached_prompt_tokens += self._cached(request)
        else:
            sequence.largest_gap_s = max(sequence.largest_gap_s, at_s - sequence.last_token_s)
        sequence.decoding = True
        sequence.joined = self._iteration
        self._context += sequence.target
        if request.output_tokens > 0:
            sequence.generated += 1
            self.counters.generated_tokens += 1
        sequence.finishes = self._iteration + request.output_tokens - sequence.generated
        last = sequence.generated >= request.output_tokens
        events.append(TokenEvent(request.id, sequence.generated, at_s, last=last))
        if last:
            self._finish(sequence, at_s)
            return
        self._ticket += 1
        heapq.heappush(self._ending, (sequence.finishes, self._ticket, sequence))

    def _largest_gap_s(self, sequence: _Sequence) -> float:
        """The longest iteration since it joined (the list is decreasing, so the first one in range is it), or an earlier longer gap."""
        position = bisect_right(self._gap_iterations, sequence.joined)
        return max(sequence.largest_gap_s, self._gaps[position] if sequence.decoding and position < len(self._gaps) else 0.0)

    def _finish(self, sequence: _Sequence, at_s: float) -> None:
        tokens = sequence.tokens(self._iteration)
        self._remove(sequence)
        self.counters.finished += 1
        self._end(sequence, tokens, at_s, finished=True)

    def _remove(self, sequence: _Sequence) -> None:
        """Take it out of the batch and free its memory."""
        held = sequence.kv(self._iteration)
        self.kv_used -= held
        if sequence.decoding:
            self._context -= held
        else:
            self._prefilling.remove(sequence)
        del self._running[sequence.request.id]

    def _end(self, sequence: _Sequence, tokens: int, now_s: float, *, finished: bool) -> Result:
        del self._known[sequence.request.id]
        result = Result(
            sequence.request.id,
            sequence.arrived_s,
            sequence.first_token_s,
            now_s,
            tokens,
            self._largest_gap_s(sequence),
            sequence.preemptions,
            finished=finished,
        )
        self._results.append(result)
        return result

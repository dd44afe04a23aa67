"""An open-loop load generator: requests leave when the trace says so, however slow the answers are.

A `Workload` is a plan made beforehand from real input: instants and lengths from a trace, questions from a set of real prompts (the classifier has
something true to score). The runner keeps to the plan, talks to any OpenAI URL, and writes down what a client sees: the first token (never a comment
that keeps a held stream alive), the pace, and what the gateway said it did.

Questions are shorter than the trace's prompts. With `padded` a system message of neutral text makes up the difference, so that token counts match the
trace; it also changes what the classifier reads (measured on 500 held-out MMLU-Pro prompts: median score 0.54 alone, 0.15 padded).
"""

from __future__ import annotations

import asyncio
import csv
import gzip
import math
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import orjson

from jevons.sandbox.fleet_openai import BYTES_PER_TOKEN, OUTPUT_HEADER, count_tokens
from jevons.simulator.workload import Arrival

FILLER = "Background notes follow. They are general remarks and do not change the question below. "


@dataclass(frozen=True, slots=True)
class Prompt:
    """A real question, and whether a small and a large model answered it right."""

    text: str
    small_right: bool
    large_right: bool


@dataclass(frozen=True, slots=True)
class Planned:
    """One request to send at `at_s` from the start. `input_tokens` as the fleet counts them, `output_tokens` as it is told to answer."""

    at_s: float
    model: str
    messages: tuple[Mapping[str, str], ...]
    input_tokens: int
    output_tokens: int
    stream: bool = True
    headers: Mapping[str, str] = field(default_factory=dict)
    prompt: Prompt | None = None
    max_tokens: int | None = None
    """The client's own limit, for an engine that is not told how long to answer (a real one)."""


Workload = list[Planned]


@dataclass(slots=True)
class Outcome:
    """What the client saw. Times [s] count from the start of the run; `status` 0: no answer at all, `error` says why."""

    planned: Planned
    sent_s: float
    status: int = 0
    ttft_s: float | None = None
    itl_mean_s: float | None = None
    largest_gap_s: float = 0.0
    ended_s: float = 0.0
    tokens: int = 0
    prompt_tokens: int | None = None
    finish_reason: str | None = None
    variant: str | None = None
    reason: str | None = None
    score: float | None = None
    wait_ms: float | None = None
    comments: int = 0
    error: str | None = None

    @property
    def ok(self) -> bool:
        """Answered to the end, and not cut off."""
        whole = self.finish_reason == "stop" or (self.finish_reason == "length" and self.planned.max_tokens is not None)
        return self.status == 200 and self.error is None and whole


def load_prompts(path: Path) -> list[Prompt]:
    """The shipped sample (`prompt,small_correct,large_correct`, .csv or .csv.gz)."""
    with gzip.open(path, "rt", encoding="utf-8", newline="") if path.suffix == ".gz" else path.open(encoding="utf-8", newline="") as file:
        return [Prompt(row["prompt"], row["small_correct"] == "1", row["large_correct"] == "1") for row in csv.DictReader(file)]


def plan(
    arrivals: Sequence[Arrival],
    prompts: Sequence[Prompt],
    *,
    model: str,
    seed: int = 0,
    padded: bool = True,
    streamed: float = 1.0,
    headers: Mapping[str, str] | None = None,
    longest_input: int | None = None,
    longest_output: int | None = None,
) -> Workload:
    """Give each arrival a question. `model` is asked where the arrival names none; `streamed` is the share 0..1 of requests that stream.

    A question that is longer than the arrival's prompt is used whole. `longest_*` cap the trace's lengths [tokens].
    """
    chance = random.Random(seed)
    planned = []
    for arrival in arrivals:
        prompt = chance.choice(prompts)
        target = min(arrival.input_tokens, longest_input or arrival.input_tokens)
        messages = _messages(prompt.text, target if padded else 0)
        planned.append(
            Planned(
                at_s=arrival.at_s,
                model=arrival.model or model,
                messages=messages,
                input_tokens=sum(count_tokens(message["content"]) for message in messages),
                output_tokens=min(arrival.output_tokens, longest_output or arrival.output_tokens),
                stream=chance.random() < streamed,
                headers=dict(headers or {}),
                prompt=prompt,
            )
        )
    return planned


def merged(*workloads: Workload) -> Workload:
    """Several plans as one, in order of time."""
    return sorted((planned for workload in workloads for planned in workload), key=lambda planned: planned.at_s)


def _messages(question: str, target_tokens: int) -> tuple[Mapping[str, str], ...]:
    """The question, after as much filler as makes the whole `target_tokens` long."""
    missing = target_tokens - count_tokens(question)
    asked = {"role": "user", "content": question}
    if missing < 1:
        return (asked,)
    size = missing * BYTES_PER_TOKEN
    return {"role": "system", "content": (FILLER * (size // len(FILLER) + 1))[:size]}, asked


async def run(
    workload: Workload, base_url: str, *, timeout_s: float = 300.0, seen: Callable[[Outcome], None] | None = None, stop: asyncio.Event | None = None
) -> list[Outcome]:
    """Send the plan to `base_url` (as in `http://127.0.0.1:8080`) and wait for every answer; outcomes are in the order of the plan.

    timeout_s: of one request, waiting included. seen: called with each outcome as it is complete. stop: when set, nothing more is sent.
    """
    stop = stop or asyncio.Event()
    timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=10)
    asked: list[asyncio.Task[Outcome]] = []
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as session:
        start = time.monotonic()

        async def ask(planned: Planned) -> Outcome:
            outcome = await _ask(session, base_url, planned, start)
            if seen is not None:
                seen(outcome)
            return outcome

        try:
            for planned in workload:
                if not await _wait(stop, start + planned.at_s):
                    break
                asked.append(asyncio.create_task(ask(planned)))
            return await asyncio.gather(*asked)
        finally:
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)


async def _wait(stop: asyncio.Event, until: float) -> bool:
    """Wait for the instant (of the monotonic clock); False when told to stop before."""
    left_s = until - time.monotonic()
    if left_s <= 0:
        return not stop.is_set()
    try:
        await asyncio.wait_for(stop.wait(), left_s)
    except TimeoutError:
        return True
    return False


async def _ask(session: aiohttp.ClientSession, base_url: str, planned: Planned, start: float) -> Outcome:
    """Send one request and write down what comes back; never raises but for cancellation."""
    outcome = Outcome(planned, time.monotonic() - start)
    body: dict[str, object] = {"model": planned.model, "messages": planned.messages, "stream": planned.stream}
    if planned.stream:
        body["stream_options"] = {"include_usage": True}
    if planned.max_tokens is not None:
        body["max_tokens"] = planned.max_tokens
    headers = {"content-type": "application/json", OUTPUT_HEADER: str(planned.output_tokens), **planned.headers}
    try:
        async with session.post(f"{base_url}/v1/chat/completions", data=orjson.dumps(body), headers=headers) as response:
            outcome.status = response.status
            _read_headers(outcome, response.headers)
            if response.status == 200 and response.content_type == "text/event-stream":
                await _read_stream(outcome, response, start)
            else:
                _read_whole(outcome, await response.read(), time.monotonic() - start)
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        outcome.error = type(error).__name__
    outcome.ended_s = time.monotonic() - start
    return outcome


def _read_headers(outcome: Outcome, headers: Mapping[str, str]) -> None:
    outcome.variant = headers.get("x-jevons-variant")
    outcome.reason = headers.get("x-jevons-reason")
    outcome.score = _number(headers.get("x-jevons-score"))
    outcome.wait_ms = _number(headers.get("x-jevons-wait-ms"))


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None


def _read_whole(outcome: Outcome, body: bytes, now_s: float) -> None:
    """An answer in one piece, or an error in OpenAI's form."""
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError:
        outcome.error = "not JSON"
        return
    if outcome.status != 200:
        error = data.get("error") if isinstance(data, dict) else None
        outcome.error = str((error.get("code") or error.get("type")) if isinstance(error, dict) else outcome.status)
        return
    outcome.ttft_s = now_s - outcome.sent_s
    outcome.finish_reason = data["choices"][0]["finish_reason"]
    outcome.tokens, outcome.prompt_tokens = data["usage"]["completion_tokens"], data["usage"]["prompt_tokens"]


async def _read_stream(outcome: Outcome, response: aiohttp.ClientResponse, start: float) -> None:
    """Server-sent events: comments are counted, content is timed, an error event or a missing end is an error."""
    first_s = last_s = None
    events, done = 0, False
    async for raw in response.content:
        line = raw.rstrip(b"\r\n")
        if line.startswith(b":"):
            outcome.comments += 1
        if not line.startswith(b"data:"):
            continue
        payload = line[5:].strip()
        if payload == b"[DONE]":
            done = True
            continue
        event = orjson.loads(payload)
        if "error" in event:
            outcome.error = str(event["error"].get("code") or event["error"].get("type") or "error")
            return
        if usage := event.get("usage"):
            outcome.tokens, outcome.prompt_tokens = usage["completion_tokens"], usage["prompt_tokens"]
        for choice in event.get("choices") or ():
            outcome.finish_reason = choice.get("finish_reason") or outcome.finish_reason
            if not choice.get("delta", {}).get("content"):
                continue
            now_s = time.monotonic() - start
            events += 1
            if last_s is not None:
                outcome.largest_gap_s = max(outcome.largest_gap_s, now_s - last_s)
            first_s, last_s = first_s if first_s is not None else now_s, now_s
    if first_s is not None and last_s is not None:
        outcome.ttft_s = first_s - outcome.sent_s
        outcome.itl_mean_s = (last_s - first_s) / (events - 1) if events > 1 else None
    if not done:
        outcome.error = "stream ended early"


def percentile(values: Sequence[float], percent: float) -> float | None:
    """The nearest-rank percentile (0 <= percent <= 100) of any values; None when there are none. Example: of 1..10 the 95th is 10."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)] if ordered else None


@dataclass(frozen=True, slots=True)
class Summary:
    """A run in figures; denominators are beside them. Times [s], None where nothing was measured."""

    requests: int
    answered: int
    errors: Mapping[str, int]
    by_variant: Mapping[str, int]
    by_reason: Mapping[str, int]
    tokens: int
    ttft_p50_s: float | None
    ttft_p95_s: float | None
    ttft_p99_s: float | None
    itl_p50_s: float | None
    itl_p95_s: float | None
    latest_send_s: float
    """How far behind its plan the generator was at worst: above 0.1 s it measured itself."""


def summary(outcomes: Sequence[Outcome]) -> Summary:
    """Count and rank. Percentiles are over the requests that were answered."""
    answered = [outcome for outcome in outcomes if outcome.ok]
    ttft = [outcome.ttft_s for outcome in answered if outcome.ttft_s is not None]
    itl = [outcome.itl_mean_s for outcome in answered if outcome.itl_mean_s is not None]
    return Summary(
        requests=len(outcomes),
        answered=len(answered),
        errors=Counter(outcome.error or outcome.finish_reason or str(outcome.status) for outcome in outcomes if not outcome.ok),
        by_variant=Counter(outcome.variant or "-" for outcome in answered),
        by_reason=Counter(outcome.reason or "-" for outcome in answered),
        tokens=sum(outcome.tokens for outcome in outcomes),
        ttft_p50_s=percentile(ttft, 50),
        ttft_p95_s=percentile(ttft, 95),
        ttft_p99_s=percentile(ttft, 99),
        itl_p50_s=percentile(itl, 50),
        itl_p95_s=percentile(itl, 95),
        latest_send_s=max((outcome.sent_s - outcome.planned.at_s for outcome in outcomes), default=0.0),
    )

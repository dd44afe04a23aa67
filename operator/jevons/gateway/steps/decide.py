"""The steps in order: a parsed request and what this process knows become a `Decision`, or a Refusal.

Nothing here waits and nothing here does IO except two mapped files (outstanding work, sessions); so one request costs one call, and a test
needs no server.
"""

from __future__ import annotations

import difflib
import heapq
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from jevons.core.load import Work
from jevons.gateway.errors import Refusal, invalid
from jevons.gateway.inflight import Inflight
from jevons.gateway.sessions import Session, SessionTable
from jevons.gateway.steps import classify, endpoint, limits
from jevons.gateway.steps import session as sessions
from jevons.gateway.steps.choose import Ask, Choice, choose
from jevons.gateway.steps.parse import Request
from jevons.gateway.table import Model, RequestClass, Table, Variant
from jevons.gateway.tokens import IMAGE_TOKENS, MESSAGE_TOKENS, TokenEstimator, raw_tokens

QUALITY_HEADER = "x-jevons-quality"
MAX_WAIT_HEADER = "x-jevons-max-wait"
BLOCKED_RETRY_S = 120
ROOM_TRIES = 20
"""The room ends every list, so many times: Envoy tries each entry once, and a room that is killed while it holds a request is not back at once.
With the pauses in `envoy/routes.py` that is patience for 3.6 s in 999 of 1,000 requests, 6.6 s on average."""
LOOKED_AT = 8
SAMPLED_PODS = 32
"""Of more pods so many are looked at, chosen by chance: the idlest of 32 is about as idle as the idlest of all."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """Who is asking: the request's id, and when it first arrived (before any wait) [ms since the epoch]. `wait_ms`: what it has waited so far."""

    id: str
    at_ms: float
    wait_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Decision:
    """Where one request goes and why.

    `endpoints`: `ip:port` in the order to try, the room last, `ROOM_TRIES` times. `work`: what it puts on the first.
    """

    model: Model
    klass: RequestClass
    choice: Choice
    score: float
    endpoints: tuple[str, ...]
    raw_tokens: float
    input_tokens: float
    output_tokens: float
    work: Work
    output_limit: int | None
    team: str
    session: int | None
    reserved_usd: float
    deadline_ms: float
    wake: Variant | None = None
    """A variant to start although nobody waits for it."""

    @property
    def held(self) -> bool:
        """Whether it goes to the waiting room first."""
        return self.choice.held


@dataclass(slots=True)
class Decider:
    """What one picker knows. `table` and `tokens` are replaced whole when their files change."""

    scorer: classify.Scorer
    inflight: Inflight
    sessions: SessionTable
    table: Table = field(default_factory=Table)
    tokens: TokenEstimator = field(default_factory=TokenEstimator)
    draw: Callable[[], float] = random.random

    def decide(self, request: Request, arrival: Arrival, now_s: float) -> Decision:
        """Where `request` goes. Raises Refusal. Notes the request's work on its pod and its call in its session."""
        model, explicit = find_model(self.table, request.model)
        try:
            return self._decide(model, explicit, request, arrival, now_s)
        except Refusal as refusal:
            refusal.model = model.key
            raise

    def _decide(self, model: Model, explicit: str | None, request: Request, arrival: Arrival, now_s: float) -> Decision:
        refuse_when_blocked(model, now_s)
        raw = raw_tokens(request.text.encode()) + MESSAGE_TOKENS * request.messages + IMAGE_TOKENS * request.images
        yardstick = f"{model.key}@{explicit or model.best}"
        high = self.tokens.ceiling(yardstick, raw)
        klass = limits.class_of(model, request, high)
        limit = limits.output_limit(klass, request)
        session, had = self._session(model, request, now_s)
        vectors = request.kind == "embeddings" and explicit is None
        score = classify.HARD if request.kind == "embeddings" else self.scorer.score(request)
        ask = Ask(
            klass=klass,
            score=score,
            total_tokens=high + (limit or 0),
            needs=request.needs,
            explicit=model.best if vectors else explicit,
            pinned="embeddings" if vectors else "explicit",
            quality=quality_of(request.headers),
            floor=had.quality,
            lot=arrival.id if session is None else f"{session:x}",
        )
        choice = choose(model, ask, lambda variant: self._saturated(variant, now_s))
        if klass.wait_s:  # it wakes nobody whom it can do without
            waits = not (choice.cold or arrival.wait_ms) and bool(self.table.room) and not self._idle(choice.variant, now_s)
            choice = replace(choice, wake=None, patient=waits)
        return self._place(request, arrival, now_s, model, klass, choice, score=score, raw=raw, limit=limit, session=session)

    def _session(self, model: Model, request: Request, now_s: float) -> tuple[int | None, Session]:
        named = sessions.identify(model, request)
        if named is None:
            return None, Session()
        had = self.sessions.read(named, now_s, model.sticky_s)
        sessions.admit(model, had)
        return named, had

    def _saturated(self, variant: Variant, now_s: float) -> bool:
        """Whether every pod has more tokens outstanding than its KV cache holds; False when the size is not known."""
        pods = variant.usable_pods
        if variant.kv_tokens is None or not pods:
            return False
        return all(work.tokens > variant.kv_tokens for work in self.inflight.outstanding([pod.address for pod in pods], now_s))

    def _idle(self, variant: Variant, now_s: float) -> bool:
        """Whether a pod has room for work that can wait."""
        booked = self.inflight.outstanding([pod.address for pod in variant.usable_pods], now_s)
        return any(work.tokens <= variant.idle_tokens for work in booked)

    def _place(  # noqa: PLR0917 - the pieces of one Decision
        self,
        request: Request,
        arrival: Arrival,
        now_s: float,
        model: Model,
        klass: RequestClass,
        choice: Choice,
        *,
        score: float,
        raw: float,
        limit: int | None,
        session: int | None,
    ) -> Decision:
        name = f"{model.key}@{choice.variant.name}"
        tokens_in = self.tokens.expected(name, raw)
        sequences = request.choices if request.kind != "embeddings" else 1
        tokens_out = self.tokens.output(name, limit) * sequences if request.kind != "embeddings" else 0.0
        usd = (choice.variant.usd_per_1k or 0.0) * (tokens_in + tokens_out) / 1000
        team = sessions.team_of(model, request)
        work = Work(tokens_in + tokens_out, sequences)
        pods: list[str] = []
        if not choice.held:
            pods = self._pods(choice.variant, request, team, work, now_s)
            self.inflight.add(pods[0], work, arrival.at_ms / 1000)
            if session is not None:
                self.sessions.note(session, now_s, quality=choice.variant.quality, usd=usd, calls=1)
        if not (pods or self.table.room):
            raise Refusal(503, "no_capacity", f"{choice.variant.name!r} of {model.short!r} is not running.", retry_after_s=30)
        return Decision(
            model=model,
            klass=klass,
            choice=choice,
            score=score,
            endpoints=(*pods, *([self.table.room] * ROOM_TRIES if self.table.room else [])),
            raw_tokens=raw,
            input_tokens=tokens_in,
            output_tokens=tokens_out,
            work=work,
            output_limit=limit,
            team=team,
            session=session,
            reserved_usd=0.0 if choice.held else usd,
            deadline_ms=arrival.at_ms + 1000 * min(model.wake_timeout_s, max_wait_of(request.headers)),
            wake=choice.wake,
        )

    def _pods(self, variant: Variant, request: Request, team: str, own: Work, now_s: float) -> list[str]:
        pods = variant.usable_pods
        if len(pods) > SAMPLED_PODS:
            pods = tuple(random.sample(pods, SAMPLED_PODS))
        addresses = [pod.address for pod in pods]
        booked, failing = self.inflight.outstanding(addresses, now_s), self.inflight.outliers(addresses, now_s)
        prefix = endpoint.prefix_of(team, variant.name, request.text)
        return [pod.address for pod in endpoint.order(pods, booked, failing, own=own, prefix=prefix, draw=self.draw)]


def find_model(table: Table, requested: str) -> tuple[Model, str | None]:
    """The model and the variant behind a client's name, or Refusal 404 with up to three close names."""
    found = table.resolve(requested)
    if found is not None:
        return found
    close = difflib.get_close_matches(requested, _alike(requested, table.known_names()[:300]), n=3, cutoff=0.5)
    hint = f" Did you mean {', '.join(close)}?" if close else " GET /v1/models lists what there is."
    raise Refusal(404, "model_not_found", f"The model {requested!r} does not exist.{hint}", param="model")


def _alike(requested: str, names: Sequence[str]) -> list[str]:
    """The few names worth a close look, by the pairs of letters they share: a close look at 300 would hold up everybody else for 50 ms."""

    def pairs(text: str) -> set[str]:
        return set(map("".join, pairwise(text)))

    wanted = pairs(requested)
    return heapq.nlargest(LOOKED_AT, names, key=lambda name: len(wanted & pairs(name)) / (len(wanted) + len(name)))


def refuse_when_blocked(model: Model, now_s: float) -> None:
    """Refusal 429 while the deployment's budget is spent and says Block."""
    if model.rung != "Block" or (model.blocked_until is not None and now_s >= model.blocked_until):
        return
    left = BLOCKED_RETRY_S if model.blocked_until is None else model.blocked_until - now_s
    when = "" if model.blocked_until is None else f" Money returns in {left:.0f} s."
    raise Refusal(429, "budget_exceeded", f"The budget of {model.short!r} is spent.{when}", retry_after_s=left)


def quality_of(headers: Mapping[str, str]) -> float | None:
    """`x-jevons-quality`, 0..1; Refusal 400 when it is anything else."""
    text = headers.get(QUALITY_HEADER)
    if text is None:
        return None
    try:
        quality = float(text)
    except ValueError:
        quality = -1.0
    if not 0.0 <= quality <= 1.0:
        raise invalid(f"{QUALITY_HEADER} must be a number from 0 to 1, not {text[:32]!r}.", param=QUALITY_HEADER)
    return quality


def max_wait_of(headers: Mapping[str, str]) -> float:
    """`x-jevons-max-wait` in seconds (`30` or `30s`); infinite when absent; Refusal 400 when it is no such thing."""
    text = headers.get(MAX_WAIT_HEADER)
    if text is None:
        return float("inf")
    try:
        seconds = float(text.removesuffix("s"))
    except ValueError:
        seconds = -1.0
    if not 0.0 <= seconds <= 86_400.0:
        raise invalid(f"{MAX_WAIT_HEADER} must be seconds from 0 to 86400, not {text[:32]!r}.", param=MAX_WAIT_HEADER)
    return seconds

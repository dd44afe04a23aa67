"""Step 6: which variant answers?

Hard gates first (what the client named, context, tools, JSON schema, pictures), then the operator's plan (cheapest variant whose threshold the score
reaches, equal ones by chance, a share below it by budget pressure), then the conversation (never worse than before), then load: what is asleep or
saturated is left to others where the class allows it. Pure: the table, the request's numbers and two readings of load go in, a `Choice` comes out.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import groupby

from jevons.classifier.model import SCORE_BINS, bin_of
from jevons.gateway.errors import Refusal, invalid
from jevons.gateway.steps.limits import too_long
from jevons.gateway.table import Model, RequestClass, Variant

BORDERLINE = 0.10
"""A score so much below a threshold is a matter of taste: it may go to the cheaper variant when the better one is busy or asleep."""

SHARE = "/share"
"""Makes another lot of a request's: which of equal variants answers has nothing to do with whether it is degraded."""
ROUNDED = 0.005
"""Plans are published rounded: an expected quality so much below its promise is the promise."""


@dataclass(frozen=True, slots=True)
class Ask:
    """What choosing needs of a request. `total_tokens`: input (high estimate) plus the answer's limit. `floor`: quality this conversation has had."""

    klass: RequestClass
    score: float
    total_tokens: float
    needs: frozenset[str] = frozenset()
    explicit: str | None = None
    """The one variant that may answer, and why (`pinned`): the client named it, or vectors of another would not compare."""
    pinned: str = "explicit"
    quality: float | None = None
    floor: float = 0.0
    lot: str = ""
    """What decides by chance: the same lot always falls the same way (a session, else the request's id)."""


@dataclass(frozen=True, slots=True)
class Choice:
    """`variant` answers, for `reason`. `cold`: it has no ready pod, the request waits for it. `wake`: also start this one (nobody waits for it).

    `patient`: the variant is busy, and the request has time to wait until it is not.
    `quality_ok`: the answer has the quality that was promised (see `keeps_promise`); one that has not does not count as useful.
    """

    variant: Variant
    reason: str
    cold: bool = False
    wake: Variant | None = None
    quality_ok: bool = True
    patient: bool = False

    @property
    def held(self) -> bool:
        """Whether the request goes to the waiting room first."""
        return self.cold or self.patient


def choose(model: Model, ask: Ask, saturated: Callable[[Variant], bool]) -> Choice:
    """The variant for this request, or a Refusal: 400 (no variant can), 429 budget_exceeded, 503 no_capacity."""
    able = capable(model, ask)
    if ask.explicit:
        return _placed(model, able[0], ask.pinned)
    wanted, reason = _wanted(model, ask, able)
    if ask.floor > wanted.quality:
        better = [one for one in able if one.quality >= ask.floor and (one.ready or one.wakeable)]
        if better:
            wanted, reason = min(better, key=lambda one: (one.quality, -one.ready)), "sticky"
    if wanted.ready and not saturated(wanted):
        choice = Choice(wanted, reason)
    else:
        choice = _around(model, ask, able, wanted, reason=reason, saturated=saturated)
    return choice if keeps_promise(model, ask, choice.variant, wanted) else replace(choice, quality_ok=False)


def keeps_promise(model: Model, ask: Ask, variant: Variant, wanted: Variant) -> bool:
    """Whether an answer of `variant`, where the plan `wanted` another or the same, has the quality that its class promises.

    It has when the plan itself keeps minQuality (a plan that the budget pressed below it does not, whoever answers), and the request was not forced
    below the plan without the class' permission. What the client asked for by `x-jevons-quality` it also has.
    """
    klass = ask.klass
    if ask.quality is not None and variant.quality >= ask.quality:
        return True
    if variant.quality < wanted.quality and (klass.min_quality is None or variant.quality < klass.min_quality):
        return False
    promised = klass.min_quality if klass.min_quality is not None else model.min_quality
    return model.mode != "Auto" or klass.expected_quality >= promised - ROUNDED


def capable(model: Model, ask: Ask) -> list[Variant]:
    """Variants that can serve the request at all, best first. Raises Refusal 400 with the reason when there is none."""
    named = [model.variant(ask.explicit)] if ask.explicit else [one for one in model.variants if one.state != "Shadow"]
    variants = [one for one in named if one is not None]
    equipped = [one for one in variants if ask.needs <= set(one.capabilities)]
    if not equipped:
        needs = ", ".join(sorted(ask.needs)) or "any traffic"
        raise invalid(f"No variant of {model.short!r} can do what this request needs: {needs}.", code="not_supported")
    fitting = [one for one in equipped if ask.total_tokens <= one.context_length]
    if not fitting:
        longest = max(one.context_length for one in equipped)
        raise too_long(f"the longest context is {longest} tokens (class {ask.klass.name!r}); this request needs about {ask.total_tokens:.0f}")
    return sorted(fitting, key=lambda one: -one.quality)


def threshold(model: Model, ask: Ask, planned: float) -> float:
    """The score from which a variant may answer, moved by `x-jevons-quality`: more than the class promises raises it, less lowers it."""
    if ask.quality is None:
        return planned
    if ask.quality >= 1.0:
        return float("inf")
    return planned + ask.quality - (ask.klass.min_quality if ask.klass.min_quality is not None else model.min_quality)


def _wanted(model: Model, ask: Ask, able: list[Variant]) -> tuple[Variant, str]:
    """What the plan says, whatever is ready."""
    best = next((one for one in able if one.name == model.best), able[0])
    if model.mode != "Auto":
        return best, "off" if model.mode == "Off" else "shadow"
    plan = [(one, score) for name, score in ask.klass.min_score for one in able if one.name == name]
    for quality, equals in groupby(plan, key=lambda each: each[0].quality):
        variant = _of_equals(model, ask, list(equals), shared=quality == best.quality and all(one is not best for one, _ in plan))
        if variant is not None:
            return variant, "best" if variant is best else "simple"
    drawn = zlib.crc32(ask.lot.encode()) / 2**32
    cheapest = next((one for one, _ in plan if one is not best), None)
    if cheapest is not None and drawn < ask.klass.degraded_share and (ask.quality is None or ask.quality < 1.0):
        return cheapest, "budget"
    return best, "hard"


def _of_equals(model: Model, ask: Ask, equals: list[tuple[Variant, float]], *, shared: bool) -> Variant | None:
    """Which of these variants of one quality answers, None = none of them. `shared`: what their thresholds leave is the best one's, their equal.

    The score says that one of them answers; which one is a matter of chance within the score's bin, as the plan takes it to be.
    """
    reach = [threshold(model, ask, planned) for _, planned in equals]
    if not (shared or ask.score >= min(reach)):
        return None
    score = ask.score
    if shared or len(equals) > 1:
        score = (bin_of(ask.score) + zlib.crc32(f"{ask.lot}{SHARE}".encode()) / 2**32) / SCORE_BINS
    within = next((one for (one, _), planned in zip(equals, reach, strict=True) if score >= planned), None)
    return within if within is not None or shared else equals[-1][0]


def _around(model: Model, ask: Ask, able: list[Variant], wanted: Variant, *, reason: str, saturated: Callable[[Variant], bool]) -> Choice:
    """`wanted` is asleep or saturated: somebody else answers if the class allows, else the request waits for it."""
    ready = [one for one in able if one.ready and one is not wanted and one.quality >= ask.floor]
    why = f"{wanted.name}-busy" if wanted.ready else f"{wanted.name}-cold"
    free = [one for one in ready if not saturated(one)]
    better = [one for one in free if one.quality >= wanted.quality]
    lesser = [one for one in free if one.quality < wanted.quality and _allowed(model, ask, one)]
    wake = wanted if not wanted.ready and wanted.wakeable else None
    if wanted.ready:  # saturated: a free one that may answer, else queue where it belongs
        other = next(iter(lesser), None) or next(iter(better), None)
        return Choice(other or wanted, why if other else reason)
    other = next(iter(better), None) or next(iter(lesser), None)
    if other is not None:
        return Choice(other, why, wake=wake)
    if not wanted.wakeable and ready:  # stopped by the budget, or broken: an answer below the class' quality beats none
        return Choice(ready[0], "budget" if wanted.state == "Capped" else why)
    return _placed(model, _to_wake(model, ask, able, wanted), why)


def _allowed(model: Model, ask: Ask, cheaper: Variant) -> bool:
    """Whether the class lets `cheaper` answer instead of a better one that is not there: by its own minQuality, or because it is a close call."""
    if ask.quality is not None and ask.quality > cheaper.quality:
        return False
    if ask.klass.min_quality is not None and cheaper.quality >= ask.klass.min_quality:
        return True
    planned = dict(ask.klass.min_score).get(cheaper.name)
    return planned is not None and ask.score >= threshold(model, ask, planned) - BORDERLINE


def _to_wake(model: Model, ask: Ask, able: list[Variant], wanted: Variant) -> Variant:
    """Nothing that may answer is ready. Woken is the operator's choice if it may answer this, else what was wanted, else anything."""
    cheapest = next((one for one in able if one.name == model.wake), None)
    may = cheapest is not None and cheapest.wakeable and cheapest.quality >= ask.floor
    if cheapest is not None and may and (cheapest.quality >= wanted.quality or _allowed(model, ask, cheapest)):
        return cheapest
    return wanted if wanted.wakeable else next((one for one in able if one.wakeable), wanted)


def _placed(model: Model, variant: Variant, reason: str) -> Choice:
    """On `variant` and no other, warm or cold."""
    if variant.ready:
        return Choice(variant, reason)
    if variant.wakeable:
        return Choice(variant, reason, cold=True)
    if variant.state == "Capped":
        raise Refusal(429, "budget_exceeded", f"The budget of {model.short!r} does not allow starting {variant.name!r} now.", retry_after_s=120)
    raise Refusal(503, "no_capacity", f"{variant.name!r} of {model.short!r} cannot serve now.", retry_after_s=30)

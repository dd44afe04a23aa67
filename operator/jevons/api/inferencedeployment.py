"""InferenceDeployment: one model, the variants that can serve it, what was promised, and the money it may cost.

Every field is what a model owner may write; defaults that do not depend on the object stand here (the API server stores them), those that do (`model`
from the name, `servedModel` from the model, a class's objectives from the deployment's) are filled in by `resolve`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from jevons.api.base import Model, Rule
from jevons.api.budget import BudgetFields
from jevons.api.lists import ATOMIC, Keyed
from jevons.api.metadata import Metadata, name_length
from jevons.api.quantities import (
    ClassName,
    Fraction,
    HeaderName,
    HeaderValue,
    Integer,
    Label,
    ModelName,
    Money,
    MoneyOrAuto,
    duration,
)
from jevons.api.status import InferenceDeploymentStatus
from jevons.api.variant import Variant

Ttft = Annotated[str, duration("1ms", "1h")]
Itl = Annotated[str, duration("1ms", "10s")]
StickyFor = Annotated[str, duration("1s", "24h")]
Percent = Annotated[int, Integer(0, 100)]
Tokens = Annotated[int, Integer(1, 10_000_000)]


class Objectives(Model):
    """The promise: at `percentile` of the requests, the first token within `timeToFirstToken` and a mean gap within `interTokenLatency`."""

    percentile: Annotated[int, Integer(1, 99)] = 95
    """Share of requests, in percent, for which the promise must hold."""
    time_to_first_token: Ttft = "2s"  # noqa: S105 - tokens of text
    """From arrival at the gateway to the first token."""
    inter_token_latency: Itl = "60ms"  # noqa: S105 - tokens of text
    """Mean gap between tokens of one answer."""
    late_answer_cost: MoneyOrAuto = "Auto"
    """USD that one late or failed answer costs; Auto is 10 times what the answer costs this model, a start included where it waits for one, and
    more where such waits break the promise.
    """


class ClassObjectives(Model):
    """What a request class promises differently; everything left out is the deployment's own."""

    percentile: Annotated[int, Integer(1, 99)] | None = None
    """Share of requests, in percent, for which the promise must hold."""
    time_to_first_token: Ttft | None = None
    """From arrival at the gateway to the first token."""
    inter_token_latency: Itl | None = None
    """Mean gap between tokens of one answer."""
    late_answer_cost: MoneyOrAuto | None = None
    """USD that one late or failed answer costs."""


class HeaderMatch(Model):
    """A request header and the exact value it must have."""

    name: HeaderName
    """Header name, any case."""
    value: HeaderValue
    """Exact value, printable ASCII."""


class ClassMatch(Model):
    """Which requests belong to a class."""

    header: HeaderMatch
    """The header that must be there."""


class RequestClass(Model):
    """One kind of request with its own limits and promise. The first class whose match and limits hold takes the request."""

    name: Label
    """Unique; `default` is the name of the requests that match none."""
    match: ClassMatch | None = None
    """Which requests belong here; left out, all whose size fits."""
    max_input_tokens: Tokens | None = None
    """Longest prompt this class takes."""
    max_output_tokens: Tokens | None = None
    """Longest answer; requests that ask for more are cut to it."""
    min_quality: Fraction | None = None
    """Lowest expected quality relative to the best variant; left out, routing.minQuality."""
    objectives: ClassObjectives | None = None
    """What this class promises differently."""
    priority: Literal["High", "Normal", "Low"] = "Normal"
    """Who goes first when not all can be served: of those who wait, under a budget, and at an AcceleratorClass' limit."""
    tier: Literal["Interactive", "Flex", "Batch"] = "Interactive"
    """How long a request may wait for spare capacity."""


class Stickiness(Model):
    """Keep a conversation on its variant."""

    header: HeaderName = "x-session-id"
    """Header that names the conversation."""
    duration: StickyFor = "30m"
    """How long after its last request a conversation is remembered."""


class Shadow(Model):
    """Measure agreement by asking a second variant the same question, without showing its answer."""

    percent: Percent = 1
    """Share of requests that are asked twice."""
    budget: Money | None = None
    """USD per budget period that the second answers may cost."""
    judge: Literal["Exact"] = "Exact"
    """How two answers are compared."""


class Routing(Model):
    """Which requests may go to cheaper variants."""

    mode: Literal["Auto", "Shadow", "Off"] = "Auto"
    """Auto routes; Shadow scores and samples but routes nothing; "Off" (quoted: YAML reads a bare Off as false) sends all to the best variant."""
    min_quality: Fraction = "0.95"
    """Lowest expected quality, relative to sending everything to the best variant."""
    max_degraded_percent: Percent = 60
    """Largest share that budget pressure, not the score, may send below the best variant."""
    stickiness: Stickiness = Stickiness()
    """Keep a conversation on its variant."""
    shadow: Shadow | None = None
    """Measure agreement on live requests; left out, off. Not built yet: has no effect."""
    cascade: Literal["Off"] = "Off"
    """Ask the cheap variant first and the best one when unsure: not offered yet."""


class Wake(Model):
    """How requests wait for a sleeping model."""

    timeout: Annotated[str, duration("1s", "1h")] = "10m"
    """Longest a request is held."""
    max_waiting: Annotated[int, Integer(1, 100_000)] = 500
    """Requests held at once; the next gets 429."""


class Fallback(Model):
    """What to do when metrics stay away."""

    after: Annotated[str, duration("30s", "24h")]
    """How long without metrics."""
    replicas: Annotated[int, Integer(1, 1000)] = 1
    """Fewest replicas to have then, inside the budget."""


class Scaling(Model):
    """When replicas move."""

    mode: Literal["Enforce", "Recommend", "Paused"] = "Enforce"
    """Enforce acts; Recommend publishes and touches nothing; Paused decides no replicas."""
    idle_after: Annotated[str, duration("1s", "168h", auto=True)] = "Auto"
    """Idle time after which a variant with min 0 sleeps; Auto weighs its price against the next cold start, and loads it ahead of a likely call."""
    wake: Wake = Wake()
    """How requests wait for a sleeping model."""
    on_delete: Literal["Keep", "Restore"] = "Keep"
    """What becomes of a targetRef's replicas when this object is deleted or no longer names it: kept, or set back to what they were."""
    fallback: Fallback | None = None
    """What to do when metrics stay away; left out, hold."""


class Sessions(Model):
    """Limits of one agent session."""

    budget: Money | None = None
    """USD one session may cost."""
    max_calls: Annotated[int, Integer(1, 1_000_000)] | None = None
    """Calls one session may make."""


class Cache(Model):
    """Answer repeated questions from memory (exact match, one tenant)."""

    ttl: Annotated[str, duration("1s", "168h")]
    """How long an answer may be repeated."""


class TeamFrom(Model):
    """Where a request's team is read while authentication is off."""

    header: HeaderName
    """Header that names the team."""


def listed(names: Iterable[str]) -> str:
    """Names as CEL's format() writes a list."""
    return "[" + ", ".join(f'"{name}"' for name in names) + "]"


def _unique_names(spec: Any) -> bool:
    names = [each.name for each in spec.request_classes]
    return len(set(names)) == len(names) and "default" not in names


def _unique_targets(spec: Any) -> bool:
    targets = [(each.target_ref.kind, each.target_ref.name) for each in spec.variants if each.target_ref is not None]
    return len(set(targets)) == len(targets)


class InferenceDeploymentSpec(Model):
    """What people want: a model, its variants, the promise and the money."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "RequestClassNamesUnique",
            "self.requestClasses.all(c, c.name != 'default' && self.requestClasses.exists_one(d, d.name == c.name))",
            "requestClasses: names must be unique and not `default`",
            "'requestClasses: names must be unique and not `default`, got %s'.format([self.requestClasses.map(c, c.name)])",
            _unique_names,
            lambda spec: "requestClasses: names must be unique and not `default`, got " + listed(each.name for each in spec.request_classes),
        ),
        Rule(
            "TargetsUnique",
            "self.variants.all(v, !has(v.targetRef) || self.variants.exists_one(w, has(w.targetRef) && w.targetRef.kind == v.targetRef.kind"
            " && w.targetRef.name == v.targetRef.name))",
            "variants: each targetRef must be another workload",
            "'variants: each targetRef must be another workload, got %s'.format([self.variants.map(v, has(v.targetRef) ? v.targetRef.name : '')])",
            _unique_targets,
            lambda spec: (
                "variants: each targetRef must be another workload, got "
                + listed("" if each.target_ref is None else each.target_ref.name for each in spec.variants)
            ),
        ),
    )

    controller_name: Annotated[
        ClassName,
        Field(
            json_schema_extra={
                "x-kubernetes-validations": [
                    {
                        "rule": "self == oldSelf",
                        "message": "controllerName is immutable; delete and create the object instead",
                        "messageExpression": "'controllerName is immutable: it is ' + oldSelf + ', got ' + self + '; delete and create instead'",
                    }
                ]
            }
        ),
    ] = "jevons"
    """Which install of Jevons serves this object; immutable."""
    model: ModelName | None = None
    """Short name that clients may send as `model`; left out, the object's name. `namespace/name` always works."""
    objectives: Objectives = Objectives()
    """The promise."""
    request_classes: Annotated[tuple[RequestClass, ...], Field(max_length=16, json_schema_extra=ATOMIC)] = ()
    """Kinds of request, in order; the first that fits takes the request, the others fall under the deployment's own objectives."""
    variants: Annotated[
        tuple[Variant, ...],
        Field(min_length=1, max_length=16),
        Keyed("name", "name"),
    ]
    """Ways to serve the model, best to cheapest by `quality`."""
    routing: Routing = Routing()
    """Which requests may go to cheaper variants."""
    scaling: Scaling = Scaling()
    """When replicas move."""
    budget: BudgetFields | None = None
    """Money for a period; left out, only InferenceBudgets bind."""
    sessions: Sessions | None = None
    """Limits of one agent session; left out, none."""
    cache: Cache | None = None
    """Answer repeated questions from memory; left out, off. Not built yet: has no effect."""
    team_from: TeamFrom | None = None
    """Where a request's team is read while authentication is off."""


class InferenceDeployment(Model):
    """One model and everything needed to serve it: variants, promise, budget."""

    RULES: ClassVar[tuple[Rule, ...]] = (name_length(63),)

    api_version: Literal["jevons.dev/v1alpha1"]
    kind: Literal["InferenceDeployment"]
    metadata: Metadata
    spec: InferenceDeploymentSpec
    """What people want."""
    status: InferenceDeploymentStatus | None = None
    """What the operator last saw and did."""

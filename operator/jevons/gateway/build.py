"""From InferenceDeployments and pods to the gateway's table: a pure function.

The spec says what may be served, `status.routing` what the operator plans, the pods what is there now. Where they disagree the pods win: a
pod that is Ready and matches a variant's selector serves it. Numbers in `status.routing` that are not counts are strings
(docs/designs/0001); one that cannot be read counts as not said, never as zero.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from jevons.core import spec
from jevons.gateway.table import DEFAULT_CLASS, Model, Pod, RequestClass, Table, Variant


@dataclass(frozen=True, slots=True)
class Source:
    """One InferenceDeployment: its resolved spec, and `status.routing` as stored (empty before the operator's first word)."""

    spec: spec.Deployment
    routing: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PodSeen:
    """What the table needs of a Pod object. `ip` None = none yet."""

    namespace: str
    name: str
    labels: Mapping[str, str]
    ip: str | None
    ready: bool
    draining: bool = False
    unschedulable: bool = False
    """The scheduler finds no node for it."""


def build_table(sources: Iterable[Source], pods: Sequence[PodSeen], *, room: str, generation: int, now: float) -> Table:
    """The table at `now` [s since the epoch]. Of deployments that claim one short name the oldest keeps it; the others are reachable as `ns/name`."""
    models: dict[str, Model] = {}
    names: dict[str, str] = {}
    by_namespace: dict[str, list[PodSeen]] = {}
    for pod in sorted(pods, key=lambda pod: (pod.namespace, pod.name)):
        by_namespace.setdefault(pod.namespace, []).append(pod)
    for source in sorted(sources, key=lambda source: (source.spec.created_at_s, source.spec.key)):
        model = _model(source, by_namespace.get(source.spec.key.namespace, []))
        models[model.key] = model
        names.setdefault(model.short, model.key)
    return Table(models=models, names=names, room=room, generation=generation, built_at=now)


def _model(source: Source, pods: Sequence[PodSeen]) -> Model:
    deployment, routing = source.spec, source.routing
    plans = {row.get("name"): row for row in routing.get("variants") or []}
    variants = tuple(_variant(deployment, one, plans.get(one.name, {}), pods) for one in deployment.variants)
    blocked = _time(routing.get("blockedUntil"))
    return Model(
        namespace=deployment.key.namespace,
        name=deployment.key.name,
        short=deployment.model,
        variants=variants,
        classes=_classes(deployment, {row.get("name"): row for row in routing.get("classes") or []}),
        best=str(routing.get("best") or deployment.best.name),
        wake=str(routing.get("wake") or deployment.best.name),
        mode=str(deployment.routing.mode),
        min_quality=deployment.routing.min_quality,
        rung=str(routing.get("rung") or "None"),
        pressure=_number(routing.get("pressure"), 0.0),
        blocked_until=blocked,
        sticky_header=deployment.routing.sticky_header.lower() if deployment.routing.sticky_header else None,
        sticky_s=deployment.routing.sticky_s,
        session_budget_usd=float(deployment.session_budget_usd) if deployment.session_budget_usd is not None else None,
        session_max_calls=deployment.session_max_calls,
        wake_timeout_s=deployment.scaling.wake_timeout_s,
        max_waiting=deployment.scaling.max_waiting,
        team_header=deployment.team_header.lower() if deployment.team_header else None,
        plan_generation=int(routing.get("generation") or 0),
    )


def _variant(deployment: spec.Deployment, variant: spec.Variant, plan: Mapping[str, Any], pods: Sequence[PodSeen]) -> Variant:
    """Without a plan a variant of our own is found by the labels its pods always carry, and may be woken."""
    own = f"jevons.dev/deployment={deployment.key.name},jevons.dev/variant={variant.name}" if variant.target is None else ""
    selector = str(plan.get("selector") or own)
    port = int(plan.get("port") or variant.port)
    matches = selector_matcher(selector)
    mine = tuple(Pod(pod.name, _address(pod.ip, port), pod.ready, pod.draining) for pod in pods if pod.ip and matches(pod.labels))
    stuck = [pod for pod in pods if pod.unschedulable and not pod.draining and matches(pod.labels)]
    usd = _number(plan.get("usdPer1kTokens"), math.nan)
    shadow = "Shadow" if variant.promotion == spec.Promotion.SHADOW else "Asleep"
    return Variant(
        name=variant.name,
        state=str(plan.get("state") or shadow),
        selector=selector,
        port=port,
        served_model=variant.served_model,
        engine=variant.engine,
        quality=variant.quality,
        context_length=variant.context_length,
        capabilities=tuple(sorted(variant.capabilities)),
        usd_per_1k=None if math.isnan(usd) else usd,
        startup_s=_number(plan.get("startupSeconds"), variant.startup_s),
        kv_tokens=variant.profile.kv_tokens if variant.profile else None,
        pods=mine,
        idle_tokens=_number(plan.get("idleTokens"), 0.0),
        obstacle=_obstacle(variant, str(plan.get("state")), len(stuck)),
    )


def _obstacle(variant: spec.Variant, state: str, stuck: int) -> str:
    if stuck:
        wanted = (
            f"a free {variant.accelerator_class}"
            if variant.accelerator_count == 1
            else f"{variant.accelerator_count} free {variant.accelerator_class}"
        )
        return f"no node has {wanted}"
    return "its last start failed" if state == "Failed" else ""


def _classes(deployment: spec.Deployment, plans: Mapping[Any, Mapping[str, Any]]) -> tuple[RequestClass, ...]:
    named = [_class(one, plans.get(one.name, {})) for one in deployment.classes if one.name != DEFAULT_CLASS]
    default = spec.RequestClass(DEFAULT_CLASS, objectives=deployment.objectives)
    return (*named, _class(default, plans.get(DEFAULT_CLASS, {})))


def _class(one: spec.RequestClass, plan: Mapping[str, Any]) -> RequestClass:
    scores = ((str(row.get("variant")), _number(row.get("score"), math.inf)) for row in plan.get("minScore") or [])
    return RequestClass(
        name=one.name,
        header=(one.header[0].lower(), one.header[1]) if one.header else None,
        max_input_tokens=one.max_input_tokens,
        max_output_tokens=one.max_output_tokens,
        min_quality=one.min_quality,
        ttft_ms=one.objectives.ttft_s * 1000,
        itl_ms=one.objectives.itl_s * 1000,
        priority=str(one.priority),
        tier=str(one.tier),
        min_score=tuple((name, score) for name, score in scores if math.isfinite(score)),
        degraded_share=min(1.0, max(0.0, _number(plan.get("degradedShare"), 0.0))),
        expected_quality=_number(plan.get("expectedQuality"), 1.0),
        wait_s=max(0.0, _number(plan.get("waitSeconds"), 0.0)),
    )


def _address(ip: str, port: int) -> str:
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"


def _number(value: object, otherwise: float) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return otherwise
    return number if math.isfinite(number) else otherwise


def _time(value: object) -> float | None:
    try:
        return datetime.fromisoformat(str(value)).timestamp() if value else None
    except ValueError:
        return None


_SET = re.compile(r"^\s*(?P<key>[^\s,()!=]+)\s+(?P<op>in|notin)\s+\((?P<values>[^)]*)\)\s*$")
_EQUAL = re.compile(r"^\s*(?P<key>[^\s,()!=]+)\s*(?P<op>==|=|!=)\s*(?P<values>[^\s,()]*)\s*$")
_EXISTS = re.compile(r"^\s*(?P<op>!?)\s*(?P<key>[^\s,()!=]+)\s*$")


@dataclass(frozen=True, slots=True)
class _Matcher:
    """A label selector's requirements; none at all (an empty or unreadable selector) matches nothing, so that no stranger's pod is ever served."""

    requirements: tuple[tuple[str, str, frozenset[str]], ...]

    def __call__(self, labels: Mapping[str, str]) -> bool:
        return bool(self.requirements) and all(self._holds(labels, *one) for one in self.requirements)

    @staticmethod
    def _holds(labels: Mapping[str, str], key: str, operator: str, values: frozenset[str]) -> bool:
        if operator in ("in", "=", "=="):
            return labels.get(key) in values
        if operator in ("notin", "!="):
            return labels.get(key) not in values
        return (key in labels) == (operator == "")


def selector_matcher(selector: str) -> _Matcher:
    """A Kubernetes label selector (`a=b,c in (d,e),!f`) as a function of labels. One that cannot be read matches nothing."""
    requirements = []
    for part in re.split(r",(?![^(]*\))", selector) if selector.strip() else []:
        found = _SET.match(part) or _EQUAL.match(part) or _EXISTS.match(part)
        if found is None:
            return _Matcher(())
        values = found.groupdict().get("values")
        requirements.append((found["key"], found["op"], frozenset(one.strip() for one in (values or "").split(","))))
    return _Matcher(tuple(requirements))

"""InferenceBudget: the admin's money for many deployments together, chosen by their namespace's labels or by the team that calls."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from jevons.api.base import Model, Rule
from jevons.api.budget import BudgetFields
from jevons.api.lists import ATOMIC, Distinct
from jevons.api.metadata import Metadata, name_length
from jevons.api.quantities import HeaderValue, LabelKey, Labels, LabelValue
from jevons.api.status import InferenceBudgetStatus


class Requirement(Model):
    """One line of a label selector."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "SelectorValues",
            "(self.operator in ['In', 'NotIn']) == (size(self.values) > 0)",
            "values must be set for In and NotIn, and empty for Exists and DoesNotExist",
            "'%d values for operator %s; In and NotIn need some, Exists and DoesNotExist none'.format([size(self.values), self.operator])",
            lambda one: (one.operator in ("In", "NotIn")) == (len(one.values) > 0),
            lambda one: f"{len(one.values)} values for operator {one.operator}; In and NotIn need some, Exists and DoesNotExist none",
        ),
    )

    key: LabelKey
    """Label."""
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    """How the label is compared."""
    values: Annotated[tuple[LabelValue, ...], Field(max_length=64, json_schema_extra=ATOMIC)] = ()
    """What it is compared with."""


class LabelSelector(Model):
    """Kubernetes' label selector: all lines must hold; an empty one selects everything."""

    match_labels: Labels = Field(default={})
    """Labels and their exact values."""
    match_expressions: Annotated[tuple[Requirement, ...], Field(max_length=16, json_schema_extra=ATOMIC)] = ()
    """Further conditions."""


class InferenceBudgetSpec(BudgetFields):
    """Money shared by all that it selects."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "BudgetSelects",
            "has(self.namespaceSelector) || size(self.teams) > 0",
            "namespaceSelector or teams must be set; `namespaceSelector: {}` selects every namespace",
            "'namespaceSelector or teams must be set, got neither; `namespaceSelector: {}` selects every namespace'",
            lambda spec: spec.namespace_selector is not None or len(spec.teams) > 0,
            lambda _spec: "namespaceSelector or teams must be set, got neither; `namespaceSelector: {}` selects every namespace",
        ),
    )

    namespace_selector: LabelSelector | None = None
    """Namespaces whose deployments share this money."""
    teams: Annotated[tuple[HeaderValue, ...], Field(max_length=256), Distinct()] = ()
    """Teams, as their credentials name them, whose requests share this money."""


class InferenceBudget(Model):
    """Money shared by the deployments it selects; a deployment's own budget can only be tighter."""

    RULES: ClassVar[tuple[Rule, ...]] = (name_length(63),)

    api_version: Literal["jevons.dev/v1alpha1"]
    kind: Literal["InferenceBudget"]
    metadata: Metadata
    spec: InferenceBudgetSpec
    """What people want."""
    status: InferenceBudgetStatus | None = None
    """What was spent."""


def selects(selector: Any, labels: dict[str, str]) -> bool:
    """Does this label selector (as stored, or a LabelSelector) choose an object with these labels? None selects nothing, an empty one everything."""
    if selector is None:
        return False
    parsed = selector if isinstance(selector, LabelSelector) else LabelSelector.model_validate(selector)
    if any(labels.get(key) != value for key, value in parsed.match_labels.items()):
        return False
    return all(_holds(line, labels) for line in parsed.match_expressions)


def _holds(line: Requirement, labels: dict[str, str]) -> bool:
    if line.operator == "In":
        return labels.get(line.key) in line.values
    if line.operator == "NotIn":
        return labels.get(line.key) not in line.values
    return (line.key in labels) == (line.operator == "Exists")

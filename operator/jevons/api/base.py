"""How a model here behaves: frozen, camelCase outside, nothing unknown accepted, and rules that are one thing in CEL and in Python.

A `Rule` carries the CEL text that the API server runs and the Python that says the same, with the same message; the model's `RULES` go to both. A
field that is JSON null counts as not given, as the API server has it, and so does a map's entry; a null among a list's entries is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError


@dataclass(frozen=True, slots=True)
class Rule:
    """One cross-field rule. `cel` and `holds` agree on every object (differential test); `message_cel` and `said` give the same text."""

    name: str
    """Names the rule in tests and in the reference: CamelCase."""
    cel: str
    message: str
    """Static text for the reference, and the server's fallback when the expression fails."""
    message_cel: str
    holds: Callable[[Any], bool]
    said: Callable[[Any], str]

    def schema(self) -> dict[str, Any]:
        """The entry of `x-kubernetes-validations`."""
        return {"rule": self.cel, "message": self.message, "messageExpression": self.message_cel}


class Model(BaseModel):
    """Base of everything that people write."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, validate_by_alias=True, validate_by_name=True, use_attribute_docstrings=True
    )
    RULES: ClassVar[tuple[Rule, ...]] = ()

    @model_validator(mode="before")
    @classmethod
    def _nulls(cls, data: Any) -> Any:
        if not isinstance(data, Mapping) or None not in data.values():
            return data
        known = {field.alias or name for name, field in cls.model_fields.items()}
        return {key: value for key, value in data.items() if value is not None or key not in known}

    @model_validator(mode="after")
    def _rules(self) -> Any:
        for rule in self.RULES:
            if not rule.holds(self):
                raise PydanticCustomError("rule", "{said}", {"said": rule.said(self)})
        return self


class StatusModel(BaseModel):
    """Base of what only the operator writes: null is allowed (not known), and a reader ignores what a newer writer added."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", alias_generator=to_camel, validate_by_alias=True, validate_by_name=True, use_attribute_docstrings=True
    )

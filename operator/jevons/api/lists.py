"""What a collection means: list entries are `Keyed` by a field, `Distinct` by themselves, or `ATOMIC`; a map's `Keys` have a pattern.

The API server uses it to merge appliers and to refuse duplicates (`x-kubernetes-list-type`); the markers make pydantic refuse the same ones.
Structural schemas cannot say a pattern for keys, so a CEL rule does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

ATOMIC: dict[str, Any] = {"x-kubernetes-list-type": "atomic"}
"""`Field(json_schema_extra=ATOMIC)`: the list is one value, in an order that means something."""


@dataclass(frozen=True, slots=True)
class Keyed:
    """Entries with unique values of the field `attribute`, called `key` outside."""

    attribute: str
    key: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Refuse the second entry with a key."""
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """The same as a structural schema says it."""
        return {**handler(schema), "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [self.key]}

    def _check(self, entries: tuple[Any, ...]) -> tuple[Any, ...]:
        refuse_duplicates(self.key, [getattr(entry, self.attribute) for entry in entries])
        return entries


@dataclass(frozen=True, slots=True)
class Distinct:
    """Entries of which no two are equal; their order means nothing."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Refuse the second of two equal entries."""
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """The same as a structural schema says it."""
        return {**handler(schema), "x-kubernetes-list-type": "set"}

    def _check(self, entries: tuple[str, ...]) -> tuple[str, ...]:
        refuse_duplicates("value", list(entries))
        return entries


def _without_nulls(entries: Any) -> Any:
    return {key: value for key, value in entries.items() if value is not None} if isinstance(entries, dict) else entries


@dataclass(frozen=True, slots=True)
class Keys:
    """A map whose keys match `pattern` (plain parts that RE2 and Python read alike) and have at most `max_length` characters."""

    pattern: str
    max_length: int

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Drop entries that are null, as the API server does before it looks at keys; then refuse the first key that does not fit."""
        checked = core_schema.no_info_after_validator_function(self._check, handler(source))
        return core_schema.no_info_before_validator_function(_without_nulls, checked)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """The same as a CEL rule."""
        rule = {
            "rule": f"self.all(key, size(key) <= {self.max_length} && key.matches(r'{self.pattern}'))",
            "message": f"keys must match {self.pattern} and have at most {self.max_length} characters",
        }
        return {**handler(schema), "x-kubernetes-validations": [rule]}

    def _check(self, entries: dict[str, Any]) -> dict[str, Any]:
        for key in entries:
            if len(key) > self.max_length or not re.search(self.pattern.replace("$", r"\Z"), key):
                said = f"keys must match {self.pattern} and have at most {self.max_length} characters"
                raise PydanticCustomError("rule", "{said}, got {key}", {"said": said, "key": key[:80]})
        return entries


def refuse_duplicates(what: str, values: list[str]) -> None:
    """Raise the validation error that names the first value seen twice."""
    seen: set[str] = set()
    for value in values:
        if value in seen:
            raise PydanticCustomError("rule", 'duplicate {what} "{value}"; each may stand once', {"what": what, "value": value})
        seen.add(value)

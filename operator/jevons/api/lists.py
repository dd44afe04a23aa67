"""What a list means: `Keyed` entries are told apart by a field, `Distinct` ones by themselves, `ATOMIC` ones by their order.

The API server uses it to merge appliers and to refuse duplicates (`x-kubernetes-list-type`); the markers make pydantic refuse the same ones.
"""

from __future__ import annotations

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


def refuse_duplicates(what: str, values: list[str]) -> None:
    """Raise the validation error that names the first value seen twice."""
    seen: set[str] = set()
    for value in values:
        if value in seen:
            raise PydanticCustomError("rule", 'duplicate {what} "{value}"; each may stand once', {"what": what, "value": value})
        seen.add(value)

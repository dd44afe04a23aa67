"""The words values are written in: money, durations, shares, memory, names. Each is a string with a pattern and bounds that both sides enforce.

Values stay the strings people wrote (so an object round-trips unchanged); the `*_from` functions turn them into numbers when an object is resolved.
A type is `Annotated[str, Text(...)]`: the marker gives pydantic the check and the schema the same pattern, length and CEL bounds. Patterns use only
what RE2 and Rust's regex share (no class of digits by letter: one of them takes it for every Unicode digit).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from jevons.api.base import Rule
from jevons.api.lists import Keys

_UNIT_S = {"h": Decimal(3600), "m": Decimal(60), "s": Decimal(1), "ms": Decimal("0.001")}
_MEMORY_BYTES = {"Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "M": 10**6, "G": 10**9, "T": 10**12}
_DURATION = "([0-9]{1,5}(h|m|s|ms)){1,4}"
_MONEY = r"[0-9]{1,12}(\.[0-9]{1,6})?"
AUTO = "Auto"


@dataclass(frozen=True, slots=True)
class Text:
    """A bounded string. `rules` hold on strings that already match `pattern` (the API server runs CEL last, and so do we)."""

    pattern: str
    max_length: int
    rules: tuple[Rule, ...] = field(default=())

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """A strict string with the pattern and length, then the rules."""
        text = core_schema.str_schema(strict=True, pattern=self.pattern, max_length=self.max_length, min_length=1)
        return core_schema.no_info_after_validator_function(self._check, text)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """The same bounds as structural schema."""
        out: JsonSchemaValue = {"type": "string", "minLength": 1, "maxLength": self.max_length, "pattern": self.pattern}
        if self.rules:
            out["x-kubernetes-validations"] = [rule.schema() for rule in self.rules]
        return out

    def _check(self, value: str) -> str:
        for rule in self.rules:
            if not rule.holds(value):
                raise PydanticCustomError("rule", "{said}", {"said": rule.said(value)})
        return value


@dataclass(frozen=True, slots=True)
class Integer:
    """A whole number, `low` <= value <= `high`. `4.0` is one, as for the API server; only CEL refuses it, so rules read none of these."""

    low: int
    high: int

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """A strict int with bounds, after whole floats became ints."""
        number = core_schema.int_schema(strict=True, ge=self.low, le=self.high)
        return core_schema.no_info_before_validator_function(
            lambda value: int(value) if type(value) is float and value.is_integer() else value, number
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """The same bounds as structural schema."""
        return {"type": "integer", "minimum": self.low, "maximum": self.high}


def _bound(name: str, *, cel: str, must: str, holds: Callable[[str], bool]) -> Rule:
    """A rule on one string, whose message is `<must>, got <value>`."""
    return Rule(name, cel, must, f"'{must}, got ' + self", holds, lambda value: f"{must}, got {value}")


def duration(low: str, high: str, *, auto: bool = False) -> Text:
    """A duration in Gateway API's pattern (`1h30m`, `250ms`), `low` <= value <= `high`; with `auto` the word Auto is allowed too."""
    inside = f"duration(self) >= duration('{low}') && duration(self) <= duration('{high}')"
    lowest, highest = duration_s_from(low), duration_s_from(high)
    rule = _bound(
        "DurationInBounds",
        cel=f"self == '{AUTO}' || ({inside})" if auto else inside,
        must=f"must be {'Auto or ' if auto else ''}from {low} to {high}",
        holds=lambda value: (auto and value == AUTO) or lowest <= duration_s_from(value) <= highest,
    )
    return Text(f"^({AUTO}|{_DURATION})$" if auto else f"^{_DURATION}$", 28, (rule,))


def money(*, auto: bool = False) -> Text:
    """US dollars above zero as a decimal string, at most 12 digits before the point and 6 after it; with `auto` the word Auto too."""
    above = _bound(
        "MoneyAboveZero",
        cel=f"self == '{AUTO}' || self.matches('[1-9]')" if auto else "self.matches('[1-9]')",
        must=f"must be {'Auto or ' if auto else ''}above 0 USD",
        holds=lambda value: (auto and value == AUTO) or re.search("[1-9]", value) is not None,
    )
    return Text(f"^({AUTO}|{_MONEY})$" if auto else f"^{_MONEY}$", 19, (above,))


def memory(low: str, high: str) -> Text:
    """Bytes (or bytes per second) as a Kubernetes quantity with one of the suffixes Mi Gi Ti M G T, `low` <= value <= `high`."""
    lowest, highest = bytes_from(low), bytes_from(high)
    rule = _bound(
        "MemoryInBounds",
        cel=f"quantity(self).compareTo(quantity('{low}')) >= 0 && quantity(self).compareTo(quantity('{high}')) <= 0",
        must=f"must be from {low} to {high}",
        holds=lambda value: lowest <= bytes_from(value) <= highest,
    )
    return Text(r"^[0-9]{1,6}(\.[0-9]{1,3})?(Mi|Gi|Ti|M|G|T)$", 12, (rule,))


def _is_instant(value: str) -> bool:
    try:
        return 2000 <= instant_from(value).year < 2200
    except ValueError:
        return False


_IN_CALENDAR = _bound(
    "InstantInCalendar",
    cel="timestamp(self) >= timestamp('2000-01-01T00:00:00Z') && timestamp(self) < timestamp('2200-01-01T00:00:00Z')",
    must="must be a date of the calendar from 2000 to 2199",
    holds=_is_instant,
)

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_LABEL_KEY = r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"

Money = Annotated[str, money()]
MoneyOrAuto = Annotated[str, money(auto=True)]
Fraction = Annotated[str, Text(r"^(0(\.[0-9]{1,4})?|1(\.0{1,4})?)$", 6)]
"""0 to 1 with at most 4 decimals: a quality, a share."""
Milliseconds = Annotated[str, Text(r"^[0-9]{1,6}(\.[0-9]{1,6})?$", 13)]
"""A fitted coefficient in ms; a duration would round it."""
Instant = Annotated[str, Text("^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$", 20, (_IN_CALENDAR,))]
Label = Annotated[str, Text(f"^{_LABEL}$", 63)]
Subdomain = Annotated[str, Text(rf"^{_LABEL}(\.{_LABEL})*$", 253)]
ClassName = Annotated[str, Text(rf"^{_LABEL}(\.{_LABEL})*$", 63)]
LabelKey = Annotated[str, Text(_LABEL_KEY, 317)]
LabelValue = Annotated[str, Field(strict=True, max_length=63, pattern="^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$")]
Labels = Annotated[dict[Annotated[str, Field(strict=True)], LabelValue], Field(max_length=16), Keys(_LABEL_KEY, 317)]
"""Node or namespace labels."""
HeaderName = Annotated[str, Text("^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?$", 64)]
HeaderValue = Annotated[str, Text("^[!-~]([ -~]*[!-~])?$", 128)]
ModelName = Annotated[str, Text("^[A-Za-z0-9]([A-Za-z0-9._:-]*[A-Za-z0-9])?$", 128)]
"""What clients send as `model`: no "/" (a namespace) and no "@" (a variant)."""
ServedModel = Annotated[str, Text("^[A-Za-z0-9]([A-Za-z0-9._:/@+-]*[A-Za-z0-9])?$", 253)]
ProfilePath = Annotated[str, Text("^[a-z0-9._-]+(/[a-z0-9._-]+){4}$", 128)]
Word = Annotated[str, Text("^[A-Z][A-Za-z0-9]*$", 63)]
"""CamelCase."""
TimeZone = Annotated[str, Text("^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+){0,2}$", 64)]
"""An IANA name; whether it exists is known only when the object is resolved."""


def duration_s_from(text: str) -> Decimal:
    """Seconds of a duration that matches the pattern. Example: `1h30m` -> 5400 (test_quantities.py)."""
    parts = re.findall("([0-9]+)(ms|h|m|s)", text)
    return sum((Decimal(number) * _UNIT_S[unit] for number, unit in parts), Decimal(0))


def bytes_from(text: str) -> Decimal:
    """Bytes of a memory quantity. Example: `80Gi` -> 85899345920 (test_quantities.py)."""
    number = text.rstrip("MGTi")
    return Decimal(number) * _MEMORY_BYTES[text[len(number) :]]


def instant_from(text: str) -> datetime:
    """The UTC moment of `2026-09-06T00:00:00Z`; ValueError when the calendar has no such day."""
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)

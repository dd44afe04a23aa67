"""Values that a pass makes by the thousand: frozen for the type checker, plain at run time.

A frozen dataclass sets every field through `object.__setattr__`, which took a sixth of a decision. These are the same dataclasses (slots, equality,
hash, repr, `replace`), but that nobody assigns to them is checked by mypy alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def value(cls: type[T]) -> type[T]:
    """Make a value class."""
    return dataclass(slots=True, unsafe_hash=True)(cls)

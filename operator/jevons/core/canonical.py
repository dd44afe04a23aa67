"""The core's values as text, and back: one value has one text, so that "the same" can mean "the same bytes".

Every value of the core is made of few things: numbers, strings, `Decimal`, enums, tuples, sets, mappings and dataclasses of those. `Text` writes them
as JSON (fields under their own names in the order of the class, money as strings, mappings in their own order because sums depend on it, sets
sorted); `read` makes the value again from what `json.loads` returns and the type it must have. A number stays what it was: 0 and 0.0 differ, floats
have as many digits as they need, and what JSON has no word for (nan, inf) is a string.

Values that many passes share (a spec, an account's marks) can be written once and referred to: `Text.shared` says how.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from decimal import Decimal, InvalidOperation
from enum import Enum
from functools import cache
from json.encoder import encode_basestring_ascii as quoted
from typing import Any, TypeAlias, Union, get_args, get_origin, get_type_hints

from jevons.core.ledger import Account
from jevons.core.memory import DeploymentMemory
from jevons.core.observed import Known, Unknown
from jevons.core.snapshot import RouterCurve
from jevons.core.spec import AcceleratorClass, Deployment, Key

SHARED = frozenset({Deployment, AcceleratorClass, RouterCurve, DeploymentMemory, Account})
"""Types whose values go from one pass to the next as the very same object."""
LONG = 48
"""A tuple of more entries than that is shared as well (marks of an account)."""
PART = "$part"
"""Name of a reference to a value that stands elsewhere."""

Parts: TypeAlias = Callable[[int, Callable[[Any], Any]], Any]
"""Finds a part: (its number, how to read it) -> the value."""


class Text:
    """Writes values. One that is shared is written in place, and remembered by identity while this `Text` lives."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[object, str]] = {}

    def of(self, value: Any) -> str:
        """The value's text. Raises TypeError for what is no value of the core."""
        kind = type(value)
        scalar = SCALARS.get(kind)
        if scalar is not None:
            return scalar(value)
        if kind in SHARED or (kind is tuple and len(value) > LONG):
            return self.shared(value)
        return self.whole(value)

    def shared(self, value: Any) -> str:
        """Text of a value that may be met again as the same object."""
        known = self._known.get(id(value))
        if known is None:
            known = self._known[id(value)] = (value, self.whole(value))
        return known[1]

    def whole(self, value: Any) -> str:
        """Text of a value in place, whatever its parts are written like."""
        of, kind = self.of, type(value)
        if is_dataclass(kind):
            return "{" + ",".join([f"{name}{of(getattr(value, field))}" for name, field in _names(kind)]) + "}"
        if isinstance(value, tuple | list):
            return "[" + ",".join([of(item) for item in value]) + "]"
        if isinstance(value, Mapping):
            return "{" + ",".join([f"{quoted(str(key))}:{of(item)}" for key, item in value.items()]) + "}"
        if isinstance(value, frozenset | set):
            return "[" + ",".join(sorted([quoted(str(item)) if isinstance(item, Key) else of(item) for item in value])) + "]"
        return _scalar(value)


def _float(value: float) -> str:
    text = float.__repr__(value)
    return text if text[-1] not in "nf" else f'"{text}"'


SCALARS: Mapping[type, Callable[[Any], str]] = {
    float: _float,
    str: quoted,
    bool: lambda value: "true" if value else "false",
    int: int.__repr__,
    type(None): lambda _value: "null",
    Decimal: lambda value: f'"{value}"',
}


def _scalar(value: Any) -> str:
    """Of what is an enum, or a number by another name."""
    if isinstance(value, Enum):
        return quoted(str(value.value))
    kind = next((kind for kind in SCALARS if isinstance(value, kind)), None)
    if kind is None:
        raise TypeError(f"{type(value).__name__} is not a value of the core")
    return SCALARS[kind](value)


@cache
def _names(kind: Any) -> tuple[tuple[str, str], ...]:
    return tuple((f"{quoted(each.name)}:", each.name) for each in fields(kind))


def _no_parts(number: int, _read: Callable[[Any], Any]) -> Any:
    raise ValueError(f"part {number} is not there")


def read(hint: Any, tree: Any, parts: Parts = _no_parts) -> Any:
    """The value of type `hint` that was written as `tree`. Raises ValueError naming the field that does not fit."""
    if isinstance(tree, dict) and len(tree) == 1 and isinstance(tree.get(PART), int):
        return parts(tree[PART], lambda whole: read(hint, whole, parts))
    return _reader(hint)(tree, parts)


@cache
def _reader(hint: Any) -> Callable[[Any, Parts], Any]:
    origin, inside = get_origin(hint), get_args(hint)
    if origin is None:
        return PLAIN.get(hint) or _made(hint)
    if origin in {Union, types.UnionType}:
        return _one_of(inside)
    if origin is Known:
        return lambda tree, parts: Known(read(inside[0], tree["value"], parts), tree["at_s"])
    return _container(origin, inside)


def _container(origin: Any, inside: tuple[Any, ...]) -> Callable[[Any, Parts], Any]:
    """Of a tuple (of one type, or a row), a set, or a mapping."""
    if issubclass(origin, Mapping):
        return lambda tree, parts: {read(inside[0], key): read(inside[1], item, parts) for key, item in tree.items()}
    if origin is tuple and inside[-1] is not Ellipsis:
        return lambda tree, parts: tuple([read(each, item, parts) for each, item in zip(inside, tree, strict=True)])
    return lambda tree, parts: origin([read(inside[0], item, parts) for item in tree])


def _one_of(choices: tuple[Any, ...]) -> Callable[[Any, Parts], Any]:
    """Of a union: None, a reading that is known or not, or the one type that is left."""
    known = next((each for each in choices if get_origin(each) is Known), None)
    if known is not None:
        return lambda tree, parts: read(known if "value" in tree else Unknown, tree, parts)
    (only,) = [each for each in choices if each is not type(None)]
    return lambda tree, parts: None if tree is None else read(only, tree, parts)


def _made(kind: Any) -> Callable[[Any, Parts], Any]:
    """Of a class: an enum, a row of a named tuple, or a dataclass by its fields."""
    if issubclass(kind, Enum):
        return lambda tree, _parts: kind(tree)
    hints = get_type_hints(kind)
    if issubclass(kind, tuple):
        return lambda tree, parts: kind(*[read(hint, item, parts) for hint, item in zip(hints.values(), tree, strict=True)])

    def dataclass(tree: Any, parts: Parts) -> Any:
        if not isinstance(tree, dict):
            raise ValueError(f"{kind.__name__}: {str(tree)[:60]!r} has no fields")  # noqa: TRY004  the file is wrong, not the caller
        if unknown := tree.keys() - hints.keys():
            raise ValueError(f"{kind.__name__}: this version has no field {', '.join(sorted(unknown))}")
        try:
            return kind(**{name: read(hints[name], item, parts) for name, item in tree.items()})
        except TypeError as error:
            raise ValueError(f"{kind.__name__}: {error}") from None

    return dataclass


def _number(tree: Any, _parts: Parts) -> int | float:
    return tree if isinstance(tree, int | float) else float(tree)


def _money(tree: Any, _parts: Parts) -> Decimal:
    try:
        return Decimal(tree)
    except InvalidOperation:
        raise ValueError(f"{tree!r} is not an amount") from None


def _key(tree: Any, _parts: Parts) -> Key:
    if isinstance(tree, dict):
        return Key(tree["namespace"], tree["name"])
    namespace, _, name = str(tree).partition("/")
    return Key(namespace, name)


PLAIN: Mapping[Any, Callable[[Any, Parts], Any]] = {
    float: _number,
    int: _number,
    str: lambda tree, _parts: str(tree),
    bool: lambda tree, _parts: bool(tree),
    type(None): lambda _tree, _parts: None,
    None: lambda _tree, _parts: None,
    Decimal: _money,
    Key: _key,
}

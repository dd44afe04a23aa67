"""Label selectors, as the API server reads them: `a=b,c in (d,e),!f`.

Parsed once per distinct text; a selector we cannot read matches nothing, because acting on the wrong pods is worse than on none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import TypeAlias

Term: TypeAlias = tuple[str, str, frozenset[str]]
"""(key, operator, values); operator is in | notin | exists | absent."""

_SET = re.compile(r"^(?P<key>[\w./-]+)\s+(?P<operator>in|notin)\s+\((?P<values>[^()]*)\)$")
_EQUAL = re.compile(r"^(?P<key>[\w./-]+)\s*(?P<operator>==|=|!=)\s*(?P<value>[\w.-]*)$")
_EXISTS = re.compile(r"^(?P<absent>!?)\s*(?P<key>[\w./-]+)$")
_COMMA = re.compile(r",(?![^()]*\))")


@lru_cache(maxsize=4096)
def parse(text: str) -> tuple[Term, ...] | None:
    """The terms of a selector string; None when it is empty or cannot be read."""
    terms: list[Term] = []
    for part in _COMMA.split(text):
        part = part.strip()  # noqa: PLW2901
        if match := _SET.match(part):
            values = frozenset(value.strip() for value in match["values"].split(","))
            terms.append((match["key"], match["operator"], values))
        elif match := _EQUAL.match(part):
            terms.append((match["key"], "notin" if match["operator"] == "!=" else "in", frozenset([match["value"]])))
        elif match := _EXISTS.match(part):
            terms.append((match["key"], "absent" if match["absent"] else "exists", frozenset()))
        else:
            return None
    return tuple(terms)


def matches(terms: tuple[Term, ...], labels: Mapping[str, str]) -> bool:
    """Whether labels satisfy every term."""
    for key, operator, values in terms:
        value = labels.get(key)
        if operator == "in" and (value is None or value not in values):
            return False
        if operator == "notin" and value in values:
            return False
        if (operator == "exists" and value is None) or (operator == "absent" and value is not None):
            return False
    return True

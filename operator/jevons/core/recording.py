"""Passes on record: what was seen and what was decided, line by line, and the proof that the same is decided again.

A recording is lines of JSON. The first says what it is; a line with `part` is a value that later lines refer to by number (`canonical.py`), so that
specs and accounts that did not change are written once; a line with `pass` is one pass: time, snapshot, decision. A part that a pass did not mention
is not mentioned after it, so neither writer nor reader keeps more than one pass.

It holds what the core sees: names, specs, counts, prices. No prompt, answer, credential or pod template ever reaches the core.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from jevons.core.canonical import PART, Text, read
from jevons.core.decide import decide
from jevons.core.milp import Solver
from jevons.core.snapshot import Decision, Snapshot
from jevons.core.spec import Key

VERSION = 1


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass of an operator. `at_s`: seconds since the epoch."""

    at_s: float
    snapshot: Snapshot
    decision: Decision
    release: str = ""
    """Which version of this program wrote it."""
    solver: str = ""
    """What chose routes and replicas together, name and version; empty = nobody, or it was not said yet."""


def header(release: str, solver: str = "") -> str:
    """First line of a recording."""
    return json.dumps({"recording": VERSION, "release": release, "solver": solver})


class Writer(Text):
    """Lines of the passes of one recording, in order."""

    def __init__(self) -> None:
        super().__init__()
        self._numbers: dict[int, tuple[int, object]] = {}
        self._before: dict[int, tuple[int, object]] = {}
        self._lines: list[str] = []
        self._next = 0

    def shared(self, value: Any) -> str:
        """A reference; the value itself becomes a line of its own when it is new."""
        found = self._numbers.get(id(value)) or self._before.get(id(value))
        if found is None:
            text = self.whole(value)
            self._lines.append(f'{{"part":{self._next},"value":{text}}}')
            found = (self._next, value)
            self._next += 1
        self._numbers[id(value)] = found
        return f'{{"{PART}":{found[0]}}}'

    def lines(self, at_s: float, snapshot: Snapshot, decision: Decision) -> list[str]:
        """One pass, its new parts first. The values are kept until the next pass: an identity means nothing once its object is gone."""
        self._lines, self._before, self._numbers = [], self._numbers, {}
        body = f'{{"pass":{{"at_s":{self.of(at_s)},"snapshot":{self.whole(snapshot)},"decision":{self.whole(decision)}}}}}'
        return [*self._lines, body]


class Reader:
    """The other way: lines in order to passes.

    only: of this deployment alone (what is shared stays whole); such a pass is to look at, not to replay.
    """

    def __init__(self, only: Key | None = None) -> None:
        self._only = None if only is None else str(only)
        self._by = ("", "")
        """Release and solver, as the header has them."""
        self._raw: dict[int, Any] = {}
        self._made: dict[int, Any] = {}

    def passes(self, lines: Iterable[str | bytes]) -> Iterator[Pass]:
        """Every pass. Raises ValueError, naming the line, for what is no recording or was written by a version with other fields."""
        for number, line in enumerate(lines, 1):
            try:
                found = self._line(line)
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"line {number}: {error}") from None
            if found is not None:
                yield found

    def _line(self, line: str | bytes) -> Pass | None:
        tree = json.loads(line)
        if "recording" in tree:
            if tree["recording"] != VERSION:
                raise ValueError(f"recording of version {tree['recording']}; this program reads version {VERSION}")
            self._by = (str(tree.get("release", "")), str(tree.get("solver", "")))
            return None
        if "part" in tree:
            self._raw[tree["part"]] = tree["value"]
            return None
        raw, made = self._raw, self._made
        self._raw, self._made = {}, {}

        def part(number: int, reading: Callable[[Any], Any]) -> Any:
            if number not in self._made:
                self._made[number] = made[number] if number in made else reading(raw[number])
            return self._made[number]

        one = tree["pass"] if self._only is None else _of(tree["pass"], self._only)
        return Pass(one["at_s"], read(Snapshot, one["snapshot"], part), read(Decision, one["decision"], part), *self._by)


def _of(one: dict[str, Any], key: str) -> dict[str, Any]:
    """The pass without all other deployments."""
    for side in (one["snapshot"], one["decision"]):
        for held, name in ((side, "deployments"), (side["memory"], "deployments"), (side["ledger"], "accounts")):
            held[name] = {key: held[name][key]} if key in held[name] else {}
    return one


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that is decided otherwise now: where, and both values as JSON."""

    path: str
    recorded: str
    now: str


def replayed(one: Pass, solver: Solver | None = None) -> list[Difference]:
    """Decide the pass again with this code (and the solver that decided it) and compare; empty = the same bytes."""
    again = decide(one.snapshot, one.at_s, solver)
    text = Text()
    return [difference for name, was, now in _sections(one.decision, again) for difference in _compared(name, was, now, text)]


def _sections(was: Decision, now: Decision) -> Iterator[tuple[str, Any, Any]]:
    yield "at_s", was.at_s, now.at_s
    for name, recorded, again in (
        ("deployments", was.deployments, now.deployments),
        ("budgets", was.budgets, now.budgets),
        ("memory", was.memory.deployments, now.memory.deployments),
        ("ledger", was.ledger.accounts, now.ledger.accounts),
    ):
        yield from _by_key(name, recorded, again)


def _by_key(name: str, was: Mapping[Any, Any], now: Mapping[Any, Any]) -> Iterator[tuple[str, Any, Any]]:
    yield f"{name} (order)", tuple(map(str, was)), tuple(map(str, now))
    for key in dict.fromkeys((*was, *now)):
        yield f"{name}[{key}]", was.get(key), now.get(key)


def _compared(path: str, was: Any, now: Any, text: Text) -> Iterator[Difference]:
    recorded, again = text.of(was), text.of(now)
    if recorded != again:
        yield from differences(path, json.loads(recorded), json.loads(again))


def differences(path: str, was: Any, now: Any) -> Iterator[Difference]:
    """Where two trees of JSON differ, leaf by leaf; lists of one length item by item."""
    if isinstance(was, dict) and isinstance(now, dict):
        for name in dict.fromkeys((*was, *now)):
            if name not in was or name not in now:
                yield Difference(f"{path}.{name}", _shown(was.get(name, "(absent)")), _shown(now.get(name, "(absent)")))
            else:
                yield from differences(f"{path}.{name}", was[name], now[name])
        return
    if isinstance(was, list) and isinstance(now, list) and len(was) == len(now):
        for number, (one, other) in enumerate(zip(was, now, strict=True)):
            yield from differences(f"{path}[{number}]", one, other)
        return
    if json.dumps(was) != json.dumps(now):
        yield Difference(path, _shown(was), _shown(now))


def _shown(tree: Any) -> str:
    text = json.dumps(tree)
    return text if len(text) <= 160 else f"{text[:150]}... ({len(text)} characters)"

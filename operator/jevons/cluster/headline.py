"""What somebody woken at night wants to hear first: of nine conditions the one that matters, and an event for each that turned.

Pure functions of conditions as they are stored in the status.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jevons.core.snapshot import EventNote
from jevons.core.spec import ScalingMode

IMPORTANCE = (
    "Accepted",
    "ResolvedRefs",
    "CapacityAvailable",
    "Ready",
    "WithinBudget",
    "ScaleUncontested",
    "MetricsAvailable",
    "ObjectivesMet",
)
"""Conditions, the most important first."""
PASSING = frozenset({"Waking", "PodsUnseen", "Scaling"})
"""Reasons of every start and of every scale-up: shown while they last, told in no event."""


def wrong(condition: Mapping[str, Any]) -> bool:
    """Whether somebody should know. A budget that is met by degrading or capping is worth knowing, too; other unknowns are not."""
    if condition["type"] == "ScaleUncontested":
        return bool(condition["status"] != "True")
    if condition["type"] == "WithinBudget":
        return condition["reason"] not in {"WithinBudget", "NoBudget", "InternalError", "InvalidSpec"}
    return bool(condition["status"] == "False")


def headline(conditions: Sequence[Mapping[str, Any]], mode: ScalingMode) -> tuple[str, str]:
    """The one thing to know first, as a reason and a sentence: the most important wrong condition, else the mode, else Ready's.

    What passes by itself is not told of an object that is not scaled anyway.
    """
    known = {entry["type"]: entry for entry in conditions}
    for name in IMPORTANCE:
        if name in known and wrong(known[name]) and (mode is ScalingMode.ENFORCE or known[name]["reason"] not in PASSING):
            return known[name]["reason"], known[name]["message"]
    if mode is ScalingMode.RECOMMEND:
        return mode.value, "scaling.mode is Recommend: replicas are published in status.variants and not written"
    if mode is ScalingMode.PAUSED:
        return mode.value, "scaling.mode is Paused: replicas stay as they are"
    ready = known.get("Ready", {})
    return ready.get("reason", ""), ready.get("message", "")


def turns(before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]) -> tuple[EventNote, ...]:
    """A Warning for each condition that went wrong or is wrong for another reason, a Normal for each that is well again."""
    known = {entry.get("type"): entry for entry in before if entry.get("reason") not in PASSING}
    notes = []
    for entry in after:
        if entry["type"] not in IMPORTANCE or entry["reason"] in PASSING:
            continue
        if entry["type"] == "Ready" and any(wrong(other) and other["reason"] == entry["reason"] for other in after if other is not entry):
            continue  # an echo of the condition that says why
        old = known.get(entry["type"])
        was = old.get("reason") if old is not None and wrong(old) else None
        if wrong(entry) and was != entry["reason"]:
            notes.append(EventNote("Warning", entry["reason"], f"{entry['type']}: {entry['message']}"))
        elif was is not None and not wrong(entry):
            notes.append(EventNote("Normal", entry["reason"], f"{entry['type']} again, after {was}: {entry['message']}"))
    return tuple(notes)

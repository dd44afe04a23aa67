"""What is told first, and which turns are events."""

from __future__ import annotations

from jevons.cluster.events import _merged
from jevons.cluster.headline import headline, turns
from jevons.core.snapshot import EventNote
from jevons.core.spec import ScalingMode

WELL = {
    "Accepted": "Accepted",
    "ResolvedRefs": "ResolvedRefs",
    "CapacityAvailable": "CapacityAvailable",
    "Ready": "Serving",
    "WithinBudget": "WithinBudget",
}


def conditions(**wrong):
    """All well but those given as type=(status, reason)."""
    found = {name: ("True", reason) for name, reason in WELL.items()} | wrong
    return [{"type": name, "status": status, "reason": reason, "message": f"{name} says {reason}"} for name, (status, reason) in found.items()]


def test_all_well_says_what_ready_says():
    assert headline(conditions(), ScalingMode.ENFORCE) == ("Serving", "Ready says Serving")


def test_a_missing_node_matters_more_than_the_waiting_it_causes():
    found = conditions(Ready=("False", "Waking"), CapacityAvailable=("False", "Unschedulable"), MetricsAvailable=("False", "SourceDown"))
    assert headline(found, ScalingMode.ENFORCE)[0] == "Unschedulable"


def test_a_budget_that_caps_is_told_although_it_is_kept():
    assert headline(conditions(WithinBudget=("True", "Capped")), ScalingMode.ENFORCE)[0] == "Capped"


def test_a_paused_object_says_so_when_nothing_is_wrong():
    assert headline(conditions(), ScalingMode.PAUSED)[0] == "Paused"
    assert headline(conditions(MetricsAvailable=("False", "PodsUnseen")), ScalingMode.PAUSED)[0] == "Paused"
    assert headline(conditions(ResolvedRefs=("False", "TargetNotFound")), ScalingMode.PAUSED)[0] == "TargetNotFound"


def test_each_turn_is_one_event():
    lost = conditions(ResolvedRefs=("False", "TargetNotFound"))
    assert turns([], conditions()) == ()
    assert turns(conditions(), lost) == (EventNote("Warning", "TargetNotFound", "ResolvedRefs: ResolvedRefs says TargetNotFound"),)
    assert turns(lost, lost) == ()
    assert len(turns(conditions(), conditions(ResolvedRefs=("False", "TargetNotFound"), Ready=("False", "TargetNotFound")))) == 1
    assert turns(lost, conditions())[0].type == "Normal"
    assert turns(lost, conditions(ResolvedRefs=("False", "TargetClaimed")))[0].reason == "TargetClaimed"


def test_a_start_is_no_warning():
    waking = conditions(Ready=("False", "Waking"))
    assert turns(conditions(), waking) == turns(waking, conditions()) == ()


def test_two_variants_that_move_for_one_reason_are_one_event():
    notes = [EventNote("Normal", "Minimum", "large: 0 -> 1"), EventNote("Normal", "Minimum", "small: 0 -> 1"), EventNote("Warning", "Idle", "x")]
    assert _merged(notes) == [EventNote("Normal", "Minimum", "large: 0 -> 1 | small: 0 -> 1"), EventNote("Warning", "Idle", "x")]

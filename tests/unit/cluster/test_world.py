"""R8 in the small: lists and events in any order end in the same World."""

from __future__ import annotations

from jevons.cluster import records
from jevons.cluster.world import Collection


def item(name, version, uid=None, **labels):
    return {"metadata": {"namespace": "a", "name": name, "uid": uid or f"u-{name}", "resourceVersion": str(version), "labels": labels}}


def pods():
    return Collection(records.pod)


def names(collection):
    return sorted(record.meta.name for record in collection)


def test_a_list_removes_what_it_lacks():
    world = pods()
    world.replace([item("x", 1), item("y", 2)], 5)
    world.replace([item("y", 2)], 6)
    assert names(world) == ["y"]


def test_an_object_newer_than_the_list_stays():
    world = pods()
    world.apply("ADDED", item("new", 12))
    world.replace([], 10)
    assert names(world) == ["new"]


def test_a_list_that_began_before_a_deletion_brings_nothing_back():
    world = pods()
    world.apply("ADDED", item("x", 1))
    world.apply("DELETED", item("x", 7))
    world.replace([item("x", 1)], 5)
    assert names(world) == []


def test_older_and_duplicated_events_change_nothing():
    heard = []
    world = pods()
    world.on_change = lambda _old, new: heard.append(new.meta.version)
    for version in (5, 3, 5, 6, 6):
        world.apply("MODIFIED", item("x", version, v=str(version)))
    assert heard == [5, 6]
    assert world.get("a", "x").meta.labels == {"v": "6"}


def test_a_deletion_of_an_earlier_object_of_that_name_is_not_ours():
    world = pods()
    world.apply("ADDED", item("x", 9, uid="second"))
    world.apply("DELETED", item("x", 8, uid="first"))
    assert world.get("a", "x").meta.uid == "second"


def test_made_again_under_the_same_name_is_another_object():
    world = pods()
    world.apply("ADDED", item("x", 1, uid="first"))
    world.apply("ADDED", item("x", 9, uid="second"))
    world.apply("MODIFIED", item("x", 3, uid="first"))
    assert world.get("a", "x").meta.uid == "second"


def test_changes_are_counted_whoever_brings_them():
    world = pods()
    world.replace([item("x", 1)], 5)
    world.apply("MODIFIED", item("x", 6))
    world.apply("MODIFIED", item("x", 6))
    world.replace([], 9)
    assert world.changes == 3

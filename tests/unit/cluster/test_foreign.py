"""Who moved the replicas, and how often."""

from __future__ import annotations

from dataclasses import replace

import pytest

from jevons.cluster import records
from jevons.cluster.foreign import ForeignChanges, Published

BASE = records.workload({"metadata": {"uid": "u"}, "spec": {"replicas": 1}})


@pytest.fixture
def changes():
    return ForeignChanges()


def by(writer, replicas):
    return replace(BASE, writer=writer, replicas=replicas)


def test_what_was_there_before_us_is_nobodys_change(changes):
    assert changes.observe(by("kubectl", 2), Published(), 100.0) == (None, 0, "")


def test_the_first_write_after_ours_is_a_change(changes):
    changes.observe(by("jevons-scaler", 1), Published(1, 1), 100.0)
    assert changes.observe(by("kubectl", 3), Published(1, 1), 110.0) == (110.0, 1, "kubectl")
    assert changes.observe(by("kubectl", 3), Published(1, 3), 120.0) == (110.0, 1, "kubectl"), "seen again is not done again"


def test_making_up_ones_mind_is_one_change(changes):
    changes.observe(by("jevons-scaler", 1), Published(1, 1), 100.0)
    changes.observe(by("kubectl", 3), Published(1, 1), 110.0)
    assert changes.observe(by("kubectl", 2), Published(1, 3), 120.0) == (120.0, 1, "kubectl")


def test_a_change_after_each_write_of_ours_is_a_rival(changes):
    for at_s in (100.0, 800.0):
        changes.observe(by("jevons-scaler", 1), Published(1, 1), at_s)
        changes.observe(by("argocd", 3), Published(1, 1), at_s + 10)
    assert changes.observe(by("argocd", 3), Published(1, 3), 900.0)[1] == 2
    assert changes.observe(by("argocd", 3), Published(1, 3), 4000.0) == (None, 0, ""), "half an hour later it is history"


def test_after_a_restart_replicas_that_were_neither_wanted_nor_seen_are_foreign(changes):
    assert changes.observe(by("kubectl", 3), Published(1, 1), 100.0) == (100.0, 1, "kubectl")


def test_after_a_restart_replicas_as_published_are_not(changes):
    assert changes.observe(by("kubectl", 0), Published(1, 0), 100.0) == (None, 0, ""), "we died before our write"


def test_a_pause_outlives_a_restart(changes):
    assert changes.observe(by("kubectl", 3), Published(1, 3, contested_since_s=50.0), 100.0) == (50.0, 1, "kubectl")

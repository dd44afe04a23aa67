"""When status is written, and when it is not."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from jevons.cluster import plan, records, status
from jevons.core.snapshot import (
    ClassRoute,
    Condition,
    CostView,
    DeploymentDecision,
    DeploymentState,
    Explanation,
    ReplicaTarget,
    RoutingPlan,
    TargetState,
    VariantRoute,
    VariantState,
)
from jevons.core.spec import Deployment, Key, Rung, Variant

KEY = Key("a", "b")
SPEC = Deployment(KEY, "u", 1, 0.0, "b", (Variant("large", "m", "h100"),))
STATE = DeploymentState(SPEC, {"large": VariantState(TargetState(exists=True, replicas=1))})
COST = CostView(Decimal(2), {"large": Decimal(2)}, Decimal(10), Decimal(100), None, 0.0, 1.0, Decimal(1000))
ROUTE = RoutingPlan(
    best="large",
    wake="large",
    rung=Rung.NONE,
    pressure=0.0,
    blocked_until_s=None,
    variants=(VariantRoute("large", "Ready", "app=x", 8000, 0.01, 240.0),),
    classes=(ClassRoute("default", (("large", 0.5),)),),
)
DECISION = DeploymentDecision(
    KEY, "id", (ReplicaTarget("large", 1, 1, "Steady"),), ROUTE, (Condition("Ready", "True", "Ready", "1 ready"),), COST, "Steady", "", Explanation()
)


@pytest.fixture
def stored():
    """The object after the first write at t=1000."""
    first = status.deployment_status(record({}), STATE, DECISION, 1000.0)
    return record(first)


def record(body):
    return records.custom({"metadata": {"namespace": "a", "name": "b", "uid": "u", "generation": 1}, "status": body})


def test_the_same_decision_is_written_once(stored):
    assert status.deployment_status(stored, STATE, DECISION, 1010.0) is None


def test_a_message_alone_is_not_written(stored):
    moved = replace(DECISION, conditions=(Condition("Ready", "True", "Ready", "still 1 ready"),))
    assert status.deployment_status(stored, STATE, moved, 1010.0) is None


def test_a_condition_keeps_its_time_while_its_status_stays(stored):
    other = replace(DECISION, conditions=(Condition("Ready", "True", "Degraded", ""),))
    written = status.deployment_status(stored, STATE, other, 2000.0)
    assert written["conditions"][0]["lastTransitionTime"] == status.instant(1000.0)


def test_money_waits_ten_minutes_or_one_percent(stored):
    cents = replace(DECISION, cost=replace(COST, period_spend_usd=Decimal(11)))
    dollars = replace(DECISION, cost=replace(COST, period_spend_usd=Decimal(20)))
    assert status.deployment_status(stored, STATE, cents, 1100.0) is None
    assert status.deployment_status(stored, STATE, dollars, 1100.0)["cost"]["periodSpend"] == "20.00"
    assert status.deployment_status(stored, STATE, cents, 1601.0)["cost"]["periodSpend"] == "11.00"


def test_a_rate_that_jumped_is_shown_at_once_and_money_goes_along_with_the_rest(stored):
    started = replace(DECISION, cost=replace(COST, hourly_usd=Decimal("14.692")))
    assert status.deployment_status(stored, STATE, started, 1001.0)["cost"]["hourlyRate"] == "14.69"
    other = replace(DECISION, conditions=(Condition("Ready", "True", "Degraded", ""),), cost=replace(COST, period_spend_usd=Decimal("10.42")))
    assert status.deployment_status(stored, STATE, other, 1001.0)["cost"]["periodSpend"] == "10.42"


def test_the_name_that_clients_send_and_the_headline_stand_in_the_status(stored):
    written = stored.body["status"]
    assert (written["model"], written["reason"], written["message"]) == ("b", "Ready", "1 ready")
    taken = status.deployment_status(record({}), replace(STATE, name_taken_by=Key("other", "b")), DECISION, 1.0)
    assert taken["model"] == "a/b"


def test_an_older_crd_that_prunes_new_fields_does_not_make_us_write_each_pass(stored):
    body = {key: value for key, value in stored.body["status"].items() if key not in {"model", "reason", "message"}}
    body["variants"] = [{key: value for key, value in entry.items() if not key.startswith("accelerator")} for entry in body["variants"]]
    assert status.deployment_status(record(body), STATE, DECISION, 1010.0) is None
    assert status.deployment_status(record(body), STATE, DECISION, 1000.0 + status.NUMBERS_S) is not None, "tried again now and then"


def test_what_the_version_before_did_not_tell_is_told_at_first_sight(stored):
    assert status.deployment_status(stored, STATE, DECISION, 1010.0, first=True) is None
    body = stored.body["status"]
    without = {key: value for key, value in body.items() if key != "model"}
    assert status.deployment_status(record(without), STATE, DECISION, 1010.0, first=True)["model"] == "b"
    without = body | {"variants": [{key: value for key, value in entry.items() if key != "acceleratorCount"} for entry in body["variants"]]}
    assert status.deployment_status(record(without), STATE, DECISION, 1010.0, first=True)["variants"] == body["variants"]


def test_small_money_keeps_its_digits():
    tiny = replace(DECISION, cost=replace(COST, period_spend_usd=Decimal("0.00421"), hourly_usd=Decimal(0)))
    cost = status.deployment_status(record({}), STATE, tiny, 1.0)["cost"]
    assert (cost["periodSpend"], cost["hourlyRate"]) == ("0.0042", "0.00")


def test_a_state_is_published_at_once_and_a_hundredth_of_pressure_not(stored):
    asleep = replace(DECISION, routing=replace(ROUTE, variants=(replace(ROUTE.variants[0], state="Asleep"),)))
    assert status.deployment_status(stored, STATE, asleep, 1001.0)["routing"]["variants"][0]["state"] == "Asleep"
    assert status.deployment_status(stored, STATE, replace(DECISION, routing=replace(ROUTE, pressure=0.01)), 1001.0) is None
    assert status.deployment_status(stored, STATE, replace(DECISION, routing=replace(ROUTE, pressure=0.2)), 1001.0)["routing"]["pressure"] == "0.2"


def test_the_end_of_a_block_is_a_deletion_in_the_patch(stored):
    blocked = record(
        status.deployment_status(stored, STATE, replace(DECISION, routing=replace(ROUTE, rung=Rung.BLOCK, blocked_until_s=5000.0)), 1001.0)
    )
    written = status.deployment_status(blocked, STATE, DECISION, 1002.0)
    assert written["routing"]["blockedUntil"] is None


def test_an_object_that_became_unreadable_keeps_its_routing(stored):
    broken = replace(
        DECISION, routing=replace(ROUTE, variants=()), conditions=(Condition("Accepted", "False", "InvalidSpec", "min 4 is above max 2"),)
    )
    written = status.deployment_status(stored, replace(STATE, invalid="min 4 is above max 2"), broken, 1001.0)
    assert written["routing"] == stored.body["status"]["routing"]


def test_no_float_and_no_null_inside_lists():
    published = plan.published(replace(ROUTE, variants=(replace(ROUTE.variants[0], usd_per_1k_tokens=None),)))
    merged = plan.mergeable(published)
    assert "usdPer1kTokens" not in merged["variants"][0]
    assert merged["pressure"] == "0"

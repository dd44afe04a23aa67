"""The bell, the audit log, durations and metrics."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from itertools import accumulate, islice

import orjson
import pytest
import typer

from jevons.cli.operator import seconds
from jevons.controller.audit import Audit
from jevons.controller.handlers import Backoffs
from jevons.controller.loop import Bell
from jevons.controller.metrics import OperatorMetrics
from jevons.controller.wiring import DEAF_S, router_curve, until_next_list_s
from jevons.core.ledger import Ledger
from jevons.core.memory import Memory
from jevons.core.snapshot import CostView, Decision, DeploymentDecision, Explanation, RoutingPlan
from jevons.core.spec import Key, Rung

KEY = Key("a", "b")


def decision(identity, *, at_s=0.0):
    plan = RoutingPlan("large", "small", Rung.NONE, 0.0, None, (), ())
    cost = CostView(None, {}, Decimal(1), None, None, 0.0, 1.0, None)
    decided = DeploymentDecision(KEY, identity, (), plan, (), cost, "Steady", "", Explanation(inputs=(("metrics", "ok", 1.0),)))
    return Decision(at_s, {KEY: decided}, {}, Memory(), Ledger())


async def test_an_urgent_ring_is_answered_at_once_and_news_after_a_second():
    bell = Bell()
    now = asyncio.get_running_loop().time()
    bell.ring(urgent=True)
    await asyncio.wait_for(bell.wait(last_pass_at=now - 1, within_s=60), 1)
    assert bell.answer() is not None
    bell.ring()
    waiting = asyncio.create_task(bell.wait(last_pass_at=now + 3600, within_s=7200))
    done, _ = await asyncio.wait({waiting}, timeout=0.05)
    assert not done, "news within a second of the last pass wait"
    waiting.cancel()


async def test_a_ring_during_a_pass_asks_for_another():
    bell = Bell()
    assert bell.answer() is None
    bell.ring(urgent=True)
    assert bell.any.is_set()
    assert bell.urgent.is_set()


def test_a_decision_is_recorded_once_per_change(tmp_path):
    audit = Audit(tmp_path)
    for identity in ("one", "one", "two"):
        audit.record(decision(identity))
    lines = [orjson.loads(line) for line in (tmp_path / "decisions.jsonl").read_bytes().splitlines()]
    assert [line["id"] for line in lines] == ["one", "two"]
    assert lines[0]["inputs"] == [{"name": "metrics", "value": "ok", "ageSeconds": 1.0}]


def test_the_audit_log_has_a_bounded_size(tmp_path):
    audit = Audit(tmp_path, limit_bytes=2000, keep=2)
    for number in range(50):
        audit.record(decision(str(number)))
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["decisions.1.jsonl", "decisions.2.jsonl", "decisions.jsonl"]
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 3 * 2000


def test_a_disk_that_refuses_costs_the_record_only(tmp_path):
    (tmp_path / "file").write_text("")
    audit = Audit(tmp_path / "file")
    audit.record(decision("one"))
    assert audit.failures == 1


@pytest.mark.parametrize(("text", "value"), [("15s", 15.0), ("1m30s", 90.0), ("500ms", 0.5), ("2", 2.0)])
def test_durations(text, value):
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["0s", "-5m", "2 weeks", "999999h", "", "nan"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(typer.BadParameter):
        seconds(text)


def test_backoffs_never_end_stay_below_forty_seconds_and_ask_fifteen_times_in_five_minutes_of_outage():
    waits = list(islice(Backoffs(), 100))
    assert max(waits) < 40
    assert waits[0] < 2
    assert sum(1 for at_s in accumulate(waits) if at_s < 300.0) <= 15


def test_writes_are_counted_by_what_they_are_to():
    metrics = OperatorMetrics()
    metrics.written("PATCH", "/apis/apps/v1/namespaces/a/deployments/b/scale")
    metrics.written("POST", "/api/v1/namespaces/a/events")
    page = metrics.render().decode()
    assert 'jevons_api_writes_total{kind="scale"} 1.0' in page
    assert 'jevons_api_writes_total{kind="events"} 1.0' in page


def test_the_calibration_that_ships_can_be_read():
    assert router_curve() is not None


def test_after_a_list_that_failed_the_next_one_comes_soon():
    assert until_next_list_s(120.0, deaf=False, complete=True) == 120.0
    assert until_next_list_s(120.0, deaf=False, complete=False) == DEAF_S
    assert until_next_list_s(120.0, deaf=True, complete=True) == DEAF_S
    assert until_next_list_s(2.0, deaf=True, complete=False) == 2.0

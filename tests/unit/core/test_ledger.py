"""Spend: by the second from scheduled to gone, through price steps, restarts and deletions."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal

import pytest
from core_worlds import A100, KEY, NOW, SMALL, deployment, pod, state, variant_state, world

from jevons.core import hazard
from jevons.core.cowake import Caller
from jevons.core.decide import decide
from jevons.core.ledger import Account, Ledger
from jevons.core.memory import DeploymentMemory, Memory, Trend, VariantMemory
from jevons.core.metering import accrue
from jevons.core.observed import Known
from jevons.core.snapshot import Outcomes
from jevons.core.spec import AcceleratorClass, BudgetSpec, Key, Price, SharedBudget

BUCKET = 1_767_261_600.0


def at(*pods, spec=None, **changes):
    return world(state(spec or deployment(SMALL), {"small": variant_state(*pods)}, **changes))


def metered(snapshots, start=NOW):
    ledger = Ledger()
    for now, snapshot in snapshots:
        ledger = accrue(ledger, snapshot, now)
    return ledger.accounts[KEY]


def test_a_pod_of_four_costs_from_the_second_it_was_scheduled():
    four = deployment(replace(SMALL, accelerator_count=4))
    account = metered([(NOW, at(pod("a", scheduled_at_s=NOW - 1800.0), spec=four))])
    assert account.usd == Decimal("7.34")
    assert account.meters[0].gpu_s == pytest.approx(7200.0)


def test_cutting_time_into_passes_changes_no_total():
    whole = metered([(NOW, at()), (NOW + 80.0, at(pod("a", scheduled_at_s=NOW)))])
    cut = metered([(NOW, at()), *[(NOW + 8.0 * i, at(pod("a", scheduled_at_s=NOW))) for i in range(1, 11)]])
    assert cut.usd == pytest.approx(whole.usd, abs=Decimal("1e-20"))
    assert whole.usd == Decimal("3.67") * 80 / 3600


def test_a_pod_that_is_gone_is_billed_until_it_was_missed_and_no_longer():
    account = metered([(NOW, at(pod("a", scheduled_at_s=NOW))), (NOW + 60.0, at()), (NOW + 120.0, at())])
    assert account.usd == Decimal("3.67") / 60


def test_a_price_step_is_billed_at_its_second_and_a_bad_price_never_enters():
    stepped = {"a100": AcceleratorClass("a100", prices=(Price(0.0, Decimal(2)), Price(NOW + 30.0, Decimal(4)), Price(NOW + 60.0, Decimal("NaN"))))}
    snapshot = replace(at(pod("a", scheduled_at_s=NOW)), accelerators=stepped)
    account = metered([(NOW, snapshot), (NOW + 60.0, snapshot), (NOW + 80.0, snapshot)])
    assert account.usd == Decimal(3) / 60
    assert account.unpriced
    assert account.meters[0].unpriced_gpu_s == pytest.approx(20.0)


def test_spot_pods_pay_the_spot_price():
    spot = {"a100": replace(A100, prices=(Price(0.0, Decimal("3.6"), Decimal("1.2")),))}
    account = metered([(NOW, replace(at(pod("a", scheduled_at_s=NOW - 3600.0, spot=True)), accelerators=spot))])
    assert account.usd == Decimal("1.2")


def test_a_restart_bills_the_gap_at_the_dearer_of_both_rates_and_says_so():
    before = accrue(Ledger(), at(pod("a", scheduled_at_s=NOW), pod("b", scheduled_at_s=NOW)), NOW)
    again = Ledger.from_json({KEY: before.to_json(KEY)})
    fewer = accrue(again, at(pod("a", scheduled_at_s=NOW)), NOW + 3600.0).accounts[KEY]
    assert fewer.usd == Decimal("7.34")
    assert fewer.estimated_at_s == NOW + 3600.0
    more = accrue(again, at(*[pod(name, scheduled_at_s=NOW + 1800.0) for name in "xyz"]), NOW + 3600.0).accounts[KEY]
    assert more.usd >= Decimal("11.01")


def test_deleting_and_recreating_an_object_does_not_reset_its_spend():
    spent = accrue(Ledger(), at(pod("a", scheduled_at_s=NOW - 3600.0)), NOW)
    gone = accrue(spent, world(), NOW + 15.0)
    assert gone.accounts[KEY].closed
    back = accrue(gone, at(pod("b", scheduled_at_s=NOW + 600.0), spec=deployment(SMALL, uid="other")), NOW + 600.0)
    assert back.accounts[KEY].usd == gone.accounts[KEY].usd >= Decimal("3.67")


def test_a_deleted_member_still_counts_towards_the_shared_budget():
    from jevons.core.decide import decide

    shared = SharedBudget("team", "u", 1, BudgetSpec(Decimal(100)), frozenset({KEY}))
    first = decide(replace(at(pod("a", scheduled_at_s=NOW - 3600.0)), shared_budgets=(shared,)), NOW)
    later = decide(replace(world(), shared_budgets=(replace(shared, members=frozenset()),), ledger=first.ledger), NOW + 15.0)
    assert later.budgets["team"].spend_usd >= Decimal("3.67")


def test_periods_are_sums_of_quarter_hours():
    ledger, now = Ledger(), BUCKET
    for index in range(0, 7200, 60):
        now = BUCKET + index
        ledger = accrue(ledger, at(pod("a", scheduled_at_s=BUCKET)), now)
    account = ledger.accounts[KEY]
    assert account.spent_since(BUCKET + 3600.0) == pytest.approx(Decimal("3.67") * 59 / 60, abs=Decimal("0.000001"))
    assert account.spent_since(BUCKET) == account.usd
    assert account.spent_since(BUCKET + 9000.0) == 0


def test_pods_of_an_object_that_became_unreadable_are_billed_on():
    running = at(pod("a", scheduled_at_s=NOW))
    unreadable = world(state(deployment(SMALL), {"small": variant_state()}, invalid="spec.budget.timeZone: no such zone"))
    account = metered([(NOW, running), *[(NOW + 60.0 * i, unreadable) for i in range(1, 31)], (NOW + 1860.0, running)])
    assert account.usd == pytest.approx(Decimal("3.67") * 1860 / 3600, abs=Decimal("1e-20"))
    assert account.estimated_at_s is None


def test_pods_of_a_target_that_another_deployment_holds_are_not_paid_twice():
    both = {
        name: state(deployment(SMALL, key=Key("team-a", name)), {"small": variant_state(pod("a", scheduled_at_s=NOW), problem=problem)})
        for name, problem in (("holder", None), ("claimant", "TargetClaimed"))
    }
    ledger = accrue(accrue(Ledger(), world(*both.values()), NOW), world(*both.values()), NOW + 60.0)
    assert ledger.accounts[Key("team-a", "holder")].usd == Decimal("3.67") / 60
    assert ledger.accounts[Key("team-a", "claimant")].usd == 0
    decided = decide(world(*both.values()), NOW).deployments
    assert [decided[Key("team-a", name)].cost.hourly_usd for name in both] == [Decimal("3.67"), 0]


def test_a_gateway_that_went_away_is_not_counted_again():
    """The counters are sums over gateways."""
    sums = [(0.0, 0.0), (2e6, 1.9e6), (1e6, 9.5e5), (1e6 + 10.0, 9.5e5 + 9.0)]
    account = metered([(NOW + 15.0 * i, at(outcomes=Known(Outcomes(*each), NOW))) for i, each in enumerate(sums)])
    assert (account.offered, account.useful) == (2e6 + 10.0, 1.9e6 + 9.0)


def test_counters_survive_a_reset():
    seen = [(NOW, Outcomes(0.0, 0.0)), (NOW + 15.0, Outcomes(10.0, 9.0)), (NOW + 30.0, Outcomes(4.0, 3.0)), (NOW + 45.0, Outcomes(6.0, 5.0))]
    account = metered([(now, at(outcomes=Known(outcomes, now))) for now, outcomes in seen])
    assert (account.offered, account.useful) == (12.0, 11.0)


def test_a_full_account_fits_its_config_map():
    ledger, now = Ledger(), NOW
    pods = [pod(f"0b0f6a5e-8b8a-4d4c-9a3e-5f3b1c2d{i:04d}", scheduled_at_s=NOW) for i in range(50)]
    for index in range(3300):
        now = NOW + 900.0 * index
        ledger = accrue(ledger, at(*pods, outcomes=Known(Outcomes(1e6 * index, 9e5 * index), now)), now)
    text = ledger.to_json(KEY)
    assert len(text) < 200_000
    assert Ledger.from_json({KEY: text}).to_json(KEY) == text


@pytest.mark.parametrize("text", ["", "{}", "null", "[]", '{"version":9}', '{"version":1,"asOf":"x"}'])
def test_a_broken_checkpoint_is_left_out(text):
    assert KEY not in Ledger.from_json({KEY: text}).accounts
    assert KEY not in Memory.from_json({KEY: text}).deployments


def test_a_poisoned_checkpoint_is_left_out():
    document = json.loads(Ledger({KEY: Account(NOW)}).to_json(KEY)) | {"usd": "NaN"}
    assert KEY not in Ledger.from_json({KEY: json.dumps(document)}).accounts


def test_memory_round_trips():
    memory = Memory(
        {
            KEY: DeploymentMemory(
                {"small": VariantMemory(((NOW, 3), (NOW + 1, 2)), 12.0, NOW, None, 2, NOW + 60.0)},
                {"default": Trend(1.5, NOW)},
                (0.5,) * hazard.BINS,
                NOW - 3.0,
                12.5,
                NOW,
                callers=(Caller("planner", NOW, 3.0, 0.5, (1.0,) * 9),),
            )
        }
    )
    assert Memory.from_json({KEY: memory.to_json(KEY)}) == memory


@pytest.mark.parametrize("version", [1, 2])
def test_a_checkpoint_whose_trends_have_a_slope_is_still_read(version):
    memory = Memory({KEY: DeploymentMemory(trends={"default": Trend(1.5, NOW, 1.25, 3.0, 1.0, since_s=NOW - 60.0, tokens=(900.0, 200.0))})})
    document = json.loads(memory.to_json(KEY))
    (row,) = document["trends"].values()
    row.insert(1, 0.01)
    assert Memory.from_json({KEY: json.dumps(document | {"version": version})}) == memory


def test_a_clock_that_goes_back_bills_nothing():
    account = metered([(NOW, at(pod("a", scheduled_at_s=NOW - 60.0))), (NOW - 600.0, at(pod("a", scheduled_at_s=NOW - 60.0)))])
    assert account.usd == Decimal("3.67") / 60
    assert account.as_of_s == NOW


def test_an_idle_account_does_not_change():
    ledger = accrue(Ledger(), at(), NOW)
    assert accrue(ledger, at(), NOW + 600.0).accounts[KEY] is ledger.accounts[KEY]


def test_a_model_that_wakes_after_hours_of_rest_pays_from_its_wake_in_the_right_period():
    ledger = accrue(Ledger(), at(), BUCKET)
    ledger = accrue(ledger, at(), BUCKET + 9000.0)
    account = accrue(ledger, at(pod("a", scheduled_at_s=BUCKET + 9030.0)), BUCKET + 9060.0).accounts[KEY]
    assert account.usd == Decimal("3.67") / 120
    assert account.estimated_at_s is None
    assert account.spent_since(BUCKET + 9000.0) == account.usd


def test_checkpoints_are_written_when_something_would_be_lost_and_not_each_pass():
    first = accrue(Ledger(), at(pod("a", scheduled_at_s=NOW)), NOW + 5.0)
    soon, later = (accrue(first, at(pod("a", scheduled_at_s=NOW)), NOW + after_s) for after_s in (20.0, 80.0))
    other = accrue(first, at(pod("b", scheduled_at_s=NOW)), NOW + 20.0)
    assert [ledger.worth_saving(first, KEY) for ledger in (first, soon, later, other)] == [False, False, True, True]
    assert first.worth_saving(Ledger(), KEY)
    calm = Memory({KEY: DeploymentMemory({"small": VariantMemory(work_at_s=NOW)})})
    trend = Memory({KEY: DeploymentMemory({"small": VariantMemory(work_at_s=NOW + 5.0)}, {"default": Trend(1.0, NOW)})})
    parked = Memory({KEY: DeploymentMemory({"small": VariantMemory(work_at_s=NOW, failed_starts=3, parked_until_s=NOW + 60.0)})})
    assert [memory.worth_saving(calm, KEY) for memory in (calm, trend, parked)] == [False, False, True]

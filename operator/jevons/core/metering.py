"""How an account grows by one pass: bill every pod that holds accelerators, count what was answered, mark the 15-minute buckets.

Pods known from the last pass are billed from then on, new ones from the second they were scheduled; one that vanished in between is billed up to now,
since nobody saw it go. An account without pods is at rest and stays as it is. See `ledger.py` for what happens over a gap.
"""

# ruff: noqa: FURB136  max costs eight times what a comparison does
from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from decimal import ROUND_DOWN, Decimal
from functools import cached_property
from itertools import groupby
from typing import NamedTuple, TypeAlias

from jevons.core.ledger import KEEP_BUCKETS, NANO, Account, Ledger, Mark, Meter, MeteredPod
from jevons.core.money import ZERO, accelerator_usd_per_h, spend
from jevons.core.observed import Known
from jevons.core.periods import BUCKET_S
from jevons.core.snapshot import DeploymentState, Outcomes, Snapshot
from jevons.core.spec import AcceleratorClass, Key, SharedBudget

GAP_S = 90.0
"""Longer than this between two passes is a gap in what we saw."""
LATE_S = 120.0
"""A pod first seen now may have been scheduled this long before the last pass (a slow watch) and is billed from then."""
FORGET_S = 33 * 86_400.0
"""An account whose deployment is gone is kept this long."""

Line: TypeAlias = tuple[Decimal, float, float]
"""USD, accelerator seconds, accelerator seconds without a price."""
Bill: TypeAlias = dict[tuple[str, str], Line]
"""By (variant, accelerator class)."""

NONE = (ZERO, 0.0, 0.0)
AWAKE = Decimal(1)


class RollLine(NamedTuple):
    """The metered pods of one variant. pods: uid, whether it is a spot one, and that it is awake."""

    variant: str
    accelerator: str
    accelerators: int
    pods: list[tuple[str, bool, bool]]
    spots: tuple[bool, ...]


class Roll(dict[str, MeteredPod]):
    """Metered pods by uid. An account has the same roll while the same pods are there, so what it comes to by variant is put together once."""

    @cached_property
    def lines(self) -> tuple[RollLine, ...] | None:
        """The pods in order, those of a variant together; None while one sleeps."""
        if any(pod.share != AWAKE for pod in self.values()):
            return None
        together = groupby(self.items(), key=lambda item: (item[1].variant, item[1].accelerator, item[1].count))
        listed = [(what, [(uid, pod.spot, False) for uid, pod in pods]) for what, pods in together]
        return tuple([RollLine(*what, pods, tuple([spot for _, spot, _ in pods])) for what, pods in listed])


NO_LINE = RollLine("", "", 0, [], ())


@dataclass(slots=True)
class Tariff:
    """What one accelerator of a class costs from some second until `now`: looked up once per pass."""

    classes: Mapping[str, AcceleratorClass]
    now: float
    known: dict[tuple[str, float, bool], tuple[Decimal, float]] = field(default_factory=dict)
    lines: dict[tuple[str, int, float, tuple[bool, ...]], Line] = field(default_factory=dict)
    rates: dict[tuple[str, int, int, int], Decimal | None] = field(default_factory=dict)
    usd_per_h: dict[str, float] = field(init=False)
    """Of classes with a usable price: on demand, now."""
    changes_s: tuple[float, ...] = field(init=False)
    """When a price of any class begins."""

    def __post_init__(self) -> None:
        """Look up what is asked for every variant of every deployment."""
        prices = {name: accelerator_usd_per_h(accelerator, self.now) for name, accelerator in self.classes.items()}
        self.usd_per_h = {name: float(price) for name, price in prices.items() if price is not None}
        self.changes_s = tuple({price.effective_from_s for accelerator in self.classes.values() for price in accelerator.prices})

    def hourly(self, accelerator: str, count: int, plain: int, spot: int) -> Decimal | None:
        """USD/h of so many plain and spot pods of `count` accelerators each; None where one has no usable price."""
        asked = (accelerator, count, plain, spot)
        try:
            return self.rates[asked]
        except KeyError:
            found = self.rates[asked] = _hourly(self.classes.get(accelerator), count, plain, spot, self.now)
            return found

    def since(self, accelerator: str, start_s: float, *, spot: bool) -> tuple[Decimal, float]:
        """USD, and seconds without a usable price."""
        line = (accelerator, start_s, spot)
        found = self.known.get(line)
        if found is None:
            found = self.known[line] = spend(self.classes.get(accelerator), start_s, self.now, spot=spot)
        return found

    def line(self, accelerator: str, count: int, start_s: float, spots: tuple[bool, ...]) -> Line:
        """What pods of `count` accelerators each add to a bill, one pod per entry of `spots`."""
        asked = (accelerator, count, start_s, spots)
        found = self.lines.get(asked)
        if found is None:
            bill: Bill = {}
            for spot in spots:
                _charge(bill, MeteredPod("", accelerator, count, spot), self, start_s)
            found = self.lines[asked] = bill["", accelerator]
        return found


def _hourly(accelerator: AcceleratorClass | None, count: int, plain: int, spot: int, now: float) -> Decimal | None:
    total = ZERO
    for pods, price in (
        (spot, accelerator_usd_per_h(accelerator, now, spot=True) if spot else ZERO),
        (plain, accelerator_usd_per_h(accelerator, now) if plain else ZERO),
    ):
        if price is None:
            return None
        total += price * count * pods
    return total


def accrue(ledger: Ledger, snapshot: Snapshot, now: float) -> Ledger:
    """The ledger at `now`: every account billed up to now, accounts of deleted deployments closed, those gone for 33 days dropped.

    A clock that went back bills nothing. Example: a pod of 4 accelerators at 3.67 USD/h scheduled 1,800 s ago costs 7.34 USD
    (test_ledger.py::test_a_pod_of_four_costs_from_the_second_it_was_scheduled).
    """
    tariff, shared = Tariff(snapshot.accelerators, now), memberships(snapshot.shared_budgets)
    accounts = {key: billed(ledger.accounts.get(key), state, tariff, shared.get(key, ())) for key, state in snapshot.deployments.items()}
    return with_gone(accounts, ledger, tariff)


def memberships(budgets: Iterable[SharedBudget]) -> dict[Key, tuple[SharedBudget, ...]]:
    """The shared budgets that each deployment counts towards."""
    shared: dict[Key, tuple[SharedBudget, ...]] = {}
    for budget in budgets:
        for key in budget.members:
            shared[key] = (*shared.get(key, ()), budget)
    return shared


def billed(account: Account | None, state: DeploymentState, tariff: Tariff, shared: Iterable[SharedBudget]) -> Account:
    """One deployment's account at the tariff's `now`.

    That of a broken object stays as it was (its own decision reports it), and bills the stretch when the object is whole again.
    """
    try:
        return _accrued(account, state, tariff, tuple([budget.name for budget in shared]), tariff.now)
    except (ArithmeticError, AttributeError, TypeError, ValueError):
        return account if account is not None else Account(as_of_s=tariff.now)


def with_gone(accounts: dict[Key, Account], ledger: Ledger, tariff: Tariff) -> Ledger:
    """The ledger of these accounts and of those whose deployments are gone, for 33 days."""
    for key, account in ledger.accounts.items():
        if key not in accounts and tariff.now - account.as_of_s < FORGET_S:
            accounts[key] = account if account.closed else _closed(account, tariff, tariff.now)
    return Ledger(accounts)


def _accrued(account: Account | None, state: DeploymentState, tariff: Tariff, budgets: tuple[str, ...], now: float) -> Account:
    fresh = account is None
    if account is None:
        account = Account(as_of_s=now)
    pods, earliest_s, estimated_at_s = account.pods, account.as_of_s, account.estimated_at_s
    bill, same = _same_pods(account, state, tariff), True
    if bill is None:
        # of an object that cannot be read no pods are known: what ran last is billed on
        pods, scheduled = (Roll(account.pods), {}) if state.invalid else _metered(state, account.pods)
        bill = {}
        earliest_s = account.as_of_s if account.pods and not account.closed else now
        for uid, pod in pods.items():
            before = account.pods.get(uid)
            since_s = account.as_of_s if before is not None else _first_billed(scheduled[uid], account, state, fresh=fresh)
            if since_s < now:
                # one that fell asleep, or woke, in between is billed as awake
                _charge(bill, pod if before is None or before.share <= pod.share else before, tariff, since_s)
                earliest_s = min(earliest_s, since_s)
        if not account.closed:
            for uid, pod in account.pods.items():
                if uid not in pods:
                    _charge(bill, pod, tariff, account.as_of_s)
        if now - account.as_of_s > GAP_S and not account.closed and account.pods:
            _top_up(bill, pods, tariff, account.as_of_s)
            estimated_at_s = now
        same = pods == account.pods
        if same:
            pods = account.pods if isinstance(account.pods, Roll) or not pods else Roll(account.pods)
    counters, offered, useful = _counted(account, state, fresh=fresh)
    if not bill and not offered and not useful and same and counters == account.counters and budgets == account.budgets and not account.closed:
        return account if fresh or not account.pods or now <= account.as_of_s else replace(account, as_of_s=now)
    return Account(
        now if now > account.as_of_s else account.as_of_s,
        account.usd + sum([usd for usd, _, _ in bill.values()], ZERO),
        account.offered + offered,
        account.useful + useful,
        _marked(account, bill, earliest_s, now, answered=offered + useful > 0),
        pods,
        _metered_totals(account.meters, bill),
        counters,
        estimated_at_s,
        budgets,
    )


def _same_pods(account: Account, state: DeploymentState, tariff: Tariff) -> Bill | None:
    """The bill since the last pass where its pods are here again, in the same order and no others; None where anything else happened."""
    since_s, pods = account.as_of_s, account.pods
    if not pods or account.closed or state.invalid or not 0.0 < tariff.now - since_s <= GAP_S or not isinstance(pods, Roll):
        return None
    lines = pods.lines
    if lines is None:
        return None
    bill: Bill = {}
    before, variants = iter(lines), state.variants
    for variant in state.spec.variants:
        seen = variants.get(variant.name)
        if seen is None or not seen.pods or (seen.target.problem is not None and seen.target.paid_elsewhere):
            continue
        here = [(pod.uid, pod.spot, pod.asleep) for pod in seen.pods if pod.scheduled_at_s is not None]
        if here:
            name, accelerator, count, known, spots = next(before, NO_LINE)
            if here != known or name != variant.name or accelerator != variant.accelerator_class or count != variant.accelerator_count:
                return None
            bill[name, accelerator] = tariff.line(accelerator, count, since_s, spots)
    return bill if next(before, NO_LINE) is NO_LINE else None


def _closed(account: Account, tariff: Tariff, now: float) -> Account:
    """The account of a deployment that is gone: its pods billed up to now, then at rest."""
    bill: Bill = {}
    for pod in account.pods.values():
        _charge(bill, pod, tariff, account.as_of_s)
    return replace(
        account,
        as_of_s=max(now, account.as_of_s),
        usd=account.usd + sum((usd for usd, _, _ in bill.values()), ZERO),
        marks=_marked(account, bill, account.as_of_s, now, answered=False),
        pods={},
        meters=_metered_totals(account.meters, bill),
        closed=True,
    )


def _metered(state: DeploymentState, before: Mapping[str, MeteredPod]) -> tuple[Roll, dict[str, float]]:
    """The pods that hold a node, by uid (what was metered before is the same object, which makes comparing cheap), and when they got it."""
    pods = Roll()
    scheduled: dict[str, float] = {}
    for variant in state.spec.variants:
        seen = state.variants.get(variant.name)
        if seen is None or seen.target.paid_elsewhere:
            continue
        name, accelerator, count = variant.name, variant.accelerator_class, variant.accelerator_count
        for pod in seen.pods:
            if pod.scheduled_at_s is not None:
                old, share = before.get(pod.uid), variant.sleep.holding if pod.asleep and variant.sleep is not None else AWAKE
                held = MeteredPod(name, accelerator, count, pod.spot, share)
                pods[pod.uid] = old if old is not None and old == held else held
                scheduled[pod.uid] = pod.scheduled_at_s
    return pods, scheduled


def _first_billed(scheduled_at_s: float, account: Account, state: DeploymentState, *, fresh: bool) -> float:
    """From when a pod that was not metered before is billed: its scheduling, but not before this deployment existed or was already accounted for."""
    if fresh:
        return max(scheduled_at_s, state.spec.created_at_s)
    return max(scheduled_at_s, account.as_of_s - LATE_S) if not account.closed else max(scheduled_at_s, account.as_of_s)


def _charge(bill: Bill, pod: MeteredPod, tariff: Tariff, start_s: float) -> None:
    if tariff.now <= start_s:
        return
    usd, unpriced_s = tariff.since(pod.accelerator, start_s, spot=pod.spot)
    line = (pod.variant, pod.accelerator)
    spent, gpu_s, unpriced = bill.get(line, NONE)
    bill[line] = (spent + usd * pod.count * pod.share, gpu_s + (tariff.now - start_s) * pod.count, unpriced + unpriced_s * pod.count)


def _top_up(bill: Bill, pods: Mapping[str, MeteredPod], tariff: Tariff, start_s: float) -> None:
    """Raise each line to what the pods present now would have cost for the whole gap."""
    after: Bill = {}
    for pod in pods.values():
        _charge(after, pod, tariff, start_s)
    for line, (usd, gpu_s, unpriced) in after.items():
        if usd > bill.get(line, NONE)[0]:
            bill[line] = (usd, gpu_s, unpriced)


def _counted(account: Account, state: DeploymentState, *, fresh: bool) -> tuple[tuple[float, float] | None, float, float]:
    """The counters as read, and what was (offered, useful) since.

    They are sums over all gateways: one that fell lost a gateway, or that one began anew. What the others had counted is not new, so nothing is
    added: a few answers too few make a useful one look dearer, a whole history counted twice would make it look cheap.
    """
    if not isinstance(state.outcomes, Known):
        return account.counters, 0.0, 0.0
    read: Outcomes = state.outcomes.value
    if account.counters is None:
        return (read.offered, read.useful), *((0.0, 0.0) if fresh else (read.offered, read.useful))
    offered, useful = account.counters
    return (
        (read.offered, read.useful),
        max(0.0, read.offered - offered),
        max(0.0, read.useful - useful),
    )


def _marked(account: Account, bill: Bill, since_s: float, now: float, *, answered: bool) -> tuple[Mark, ...]:
    """Marks for the buckets that this stretch, billed from `since_s` on, touched; spend is spread evenly over it."""
    newest = account.marks[-1].bucket if account.marks else -1
    here = int(now // BUCKET_S)
    if newest >= here:
        return account.marks
    total = sum([usd for usd, _, _ in bill.values()], ZERO)
    if not total and not answered:
        return account.marks
    span_s = max(1e-3, now - since_s)
    added = []
    for bucket in range(max(newest + 1, int(since_s // BUCKET_S), here - KEEP_BUCKETS), here + 1):
        before = max(0.0, bucket * BUCKET_S - since_s) / span_s
        added.append(Mark(bucket, (account.usd + total * Decimal(f"{before:.9f}")).quantize(NANO, ROUND_DOWN), account.offered, account.useful))
    kept = (
        account.marks
        if not account.marks or account.marks[0].bucket >= here - KEEP_BUCKETS
        else tuple(m for m in account.marks if m.bucket >= here - KEEP_BUCKETS)
    )
    return (*kept, *added)


def _metered_totals(meters: tuple[Meter, ...], bill: Bill) -> tuple[Meter, ...]:
    if not bill:
        return meters
    made, left = [], len(bill)
    for meter in meters:
        line = bill.get((meter.variant, meter.accelerator))
        if line is None:
            made.append(meter)
        else:
            left -= 1
            made.append(Meter(meter.variant, meter.accelerator, meter.usd + line[0], meter.gpu_s + line[1], meter.unpriced_gpu_s + line[2]))
    if left:
        known = {(meter.variant, meter.accelerator) for meter in meters}
        made.extend([Meter(*line, usd, gpu_s, unpriced_s) for line, (usd, gpu_s, unpriced_s) in bill.items() if line not in known])
    return tuple(made)

"""When waiters are told, and what: the holder alone, with tables that the test writes and a clock that it moves."""

import asyncio
from dataclasses import replace

import pytest

from jevons.core.load import Work
from jevons.gateway import room, room_hold
from jevons.gateway.room_hold import BROKEN_S, FIRST, Fail, Go, Holder
from jevons.gateway.room_queue import RoomQueue, Waiter
from jevons.gateway.table import Model, Pod, Table, Variant

KEY = "a/assistant"


def table(**variants):
    """`small="Waking"` is a state without pods; `small=2` is two ready pods; None leaves the variant out."""
    made = [
        Variant(name, state="Ready", pods=tuple(Pod(f"{name}{index}", f"127.0.0.1:{index + 1}") for index in range(how)))
        if isinstance(how, int)
        else Variant(name, state=how)
        for name, how in variants.items()
        if how is not None
    ]
    return Table({KEY: Model("a", "assistant", "assistant", tuple(made))})


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def holder(clock, monkeypatch):
    monkeypatch.setattr(room_hold, "SETTLE_S", 0.0)
    return Holder(RoomQueue(), lambda: None, table(large="Asleep", small="Waking"), clock)


def waiter(variant="small", team=""):
    return Waiter(KEY, variant, arrived=1_000.0, deadline=2_000.0, team=team)


async def told(futures):
    for _ in range(5):
        await asyncio.sleep(0)
    return [future.result() if future.done() else None for future in futures]


async def test_waiters_go_when_their_variant_has_a_pod_a_few_at_first(holder, monkeypatch):
    monkeypatch.setattr(room_hold, "STEP_S", 3600.0)
    verdicts = [holder.join(waiter(), again=False) for _ in range(3 * FIRST)]
    assert await told(verdicts) == [None] * 3 * FIRST
    holder.update(table(large="Asleep", small=2))
    await asyncio.sleep(0.01)
    assert [one.done() for one in verdicts] == [True] * 2 * FIRST + [False] * FIRST
    assert verdicts[0].result() == Go("small")


async def test_each_step_releases_twice_as_many(holder, monkeypatch):
    monkeypatch.setattr(room_hold, "STEP_S", 0.0)
    verdicts = [holder.join(waiter(), again=False) for _ in range(100)]
    holder.update(table(small=1))
    await asyncio.gather(*verdicts)
    assert holder.queue.count == 0


async def test_another_variant_that_wakes_lets_the_picker_choose_again_but_only_once(holder):
    fresh, returned = holder.join(waiter(), again=False), holder.join(waiter(), again=True)
    holder.update(table(large=1, small="Waking"))
    assert await told([fresh, returned]) == [Go("large", changed=True), None]
    assert holder.queue.count == 1


async def test_a_variant_that_woke_instead_gets_its_waiters_a_few_at_first_too(holder):
    verdicts = [holder.join(waiter(), again=False) for _ in range(5 * FIRST)]
    holder.update(table(large=1, small="Waking"))
    assert sum(one.done() for one in verdicts) == FIRST
    holder.tick()
    assert sum(one.done() for one in verdicts) == 3 * FIRST
    holder.update(table(large="Asleep", small="Waking"))
    assert sum(one.done() for one in verdicts) == 3 * FIRST


async def test_a_variant_that_was_ready_before_is_no_news(holder):
    holder.update(table(large=1, small="Waking"))
    verdict = holder.join(waiter(), again=False)
    holder.update(table(large=1, small="Waking"))
    assert await told([verdict]) == [None]


async def test_a_failure_counts_only_when_it_was_seen_to_happen(holder):
    holder.update(table(large="Asleep", small="Failed"))
    verdict = holder.join(waiter(), again=False)
    holder.tick()
    assert await told([verdict]) == [None]  # the plan's word may be older than the wake
    holder.update(table(large="Asleep", small="Waking"))
    holder.update(table(large="Asleep", small="Failed"))
    assert await told([verdict]) == [Fail("failed to start")]


@pytest.mark.parametrize(("state", "why"), [("Capped", "budget is spent"), ("Unavailable", "cannot serve"), (None, "does not exist")])
async def test_a_variant_that_nobody_may_start_is_given_up_after_some_seconds(holder, clock, state, why):
    verdict = holder.join(waiter(), again=False)
    holder.update(table(large="Asleep", small=state))
    assert await told([verdict]) == [None]
    clock.now += BROKEN_S + 0.1
    holder.tick()
    (said,) = await told([verdict])
    assert isinstance(said, Fail)
    assert why in said.why


async def test_a_broken_variant_s_waiters_go_to_one_that_is_ready_even_those_who_were_sent_back(holder, clock):
    holder.update(table(large=1, small="Capped"))
    verdict = holder.join(waiter(), again=True)
    clock.now += BROKEN_S + 0.1
    holder.tick()
    assert await told([verdict]) == [Go("large", changed=True)]


async def test_who_leaves_is_told_nothing_and_holds_nothing(holder):
    gone, stays = waiter(), waiter()
    first, second = holder.join(gone, again=False), holder.join(stays, again=False)
    holder.leave(gone)
    holder.update(table(small=1))
    await asyncio.sleep(0.01)
    assert await told([first, second]) == [None, Go("small")]
    assert holder.queue.count == 0


async def test_the_model_s_own_bound_holds(holder):
    limited = table(small="Waking")
    holder.update(limited)
    for _ in range(limited.models[KEY].max_waiting):
        holder.join(waiter(), again=False)
    with pytest.raises(Exception, match="500 requests already wait"):
        holder.join(waiter(), again=False)
    holder.fail_all("closes")
    assert holder.queue.count == 0


@pytest.fixture
def busy(clock, monkeypatch):
    """A holder before one ready variant with two pods, and the tokens outstanding on them, which a test may change."""
    monkeypatch.setattr(room_hold, "SETTLE_S", 0.0)
    monkeypatch.setattr(room_hold, "STEP_S", 0.001)
    tokens = [5_000.0, 5_000.0]
    made = table(small=2)
    idle = replace(made.models[KEY].variants[0], idle_tokens=1_000.0)
    made = Table({KEY: replace(made.models[KEY], variants=(idle,))})
    return Holder(RoomQueue(), lambda: None, made, clock, outstanding=lambda _addresses, _now: [Work(one, 1) for one in tokens]), tokens


def patient(tier="Flex", seconds=60.0):
    return replace(waiter(), tier=tier, patient_until=1_000.0 + seconds)


async def test_who_can_wait_waits_until_a_pod_has_little_to_do_one_for_each(busy):
    holder, tokens = busy
    verdicts = [holder.join(patient(), again=False) for _ in range(3)]
    await asyncio.sleep(0.01)
    assert not any(one.done() for one in verdicts)
    assert [(line.count, line.patient) for line in holder.queue.held(1_000.0)] == [(3, 3)]
    tokens[0] = 500.0
    await asyncio.wait_for(verdicts[0], 1.0)
    assert verdicts[0].result() == Go("small")
    tokens[0] = 5_000.0
    await asyncio.sleep(0.01)
    assert not verdicts[2].done()
    tokens[:] = [0.0, 0.0]
    await asyncio.wait_for(asyncio.gather(*verdicts), 1.0)


async def test_who_has_waited_long_enough_goes_however_busy_they_are(busy, clock):
    holder, _ = busy
    soon, later = holder.join(patient(seconds=30.0), again=False), holder.join(patient("Batch", 90.0), again=False)
    clock.now += 31.0
    await asyncio.wait_for(soon, 1.0)
    assert not later.done()
    assert [(line.count, line.patient) for line in holder.queue.held(clock.now)] == [(1, 1)]
    clock.now += 60.0
    await asyncio.wait_for(later, 1.0)


async def test_however_long_a_line_waits_a_step_releases_no_more_than_the_room_holds(busy, monkeypatch):
    holder, _ = busy
    asked, often = [], asyncio.Event()

    def release(_holder, _line, _variant, most):
        asked.append(most)
        if len(asked) == 40:
            often.set()

    monkeypatch.setattr(Holder, "_release", release)
    monkeypatch.setattr(room_hold, "STEP_S", 0.0)
    one = patient("Batch")
    holder.join(one, again=False)
    await asyncio.wait_for(often.wait(), 10.0)
    holder.leave(one)
    assert asked[:2] == [2 * FIRST, 4 * FIRST]
    assert max(asked) == holder.queue.max_count


async def test_who_cannot_wait_goes_first_and_nobody_patient_with_them(busy):
    holder, tokens = busy
    flex, urgent = holder.join(patient(), again=False), holder.join(waiter(), again=False)
    tokens[:] = [0.0, 5_000.0]
    await asyncio.wait_for(urgent, 1.0)
    await asyncio.wait_for(flex, 1.0)


async def test_they_wait_for_a_sleeping_variant_without_being_a_reason_to_start_it(holder, clock):
    holder.join(patient(), again=False)
    assert room.level(holder) == {KEY: {"held": [{"variant": "small", "count": 0, "waiting": 1, "oldest": 1_000.0}]}}
    clock.now += 61.0
    assert room.level(holder) == {KEY: {"held": [{"variant": "small", "count": 1, "waiting": 0, "oldest": 1_000.0}]}}

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from jevons.gateway.room_queue import FOR_OTHERS, WAITER_BYTES, QueueFull, RoomQueue, Waiter

LINE = ("a/assistant", "large")
people = st.builds(
    Waiter,
    model=st.just(LINE[0]),
    variant=st.just(LINE[1]),
    arrived=st.floats(0, 1000),
    deadline=st.just(2000.0),
    team=st.sampled_from(["", "a", "b", "c"]),
    tier=st.sampled_from(["Interactive", "Flex", "Batch", "else"]),
    priority=st.sampled_from(["High", "Normal", "Low"]),
    size=st.integers(0, 5_000),
    patient_until=st.sampled_from([0.0, 60.0]),
)


@given(waiters=st.lists(people, max_size=40), leaving=st.lists(st.integers(0, 39), max_size=10), most=st.integers(1, 7))
def test_everybody_goes_exactly_once_by_rank_then_turn_then_arrival(waiters, leaving, most):
    queue = RoomQueue()
    for one in waiters:
        queue.join(one, model_max=100)
    gone = [waiters[index] for index in dict.fromkeys(leaving) if index < len(waiters)]
    assert all(queue.leave(one) for one in gone)
    served = []
    while batch := queue.release(LINE, most):
        served.extend(batch)
    stayed = [one for one in waiters if one not in gone]
    assert sorted(map(id, served)) == sorted(map(id, stayed))
    assert [one.rank for one in served] == sorted(one.rank for one in stayed)
    order = {id(one): number for number, one in enumerate(waiters)}
    for rank in {one.rank for one in served}:
        same = [one for one in served if one.rank == rank]
        for team in {one.team for one in same}:
            numbers = [order[id(one)] for one in same if one.team == team]
            assert numbers == sorted(numbers)
        assert fair(same)
    assert (queue.count, queue.bytes, queue.lines(), queue.held()) == (0, 0, [], [])


def fair(served):
    """At every moment no team that still waits is more than one turn behind another."""
    left, had = Counter(one.team for one in served), Counter()
    for one in served:
        had[one.team] += 1
        left[one.team] -= 1
        if any(had[one.team] - had[team] > 1 for team in left if left[team]):
            return False
    return True


@given(waiters=st.lists(people, max_size=30), max_count=st.integers(1, 10), max_bytes=st.integers(1, 200_000), model_max=st.integers(1, 10))
def test_no_bound_is_ever_passed_and_nobody_is_refused_below_them(waiters, max_count, max_bytes, model_max):
    queue = RoomQueue(max_count=max_count, max_bytes=max_bytes)
    held, kept = 0, 0
    for one in waiters:
        part = FOR_OTHERS if one.patient_until else 1.0
        fits = held < part * min(max_count, model_max) and kept + WAITER_BYTES + one.size <= part * max_bytes
        try:
            queue.join(one, model_max=model_max)
        except QueueFull:
            assert not fits
        else:
            assert fits
            held, kept = held + 1, kept + WAITER_BYTES + one.size
        assert (queue.count, queue.bytes) == (held, kept)

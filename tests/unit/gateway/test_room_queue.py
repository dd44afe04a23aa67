import pytest

from jevons.gateway.room_queue import WAITER_BYTES, HeldLine, QueueFull, RoomQueue, Waiter

LINE = ("a/assistant", "large")


def waiter(team="", **more):
    return Waiter(*LINE, arrived=more.pop("arrived", 0.0), deadline=600.0, team=team, **more)


def joined(queue, *waiters):
    for one in waiters:
        queue.join(one, model_max=500)
    return waiters


def test_teams_take_turns_and_each_team_is_served_in_order_of_arrival():
    queue = RoomQueue()
    a1, a2, a3, b1, c1 = joined(queue, waiter("a"), waiter("a"), waiter("a"), waiter("b"), waiter("c"))
    assert queue.release(LINE, 2) == [a1, b1]
    assert queue.release(LINE, 9) == [c1, a2, a3]
    assert (queue.count, queue.bytes, queue.lines()) == (0, 0, [])


def test_interactive_goes_before_flex_and_high_before_low_within_each():
    queue = RoomQueue()
    flex, low, high, batch = joined(
        queue, waiter(tier="Flex", priority="High"), waiter(priority="Low"), waiter(priority="High"), waiter(tier="Batch")
    )
    assert queue.release(LINE, 4) == [high, low, flex, batch]


def test_who_leaves_frees_the_place_and_its_bytes():
    queue = RoomQueue(max_count=1)
    (first,) = joined(queue, waiter(size=100))
    with pytest.raises(QueueFull):
        queue.join(waiter(), model_max=500)
    assert queue.leave(first)
    assert not queue.leave(first)
    assert queue.bytes == 0
    joined(queue, waiter())


def test_the_bounds_in_requests_and_bytes_say_which_one_was_met():
    queue = RoomQueue(max_bytes=2 * WAITER_BYTES + 1_000)
    (first,) = joined(queue, waiter(size=900))
    with pytest.raises(QueueFull, match="1 requests already wait for a/assistant"):
        queue.join(waiter(), model_max=1)
    with pytest.raises(QueueFull, match="MiB"):
        queue.join(waiter(size=200), model_max=500)
    queue.resize(first, 0)
    (second,) = joined(queue, waiter(size=200))
    with pytest.raises(QueueFull):
        queue.resize(second, 2_000)
    assert second.size == 200


@pytest.mark.parametrize("tier", ["Flex", "Batch"])
def test_who_can_wait_leaves_room_for_those_who_cannot(tier):
    queue = RoomQueue()
    for _ in range(8):
        queue.join(waiter(tier=tier, patient_until=60.0), model_max=10)
    with pytest.raises(QueueFull, match="8 requests already wait for a/assistant"):
        queue.join(waiter(tier=tier, patient_until=60.0), model_max=10)
    for _ in range(2):
        queue.join(waiter(), model_max=10)
    with pytest.raises(QueueFull, match="10 requests"):
        queue.join(waiter(), model_max=10)
    RoomQueue().join(waiter(tier=tier, patient_until=60.0), model_max=1)


def test_who_only_goes_behind_the_others_has_every_place():
    queue = RoomQueue()
    for _ in range(10):
        queue.join(waiter(tier="Flex"), model_max=10)  # `service_tier: flex` in the body of an interactive request
    assert queue.count == 10


def test_held_tells_count_and_oldest_of_each_line():
    queue = RoomQueue()
    joined(queue, waiter(arrived=7.0), waiter(arrived=5.0), Waiter("b/x", "small", arrived=9.0, deadline=1.0))
    assert queue.held() == [HeldLine("a/assistant", "large", 2, 5.0), HeldLine("b/x", "small", 1, 9.0)]

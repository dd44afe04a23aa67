"""Accelerators shared out by prices, then by priority and regret."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from jevons.core.course import Way
from jevons.core.scarcity import Member, fits, share, used

PRICES = {"h100": 7.0, "a100": 4.0}


def way(usd: float, **units: int) -> Way:
    return Way((), usd, tuple(sorted(units.items())))


def member(name: str, priority: int = 1, *, usd: float = 7.0, other: float = 9.0, count: int = 1) -> Member:
    return Member(name, priority, way(usd, h100=count), (way(other, a100=2 * count),))


def test_where_there_are_enough_nobody_moves_and_nothing_is_priced():
    sharing = share([member("a"), member("b")], {"h100": 2, "a100": 8}, PRICES, {})
    assert (sharing.ways, sharing.alpha) == ((way(7.0, h100=1),) * 2, {})


def test_whoever_loses_least_gives_way_and_the_price_says_how_much():
    members = [member("dear", other=12.0), member("cheap", other=7.5), member("middle", other=9.0)]
    sharing = share(members, {"h100": 2, "a100": 8}, PRICES, {})
    assert [one.of("h100") for one in sharing.ways] == [1, 0, 1]
    assert 0.5 <= sharing.alpha["h100"] <= 14.0


def test_the_same_sharing_comes_out_again():
    members = [member("dear", other=12.0), member("cheap", other=7.5)]
    free = {"h100": 1, "a100": 8}
    first = share(members, free, PRICES, {})
    moved = [Member(one.name, one.priority, taken, (one.way, *one.others)) for one, taken in zip(members, first.ways, strict=True)]
    assert share(moved, free, PRICES, first.alpha) == first


def test_when_accelerators_come_back_so_do_those_who_left_and_the_price_is_gone():
    moved = Member("cheap", 1, way(7.5, a100=2), (way(7.0, h100=1),))
    sharing = share([member("dear"), moved], {"h100": 2, "a100": 8}, PRICES, {"h100": 2.0})
    assert [one.of("h100") for one in sharing.ways] == [1, 1]
    assert sharing.alpha == {}


def test_the_important_keep_theirs_where_no_price_makes_it_fit():
    # everybody loses far more than an accelerator may be priced at
    members = [member("high", 2, other=60.0), member("low", 0, other=90.0), member("normal", 1, other=80.0)]
    sharing = share(members, {"h100": 2, "a100": 8}, PRICES, {})
    assert [one.of("h100") for one in sharing.ways] == [1, 0, 1]


def test_who_has_no_other_way_stays_and_others_make_room():
    alone = Member("alone", 0, way(7.0, h100=1))
    sharing = share([alone, member("other", 2, other=60.0)], {"h100": 1, "a100": 8}, PRICES, {})
    assert [one.of("h100") for one in sharing.ways] == [1, 0]
    stuck = share([alone, Member("second", 2, way(7.0, h100=1))], {"h100": 1}, PRICES, {})
    assert [one.of("h100") for one in stuck.ways] == [1, 1]


@st.composite
def crowds(draw):
    members = []
    for index in range(draw(st.integers(1, 5))):
        ways = [way(draw(st.floats(1.0, 50.0)), h100=draw(st.integers(0, 4))) for _ in range(draw(st.integers(1, 3)))]
        members.append(Member(f"m{index}", draw(st.integers(0, 2)), ways[0], tuple(ways[1:])))
    return members


@settings(max_examples=100, deadline=None)
@given(crowds(), st.integers(0, 12), st.floats(0.0, 14.0))
def test_it_fits_whenever_it_can(members, bound, price):
    sharing = share(members, {"h100": bound}, PRICES, {"h100": price} if price else {})
    least = sum(min(one.of("h100") for one in (member.way, *member.others)) for member in members)
    assert used(sharing.ways, "h100") <= max(bound, least)
    for member, taken in zip(members, sharing.ways, strict=True):
        assert taken in (member.way, *member.others)
    if fits([member.way for member in members], {"h100": bound}):
        assert sum(taken.usd_per_h for taken in sharing.ways) <= sum(member.way.usd_per_h for member in members) + 1e-9

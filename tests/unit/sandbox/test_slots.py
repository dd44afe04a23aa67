"""Sandboxes side by side share no address, no port and no folder."""

from __future__ import annotations

import errno
import socket
from pathlib import Path

import pytest

from jevons.sandbox import slots


@pytest.fixture(autouse=True)
def own_slots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def test_two_slots_have_different_networks_and_ports() -> None:
    first, second = slots.take(), slots.take()
    try:
        assert first.pod_cidr == "127.96.0.0/16"
        assert second.pod_cidr == "127.97.0.0/16"
        assert second.kwok_cidr == "127.97.0.1/16"
        assert {first.port() for _ in range(64)}.isdisjoint({second.port() for _ in range(64)})
    finally:
        first.release()
        second.release()


def test_a_released_slot_is_taken_again() -> None:
    first = slots.take()
    first.release()
    again = slots.take()
    try:
        assert again.index == first.index
    finally:
        again.release()


def test_a_port_that_a_stranger_holds_is_passed_over() -> None:
    slot = slots.take()
    try:
        taken = slot.port()
        with socket.create_server(("127.0.0.1", taken)):
            assert taken not in {slot.port() for _ in range(slots.PORTS_PER_SLOT - 1)}
    finally:
        slot.release()


def test_when_every_port_is_held_the_error_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    slot = slots.take()
    monkeypatch.setattr(slots, "_free", lambda _port: False)
    try:
        with pytest.raises(OSError, match="no free port in 20000") as caught:
            slot.port()
        assert caught.value.errno == errno.EADDRINUSE
    finally:
        slot.release()


def test_when_all_slots_are_taken_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "SLOTS", 1)
    slot = slots.take()
    try:
        with pytest.raises(slots.NoSlotError, match="end one of the sandboxes"):
            slots.take()
    finally:
        slot.release()


def test_a_lock_file_that_names_a_folder_of_another_kind_deletes_nothing(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    slots.lock_folder().mkdir()
    (slots.lock_folder() / "0.lock").write_text(str(precious))
    slots.take().release()
    assert precious.is_dir()


def test_ports_lie_below_the_range_the_kernel_gives_out() -> None:
    lowest_given_out = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert lowest_given_out >= slots.FIRST_PORT + slots.SLOTS * slots.PORTS_PER_SLOT

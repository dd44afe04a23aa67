"""The log is counted exactly once, however it is rotated and whenever the counting process is killed."""

import random

import orjson
import pytest

from jevons.gateway.settled import Settled
from jevons.gateway.tailer import Tailer

KEY = ("a", "m", "chat", "small")


def line(number, **more):
    jevons = {"id": f"r{number}", "ns": "a", "deployment": "m", "variant": "small", "klass": "chat", "arrived_ms": 1000.0, "est_in": 8, "team": "t"}
    llm = {"events": 10, "first_ms": 1100.0, "last_ms": 1190.0, "prompt_tokens": number % 50, "completion_tokens": 20, "finish": "stop", "done": True}
    row = {"id": "x", "start": "1.0", "code": 200, "flags": None, "details": "via_upstream", "duration": 200, "upstream": "p:1", "attempts": 1}
    return orjson.dumps({**row, "jevons": jevons, "llm": llm, **more}) + b"\n"


def drain(tailer):
    while tailer.step():
        pass


def requests(tailer):
    return sum(tailer.accounting.totals.counters["requests"].values())


@pytest.fixture
def files(tmp_path):
    return tmp_path / "access.log", tmp_path / "accounting.json"


def test_a_hundred_thousand_lines_with_aborts_redirects_rotations_and_kills_are_counted_exactly(files):
    log, checkpoint = files
    dice = random.Random(7)
    tailer = Tailer(log, checkpoint)
    number, tokens_in, aborts = 0, 0, 0
    while number < 100_000:
        written = []
        for _ in range(dice.randrange(500, 2_500)):
            number += 1
            if dice.random() < 0.05:
                aborts += 1
                written.append(line(number, flags="DC", llm={"events": 5, "first_ms": 1100.0, "last_ms": 1150.0}))
            else:
                tokens_in += number % 50
                written.append(line(number))
            if dice.random() < 0.02:
                written.append(line(number, details="internal_redirect", code=307))
        data = b"".join(written)
        cut = dice.randrange(len(data))
        with log.open("ab") as out:
            out.write(data[:cut])
        for _ in range(dice.randrange(4)):
            tailer.step()
        if dice.random() < 0.8:
            tailer.save()
        with log.open("ab") as out:
            out.write(data[cut:])
        if dice.random() < 0.2:  # killed: what it counted since its last checkpoint is gone with it
            tailer.close()
            tailer = Tailer(log, checkpoint)
        if dice.random() < 0.2:
            drain(tailer)
            tailer.save()
            log.rename(log.with_name("access.log.1"))
    drain(tailer)
    tailer.save()
    tailer.close()
    tailer = Tailer(log, checkpoint)
    tailer.close()
    totals = tailer.accounting.totals
    assert sum(totals.counters["requests"].values()) == number
    assert totals.counters["arrivals"]["a", "m", "chat"] == number
    assert totals.counters["input_tokens"][KEY] == tokens_in + 8 * aborts
    assert totals.counters["output_tokens"][KEY] == pytest.approx(20 * (number - aborts) + 10 * aborts, rel=0.001)
    assert sum(totals.buckets["ttft_seconds"][(*KEY, "false")]) == number
    assert tailer.broken_lines == 0


def test_a_restarted_process_has_caught_up_before_it_can_be_scraped(files):
    log, checkpoint = files
    log.write_bytes(line(1) + line(2))
    killed = Tailer(log, checkpoint)
    killed.save()
    drain(killed)
    killed.close()
    restarted = Tailer(log, checkpoint)
    assert requests(restarted) == requests(killed) == 2
    restarted.close()


def test_half_a_line_waits_for_its_other_half(files):
    log, checkpoint = files
    tailer = Tailer(log, checkpoint)
    whole = line(1)
    log.write_bytes(whole[:50])
    assert tailer.step() == 0
    with log.open("ab") as out:
        out.write(whole[50:])
    assert tailer.step() == 1
    assert requests(tailer) == 1
    tailer.close()


def test_what_was_written_to_the_old_file_after_the_rename_is_read_before_the_new_one(files):
    log, checkpoint = files
    log.write_bytes(line(1))
    tailer = Tailer(log, checkpoint)
    drain(tailer)
    with log.open("ab") as old:
        log.rename(log.with_name("access.log.1"))
        drain(tailer)
        old.write(line(2))
        old.flush()
        drain(tailer)
    log.write_bytes(line(3))
    drain(tailer)
    drain(tailer)
    assert requests(tailer) == 3
    tailer.close()


def test_a_process_that_died_between_rename_and_new_file_goes_on_in_the_renamed_one(files):
    log, checkpoint = files
    log.write_bytes(line(1))
    tailer = Tailer(log, checkpoint)
    drain(tailer)
    tailer.save()
    tailer.close()
    with log.open("ab") as old:
        old.write(line(2))
    log.rename(log.with_name("access.log.1"))
    log.write_bytes(line(3))
    tailer = Tailer(log, checkpoint)
    drain(tailer)
    drain(tailer)
    assert requests(tailer) == 3
    tailer.close()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"accounting": 3, "inode": 1, "offset": 2}'])
def test_a_checkpoint_that_cannot_be_read_is_a_new_beginning(files, content):
    log, checkpoint = files
    checkpoint.write_bytes(content)
    log.write_bytes(line(1))
    tailer = Tailer(log, checkpoint)
    drain(tailer)
    assert requests(tailer) == 1
    tailer.close()


def test_a_broken_line_costs_itself_alone(files):
    log, checkpoint = files
    log.write_bytes(b"\xff not json\n" + line(1) + b"{}\n" + line(2))
    tailer = Tailer(log, checkpoint)
    drain(tailer)
    assert (requests(tailer), tailer.broken_lines) == (2, 2)
    tailer.close()


async def test_a_log_is_rotated_when_large_and_envoy_is_told_again_when_it_did_not_hear(files):
    log, checkpoint = files
    told: list[int] = []

    async def reopen() -> None:
        told.append(1)
        if len(told) == 1:
            raise OSError("no")
        log.write_bytes(line(2))

    tailer = Tailer(log, checkpoint, reopen=reopen, rotate_bytes=10)
    log.write_bytes(line(1))
    drain(tailer)
    with pytest.raises(OSError, match="no"):
        await tailer.rotate()
    await tailer.rotate()
    drain(tailer)
    drain(tailer)
    assert requests(tailer) == 2
    assert log.with_name("access.log.1").exists()
    tailer.close()


def settling(log, checkpoint, seen):
    return Tailer(log, checkpoint, each=lambda record, _counted: seen.append(record.id), settled=Settled(log.with_name("settled.bin")))


def test_a_killed_process_counts_again_what_it_had_not_kept_and_settles_nothing_twice(files):
    log, checkpoint = files
    seen = []
    log.write_bytes(line(1))
    killed = settling(log, checkpoint, seen)
    killed.save()
    with log.open("ab") as out:
        out.write(line(2) + line(3))
    drain(killed)
    killed.close()
    with log.open("ab") as out:
        out.write(line(4))
    restarted = settling(log, checkpoint, seen)
    assert seen == ["r1", "r2", "r3", "r4"]
    assert requests(restarted) == 4
    restarted.close()


def test_a_process_killed_after_a_rotation_settles_nothing_of_either_file_twice(files):
    log, checkpoint = files
    seen = []
    log.write_bytes(line(1))
    killed = settling(log, checkpoint, seen)
    killed.save()
    with log.open("ab") as out:
        out.write(line(2))
    log.rename(log.with_name("access.log.1"))
    log.write_bytes(line(3))
    drain(killed)
    killed.close()
    with log.open("ab") as out:
        out.write(line(4))
    restarted = settling(log, checkpoint, seen)
    drain(restarted)
    assert seen == ["r1", "r2", "r3", "r4"]
    assert requests(restarted) == 4
    restarted.close()


@pytest.mark.parametrize("lost", ["both", "checkpoint", "log"])
def test_a_place_that_fits_no_log_hides_no_line(files, lost):
    log, checkpoint = files
    seen = []
    log.write_bytes(line(1))
    killed = settling(log, checkpoint, seen)
    killed.save()
    killed.close()
    if lost != "log":
        checkpoint.unlink()
    if lost != "checkpoint":
        other = log.with_name("other")
        other.write_bytes(line(2))
        other.rename(log)
    settling(log, checkpoint, seen).close()
    assert seen == ["r1"] if lost == "checkpoint" else ["r1", "r2"]

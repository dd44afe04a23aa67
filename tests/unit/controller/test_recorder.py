"""The recorder keeps the last passes within its bound, and what is broken about the disk or the file costs no more than it must."""

from __future__ import annotations

import gzip
import os
import re
import subprocess
import sys
import threading
from collections import Counter
from dataclasses import replace
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest
from core_worlds import KEY, NOW, demand, deployment, pod, state, variant_state, world
from typer.testing import CliRunner

from jevons.cli.main import build
from jevons.cli.recordings import end, passes, segments
from jevons.controller.recorder import SEGMENTS, Recorder
from jevons.core.decide import decide
from jevons.core.spec import BudgetSpec, Key, Period, SharedBudget
from jevons.solver.highs import solve


def run(*words):
    arguments = list(map(str, words))
    return CliRunner().invoke(build(arguments), arguments)


def worlds(count: int):
    """Passes of one operator, 15 s apart, of a deployment whose traffic grows."""
    both = {"large": variant_state(pod("l", running=3.0)), "small": variant_state(pod("s"))}
    members = frozenset({KEY, *(Key("team-a", f"m{number}") for number in range(20))})
    shared = (SharedBudget("team", "u", 1, BudgetSpec(Decimal(40), Period.DAY), members),)
    plain = world(state(deployment(), both, demand=(demand(1.0),)))
    for number in range(count):
        now = NOW + 15.0 * number
        made = world(state(deployment(), both, demand=(demand(1.0 + number, now),)), now=now, shared_budgets=shared)
        snapshot = replace(made, memory=plain.memory, ledger=plain.ledger)
        decision = decide(snapshot, now, solve)
        plain = replace(plain, memory=decision.memory, ledger=decision.ledger)
        yield now, snapshot, decision


def recorded(folder: Path, count: int = 5, limit_bytes: int = 1 << 20) -> Counter[str]:
    outcomes: Counter[str] = Counter()
    recorder = Recorder(folder, limit_bytes=limit_bytes, count=lambda outcome: outcomes.update([outcome]))
    for each in worlds(count):
        recorder.offer(*each)
        assert recorder._writing is not None
        recorder._writing.result()
    recorder.close()
    return outcomes


def test_what_is_recorded_replays_to_the_same_bytes_also_in_another_process(tmp_path):
    recorded(tmp_path / "passes")
    result = run("replay", tmp_path)
    assert result.exit_code == 0, result.output
    assert "5 passes, 2026-01-01T10:00:00.000+00:00 to 2026-01-01T10:01:00.000+00:00" in result.output
    assert "byte-equal" in result.output
    for seed in ("1", "2"):  # sets have another order there
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        again = subprocess.run(
            [sys.executable, "-m", "jevons", "replay", str(tmp_path)], env=environment, capture_output=True, text=True, check=False
        )
        assert again.returncode == 0, again.stdout + again.stderr


def test_a_decision_that_comes_out_otherwise_is_shown_by_field(tmp_path):
    recorded(tmp_path / "passes", count=2)
    (path,) = segments(tmp_path)
    text = gzip.decompress(path.read_bytes()).decode()
    changed, count = re.subn(r'("variant":"large","current":1,"desired":)\d', r"\g<1>7", text)
    assert count == 2
    plain = tmp_path / "changed.jsonl"
    plain.write_text(changed)
    result = run("replay", plain, "--json", tmp_path / "out.json")
    assert result.exit_code == 1
    assert "deployments[team-a/assistant].replicas[0].desired: recorded 7, now " in result.output
    assert '"path": "deployments[team-a/assistant].replicas[0].desired"' in (tmp_path / "out.json").read_text()


def test_any_moment_of_a_recording_is_explained(tmp_path):
    recorded(tmp_path / "passes")
    last = run("explain", KEY, "--recording", tmp_path)
    assert "arrivals[default]: 5/s" in last.output
    first = run("explain", KEY, "--recording", tmp_path, "--at", "2026-01-01T10:00:10")
    assert "arrivals[default]: 1/s" in first.output
    assert run("explain", KEY, "--recording", tmp_path, "--at", "2025-01-01T10:00:10").exit_code == 1
    assert run("explain", KEY).exit_code == 2


def test_one_deployment_of_some_hours_is_read_without_the_others(tmp_path):
    recorded(tmp_path, count=40, limit_bytes=45_000)
    until_s, known = end(tmp_path)
    assert (until_s, known) == (NOW + 15.0 * 39, ["team-a/assistant"])
    late = list(passes(tmp_path, only=KEY, since_s=until_s - 60.0))
    assert [round(until_s - one.at_s) for one in late] == [60, 45, 30, 15, 0]
    assert all(set(one.snapshot.deployments) == {KEY} == set(one.decision.ledger.accounts) for one in late)
    (nobody,) = passes(tmp_path, only=Key("team-b", "other"), since_s=until_s)
    assert nobody.snapshot.deployments == {} == nobody.decision.ledger.accounts
    assert nobody.snapshot.shared_budgets


def test_the_folder_stays_within_its_bound_and_keeps_the_newest(tmp_path):
    limit = 45_000
    assert recorded(tmp_path, count=150, limit_bytes=limit) == {"recorded": 150}
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= limit * (SEGMENTS + 1) / SEGMENTS
    kept = list(passes(tmp_path))
    assert 5 < len(kept) < 150
    assert kept[-1].at_s == NOW + 15.0 * 149
    assert [round(later.at_s - one.at_s) for one, later in pairwise(kept)] == [15] * (len(kept) - 1)
    assert run("replay", tmp_path).exit_code == 0


def test_a_segment_cut_short_by_a_crash_is_read_up_to_its_last_whole_pass(tmp_path):
    recorder = Recorder(tmp_path, limit_bytes=1 << 20)
    for each in worlds(3):
        recorder.offer(*each)
        recorder._writing.result()
    (path,) = segments(tmp_path)
    whole = path.read_bytes()  # as a copy made while the operator runs: there is no end yet
    recorder.close()
    for size in (len(whole), len(whole) - 40):
        path.write_bytes(whole[:size])
        assert len(list(passes(tmp_path))) == (3 if size == len(whole) else 2)


def test_what_is_no_recording_is_said_with_file_and_line(tmp_path):
    assert f"replay: {tmp_path}: no recorded passes (passes-*.jsonl.gz)" in run("replay", tmp_path).output
    other = tmp_path / "other.jsonl"
    other.write_text('{"recording": 9}\n')
    assert f"{other}: line 1: recording of version 9" in run("replay", other).output
    other.write_text('{"pass": {"at_s": 1.0, "snapshot": {"moon": 1}, "decision": {}}}\n')
    assert "line 1: Snapshot: this version has no field moon" in run("replay", other).output


def test_a_pass_that_comes_while_one_is_written_is_left_out(tmp_path, monkeypatch):
    outcomes: Counter[str] = Counter()
    recorder = Recorder(tmp_path, limit_bytes=1 << 20, count=lambda outcome: outcomes.update([outcome]))
    go_on = threading.Event()
    record = recorder._record

    def slow(*given):
        assert go_on.wait(30)
        record(*given)

    monkeypatch.setattr(recorder, "_record", slow)
    for each in worlds(3):
        recorder.offer(*each)
    go_on.set()
    recorder.close()
    assert outcomes == {"recorded": 1, "left-out": 2}
    assert len(list(passes(tmp_path))) == 1


def test_a_disk_that_cannot_be_written_costs_the_recording_alone(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert recorded(tmp_path / "file" / "passes", count=2) == {"failed": 2}
    assert "pass not recorded" in capsys.readouterr().out


@pytest.mark.parametrize("limit", [0, None])
def test_off_writes_nothing(tmp_path, limit):
    recorder = Recorder(None if limit is None else tmp_path, limit_bytes=limit or 0)
    for each in worlds(1):
        recorder.offer(*each)
    recorder.close()
    assert list(tmp_path.iterdir()) == []

"""The same jobs on a Dask cluster: a scheduler and two workers on loopback, begun and ended here."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from jevons.cli.bench import app
from jevons.simulator.protocol.pool_cluster import cluster

EXAMPLES = Path(__file__).parents[3] / "examples" / "data"
RUNNER = CliRunner()
pytestmark = pytest.mark.slow


class Programs:
    def __init__(self, folder: Path) -> None:
        self._folder, self._running = folder, []

    def start(self, *words: str, until: str) -> str:
        """A program of Dask's; returns what its log says where `until` matches."""
        log = self._folder / f"{len(self._running)}.log"
        with log.open("wb") as file:
            command = [sys.executable, "-m", "distributed.cli." + words[0], *words[1:]]
            process = subprocess.Popen(command, stdout=file, stderr=file, cwd=self._folder)
        self._running.append(process)
        while not (found := re.search(until, log.read_text())):
            assert process.poll() is None, log.read_text()
            try:
                process.wait(0.1)
            except subprocess.TimeoutExpired:
                continue
        return found[1]

    def kill_last(self) -> None:
        process = self._running.pop()
        process.kill()
        process.wait()

    def end(self) -> None:
        for process in reversed(self._running):
            process.terminate()
        for process in self._running:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Programs]:
    made = Programs(tmp_path_factory.mktemp("dask"))
    try:
        yield made
    finally:
        made.end()


@pytest.fixture(scope="module")
def scheduler(programs: Programs) -> str:
    words = ("dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--no-jupyter")
    return programs.start(*words, until=r"Scheduler at: +(tcp://127\.0\.0\.1:\d+)")


@pytest.fixture(scope="module")
def workers(programs: Programs, scheduler: str) -> str:
    for _ in range(2):
        programs.start(
            "dask_worker", scheduler, "--host", "127.0.0.1", "--nthreads", "1", "--no-dashboard", "--no-nanny", until=r"(Registered to): +tcp"
        )
    return scheduler


def run(*words: object) -> str:
    answer = RUNNER.invoke(app, [str(word) for word in words])
    assert answer.exit_code == 0, answer.output
    return answer.output


def bare(path: Path) -> dict:
    document = json.loads(path.read_text())
    return {name: value for name, value in document.items() if name not in {"seconds", "machine"}}


def test_a_budgets_month_is_the_same_on_the_cluster(workers: str, tmp_path: Path) -> None:
    words = ("budget", "--period", "Day", "--seeds", 2, "--tightness", 0.75, "--json")
    run(*words, tmp_path / "here.json", "--jobs", 1)
    run(*words, tmp_path / "there.json", "--cluster", workers)
    assert bare(tmp_path / "here.json") == bare(tmp_path / "there.json")


def test_a_zoo_is_the_same_on_the_cluster(workers: str, tmp_path: Path) -> None:
    calls = [f"{model},{minute},2" for model in range(3) for minute in range(0, 1440, 90 + 60 * model)]
    (tmp_path / "zoo.csv").write_text("\n".join(["model_id,minute,count", *calls]))
    (tmp_path / "log.csv").write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.0,100,20\n2023-11-16 18:15:47.0,300,50\n")
    words = ("zoo", "--data", tmp_path, "--quick", "--no-chains", "--startup", 30, "--policy", "jevons", "--json")
    run(*words, tmp_path / "here.json", "--jobs", 1)
    run(*words, tmp_path / "there.json", "--cluster", workers)
    assert bare(tmp_path / "here.json") == bare(tmp_path / "there.json")


def test_a_comparison_of_autoscalers_is_the_same_on_the_cluster(workers: str, tmp_path: Path) -> None:
    words = ("autoscale", "--data", EXAMPLES, "--trace", "step", "--fleet", 2, "--quick", "--seeds", 1, "--tier", "default", "--policy", "hpa")
    words = (*words, "--no-reference", "--json")
    run(*words, tmp_path / "here.json", "--jobs", 1)
    run(*words, tmp_path / "there.json", "--cluster", workers)
    assert bare(tmp_path / "here.json") == bare(tmp_path / "there.json")


def test_another_worker_does_the_jobs_of_one_that_dies(workers: str, programs: Programs) -> None:
    programs.start("dask_worker", workers, "--host", "127.0.0.1", "--nthreads", "1", "--no-dashboard", "--no-nanny", until=r"(Registered to): +tcp")
    done = []

    def count() -> None:
        if not done:
            programs.kill_last()
        done.append(1)

    with cluster(workers) as runner:
        assert runner(time.sleep, [0.3] * 12, count) == [None] * 12
    assert len(done) == 12


def test_a_cluster_that_is_not_fit_is_said(workers: str, programs: Programs, tmp_path: Path) -> None:
    words = ("budget", "--period", "Day", "--seeds", "1", "--json", str(tmp_path / "out.json"), "--cluster")
    lost = RUNNER.invoke(app, [*words, "tcp://127.0.0.1:9"])
    assert lost.exit_code == 2
    assert "no Dask scheduler" in plain(lost.output)
    both = RUNNER.invoke(app, [*words, workers, "--jobs", "2"])
    assert "leave --jobs out" in plain(both.output)
    programs.start("dask_worker", workers, "--host", "127.0.0.1", "--nthreads", "2", "--no-dashboard", "--no-nanny", until=r"(Registered to): +tcp")
    crowded = RUNNER.invoke(app, [*words, workers])
    programs.kill_last()
    assert crowded.exit_code == 2
    assert "start workers with --nthreads 1" in plain(crowded.output)


def plain(text: str) -> str:
    return " ".join(text.replace("│", " ").split())

"""The whole comparison: which jobs, in which order, and what their results say together.

    study = Study(data, cells, effort)
    found = study.run(pool, progress)          # -> list[Entry]: one per cell, policy and tier

First the grids of peers are run on the parts for tuning (tuned tiers only), in two rounds; then everybody runs on the same windows of the
parts for the test. Nothing of Jevons is tuned, and no result of a test window flows back. A tuned tier has the defaults' own front too, because who
tunes may always keep what there was; that its best points are found on the test windows favours the peer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from jevons.simulator.protocol import foresight, foresight_mixed, mixed, policies, tuning
from jevons.simulator.protocol.bootstrap import Points
from jevons.simulator.protocol.cell import Cell
from jevons.simulator.protocol.conditions import conditions, own_dispatcher
from jevons.simulator.protocol.figures import Figures
from jevons.simulator.protocol.jobs import BoundJob, Bounds, Job, work
from jevons.simulator.protocol.policies import FORESIGHT, JEVONS, LARGE, ROUTED, Tier
from jevons.simulator.protocol.pool import Runner
from jevons.simulator.protocol.router import CLASSIFIER, ORACLE, ROUTERS, SHUFFLED
from jevons.simulator.protocol.splits import Split, Window

Progress = Callable[[str, int], Callable[[], None]]
"""(what is done now, how many jobs) -> called once for each that is done."""

LEAST_S = 900.0
Wanted = tuple[Cell, str, Tier | None, tuple[Any, ...]]
"""A cell, who runs on it, how well set up, and the settings."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is run.

    grid: runs per peer and trace to tune on it, over both rounds; finalists: settings per peer that go on to the test; knob: their factors there.
    seeds: windows of the test, of `test_s` each, or of what a trace has room for.
    plans, mixes: what foresight tries, with one variant and with several.
    every: of the knob's points of peers' defaults and of what is routed, each so-many-th.
    """

    seeds: int = 10
    test_s: float = 2 * 3600.0
    fit_s: float = 3600.0
    grid: int = 200
    finalists: int = 4
    knob: tuple[float, ...] = (0.8, 1.0, 1.25)
    every: int = 1
    routers: tuple[str, ...] = ROUTERS
    plans: tuple[foresight.Plan, ...] = foresight.SETTINGS
    mixes: tuple[foresight_mixed.Plan, ...] = foresight_mixed.SETTINGS
    heavy: float = math.inf
    """Requests of a run above which a busy trace has shorter windows, and fewer of them."""

    def light(self, cell: Cell) -> Effort:
        """The effort for this cell: where a run would have more than `heavy` requests, windows as short as `LEAST_S` and at most two seeds."""
        requests = cell.rate * (cell.burn_in_s + self.test_s)
        if requests <= self.heavy:
            return self
        shorter = max(self.heavy / cell.rate - cell.burn_in_s, LEAST_S)
        return replace(self, test_s=min(self.test_s, shorter), fit_s=min(self.fit_s, shorter / 2), seeds=min(self.seeds, 2))


QUICK = Effort(
    seeds=3,
    test_s=3000.0,
    fit_s=1500.0,
    grid=28,
    finalists=3,
    knob=(1.0,),
    every=2,
    routers=(CLASSIFIER, SHUFFLED, ORACLE),
    plans=foresight.FEW,
    mixes=foresight_mixed.FEW,
    heavy=60_000,
)


@dataclass(frozen=True, slots=True)
class Entry:
    """What one competitor did on a cell's test windows: `runs[setting][seed]`."""

    cell: Cell
    policy: str
    tier: Tier | None
    settings: tuple[Any, ...]
    runs: tuple[tuple[Figures, ...], ...]

    @property
    def router(self) -> str:
        """Of an arm that routes; empty for everybody else."""
        return self.settings[0].router if self.policy == ROUTED else ""

    @property
    def points(self) -> Points:
        """For fronts and intervals."""
        return Points.of(self.runs)


@dataclass(frozen=True, slots=True)
class Floor:
    """The lower bounds on a cell's test windows, by seed."""

    cell: Cell
    bounds: tuple[Bounds, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """Everything a study has found."""

    entries: list[Entry] = field(default_factory=list)
    floors: list[Floor] = field(default_factory=list)

    def of(self, cell: Cell, policy: str, tier: Tier | None) -> Entry | None:
        """That entry, if it was run."""
        return next((entry for entry in self.entries if (entry.cell, entry.policy, entry.tier) == (cell, policy, tier)), None)


@dataclass(frozen=True, slots=True)
class Study:
    """A comparison to run. `others`: cells of other traces, for tuning there; those of `cells` count too."""

    data: Path
    cells: Sequence[Cell]
    effort: Effort
    competitors: Sequence[str] = policies.COMPETITORS
    tiers: Sequence[Tier] = tuple(Tier)
    others: Sequence[Cell] = ()
    reference: bool = True
    arms: bool = True
    """Whether the arms that route run too, where a cell has a pair of models for it."""
    robustness: bool = False
    """Whether everybody runs again on wrong physics."""
    own_dispatcher: bool = False
    """Whether everybody runs again, each with its own dispatcher."""
    prior_scale: float | None = 1.0

    def run(self, pool: Runner, progress: Progress) -> Found:
        """All of it."""
        tuned = self._tuned(pool, progress) if set(self.tiers) - {Tier.DEFAULT} else {}
        wanted: list[Wanted] = []
        for cell in self.cells:
            wanted.append((cell, JEVONS, None, tuple(replace(one, prior_scale=self.prior_scale) for one in policies.front(JEVONS))))
            if self.reference:
                wanted.append((cell, FORESIGHT, None, self.effort.mixes if cell.mix else self.effort.plans))
            wanted.extend(self._arms(cell))
            for policy in self.competitors:
                for tier in self.tiers:
                    if tier is Tier.DEFAULT or policy == "static":  # whose size is all there is to tune, and is swept
                        settings = mixed.front(policy, cell, every=self.effort.every)
                    else:
                        settings = tuned.get((cell, policy, tier), ())
                        settings += mixed.front(policy, cell, every=self.effort.every) if settings else ()
                    if settings:
                        wanted.append((cell, policy, tier, tuple(dict.fromkeys(settings))))
        found = Found(floors=self._floors(pool, progress) if self.reference else [])
        found.entries.extend(self._tested(wanted, "test", pool, progress))
        if self.robustness or self.own_dispatcher:
            found.entries.extend(self._robust(wanted, found, pool, progress))
        return found

    def _robust(self, wanted: Sequence[Wanted], found: Found, pool: Runner, progress: Progress) -> list[Entry]:
        """The same settings under every condition; peers do not run again where only what Jevons is told differs."""
        again: list[Wanted] = []
        same: list[Entry] = []
        for cell in self.cells:
            for one in (*(conditions(cell) if self.robustness else ()), *([own_dispatcher(cell)] if self.own_dispatcher else ())):
                for of, policy, tier, settings in wanted:
                    if of != cell or policy in (FORESIGHT, LARGE, ROUTED):
                        continue
                    if one.prior_scale is None:
                        again.append((one.cell, policy, tier, settings))
                    elif policy == JEVONS:
                        again.append((one.cell, policy, tier, tuple(replace(setting, prior_scale=one.prior_scale) for setting in settings)))
                    elif (entry := found.of(cell, policy, tier)) is not None:
                        same.append(replace(entry, cell=one.cell))
        return [*self._tested(again, "conditions", pool, progress), *same]

    def _arms(self, cell: Cell) -> Iterator[Wanted]:
        """What routing is worth: the large model alone, and an entry per router."""
        if cell.pair is None or cell.mix or not self.arms:
            return
        settings = [replace(one, prior_scale=self.prior_scale) for one in policies.front(ROUTED, every=self.effort.every)]
        yield cell, LARGE, None, tuple(settings)
        for router in self.effort.routers:
            yield cell, ROUTED, None, tuple(replace(one, router=router) for one in settings)

    def _tested(self, wanted: Sequence[Wanted], what: str, pool: Runner, progress: Progress) -> list[Entry]:
        """Everybody on the same test windows; a setting that two tiers share runs once."""
        together: dict[tuple[Cell, str], tuple[Any, ...]] = {}
        for cell, policy, _, settings in wanted:
            together[cell, policy] = tuple(dict.fromkeys((*together.get((cell, policy), ()), *settings)))
        work = [(cell, policy, settings, self.windows(cell)) for (cell, policy), settings in together.items()]
        ran = self._figures(work, what, pool, progress)
        return [
            Entry(
                cell,
                policy,
                tier,
                settings,
                tuple(tuple(ran[cell, policy, setting, window] for window in self.windows(cell)) for setting in settings),
            )
            for cell, policy, tier, settings in wanted
        ]

    def windows(self, cell: Cell) -> list[Window]:
        """Of the test, by seed."""
        effort = self.effort.light(cell)
        return [cell.window(Split.TEST, seed, effort.test_s) for seed in range(effort.seeds)]

    def _tuned(self, pool: Runner, progress: Progress) -> Mapping[tuple[Cell, str, Tier], tuple[Any, ...]]:
        """Settings per cell, peer and tuned tier; two rounds."""
        peers = [policy for policy in self.competitors if policy != "static"]
        cells = list(dict.fromkeys((*self.cells, *self.others))) if Tier.OTHER_TRACES in self.tiers else list(self.cells)
        first = {cell: cell.window(Split.FIT, 100, self.effort.light(cell).fit_s) for cell in cells}
        most = tuning.first_round(self.effort.grid, at_least=2 * self.effort.finalists)
        grids = {policy: thinned(mixed.grid(policy, max(cells, key=lambda cell: len(cell.mix))), most) for policy in peers}
        ran = self._figures([(cell, policy, grids[policy], [first[cell]]) for cell in cells for policy in peers], "tuning", pool, progress)
        tables = {
            (cell, policy): tuning.scores([[ran[cell, policy, setting, first[cell]]] for setting in grids[policy]])
            for cell in cells
            for policy in peers
        }
        answer: dict[tuple[Cell, str, Tier], tuple[Any, ...]] = {}
        for cell in self.cells:
            for policy in peers:
                apart = [
                    tables[other, policy]
                    for other in cells
                    if other.trace != cell.trace and (other.fleet, other.startup_s) == (cell.fleet, cell.startup_s)
                ]
                if apart and Tier.OTHER_TRACES in self.tiers:
                    chosen = tuning.keep(tuning.elsewhere(apart), self.effort.finalists)
                    answer[cell, policy, Tier.OTHER_TRACES] = mixed.near(policy, [grids[policy][at] for at in chosen], self.effort.knob)
        if Tier.THIS_TRACE in self.tiers:
            answer.update(self._second_round(grids, tables, pool, progress))
        return answer

    def _second_round(
        self, grids: Mapping[str, tuple[Any, ...]], tables: Mapping[tuple[Cell, str], Any], pool: Runner, progress: Progress
    ) -> dict[tuple[Cell, str, Tier], tuple[Any, ...]]:
        """This trace's best of the first round on a longer window of it; both rounds count."""
        kept = {}
        for cell in self.cells:
            for policy, settings in grids.items():
                table = tables[cell, policy]
                kept[cell, policy] = tuning.keep(table, tuning.survivors(len(settings), at_least=2 * self.effort.finalists))
        longer = {cell: cell.window(Split.FIT, 101, 2 * self.effort.light(cell).fit_s) for cell in self.cells}
        wanted = [(cell, policy, tuple(grids[policy][at] for at in chosen), [longer[cell]]) for (cell, policy), chosen in kept.items()]
        ran = self._figures(wanted, "tuning again", pool, progress)
        answer = {}
        for cell, policy, settings, _ in wanted:
            table = tuning.scores([[ran[cell, policy, setting, longer[cell]]] for setting in settings]) + tables[cell, policy][:, kept[cell, policy]]
            best = [settings[at] for at in tuning.keep(table, self.effort.finalists)]
            answer[cell, policy, Tier.THIS_TRACE] = mixed.near(policy, best, self.effort.knob)
        return answer

    def _figures(
        self, wanted: Sequence[tuple[Cell, str, tuple[Any, ...], Sequence[Window]]], what: str, pool: Runner, progress: Progress
    ) -> dict[tuple[Cell, str, Any, Window], Figures]:
        """Figures by cell, policy, setting and window. Jobs of one window stand together: their requests are drawn once per process."""
        windows = list(dict.fromkeys(window for *_, some in wanted for window in some))
        jobs = [
            Job(self.data, cell, window, policy, settings[at : at + each])
            for cell in dict.fromkeys(cell for cell, *_ in wanted)
            for window in windows
            for of, policy, settings, some in wanted
            if of == cell and window in some
            for each in (len(settings) if policy == FORESIGHT else EACH,)
            for at in range(0, len(settings), each)
        ]
        results = pool(work, jobs, progress(what, len(jobs)))
        return {
            (job.cell, job.policy, setting, job.window): figures
            for job, some in zip(jobs, results, strict=True)
            for setting, figures in zip(job.settings, some, strict=True)
        }

    def _floors(self, pool: Runner, progress: Progress) -> list[Floor]:
        bare = [cell for cell in self.cells if not cell.mix]
        jobs = [BoundJob(self.data, cell, window) for cell in bare for window in self.windows(cell)]
        results = pool(work, jobs, progress("lower bounds", len(jobs)))
        by_cell = {cell: tuple(result for job, result in zip(jobs, results, strict=True) if job.cell == cell) for cell in bare}
        return [Floor(cell, bounds) for cell, bounds in by_cell.items()]


EACH = 10
"""Settings per job: enough to pay for drawing the requests, few enough to keep all processes busy to the end."""


def thinned(settings: tuple[Any, ...], most: int) -> tuple[Any, ...]:
    """At most so many, drawn at random (always the same ones): every axis keeps its spread."""
    if len(settings) <= most:
        return settings
    drawn = np.random.default_rng([len(settings), most]).choice(len(settings), most, replace=False)
    return tuple(settings[at] for at in sorted(drawn))

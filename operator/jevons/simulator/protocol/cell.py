"""What a comparison is made on: a trace, the fleet it needs, and how long a replica takes to start; and the scenarios of its windows.

A `Cell` holds everything that `sizing` has chosen, so that a job anywhere can build the same scenario from it and the trace's folder.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from jevons.core.spec import Objectives, Profile
from jevons.simulator.protocol.splits import Split, Window, requests_of
from jevons.simulator.scenario import Physics, Requests, Scenario, SimVariant, Startup
from jevons.simulator.traces import Trace
from jevons.simulator.traces_synthetic import Synthetic, shocks

JITTER = 0.15
"""Sigma of an iteration's time. The rest of the measured p99/p50 of 2.4 between tokens comes from prefills in between, which are simulated."""
STARTUP_SIGMA = 0.1
FULL = 0.8
"""Replicas at the start are those for which the first ten minutes are this share of their fluid capacity."""


@dataclass(frozen=True, slots=True)
class Machine:
    """One kind of replica: a row of the profile table, and what it costs. `usd_per_h`: all its accelerators together."""

    name: str
    profile: Profile
    accelerators: int
    usd_per_h: float

    @property
    def label(self) -> str:
        """As the name of a variant. Example: `llama-3.1-70b/fp8/h100_sxm/2/vllm` -> `fp8-h100_sxm-2-vllm`."""
        return "-".join(self.name.split("/")[1:]) or self.name

    def seconds(self, input_tokens: float, output_tokens: float, itl_s: float) -> float:
        """Replica-seconds that one request of this mean size takes when the batch is as large as `itl_s` allows (fluid).

        At arrival rate r prefill takes r P of the time, B = r n ITL(B) / (1 - r P) requests decode, so 1/r = n ITL(B) / B + P.
        """
        profile, k_in = self.profile, input_tokens / 1000.0
        prefill_s = profile.prefill_p0_s + profile.prefill_p1_s * k_in + profile.prefill_p2_s * k_in * k_in
        per_seq_s = profile.itl_b_s + profile.itl_c_s * (k_in + output_tokens / 2000.0)
        most = max(1, min(profile.max_num_seqs, int(0.9 * profile.kv_tokens / (input_tokens + output_tokens))))
        best = math.inf
        for batch in {1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, most}:
            pace_s = profile.itl_a_s + per_seq_s * batch
            each_s = output_tokens * pace_s / batch + prefill_s
            seen_s = pace_s / max(1e-9, 1.0 - prefill_s / each_s)
            if batch <= most and (seen_s <= itl_s or batch == 1):
                best = min(best, each_s)
        return best


@dataclass(frozen=True, slots=True)
class Pair:
    """A large and a small model that could serve a trace together. needed: replicas of the large one that serve it alone."""

    large: Machine
    small: Machine
    needed: int


@dataclass(frozen=True, slots=True)
class Cell:
    """A comparison. `needed`: the smallest static fleet that meets 95 % on the sizing window.

    clients: of a client model, by index. peak_rps: of a shape. note: what was done to get the size. slowdown: the simulator's replicas take so
    many times as long as their profile says; nobody is told. fit_s, test_s: what the two parts have room for, burn-in included.
    condition: what is other than usual in it on purpose. pair: for arms that route; outcomes: their labelled prompts, None = those of the package.
    mix: every machine that may be used at once, the cell's own first (`mixed.py`). mean_tokens: of a request, in and out; rate: of arrivals [1/s].
    """

    trace: str
    fleet: int
    startup_s: float
    machine: Machine
    objectives: Objectives
    needed: int
    clients: tuple[int, ...] = ()
    peak_rps: float = 0.0
    slowdown: float = 1.0
    note: str = ""
    fit_s: float = math.inf
    test_s: float = math.inf
    condition: str = ""
    own_dispatcher: bool = False
    pair: Pair | None = None
    outcomes: Path | None = None
    mix: tuple[Machine, ...] = ()
    mean_tokens: tuple[float, float] = (1155.0, 211.0)
    rate: float = 0.0

    def window(self, split: Split, seed: int, length_s: float) -> Window:
        """A seed's window: as long as asked for, or as there is room for."""
        room_s = self.fit_s if split is Split.FIT else self.test_s
        return Window(split, seed, min(length_s, room_s - self.burn_in_s))

    @property
    def max_replicas(self) -> int:
        """Bound on everybody's fleet."""
        return max(12, math.ceil(2.5 * self.needed))

    @property
    def burn_in_s(self) -> float:
        """Before anything counts."""
        return max(3.0 * self.startup_s, 600.0)

    @property
    def physics(self) -> Physics:
        """One replica."""
        return Physics(self.machine.profile, jitter=JITTER, slowdown=self.slowdown)


def load(requests: Requests, cell: Cell, *, from_s: float, to_s: float) -> float:
    """Replicas that the arrivals of [from_s, to_s) keep busy, on average (fluid)."""
    inside = (requests.at_s >= from_s) & (requests.at_s < to_s)
    if not inside.any():
        return 0.0
    given, wanted = float(requests.input_tokens[inside].mean()), float(requests.output_tokens[inside].mean())
    return int(inside.sum()) * cell.machine.seconds(given, wanted, cell.objectives.itl_s) / (to_s - from_s)


def scenario(trace: Trace | Synthetic, cell: Cell, window: Window) -> Scenario:
    """The world of one seed's window. Equal arguments give equal worlds."""
    requests = requests_of(trace, cell.clients, window, burn_in_s=cell.burn_in_s, peak_rps=cell.peak_rps)
    begin = math.ceil(load(requests, cell, from_s=0.0, to_s=600.0) / FULL)
    machines = cell.mix or (cell.machine,)
    work = [machine.seconds(*cell.mean_tokens, cell.objectives.itl_s) for machine in machines]
    variants = []
    for machine, seconds in zip(machines, work, strict=True):
        most = cell.max_replicas if machine is machines[0] else max(12, math.ceil(cell.max_replicas * seconds / work[0]))
        variants.append(
            SimVariant(
                name=machine.label if cell.mix else "model",
                physics=Physics(machine.profile, jitter=JITTER, slowdown=cell.slowdown),
                startup=Startup(cell.startup_s, STARTUP_SIGMA),
                usd_per_h=machine.usd_per_h,
                accelerator=machine.label if cell.mix else "gpu",
                accelerators=machine.accelerators,
                max_replicas=most,
                initial_replicas=min(max(1, begin), most) if machine is machines[0] else 0,
            )
        )
    struck = (
        shocks(trace.shape, accelerator=variants[0].accelerator, length_s=cell.burn_in_s + window.length_s) if isinstance(trace, Synthetic) else ()
    )
    return Scenario(
        f"{cell.trace}/{cell.fleet}/{cell.startup_s:g}",
        requests,
        tuple(variants),
        cell.objectives,
        burn_in_s=cell.burn_in_s,
        seed=window.seed,
        shocks=struck,
    )

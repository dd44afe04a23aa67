"""Replicas and clients, so that a trace needs a fleet of about the size asked for.

Of a client model, clients are taken in a random order that depends on trace and size alone, each at its own rate, until their work fills the fleet.
Of a log nothing can be taken away without taking its bursts, so the replica is chosen instead: of the machines that can keep the objectives at all
the one with which the trace needs a fleet nearest to the size; where even the slowest is too fast, its `max_num_seqs` is lowered. The peak rate of a
synthetic shape is free.

"Needs" is measured: the smallest static fleet that meets 95 % of a window of the part for tuning, of a client model the median of several.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from jevons.core.spec import Objectives
from jevons.simulator.fleet import Fleet
from jevons.simulator.protocol.cell import JITTER, Cell, Machine, Pair
from jevons.simulator.protocol.splits import BLOCK_S, LEAST, Split, Window, requests_of, room_s, span
from jevons.simulator.scenario import Floats, Physics, Requests, inside
from jevons.simulator.static import smallest
from jevons.simulator.traces import Log, Trace, Zoo
from jevons.simulator.traces_clients import WINDOW_S, ClientModel
from jevons.simulator.traces_synthetic import Synthetic

ATTAINMENT = 0.95
SIZING_S, SHORTEST_S = 3600.0, 600.0
ENOUGH = 50_000
"""Requests that show what a log needs: of a busy one a shorter window does."""
CLOSE = 1.2
"""A fleet within this factor of the one asked for is near enough."""
PROMPT_SHARE = 0.65
"""A machine is fit for a trace when its prompts at the 98th percentile take no more than this share of the TTFT objective."""
GAP_SHARE = 0.75
"""And when a batch of 8 takes no more than this share of the ITL objective."""
BRISK_S = 0.2
"""For client models: prefill of 1,000 tokens. Slower machines exist and are nobody's choice."""
FEWEST_SEQS = 2
TRIES = 9
"""Choices of clients of which the one that needs about the fleet is taken."""
WINDOWS = 3
"""Of a client model, whose load differs by the hour: the median of so many windows of half the length is what it needs."""
CLIENT_SHARE = 0.4
"""No single client may fill more than this share of the fleet, as long as there are others."""
MOST = 640
"""Replicas beyond which nobody looks for a fleet."""
MIXED = 5
"""Variants in a mix."""
LARGE_MODEL, SMALL_MODEL = "llama-3.1-70b/", "llama-3.1-8b/"
SPREAD = 1.65
"""Standard deviations of the work in one TTFT that a fleet needs beside the mean."""


def attained(requests: Requests, physics: Physics, objectives: Objectives, replicas: int) -> float:
    """Share of requests met by a static fleet."""
    fleet = Fleet([physics], requests, max_replicas=replicas)
    for _ in range(replicas):
        fleet.ready(0, 0.0)
    fleet.advance(math.inf)
    return float(inside(requests, fleet.first_token_s, fleet.end_s, objectives).mean())


def needed(requests: Requests, physics: Physics, objectives: Objectives, *, guess: int, most: int) -> int | None:
    """The smallest static fleet that meets `ATTAINMENT`; None when `most` replicas do not."""
    return smallest(lambda replicas: attained(requests, physics, objectives, replicas) >= ATTAINMENT, guess=guess, most=most)


def able(machine: Machine, input_tokens: float, objectives: Objectives) -> bool:
    """Whether the machine can keep the objectives for prompts that long, with room to spare."""
    profile, k_in = machine.profile, input_tokens / 1000.0
    prefill_s = profile.prefill_p0_s + profile.prefill_p1_s * k_in + profile.prefill_p2_s * k_in * k_in
    gap_s = profile.itl_a_s + 8 * (profile.itl_b_s + profile.itl_c_s * k_in)
    return prefill_s <= PROMPT_SHARE * objectives.ttft_s and gap_s <= GAP_SHARE * objectives.itl_s


def sized(trace: Trace | Synthetic, machines: Sequence[Machine], *, name: str, fleet: int, startup_s: float, objectives: Objectives) -> Cell:
    """The cell of a trace, called `name`, that needs about `fleet` replicas. Raises ValueError, in a sentence, where that cannot be."""
    if isinstance(trace, Zoo):
        raise ValueError(f"{name}: calls without tokens; this benchmark needs a log of LLM requests or a client model")  # noqa: TRY004  # bad data
    if isinstance(trace, Synthetic):
        cell = _by_rate(trace, machines, fleet=fleet, objectives=objectives)
    elif isinstance(trace, ClientModel):
        cell = _by_clients(trace, machines, fleet=fleet, objectives=objectives)
    elif len(trace.requests) < LEAST or trace.duration_s < 2 * BLOCK_S:
        minutes = trace.duration_s / 60
        raise ValueError(
            f"{name}: {len(trace.requests)} requests in {minutes:g} min; at least {LEAST} in {BLOCK_S / 30:g} min are needed; take a longer log"
        )
    else:
        cell = _by_machine(trace, machines, fleet=fleet, objectives=objectives)
    cell = replace(cell, trace=name, startup_s=startup_s, fit_s=room_s(trace, Split.FIT), test_s=room_s(trace, Split.TEST))
    window = window_of(trace, cell.clients, 0, SIZING_S / 2, peak_rps=cell.peak_rps)
    return replace(cell, pair=paired(trace, cell, machines), rate=len(window) / max(1.0, float(window.at_s[-1])))


def mix_of(trace: Trace | Synthetic, cell: Cell, machines: Sequence[Machine]) -> Cell:
    """The cell with every way to run its model that keeps the objectives: at most `MIXED`.

    Of each accelerator and precision the cheapest per request, and of those the cheapest ones.
    """
    window = window_of(trace, cell.clients, 0, SIZING_S / 4, peak_rps=cell.peak_rps)
    given, wanted, long = float(window.input_tokens.mean()), float(window.output_tokens.mean()), float(np.percentile(window.input_tokens, 98))
    model = cell.machine.name.split("/")[0]
    fit = [one for one in machines if one.name.split("/")[0] == model and able(one, long, cell.objectives) and one.label != cell.machine.label]
    fit.sort(key=lambda one: one.usd_per_h * one.seconds(given, wanted, cell.objectives.itl_s))
    kinds = {tuple(one.name.split("/")[1:3]): one for one in reversed([cell.machine, *fit])}
    chosen = [one for one in fit if one in kinds.values()][: MIXED - 1]
    return replace(cell, mix=(cell.machine, *chosen), mean_tokens=(given, wanted))


def paired(trace: Trace | Synthetic, cell: Cell, machines: Sequence[Machine]) -> Pair | None:
    """The large and the small model that labels exist for, each on the machine where a request costs least; None where one of them fits nowhere.

    Where the cell's own machine runs the large model, that is the large one.
    """
    window = window_of(trace, cell.clients, 0, SIZING_S / 4, peak_rps=cell.peak_rps)
    given, wanted, long = float(window.input_tokens.mean()), float(window.output_tokens.mean()), float(np.percentile(window.input_tokens, 98))

    def cheapest(model: str) -> Machine | None:
        fit = [one for one in machines if one.name.startswith(model) and able(one, long, cell.objectives)]
        return min(fit, key=lambda one: one.usd_per_h * one.seconds(given, wanted, cell.objectives.itl_s), default=None)

    large, small = cheapest(LARGE_MODEL), cheapest(SMALL_MODEL)
    if cell.machine.name.startswith(LARGE_MODEL):
        return Pair(cell.machine, small, cell.needed) if small is not None else None
    if large is None or small is None:
        return None
    count = needed(window, Physics(large.profile, jitter=JITTER), cell.objectives, guess=cell.fleet, most=MOST)
    return Pair(large, small, count) if count is not None else None


def window_of(trace: Trace | Synthetic, clients: Sequence[int], seed: int, length_s: float, *, peak_rps: float = 0.0) -> Requests:
    """Requests of the part for tuning, as long as there is room for."""
    return requests_of(trace, clients, Window(Split.FIT, seed, min(length_s, room_s(trace, Split.FIT))), burn_in_s=0.0, peak_rps=peak_rps)


def _unfit(name: str, objectives: Objectives) -> ValueError:
    return ValueError(
        f"{name}: no machine of the profile table keeps TTFT {objectives.ttft_s:g} s and ITL {1000 * objectives.itl_s:g} ms for prompts this long; "
        "allow more by --ttft and --itl"
    )


def _by_machine(trace: Log, machines: Sequence[Machine], *, fleet: int, objectives: Objectives) -> Cell:
    rate = len(trace.requests) / trace.duration_s
    window = window_of(trace, (), 0, max(SHORTEST_S, min(SIZING_S, ENOUGH / rate)))
    given, wanted = float(window.input_tokens.mean()), float(window.output_tokens.mean())
    fit = [machine for machine in machines if able(machine, float(np.percentile(window.input_tokens, 98)), objectives)]
    fit.sort(key=lambda machine: machine.seconds(given, wanted, objectives.itl_s))
    if not fit:
        raise _unfit(trace.name, objectives)
    sizes: dict[Machine, int] = {}
    most = 3 * fleet

    def size(machine: Machine) -> int:
        if machine not in sizes:
            found = needed(window, Physics(machine.profile, jitter=JITTER), objectives, guess=fleet, most=most)
            sizes[machine] = 2 * most if found is None else found
        return sizes[machine]

    low, high = 0, len(fit) - 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if size(fit[middle]) >= fleet else (middle + 1, high)
    tried = fit[max(0, low - 2) : low + 2]
    best = min(tried, key=lambda machine: (abs(math.log(size(machine) / fleet)), machine.usd_per_h))
    count, note = size(best), "machine chosen for the fleet"
    if count > most:
        best = fit[0]
        found = needed(window, Physics(best.profile, jitter=JITTER), objectives, guess=2 * most, most=MOST)
        if found is None:
            raise ValueError(f"{trace.name}: {MOST} replicas of {best.name} do not keep 95 % inside; allow more by --ttft and --itl, or cut the log")
        count, note = found, f"needs {found} of the fastest fit machine"
    if count * CLOSE < fleet:
        slots = max(FEWEST_SEQS, _slots(window, best, objectives, fleet))
        best = replace(best, profile=replace(best.profile, max_num_seqs=slots))
        count = size(best)
        note = f"slowest fit machine, max_num_seqs lowered to {slots}"
    return Cell(trace.name, fleet, 0.0, best, objectives, count, note=note)


def _slots(window: Requests, machine: Machine, objectives: Objectives, fleet: int) -> int:
    """The smallest `max_num_seqs` with which `fleet` replicas are enough."""

    def enough(seqs: int) -> bool:
        capped = replace(machine.profile, max_num_seqs=seqs)
        return attained(window, Physics(capped, jitter=JITTER), objectives, fleet) >= ATTAINMENT

    return smallest(enough, guess=8, most=machine.profile.max_num_seqs) or machine.profile.max_num_seqs


def _by_clients(trace: ClientModel, machines: Sequence[Machine], *, fleet: int, objectives: Objectives) -> Cell:
    """The slowest brisk machine: the fewest requests fill it, so that a run stays affordable."""
    tokens = trace.mean_tokens()
    share = trace.mean_rate / trace.mean_rate.sum()
    given, wanted = (float(share @ tokens[:, side]) for side in range(2))
    fit = [machine for machine in machines if able(machine, 3.0 * given, objectives) and machine.profile.prefill_p1_s <= BRISK_S]
    if not fit:
        raise _unfit(trace.name, objectives)
    machine = max(fit, key=lambda one: one.seconds(given, wanted, objectives.itl_s))
    mean, variance = demands(trace, machine, objectives)
    order = np.random.default_rng([zlib.crc32(trace.name.encode()), fleet]).permutation(len(trace.clients)).tolist()
    aim, best = 0.8 * fleet, Cell(trace.name, fleet, 0.0, machine, objectives, 0)
    low, high = 0.0, math.inf
    for _ in range(TRIES):
        clients = chosen(mean, variance, order, aim)
        try:
            windows = [window_of(trace, clients, seed, SIZING_S / 2) for seed in range(WINDOWS)]
        except ValueError:  # too few requests: everybody, then, whatever fleet that needs
            clients = tuple(range(len(trace.clients)))
            windows = [window_of(trace, clients, seed, SIZING_S / 2) for seed in range(WINDOWS)]
        found = [needed(window, Physics(machine.profile, jitter=JITTER), objectives, guess=fleet, most=MOST) or MOST for window in windows]
        count = sorted(found)[len(found) // 2]
        if not best.clients or abs(math.log(count / fleet)) < abs(math.log(best.needed / fleet)):
            best = replace(best, needed=count, clients=clients, note=f"{len(clients)} of {len(trace.clients)} clients at their own rate")
        if fleet / CLOSE <= count <= fleet * CLOSE:
            break
        low, high = (max(low, aim), high) if count < fleet else (low, min(high, aim))
        # between an aim that was too low and one that was too high, where there are both: more of it is not always more replicas
        aim = math.sqrt(low * high) if 0.0 < low < high < math.inf else aim * min(1.6, max(0.6, fleet / count))
    return best


def _by_rate(trace: Synthetic, machines: Sequence[Machine], *, fleet: int, objectives: Objectives) -> Cell:
    """The slowest brisk machine, and a peak rate that fills the fleet."""
    fit = [machine for machine in machines if able(machine, 4000.0, objectives) and machine.profile.prefill_p1_s <= BRISK_S]
    if not fit:
        raise _unfit(trace.name, objectives)
    machine = max(fit, key=lambda one: one.seconds(1155.0, 211.0, objectives.itl_s))
    rate = 0.75 * fleet / machine.seconds(1155.0, 211.0, objectives.itl_s)
    best = Cell(trace.name, fleet, 0.0, machine, objectives, 0)
    for _ in range(4):
        window = window_of(trace, (), 0, SIZING_S, peak_rps=rate)
        count = needed(window, Physics(machine.profile, jitter=JITTER), objectives, guess=fleet, most=MOST) or MOST
        if not best.needed or abs(math.log(count / fleet)) < abs(math.log(best.needed / fleet)):
            best = replace(best, needed=count, peak_rps=rate, note=f"peak rate {rate:.3g}/s")
        if count == fleet:
            break
        rate *= fleet / count
    return best


def demands(trace: ClientModel, machine: Machine, objectives: Objectives) -> tuple[Floats, Floats]:
    """Replicas that each client keeps busy in the windows for tuning: mean and variance over stretches of one TTFT, [clients, windows].

    A renewal process with variation cv brings rate x T +- sqrt(rate x T) cv requests in a stretch T.
    """
    begin, end = span(trace).part(Split.FIT)
    windows = np.arange(int(begin // WINDOW_S), int(end // WINDOW_S))
    windows = windows[trace.recorded[windows]]
    seconds = np.array([machine.seconds(float(given), float(wanted), objectives.itl_s) for given, wanted in trace.mean_tokens()])[:, None]
    rate, cv2 = trace.rate[:, windows], trace.cv2[:, windows]
    return rate * seconds, rate * cv2 * seconds**2 / objectives.ttft_s


def chosen(mean: Floats, variance: Floats, order: Sequence[int], aim: float) -> tuple[int, ...]:
    """Clients in `order`, each taken if the fleet that it and the others need stays within `aim` in 95 % of the windows.

    A client that alone would fill much of the fleet is taken only when nobody else fits. At least one is taken: the one of least work, if need be.
    """

    def fills(work: Floats, spread: Floats) -> float:
        return float(np.percentile(work + SPREAD * np.sqrt(spread), 95))

    taken: list[int] = []
    total, noise = np.zeros(mean.shape[1]), np.zeros(mean.shape[1])
    for share in (CLIENT_SHARE, 1.0):
        for client in order:
            if client in taken or not mean[client].any() or fills(mean[client], variance[client]) > share * aim:
                continue
            if fills(total + mean[client], noise + variance[client]) <= aim:
                taken.append(int(client))
                total, noise = total + mean[client], noise + variance[client]
            if fills(total, noise) >= 0.95 * aim:
                return tuple(sorted(taken))
    if not taken:
        taken = [int(np.argmin(np.where(mean.any(axis=1), mean.mean(axis=1), np.inf)))]
    return tuple(sorted(taken))

"""How far the engine model is from rows that were measured, or modelled by others: what its formula cannot say shows here.

`jevons bench simulator --perf DIR` prints it; DIR holds `aiconfigurator/aic_grid.csv` and `splitwise/perf_model.csv`. Every figure is over the
engine's own answers, not over its formula, as a share of the row's time or rate.

aiconfigurator (operations measured on silicon, composed by its own model): the packaged profiles without the host overhead that was added to them, so
that like is compared with like. decode: B requests of one context. prefill: one prompt. mixed: requests per second of B clients that ask again as
soon as they are answered. Points that do not fit the KV cache are left out.
Splitwise (measured 2023, Llama-2-70B and BLOOM-176B): a profile per machine, its prefill fitted to single prompts, its ITL to batches of 1, 4, 16 and
64; ITL of batches of 2, 8 and 32, and prefill of every batch, were not shown to the fit. Left out: the power-capped rows (other rows times a factor)
and batches of 64 on two GPUs (a tenth of the time of 32: they cannot have run whole).
"""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np

from jevons.core.spec import Profile
from jevons.simulator.engine import Engine, Request, Result
from jevons.simulator.workload import opened

HOST_A_S, HOST_B_S = 0.545e-3, 0.0520e-3
"""The overhead that the packaged profiles add to aiconfigurator's ITL, per iteration and per sequence (see the data's reference)."""
Errors = dict[str, list[float]]


def _rows(path: Path) -> list[dict[str, str]]:
    with opened(path) as file:
        return list(csv.DictReader(file))


def together(profile: Profile, count: int, given: int, wanted: int) -> list[Result]:
    """`count` equal requests that join the batch in the same iteration, which begins at 0 (one before them keeps the engine busy until then)."""
    opened = Engine(profile)
    opened.submit(Request("opens", 1, 0), 0.0)
    began_s = -(opened.next_event_at() or 0.0)
    engine = Engine(profile, every_token=False)
    for number in range(count + 1):
        engine.submit(Request(str(number), given, wanted) if number else Request("opens", 1, 0), began_s)
    engine.advance(math.inf)
    return [result for result in engine.take_results() if result.request_id != "opens"]


def clients(profile: Profile, count: int, given: int, wanted: int, *, rounds: int = 4) -> float:
    """Requests per second of `count` clients that ask again as soon as they are answered, the first third left out."""
    engine, number = Engine(profile, every_token=False), 0
    done: list[float] = []
    for number in range(count):
        engine.submit(Request(str(number), given, max(1, wanted * (number + 1) // count)), 0.0)
    while len(done) < rounds * count:
        at_s = engine.next_event_at() or 0.0
        engine.advance(at_s)
        for result in engine.take_results():
            done.append(result.ended_s)
            number += 1
            engine.submit(Request(str(number), given, wanted), at_s)
    skipped = len(done) // 3
    return (len(done) - 1 - skipped) / (done[-1] - done[skipped])


def aiconfigurator(path: Path, profiles: Mapping[str, Profile]) -> Errors:
    """Relative errors of decode, prefill and mixed rows, for each of the packaged `profiles` that stems from the grid."""
    grid = defaultdict(list)
    for row in _rows(path):
        grid["/".join((row["model"], row["precision"], row["system"], row["tp"], row["backend"]))].append(row)
    errors: Errors = defaultdict(list)
    for name, packaged in profiles.items():
        profile = replace(packaged, itl_a_s=packaged.itl_a_s - HOST_A_S, itl_b_s=packaged.itl_b_s - HOST_B_S)
        for row in grid.get(name, ()):
            count, given, wanted = int(row["batch"]), int(row["isl"]), int(row["osl"])
            if count > profile.max_num_seqs or count * (given + wanted) > profile.kv_tokens:
                continue
            if row["phase"] == "decode":
                whole = replace(profile, chunk_tokens=count * given + 1)
                result = together(whole, count, given, wanted)[0]
                errors["decode"].append(1e3 * (result.itl_mean_s or 0.0) / float(row["tpot_ms"]) - 1.0)
            elif row["phase"] == "prefill":
                result = together(replace(profile, chunk_tokens=given + 1), 1, given, 0)[0]
                errors["prefill"].append(1e3 * result.ended_s / float(row["ttft_ms"]) - 1.0)
            else:
                errors["mixed"].append(clients(profile, count, given, wanted) / float(row["req_s"]) - 1.0)
    return errors


def fitted(shapes: dict[tuple[int, int, int], tuple[float, float]], shown: frozenset[int]) -> Profile:
    """The profile that single prompts (prefill) and the `shown` batches (ITL) give by least relative squares. `shapes`: (prefill, token) in ms."""
    single = [(given / 1e3, prefill) for (given, count, _), (prefill, _) in shapes.items() if count == 1]
    terms = np.array([(1.0, k, k * k) for k, _ in single]) / np.array([prefill for _, prefill in single])[:, None]
    prefill = np.maximum(np.linalg.lstsq(terms, np.ones(len(single)), rcond=None)[0], 0.0) / 1e3
    batches = [(count, (given + wanted / 2) / 1e3, itl) for (given, count, wanted), (_, itl) in shapes.items() if count in shown]
    terms = np.array([(1.0, count, count * context) for count, context, _ in batches]) / np.array([itl for *_, itl in batches])[:, None]
    itl = np.linalg.lstsq(terms, np.ones(len(batches)), rcond=None)[0] / 1e3
    (itl_a, itl_b, itl_c), (p0, p1, p2) = itl.tolist(), prefill.tolist()
    return Profile(itl_a, itl_b, itl_c, p0, p1, p2, kv_tokens=10**7, chunk_tokens=10**6)


def splitwise(path: Path) -> Errors:
    """Relative errors of prefill, token and whole times, of batches that were shown to the fit and of those that were not."""
    machines: dict[tuple[str, ...], dict[tuple[int, int, int], list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
    for row in _rows(path):
        if row["hardware"].endswith("pcap") or (row["tensor_parallel"] == "2" and row["batch_size"] == "64"):
            continue
        shape = int(row["prompt_size"]), int(row["batch_size"]), int(row["token_size"])
        machines[row["model"], row["hardware"], row["tensor_parallel"]][shape].append((float(row["prompt_time"]), float(row["token_time"])))
    shown, errors = frozenset((1, 4, 16, 64)), defaultdict(list)
    for repeats in machines.values():
        shapes = {shape: (median(a for a, _ in times), median(b for _, b in times)) for shape, times in repeats.items()}
        profile = fitted(shapes, shown)
        for (given, count, wanted), (prefill_ms, itl_ms) in shapes.items():
            result = together(profile, count, given, wanted)[0]
            seen = "one prompt" if count == 1 else "batch shown" if count in shown else "batch not shown"
            errors["prefill, one prompt" if count == 1 else "prefill, batch not shown"].append(1e3 * (result.first_token_s or 0.0) / prefill_ms - 1.0)
            errors[f"token, {seen}"].append(1e3 * (result.itl_mean_s or 0.0) / itl_ms - 1.0)
            errors[f"whole, {seen}"].append(1e3 * result.ended_s / (prefill_ms + itl_ms * (wanted - 1)) - 1.0)
    return errors


def summed(errors: Errors) -> dict[str, dict[str, float]]:
    """Mean absolute error, mean error (both %), the error that 90 % of the rows stay below, and how many rows."""
    rows = {}
    for name, values in sorted(errors.items()):
        percent = 100.0 * np.array(values)
        rows[name] = {
            "mape": float(np.abs(percent).mean()),
            "bias": float(percent.mean()),
            "p90": float(np.percentile(np.abs(percent), 90)),
            "rows": len(values),
        }
    return rows


def measured(folder: Path, profiles: Mapping[str, Profile]) -> dict[str, dict[str, dict[str, float]]]:
    """Both sources, summed up. Raises OSError for a file that is not there, KeyError for one that has other columns."""
    return {
        "Splitwise": summed(splitwise(folder / "splitwise" / "perf_model.csv")),
        "aiconfigurator": summed(aiconfigurator(folder / "aiconfigurator" / "aic_grid.csv", profiles)),
    }

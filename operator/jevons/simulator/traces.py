"""A folder of public traces as requests: what is in it, found by the columns of its files, never by their names.

    traces = discover(Path("data/traces"))            # name -> Log | ClientModel | Zoo
    traces["conv"].requests                            # a log: what was recorded
    traces["m-mid"].sample(clients, start_s=..., length_s=..., seed=1)

| columns | what it is | becomes |
|---|---|---|
| `TIMESTAMP,ContextTokens,GeneratedTokens` | a log of requests (Azure LLM 2023 and 2024) | `Log` |
| `client,window,rate_rps,...` with `client,t_start_s,in_p50,...` | arrivals and sizes per client, as distributions (ServeGen) | `ClientModel` |
| `model_id,minute,count` | calls of many models (Azure Functions) | `Zoo` |

Files end in .csv or .csv.gz. A file with other columns is passed over; one with the right columns and wrong values is an error that names it.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jevons.simulator.scenario import Floats, Ints, Requests
from jevons.simulator.traces_clients import ClientModel, read_client_model
from jevons.simulator.workload import opened

LOG = frozenset({"TIMESTAMP", "ContextTokens", "GeneratedTokens"})
RATES = frozenset({"client", "window", "rate_rps", "cv"})
LENGTHS = frozenset({"client", "t_start_s", "in_p50", "out_p50"})
ZOO = frozenset({"model_id", "minute", "count"})


@dataclass(frozen=True, slots=True)
class Log:
    """Requests as they were recorded; times count from the first one."""

    name: str
    requests: Requests

    @property
    def duration_s(self) -> float:
        """From the first to the last arrival, rounded up to a whole minute."""
        return float(np.ceil(self.requests.at_s[-1] / 60.0) * 60.0)


@dataclass(frozen=True, slots=True)
class Zoo:
    """Calls of model `models[i]` in minute `m`: `counts[i, m]`. No sizes: the trace is not of LLM calls."""

    name: str
    models: tuple[str, ...]
    counts: Ints

    def sample(self, sizes: Requests, *, models: Sequence[int] | None = None, seed: int = 0) -> tuple[Requests, Ints]:
        """Every call at a random instant of its minute, with the sizes of a random one of `sizes`; and which model (index) each is for."""
        chance = np.random.default_rng([seed, 3])
        chosen = np.arange(len(self.models)) if models is None else np.asarray(models)
        row, minute = np.nonzero(self.counts[chosen])
        times = self.counts[chosen][row, minute]
        model, start_s = np.repeat(chosen[row], times), np.repeat(minute * 60.0, times)
        at_s = start_s + chance.random(len(start_s)) * 60.0
        order = np.argsort(at_s, kind="stable")
        pick = chance.integers(0, len(sizes), len(order))
        return columns(at_s[order], sizes.input_tokens[pick], sizes.output_tokens[pick]), np.asarray(model[order], np.int32)


Trace = Log | ClientModel | Zoo


def columns(at_s: Floats, input_tokens: NDArray[np.integer], output_tokens: NDArray[np.integer]) -> Requests:
    """Requests without prefix cache and router."""
    n = len(at_s)
    return Requests(
        np.asarray(at_s, np.float64),
        np.asarray(input_tokens, np.int32),
        np.asarray(output_tokens, np.int32),
        np.zeros(n, np.int32),
        np.zeros(n, np.float32),
    )


def discover(folder: Path) -> dict[str, Trace]:
    """Every trace below `folder`, by name. Raises ValueError when there is none, or for a file that belongs to one and cannot be read.

    A log is named after its file, without a common beginning of the logs in its folder (`AzureLLMInferenceTrace_conv.csv` -> `conv`); a client model
    after what its files' names share (`m-mid`).
    """
    headers = {path: header for path in sorted(folder.rglob("*.csv*")) if (header := _header(path))}
    found: dict[str, Trace] = {}
    logs = [path for path, header in headers.items() if header >= LOG]
    for path, name in zip(logs, _names(logs), strict=True):
        found[_free(name, found)] = Log(name, read_log(path))
    lengths = [path for path, header in headers.items() if header >= LENGTHS]
    for path, header in headers.items():
        if header >= RATES:
            mates = [other for other in lengths if other.parent == path.parent]
            mate = max(mates, key=lambda other: len(_shared([path.name, other.name])), default=None)
            name = _shared([_stem(path), _stem(mate)]) if mate is not None else _stem(path)
            name = name.strip("_- .").removesuffix("client").strip("_- .") or _stem(path)
            found[_free(name, found)] = _model(name, path, mate)
        elif header >= ZOO:
            name = _stem(path)
            found[_free(name, found)] = _zoo(name, path)
    if not found:
        raise ValueError(f"{folder}: no trace in it; expected CSV files with the columns {', '.join(sorted(LOG))} or {', '.join(sorted(RATES))}")
    return found


def read_log(path: Path) -> Requests:
    """A log of requests, in order of time from its first arrival. Rows without input or output tokens are left out.

    Raises ValueError naming file and line for a row that is none.
    """
    with opened(path) as file:
        rows = csv.DictReader(file)
        stamps: list[str] = []
        sizes: list[tuple[int, int]] = []
        for number, row in enumerate(rows, start=2):
            try:
                sizes.append((int(row["ContextTokens"]), int(row["GeneratedTokens"])))
                stamps.append(_utc(row["TIMESTAMP"]))
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise ValueError(f"{path}:{number}: not a row of TIMESTAMP,ContextTokens,GeneratedTokens: {row!r}") from error
    if not stamps:
        raise ValueError(f"{path}: no rows")
    try:
        at = np.array(stamps, "datetime64[ns]").astype(np.int64)
    except ValueError as error:
        raise ValueError(f"{path}: a TIMESTAMP is none: {error}") from error
    given, wanted = np.array(sizes, np.int64).T
    good = (given > 0) & (wanted > 0)
    if not good.any():
        raise ValueError(f"{path}: no row with input and output tokens")
    order = np.argsort(at[good], kind="stable")
    at_s = (at[good][order] - at[good].min()) / 1e9
    return columns(at_s, given[good][order], wanted[good][order])


def _model(name: str, rates: Path, lengths: Path | None) -> ClientModel:
    if lengths is None:
        raise ValueError(f"{rates}: rates per client without a file of token lengths ({', '.join(sorted(LENGTHS))}) beside it")
    with opened(rates) as one, opened(lengths) as other:
        try:
            return read_client_model(name, csv.DictReader(one), csv.DictReader(other))
        except (KeyError, ValueError) as error:
            raise ValueError(f"{rates}, {lengths}: {error}") from error


def _zoo(name: str, path: Path) -> Zoo:
    with opened(path) as file:
        try:
            rows = [(row["model_id"], int(row["minute"]), int(row["count"])) for row in csv.DictReader(file)]
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}: not rows of model_id,minute,count: {error}") from error
    models = tuple(dict.fromkeys(row[0] for row in rows))
    index = {model: number for number, model in enumerate(models)}
    counts = np.zeros((len(models), max((row[1] for row in rows), default=0) + 1), np.int32)
    for model, minute, count in rows:
        counts[index[model], minute] += count
    return Zoo(name, models, counts)


def _utc(stamp: str) -> str:
    """A time stamp as numpy reads it; all of a file share one zone, and only differences matter."""
    return stamp.removesuffix("Z").removesuffix("+00:00").strip()


def _header(path: Path) -> frozenset[str]:
    """The names in a CSV's first line; none for what is no text."""
    if not path.name.endswith((".csv", ".csv.gz")):
        return frozenset()
    try:
        with opened(path) as file:
            return frozenset(next(csv.reader(file), ()))
    except (OSError, UnicodeDecodeError, EOFError, csv.Error):
        return frozenset()


def _stem(path: Path) -> str:
    return path.name.removesuffix(".gz").removesuffix(".csv")


def _shared(names: Sequence[str]) -> str:
    """What all names begin with."""
    return "".join(letters[0] for letters in itertools.takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False)))


def _names(paths: Sequence[Path]) -> list[str]:
    """Names for logs: the stem without the words (up to the last _ or -) that all logs of its folder begin with."""
    names = []
    for path in paths:
        stems = [_stem(other) for other in paths if other.parent == path.parent]
        shared = _shared(stems) if len(stems) > 1 else ""
        cut = max(shared.rfind("_"), shared.rfind("-")) + 1
        names.append(_stem(path)[cut:] or _stem(path))
    return names


def _free(name: str, taken: dict[str, Trace]) -> str:
    """`name`, numbered when another trace has it already."""
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}-{number}"
    return free

"""A folder of public traces as requests: what is in it, found by the columns of its files, never by their names.

    traces = discover(Path("data/traces"))            # name -> Log | ClientModel | Zoo
    traces["conv"].requests                            # a log: what was recorded
    traces["m-mid"].sample(clients, start_s=..., length_s=..., seed=1)

| columns | what it is | becomes |
|---|---|---|
| `TIMESTAMP,ContextTokens,GeneratedTokens` | a log of requests (Azure LLM 2023 and 2024), maybe with `Class` | `Log` |
| `client,window,rate_rps,...` with `client,t_start_s,in_p50,...` | arrivals and sizes per client, as distributions (ServeGen) | `ClientModel` |
| `model_id,minute,count` | calls of many models (Azure Functions) | `Zoo` |

Files end in .csv or .csv.gz. A file with other columns is passed over; one with the right columns and wrong values is an error that names it, and
`survey` goes on with the others.
"""

from __future__ import annotations

import csv
import itertools
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jevons.simulator.scenario import Floats, Ints, Requests
from jevons.simulator.traces_clients import ClientModel, read_client_model
from jevons.simulator.workload import Arrival, opened

LOG = frozenset({"TIMESTAMP", "ContextTokens", "GeneratedTokens"})
CLASS = "Class"
RATES = frozenset({"client", "window", "rate_rps", "cv"})
LENGTHS = frozenset({"client", "t_start_s", "in_p50", "out_p50"})
ZOO = frozenset({"model_id", "minute", "count"})
UNREADABLE = (OSError, EOFError, zlib.error, csv.Error, UnicodeDecodeError)
"""What a file raises that is cut short, packed otherwise than its name says, or no text."""
MOST_TOKENS = 1 << 30
UNTOLD = -1
"""No class is named for a request."""
CHUNK = 200_000
"""Rows of a log that are turned into numbers at a time: a week of a large service has tens of millions."""


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
    found, broken, _ = _read(folder)
    if broken:
        raise ValueError(broken[0])
    return found


def survey(folder: Path) -> tuple[dict[str, Trace], tuple[str, ...]]:
    """As `discover`; but what cannot be read is named in a sentence each, and the others are there. Raises ValueError when nothing is."""
    found, broken, passed_over = _read(folder)
    return found, (*broken, *passed_over)


def _read(folder: Path) -> tuple[dict[str, Trace], list[str], list[str]]:
    """The traces; sentences about traces that cannot be read, and about files of which nobody knows what they are."""
    headers, passed_over = _headers(folder)
    found, broken = dict[str, Trace](), list[str]()

    def take(name: str, read: Callable[[], Trace]) -> None:
        try:
            found[_free(name, found)] = read()
        except ValueError as error:
            broken.append(str(error))

    logs = [path for path, header in headers.items() if header >= LOG]
    for path, name in zip(logs, _names(logs), strict=True):
        take(name, lambda name=name, path=path: Log(name, read_log(path)))  # type: ignore[misc]
    lengths = [path for path, header in headers.items() if header >= LENGTHS]
    for path, header in headers.items():
        if header >= RATES:
            mates = [other for other in lengths if other.parent == path.parent]
            mate = max(mates, key=lambda other: len(_shared([path.name, other.name])), default=None)
            name = _shared([_stem(path), _stem(mate)]) if mate is not None else _stem(path)
            name = name.strip("_- .").removesuffix("client").strip("_- .") or _stem(path)
            take(name, lambda name=name, path=path, mate=mate: _model(name, path, mate))  # type: ignore[misc]
        elif header >= ZOO:
            take(_stem(path), lambda path=path: _zoo(_stem(path), path))  # type: ignore[misc]
    if not found:
        none = f"{folder}: no trace in it; expected CSV files with the columns {', '.join(sorted(LOG))} or {', '.join(sorted(RATES))}"
        raise ValueError("; ".join((*broken, *passed_over)) or none)
    return found, broken, passed_over


def read_log(path: Path, classes: Sequence[str] | None = None) -> Requests:
    """A log of requests, in order of time from its first arrival. Rows without input or output tokens are left out.

    classes: names for a column `Class`, the default class' first; a request's class is then the place of its name, UNTOLD where none is given.
    None = such a column is not looked at. Raises ValueError naming file and line for a row that is none, or a name that is not among them.
    """
    at, given, wanted, klass = (np.concatenate(parts) for parts in zip(*_chunks(path, classes), strict=True))
    good = (given > 0) & (wanted > 0)
    if not good.any():
        raise ValueError(f"{path}: no row with input and output tokens; take it out of the folder, or give it some")
    order = np.argsort(at[good], kind="stable")
    at_s = (at[good][order] - at[good].min()) / 1e9
    found = columns(at_s, given[good][order], wanted[good][order])
    return found if classes is None else replace(found, klass=klass[good][order].astype(np.int16))


def read_arrivals(path: Path) -> list[Arrival]:
    """The requests of `read_log` one by one, for who plays them to something that is not the simulator."""
    log = read_log(path)
    return [Arrival(*row) for row in zip(log.at_s.tolist(), log.input_tokens.tolist(), log.output_tokens.tolist(), strict=True)]


def _chunks(path: Path, classes: Sequence[str] | None) -> Sequence[tuple[NDArray[np.int64], ...]]:
    """Nanoseconds, input and output tokens, and class (see `read_log`), some rows at a time."""
    made = []
    try:
        with opened(path) as file:
            rows = csv.reader(file, skipinitialspace=True)
            names = [name.strip() for name in next(rows, [])]
            stamp, given, wanted = _places(path, names)
            kind = names.index(CLASS) if classes is not None and CLASS in names else None
            while some := list(itertools.islice(rows, CHUNK)):
                filled = [row for row in some if row]
                try:
                    stamps = np.array([_utc(row[stamp]) for row in filled], "datetime64[ns]")
                    tokens = np.array([(int(row[given]), int(row[wanted])) for row in filled], np.int64).reshape(-1, 2)
                    if np.isnat(stamps).any() or (abs(tokens) >= MOST_TOKENS).any():
                        raise ValueError  # noqa: TRY301  # said below
                except (IndexError, ValueError, OverflowError):
                    raise ValueError(_bad_row(path, some, (stamp, given, wanted), first=rows.line_num - len(some) + 1)) from None
                kinds = np.full(len(filled), UNTOLD)
                if kind is not None and classes is not None:
                    kinds = _kinds(path, some, kind, classes, first=rows.line_num - len(some) + 1)
                made.append((stamps.astype(np.int64), tokens[:, 0], tokens[:, 1], kinds))
    except UNREADABLE as error:
        raise ValueError(f"{path}: cannot be read to its end ({error}); fetch or pack it again") from error
    if not any(len(part[0]) for part in made):
        raise ValueError(f"{path}: no rows below its header; take it out of the folder, or fill it")
    return made


def _kinds(path: Path, rows: Sequence[Sequence[str]], place: int, classes: Sequence[str], *, first: int) -> NDArray[np.int64]:
    """The classes of rows that are not empty. Raises ValueError for a name that is none."""
    known = {"": UNTOLD, **{name: index for index, name in enumerate(classes)}}
    found = []
    for number, row in enumerate(rows, start=first):
        name = row[place].strip() if place < len(row) else ""
        if name not in known:
            raise ValueError(f"{path}:{number}: no request class is called {name!r}; there are {', '.join(classes)}")
        if row:
            found.append(known[name])
    return np.array(found, np.int64)


def _places(path: Path, names: list[str]) -> tuple[int, int, int]:
    """Where the three columns are. Raises ValueError for a header without them."""
    if missing := sorted(LOG - set(names)):
        raise ValueError(f"{path}: its first line is not a row of TIMESTAMP,ContextTokens,GeneratedTokens: {', '.join(missing)} missing")
    return names.index("TIMESTAMP"), names.index("ContextTokens"), names.index("GeneratedTokens")


def _bad_row(path: Path, rows: Sequence[Sequence[str]], columns_at: tuple[int, int, int], *, first: int) -> str:
    """Which of the rows is none, in a sentence."""
    stamp, given, wanted = columns_at

    def good(row: Sequence[str]) -> bool:
        try:
            return not (np.isnat(np.datetime64(_utc(row[stamp]), "ns")) or max(abs(int(row[given])), abs(int(row[wanted]))) >= MOST_TOKENS)
        except (IndexError, ValueError, OverflowError):
            return False

    number, row = next(((number, row) for number, row in enumerate(rows, start=first) if row and not good(row)), (first, rows[0]))
    return f"{path}:{number}: not a row of TIMESTAMP,ContextTokens,GeneratedTokens: {','.join(row)!r}; mend or delete the line"


def _model(name: str, rates: Path, lengths: Path | None) -> ClientModel:
    if lengths is None:
        raise ValueError(f"{rates}: rates per client without a file of token lengths ({', '.join(sorted(LENGTHS))}) beside it; put that there too")
    try:
        with opened(rates) as one, opened(lengths) as other:
            return read_client_model(name, csv.DictReader(one, skipinitialspace=True), csv.DictReader(other, skipinitialspace=True))
    except UNREADABLE as error:
        raise ValueError(f"{rates}, {lengths}: cannot be read to their end ({error}); fetch or pack them again") from error
    except ValueError as error:
        raise ValueError(f"{rates}, {lengths}: {error}") from error


def _zoo(name: str, path: Path) -> Zoo:
    try:
        with opened(path) as file:
            rows = [(row["model_id"], int(row["minute"]), int(row["count"])) for row in csv.DictReader(file, skipinitialspace=True)]
    except UNREADABLE as error:
        raise ValueError(f"{path}: cannot be read to its end ({error}); fetch or pack it again") from error
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: not rows of model_id,minute,count: {error}; mend or delete the line") from error
    models = tuple(dict.fromkeys(row[0] for row in rows))
    index = {model: number for number, model in enumerate(models)}
    counts = np.zeros((len(models), max((row[1] for row in rows), default=0) + 1), np.int32)
    for model, minute, count in rows:
        counts[index[model], minute] += count
    return Zoo(name, models, counts)


def _utc(stamp: str) -> str:
    """A time stamp as numpy reads it; all of a file share one zone, and only differences matter."""
    return stamp.removesuffix("Z").removesuffix("+00:00").strip()


def _headers(folder: Path) -> tuple[dict[Path, frozenset[str]], list[str]]:
    """The names in the first line of every CSV, and a sentence for each that has none."""
    headers, complaints = dict[Path, frozenset[str]](), list[str]()
    for path in sorted(folder.rglob("*.csv*")):
        if not path.name.endswith((".csv", ".csv.gz")) or path.is_dir():
            continue
        try:
            with opened(path) as file:
                headers[path] = frozenset(name.strip() for name in next(csv.reader(file, skipinitialspace=True), ()))
        except UNREADABLE as error:
            complaints.append(f"{path}: cannot be read ({error}); fetch or pack it again, or take it out of the folder")
            continue
        if not headers[path]:
            complaints.append(f"{path}: empty; fill it or take it out of the folder")
    return headers, complaints


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

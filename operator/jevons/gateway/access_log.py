"""One line of Envoy's access log: what it holds, and how it is read.

`ACCESS_LOG_FORMAT` is the `json_format` of Envoy's file logger; `Record.parse` is its inverse. Two namespaces of dynamic metadata travel in
it: `jevons` (what the picker decided) and `llm` (what `usage.lua` counted in the answer). Neither ever holds a word of a prompt or of an
answer, and the path is logged without its query. A request that went through the waiting room by a 307 leaves one line more, whose details
are `internal_redirect`: it is not a request of its own and accounting skips it. Times are milliseconds since the epoch unless a name says
otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from jevons.core.load import Work
from jevons.gateway.errors import CODES, ERROR_HEADER

ACCESS_LOG_FORMAT: Mapping[str, str] = {
    "id": "%REQ(X-REQUEST-ID)%",
    "start": "%START_TIME(%s.%6f)%",
    "path": "%PATH(NQ:ORIG_OR_PATH)%",
    "code": "%RESPONSE_CODE%",
    "flags": "%RESPONSE_FLAGS%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "duration": "%DURATION%",
    "upstream": "%UPSTREAM_HOST%",
    "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "bytes": "%BYTES_SENT%",
    "error": f"%RESP({ERROR_HEADER})%",
    "jevons": "%DYNAMIC_METADATA(jevons)%",
    "llm": "%DYNAMIC_METADATA(llm)%",
}
"""`json_format` of the file access logger; a value that Envoy does not have is null."""

REDIRECTED = "internal_redirect"
"""Response code details of the line that an internal redirect leaves behind."""

GAP_KEYS = ("gap_25", "gap_50", "gap_100", "gap_250", "gap_more")
"""Keys in `llm` that count gaps between data events of at most 25, 50, 100, 250 ms, and longer ones."""


@dataclass(frozen=True, slots=True)
class Record:
    """One finished request. Numbers that were not logged are None (not known), never 0.

    picked, work, reserved_usd: the pod and the work that the picker counted on it, and the money it set aside for the session.
    limit_by_client: the client itself bounded the answer's length. done: the stream said that it was complete. `id` is the picker's own
    identifier of the request, so nothing that a client sends can make two requests look like one. error: the code with which the gateway itself
    refused the request (the waiting room, or Envoy when no pod could be reached), empty when it did not.
    """

    id: str
    start_ms: float
    code: int
    flags: str
    details: str
    duration_ms: float
    upstream: str
    attempts: int
    namespace: str
    deployment: str
    klass: str
    variant: str
    reason: str
    team: str
    tier: str
    score_bin: int | None
    cold: bool
    arrived_ms: float | None
    wait_ms: float | None
    session: int | None
    picked: str
    work: Work
    reserved_usd: float
    raw_tokens: float | None
    estimated_in: float | None
    estimated_out: float | None
    ttft_objective_ms: float | None
    itl_objective_ms: float | None
    quality_ok: bool
    limit_by_client: bool
    prompt_tokens: int | None
    completion_tokens: int | None
    cached_tokens: int
    reasoning_tokens: int
    events: int
    first_ms: float | None
    last_ms: float | None
    gaps: tuple[int, ...]
    finish: str
    done: bool
    error: str = ""

    @property
    def choices(self) -> float:
        """Answers generated at once, at least 1 (1 also where no picker counted them: streams that the waiting room relayed)."""
        return max(1.0, self.work.sequences)

    @property
    def redirected(self) -> bool:
        """Whether this line only says that the waiting room sent the request on."""
        return self.details == REDIRECTED

    @property
    def aborted(self) -> bool:
        """Whether the answer ended before its end: client gone (DC, DR), upstream lost (UC, UR, UPE), stream cut (SI, UT, DT, LR).

        A client that hangs up on `[DONE]`, as most do, has had everything, although Envoy flags it.
        """
        return bool(self.flags) and not self.done and not _ABORTS.isdisjoint(self.flags.split(","))

    @classmethod
    def parse(cls, line: bytes) -> Record | None:
        """The record in one line; None when no picker routed the request (health checks, bad requests). ValueError when the line is not ours."""
        try:
            row = orjson.loads(line)
            chosen = row["jevons"] or {}
            counted = row["llm"] or {}
            if not chosen.get("deployment"):
                return None
            return _record(row, chosen, counted)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a line of this access log: {error!r}") from error


@dataclass(frozen=True, slots=True)
class Refused:
    """A request that no picker routed. `namespace` and `deployment` are empty when no model was recognised in it."""

    namespace: str
    deployment: str
    code: str


def read(line: bytes) -> Record | Refused | None:
    """What one line says; None when it is neither a routed nor a refused request (health checks, model lists). ValueError when it is not ours."""
    record = Record.parse(line)
    if record is not None:
        return record
    row = orjson.loads(line)
    code = _code(row.get("error"))
    namespace, _, deployment = str((row["jevons"] or {}).get("refused_by") or "").partition("/")
    return Refused(namespace, deployment, code) if code else None


_ABORTS = frozenset({"DC", "DR", "UC", "UR", "UPE", "SI", "UT", "DT", "LR", "DPE", "OM"})


def _record(row: Mapping[str, Any], chosen: Mapping[str, Any], counted: Mapping[str, Any]) -> Record:
    return Record(
        id=str(chosen.get("id") or f"{row['id']}/{row['start']}"),
        start_ms=1000.0 * float(row["start"]),
        code=int(row["code"] or 0),
        flags="" if row["flags"] in (None, "-") else str(row["flags"]),
        details=str(row["details"] or ""),
        duration_ms=float(row["duration"] or 0),
        upstream=str(row["upstream"] or ""),
        attempts=int(row["attempts"] or 0),
        namespace=str(chosen.get("ns") or ""),
        deployment=str(chosen["deployment"]),
        klass=str(chosen.get("klass") or "default"),
        variant=str(chosen.get("variant") or ""),
        reason=str(chosen.get("reason") or ""),
        team=str(chosen.get("team") or ""),
        tier=str(chosen.get("tier") or "Interactive"),
        score_bin=_count(chosen.get("bin")),
        cold=bool(chosen.get("cold")),
        arrived_ms=_number(chosen.get("arrived_ms")),
        wait_ms=_first(counted.get("wait_ms"), chosen.get("wait_ms")),
        session=int(chosen["session"], 16) if chosen.get("session") else None,
        picked=str(chosen.get("picked") or ""),
        work=Work(_number(chosen.get("work")) or 0.0, _number(chosen.get("sequences")) or 0.0),
        reserved_usd=_number(chosen.get("reserved_usd")) or 0.0,
        raw_tokens=_number(chosen.get("est_raw")),
        estimated_in=_number(chosen.get("est_in")),
        estimated_out=_number(chosen.get("est_out")),
        ttft_objective_ms=_number(chosen.get("ttft_ms_objective")),
        itl_objective_ms=_number(chosen.get("itl_ms_objective")),
        quality_ok=chosen.get("quality") is not False,
        limit_by_client=chosen.get("limit") == "client",
        prompt_tokens=_count(counted.get("prompt_tokens")),
        completion_tokens=_count(counted.get("completion_tokens")),
        cached_tokens=_count(counted.get("cached_tokens")) or 0,
        reasoning_tokens=_count(counted.get("reasoning_tokens")) or 0,
        events=_count(counted.get("events")) or 0,
        first_ms=_number(counted.get("first_ms")),
        last_ms=_number(counted.get("last_ms")),
        gaps=tuple(_count(counted.get(key)) or 0 for key in GAP_KEYS),
        finish=str(counted.get("finish") or ""),
        done=bool(counted.get("done")),
        error=_code(row.get("error")) or ("" if chosen.get("picked") else _code(counted.get("error"))),
    )


def _code(value: object) -> str:
    """One of our codes, or nothing: an engine may answer with any."""
    return value if isinstance(value, str) and value in CODES else ""


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _count(value: object) -> int | None:
    number = _number(value)
    return None if number is None else int(number)


def _first(*values: object) -> float | None:
    return next((number for value in values if (number := _number(value)) is not None), None)

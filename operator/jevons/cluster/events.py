"""Kubernetes events, one per object and reason in two minutes: people read them, etcd pays for them."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime

import structlog

from jevons.cluster.connect import Api, ApiError, Kind
from jevons.cluster.world import INFERENCE_DEPLOYMENTS
from jevons.core.snapshot import EventNote
from jevons.core.spec import Key

EVENTS = Kind("", "v1", "events", "Event")
QUIET_S = 120.0

log = structlog.get_logger(__name__)


class Events:
    """The EventSink of ports.py."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._posted: dict[tuple[str, str], float] = {}
        self.failures = 0

    async def post(self, key: Key, uid: str, notes: Sequence[EventNote]) -> None:
        """Post what was not posted lately; a failure is logged and counted, and tried again when the reason comes up again."""
        now = time.monotonic()
        self._posted = {entry: at for entry, at in self._posted.items() if at > now - QUIET_S}
        for note in _merged(notes):
            if (uid, note.reason) in self._posted:
                continue
            self._posted[uid, note.reason] = now
            try:
                await self._api.write("POST", EVENTS.path(key.namespace), _event(key, uid, note))
            except ApiError as error:
                self.failures += 1
                del self._posted[uid, note.reason]
                log.warning("event not posted", object=str(key), reason=note.reason, error=str(error))


def _merged(notes: Sequence[EventNote]) -> list[EventNote]:
    """One note per reason: two variants that start for the same reason are one event that names both."""
    groups: dict[str, EventNote] = {}
    for note in notes:
        known = groups.get(note.reason)
        if known is None:
            groups[note.reason] = note
        elif note.message not in known.message:
            kind = "Warning" if "Warning" in {known.type, note.type} else "Normal"
            groups[note.reason] = EventNote(kind, note.reason, f"{known.message} | {note.message}")
    return list(groups.values())


def _event(key: Key, uid: str, note: EventNote) -> dict[str, object]:
    stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    involved = {
        "apiVersion": INFERENCE_DEPLOYMENTS.api_version,
        "kind": INFERENCE_DEPLOYMENTS.kind,
        "namespace": key.namespace,
        "name": key.name,
        "uid": uid,
    }
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{key.name[:200]}.{uuid.uuid4().hex[:16]}", "namespace": key.namespace},
        "involvedObject": involved,
        "type": note.type,
        "reason": note.reason,
        "message": note.message[:1024],
        "source": {"component": "jevons"},
        "firstTimestamp": stamp,
        "lastTimestamp": stamp,
        "count": 1,
    }

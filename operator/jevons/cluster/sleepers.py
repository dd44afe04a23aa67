"""Puts engines to sleep in host memory and wakes them, through their own API (vLLM started with `--enable-sleep-mode` and VLLM_SERVER_DEV_MODE=1).

Where a pod stands is written on the pod (`sleep_mark.py`), and each step is safe to lose or to do twice:

    to sleep    mark it; when a sample taken after that shows an empty engine, POST /sleep?level=1; when it says that it sleeps, write that
    to wake     POST /wake_up; when it says that it does not sleep any more, take the mark away

The mark comes first and goes last, so that no gateway ever sends a request to an engine that sleeps. An operator that dies in between leaves a marked
pod: the next pass asks the engine what it does (GET /is_sleeping) and goes on from there. Calls to engines run beside the passes, one per pod at a
time. Only the pod's own address is called, redirects are not followed, and of the answers their status and that one word are read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any

import aiohttp
import orjson
import structlog

from jevons.cluster.connect import MERGE_PATCH, Api, ApiError
from jevons.cluster.lease import NotLeadingError
from jevons.cluster.records import PodRecord
from jevons.cluster.sleep_mark import ANNOTATION, ASLEEP, MARKED, REFUSED, Mark, read
from jevons.cluster.world import PODS, World
from jevons.core.observed import Known
from jevons.core.snapshot import DeploymentState, Pod, ReplicaTarget
from jevons.core.spec import Key, Variant

TIMEOUT = aiohttp.ClientTimeout(total=120.0, connect=2.0)
"""Moving weights of a large model between memories takes seconds to tens of seconds."""
CLOCKS_S = 1.0
"""A sample is after the mark when it is so much later: two machines' clocks."""
MOST_BYTES = 256
"""Read of an answer."""
TRIES = 3
"""An engine that fails so often to sleep is taken to refuse."""

log = structlog.get_logger(__name__)


class Sleepers:
    """All sleeping pods of one World. `close()` ends what is under way."""

    def __init__(self, api: Api, world: World) -> None:
        self._api, self._world = api, world
        self._running: dict[str, asyncio.Task[None]] = {}
        self._failures: dict[str, int] = {}
        self._session: aiohttp.ClientSession | None = None

    async def settle(self, key: Key, variant: Variant, pods: Sequence[Pod], target: ReplicaTarget, now_s: float) -> None:
        """One step for each of a variant's pods towards what is decided. Raises ApiError where a mark could not be written."""
        for pod in pods:
            record = self._world.pods.get(key.namespace, pod.name)
            if pod.terminating or pod.ready_at_s is None or record is None or record.meta.uid != pod.uid or pod.uid in self._running:
                continue
            mark = read(record.sleep) if pod.marked_at_s is not None else None
            if mark is not None and mark.owner != key.name:
                # two objects name its workload: whoever put it to sleep wakes it
                continue
            if pod.name not in target.asleep:
                if pod.marked_at_s is not None and target.desired != 0:
                    # its engine listens where it did when it lay down, whatever the spec says by now
                    self._begin(record, self._wake(record, mark.port if mark is not None else variant.port))
            elif pod.marked_at_s is None and not pod.sleepless:
                await self._write(record, Mark(MARKED, now_s, key.name, variant.port))
            elif pod.marked_at_s is not None and not pod.asleep and _empty_since(pod, pod.marked_at_s):
                self._begin(record, self._lie_down(record, Mark(ASLEEP, now_s, key.name, variant.port)))

    def wake_orphans(self, ours: Mapping[Key, DeploymentState]) -> None:
        """Wake what sleeps for an object that is gone, or that no longer counts the pod among its own; another install's pods are left to it."""
        for record in self._world.pods:
            if record.sleep is None or record.meta.uid in self._running or record.meta.deleting:
                continue
            mark = read(record.sleep)
            if mark is None or not mark.resting:
                continue
            state = ours.get(Key(record.meta.namespace, mark.owner))
            if state is None:
                orphaned = self._world.deployments.get(record.meta.namespace, mark.owner) is None
            else:
                # of an object that cannot be read no pods are known
                orphaned = not state.invalid and not any(pod.uid == record.meta.uid for seen in state.variants.values() for pod in seen.pods)
            if orphaned:
                self._begin(record, self._wake(record, mark.port))

    async def close(self) -> None:
        """Calls under way are given up: whoever leads next begins them anew."""
        for task in self._running.values():
            task.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _begin(self, record: PodRecord, step: Coroutine[Any, Any, None]) -> None:
        uid = record.meta.uid
        task = asyncio.create_task(self._guarded(record, step), name=f"sleep:{record.meta.namespace}/{record.meta.name}")
        self._running[uid] = task
        task.add_done_callback(lambda _: self._running.pop(uid, None))

    async def _guarded(self, record: PodRecord, step: Coroutine[Any, Any, None]) -> None:
        """A step that fails is told and tried again by a later pass."""
        try:
            await step
        except (ApiError, NotLeadingError, aiohttp.ClientError, TimeoutError, OSError) as error:
            log.warning("sleep or wake not carried out", pod=f"{record.meta.namespace}/{record.meta.name}", error=repr(error))

    async def _lie_down(self, record: PodRecord, mark: Mark) -> None:
        name, uid = f"{record.meta.namespace}/{record.meta.name}", record.meta.uid
        try:
            status, asleep = await self._brought(record, mark.port, "/sleep", {"level": "1", "mode": "wait"}, asleep=True)
        except (aiohttp.ClientError, TimeoutError, OSError):
            status, asleep = 0, None
        if asleep:
            self._failures.pop(uid, None)
            await self._write(record, mark)
            log.info("asleep in host memory", pod=name)
            return
        self._failures[uid] = self._failures.get(uid, 0) + 1
        if 400 <= status < 500 or self._failures[uid] >= TRIES:
            del self._failures[uid]
            await self._write(record, Mark(REFUSED, mark.at_s, mark.owner, mark.port))
        log.warning("the engine did not go to sleep", pod=name, status=status)

    async def _wake(self, record: PodRecord, port: int) -> None:
        name = f"{record.meta.namespace}/{record.meta.name}"
        status, asleep = await self._brought(record, port, "/wake_up", {}, asleep=False)
        # one that does not know how to be asked cannot be asleep
        if asleep is False or (asleep is None and 400 <= status < 500):
            await self._write(record, None)
            log.info("awake", pod=name)
        else:
            log.warning("the engine did not wake", pod=name, status=status)

    async def _brought(self, record: PodRecord, port: int, path: str, query: dict[str, str], *, asleep: bool) -> tuple[int, bool | None]:
        """Ask the pod's engine to be asleep, or not, unless it is already: the last status, and whether it sleeps, by its last word (None = none).

        A 200 to the request alone says little: some versions answer before they are done.
        """
        if self._api.before_write is not None:
            self._api.before_write("POST", path)
        status, now = await self._says(record, port)
        if now is None or now is asleep:
            return status, now
        async with self._http().post(_url(record, port, path), params=query, allow_redirects=False) as answer:
            if answer.status != 200:
                return answer.status, now
        return await self._says(record, port)

    async def _says(self, record: PodRecord, port: int) -> tuple[int, bool | None]:
        async with self._http().get(_url(record, port, "/is_sleeping"), allow_redirects=False) as answer:
            body = await answer.content.read(MOST_BYTES)
        try:
            said = orjson.loads(body)["is_sleeping"] if answer.status == 200 else None
        except (orjson.JSONDecodeError, KeyError, TypeError):
            said = None
        return answer.status, said if isinstance(said, bool) else None

    def _http(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=TIMEOUT)
        return self._session

    async def _write(self, record: PodRecord, mark: Mark | None) -> None:
        """Put the mark on the pod, or take it away; a pod that is gone needs none."""
        body = {"metadata": {"uid": record.meta.uid, "annotations": {ANNOTATION: None if mark is None else mark.text}}}
        try:
            answer = await self._api.write("PATCH", PODS.path(record.meta.namespace, record.meta.name), body, content_type=MERGE_PATCH)
        except ApiError as error:
            if error.status not in {404, 409}:
                raise
            return
        self._world.pods.apply("MODIFIED", answer)


def _url(record: PodRecord, port: int, path: str) -> str:
    """Raises OSError for a pod without an address."""
    if record.ip is None:
        raise OSError("the pod has no address")
    return f"http://[{record.ip}]:{port}{path}" if ":" in record.ip else f"http://{record.ip}:{port}{path}"


def _empty_since(pod: Pod, marked_at_s: float) -> bool:
    """Whether a sample taken after the mark shows that nothing runs or waits on it."""
    readings = (pod.signals.running, pod.signals.waiting)
    return all(isinstance(reading, Known) and reading.at_s >= marked_at_s + CLOCKS_S and reading.value == 0 for reading in readings)

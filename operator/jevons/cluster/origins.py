"""`scaling.onDelete: Restore`: what a target's replicas were before we touched them, and putting them back when we let go.

Nothing of ours may stand in a tenant's object (no finalizer: a delete never waits for us), so it is noted in a ConfigMap of the operator's own
namespace, before the first write of each target, with what the spec says of `onDelete`: when the object is gone its spec can no longer be asked. An
object that was deleted while no operator ran is seen the same way: a note without an object. Each note is settled once, then forgotten:

    Keep, or the target is gone, another one (UID), scaled by an autoscaler, or last scaled by someone else    nothing is written
    another InferenceDeployment holds the target now                                                           the note moves to that one
    else                                                                                                       the replicas of before are written
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import structlog

from jevons.cluster.checkpoints import CONFIG_MAPS, LABEL, config_map_name
from jevons.cluster.connect import MERGE_PATCH, Api, ApiError, Kind
from jevons.cluster.records import OURS, WorkloadRecord
from jevons.cluster.scale import set_replicas
from jevons.cluster.view import View
from jevons.cluster.world import INFERENCE_DEPLOYMENTS, World
from jevons.core.spec import Deployment, Key, TargetRef

WHAT = "origin"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Origin:
    """One target before our first write: which object (UID) and how many replicas."""

    ref: TargetRef
    uid: str
    replicas: int


@dataclass(frozen=True, slots=True)
class Note:
    """Everything noted for one deployment."""

    restore: bool
    origins: tuple[Origin, ...]

    def to_json(self) -> str:
        """As stored."""
        targets = [
            {"apiVersion": each.ref.api_version, "kind": each.ref.kind, "name": each.ref.name, "uid": each.uid, "replicas": each.replicas}
            for each in self.origins
        ]
        return json.dumps({"version": 1, "onDelete": "Restore" if self.restore else "Keep", "targets": targets}, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Note | None:
        """The note, or None for what cannot be read: then nothing is restored."""
        try:
            raw: dict[str, Any] = json.loads(text)
            origins = tuple(
                Origin(TargetRef(str(each["apiVersion"]), str(each["kind"]), str(each["name"])), str(each["uid"]), int(each["replicas"]))
                for each in raw["targets"]
            )
            return cls(raw["onDelete"] == "Restore", origins) if raw["version"] == 1 else None
        except (ValueError, TypeError, KeyError):
            return None


class Origins:
    """The notes of one install. `namespace`: the operator's own."""

    def __init__(self, api: Api, world: World, kinds: Mapping[tuple[str, str], Kind], *, namespace: str) -> None:
        self._api, self._world, self._kinds, self._namespace = api, world, dict(kinds), namespace
        self._notes: dict[Key, Note] = {}

    async def load(self) -> None:
        """Read all notes. Raises ApiError."""
        items, _ = await self._api.list(CONFIG_MAPS, namespace=self._namespace, label_selector=f"{LABEL}={WHAT}")
        for item in items:
            data = item.get("data") or {}
            namespace, _, name = str(data.get("key", "")).partition("/")
            note = Note.from_json(str(data.get("document", "")))
            if name and note is not None:
                self._notes[Key(namespace, name)] = note

    async def before_write(self, spec: Deployment, ref: TargetRef, workload: WorkloadRecord) -> None:
        """Note the target as it is, unless it is noted. Raises ApiError: without the note the write must not be sent."""
        note = self._notes.get(spec.key, Note(spec.scaling.on_delete_restore, ()))
        if any(each.uid == workload.meta.uid for each in note.origins):
            return
        others = tuple(each for each in note.origins if each.ref != ref)
        origin = Origin(ref, workload.meta.uid, 1 if workload.replicas is None else workload.replicas)
        await self._put(spec.key, Note(spec.scaling.on_delete_restore, (*others, origin)))

    async def settle(self, view: View) -> None:
        """Bring every note up to date with the specs, and let go of the targets that no spec names any more. Raises nothing of one object's."""
        for key in [*self._notes]:
            state = view.deployments.get(key)
            try:
                if state is None:
                    if await self._gone(key):
                        await self._let_go(key, self._notes[key], frozenset(), view)
                elif not state.invalid:
                    if state.spec.scaling.on_delete_restore != self._notes[key].restore:
                        await self._put(key, replace(self._notes[key], restore=state.spec.scaling.on_delete_restore))
                    named = frozenset(variant.target for variant in state.spec.variants if variant.target is not None)
                    if any(each.ref not in named for each in self._notes[key].origins):
                        await self._let_go(key, self._notes[key], named, view)
            except ApiError as error:
                log.warning("a target could not be let go yet", deployment=str(key), error=str(error))

    async def _gone(self, key: Key) -> bool:
        """Ask the API server itself: our own copy may be limited to other namespaces than those of an earlier start."""
        known = self._world.deployments.get(key.namespace, key.name)
        if known is not None and not known.meta.deleting:
            return False  # another install's
        try:
            await self._api.get(INFERENCE_DEPLOYMENTS.path(key.namespace, key.name))
        except ApiError as error:
            if error.not_found:
                return True
            raise
        return False

    async def _let_go(self, key: Key, note: Note, named: frozenset[TargetRef], view: View) -> None:
        """Settle the origins that the spec (now without them) no longer names; what is left of the note is stored, or removed."""
        left = [each for each in note.origins if each.ref in named]
        for origin in (each for each in note.origins if each.ref not in named):
            heir = next(_holders(view, key, origin.ref), None)
            if heir is not None:
                inherited = self._notes.get(heir.key, Note(heir.scaling.on_delete_restore, ()))
                others = tuple(each for each in inherited.origins if each.ref != origin.ref)
                await self._put(heir.key, replace(inherited, origins=(*others, origin)))
            elif note.restore and not await self._restored(key, origin):
                left.append(origin)
        if left:
            await self._put(key, replace(note, origins=tuple(left)))
        else:
            await self._forget(key)

    async def _restored(self, key: Key, origin: Origin) -> bool:
        """Write the replicas of before, unless that is not ours to do; False when the target changed under the write: the next pass looks again."""
        address = (origin.ref.api_version, origin.ref.kind)
        collection, kind = self._world.workloads.get(address), self._kinds.get(address)
        workload = collection.get(key.namespace, origin.ref.name) if collection is not None else None
        if collection is None or kind is None or workload is None or workload.meta.uid != origin.uid or workload.meta.deleting:
            return True
        if (workload.writer and workload.writer not in OURS) or workload.replicas == origin.replicas or self._autoscaled(key, origin.ref):
            return True
        try:
            written = await set_replicas(self._api, kind, collection, workload, origin.replicas)
        except ApiError as error:
            if error.status not in {404, 422}:
                raise
            return True
        log.info("replicas restored", deployment=str(key), target=origin.ref.name, was=workload.replicas, now=origin.replicas, written=written)
        return written

    def _autoscaled(self, key: Key, ref: TargetRef) -> bool:
        return any(
            (each.meta.namespace, each.target_kind, each.target_name) == (key.namespace, ref.kind, ref.name)
            for collection in self._world.autoscalers.values()
            for each in collection
        )

    async def _put(self, key: Key, note: Note) -> None:
        name = config_map_name(WHAT, key)
        body: dict[str, Any] = {
            "metadata": {"name": name, "labels": {LABEL: WHAT, "app.kubernetes.io/managed-by": "jevons"}},
            "data": {"key": str(key), "document": note.to_json()},
        }
        try:
            if key in self._notes:
                await self._api.write("PATCH", CONFIG_MAPS.path(self._namespace, name), body, content_type=MERGE_PATCH)
            else:
                await self._api.write("POST", CONFIG_MAPS.path(self._namespace), body)
        except ApiError as error:
            if error.not_found and key in self._notes:  # somebody removed it
                await self._api.write("POST", CONFIG_MAPS.path(self._namespace), body)
            elif error.conflict and key not in self._notes:  # one that could not be read
                await self._api.write("PATCH", CONFIG_MAPS.path(self._namespace, name), body, content_type=MERGE_PATCH)
            else:
                raise
        self._notes[key] = note

    async def _forget(self, key: Key) -> None:
        try:
            await self._api.write("DELETE", CONFIG_MAPS.path(self._namespace, config_map_name(WHAT, key)))
        except ApiError as error:
            if not error.not_found:
                raise
        del self._notes[key]


def _holders(view: View, key: Key, ref: TargetRef) -> Iterator[Deployment]:
    """Other deployments of the namespace whose spec names the target and that may scale it."""
    for other, state in view.deployments.items():
        if other.namespace == key.namespace and other != key and not state.invalid:
            for variant in state.spec.variants:
                if variant.target == ref and state.variants[variant.name].target.problem is None:
                    yield state.spec

"""Fills the World: which kinds this cluster has, and a paged list of each of them at start and every resync.

Lists run one after another: at 1,000 objects a resync is a handful of requests every two minutes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import structlog

from jevons.cluster.connect import Api, ApiError, Kind
from jevons.cluster.world import OPTIONAL, Collection, World, empty

DEFAULT_TARGET_KINDS = ("apps/v1/Deployment", "apps/v1/StatefulSet", "leaderworkerset.x-k8s.io/v1/LeaderWorkerSet")

log = structlog.get_logger(__name__)


async def discover(api: Api, targets: Sequence[str]) -> list[Kind]:
    """The kinds among `targets` (`group/version/Kind`, or `version/Kind` for the core group) that this cluster serves. Raises ApiError.

    A kind that the cluster does not have is left out and logged: a target of it reads as TargetKindNotAllowed. One without a scale subresource is
    not `scalable`: a target of it reads as TargetNotScalable.
    """
    found = []
    for target in targets:
        group, version, name = ("", *target.split("/"))[-3:]
        try:
            listing = await api.get(Kind(group, version, "").path())
        except ApiError as error:
            if error.status not in {403, 404}:
                raise
            log.info("target kind is not served by this cluster", kind=target)
            continue
        resources = {str(resource["name"]): resource for resource in listing.get("resources") or []}
        plural = next((plural for plural, resource in resources.items() if resource.get("kind") == name and "/" not in plural), None)
        if plural is None:
            log.info("target kind is not served by this cluster", kind=target)
            continue
        scalable = f"{plural}/scale" in resources
        if not scalable:
            log.warning("target kind has no scale subresource", kind=target)
        found.append(Kind(group, version, plural, name, namespaced=bool(resources[plural].get("namespaced")), scalable=scalable))
    return found


class Lister:
    """Keeps one World equal to the cluster. `namespaces` limits the namespaced kinds; empty = all."""

    def __init__(self, api: Api, target_kinds: Sequence[Kind], namespaces: Sequence[str] = ()) -> None:
        self.world: World = empty(target_kinds)
        self.found = 0
        """Changes that the last resync brought."""
        self._api, self._namespaces = api, tuple(namespaces)

    async def resync(self) -> bool:
        """List every kind once and replace the copy. Kinds that could not be listed keep what they had; True when all could.

        One kind may have a trouble of its own (a conversion webhook); when two in a row fail it is the server's, and the others are not asked for.
        """
        complete, before, ailing = True, self._changes(), 0
        for kind, collection in self.world.kinds.items():
            try:
                await self._list(kind, collection)
                ailing = 0
            except ApiError as error:
                complete = False
                log.warning("list failed", kind=kind.plural, status=error.status, reason=error.reason)
                ailing = ailing + 1 if error.ailing else 0
                if ailing == 2:
                    break
        self.found = self._changes() - before
        return complete

    def _changes(self) -> int:
        return sum(collection.changes for collection in self.world.kinds.values())

    async def _list(self, kind: Kind, collection: Collection[Any]) -> None:
        items, versions = [], []
        try:
            for namespace in self._namespaces if kind.namespaced and self._namespaces else (None,):
                found, version = await self._api.list(kind, namespace=namespace)
                items += found
                versions.append(int(version) if version.isdigit() else 0)
        except ApiError as error:
            # a refusal of what could be read before is an outage: to forget autoscalers or namespaces would act on targets and past budgets
            seen_before = collection.synced and collection.available
            if kind in OPTIONAL and (error.status == 404 or (error.status == 403 and not seen_before)):
                collection.available = False
                collection.replace([], 2**63)
                return
            raise
        collection.available = True
        collection.replace(items, min(versions))

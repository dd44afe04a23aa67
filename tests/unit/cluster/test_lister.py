"""What a failed list may and may not make of the copy."""

from __future__ import annotations

from typing import Any

import pytest

from jevons.cluster.connect import ApiError, Kind
from jevons.cluster.lister import Lister
from jevons.cluster.world import HPAS

HPA = {"metadata": {"namespace": "a", "name": "theirs", "uid": "h", "resourceVersion": "1"}, "spec": {"scaleTargetRef": {"name": "llama"}}}


class Server:
    """Has one autoscaler, and refuses to list it with `status` when that is set."""

    status = 0

    async def list(self, kind: Kind, **_: Any) -> tuple[list[dict[str, Any]], str]:
        if kind != HPAS:
            return [], "5"
        if self.status:
            raise ApiError(self.status, "", "")
        return [HPA], "5"


@pytest.mark.parametrize(("status", "left", "complete"), [(403, 1, False), (500, 1, False), (404, 0, True)])
async def test_autoscalers_that_were_seen_are_forgotten_only_with_their_kind(status, left, complete):
    server = Server()
    lister = Lister(server, [])  # type: ignore[arg-type]
    assert await lister.resync()
    server.status = status
    assert await lister.resync() is complete
    assert len(lister.world.autoscalers[HPAS.kind]) == left


async def test_a_kind_that_was_always_hidden_is_done_without():
    server = Server()
    server.status = 403
    lister = Lister(server, [])  # type: ignore[arg-type]
    assert await lister.resync()
    assert await lister.resync()
    assert not lister.world.kinds[HPAS].available


async def test_a_server_in_trouble_is_asked_for_two_kinds_and_a_kind_in_trouble_stops_no_other():
    class Ailing(Server):
        kinds: frozenset[str] | None = None
        asked = 0

        async def list(self, kind: Kind, **_: Any) -> tuple[list[dict[str, Any]], str]:
            self.asked += 1
            if self.kinds is None or kind.plural in self.kinds:
                raise ApiError(0, "Unreachable", "refused")
            return [], "5"

    server = Ailing()
    lister = Lister(server, [])  # type: ignore[arg-type]
    assert not await lister.resync()
    assert server.asked == 2
    server.kinds, server.asked = frozenset({"pods", "horizontalpodautoscalers"}), 0
    assert not await lister.resync()
    assert server.asked == len(lister.world.kinds)

"""Acting: what one variant is refused is not another one's trouble."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from jevons.cluster.actuator import Actuator
from jevons.cluster.connect import ApiError, Kind
from jevons.cluster.events import Events
from jevons.cluster.origins import Origins
from jevons.cluster.view import Signals, Viewer
from jevons.cluster.world import empty
from jevons.core.decide import decide
from jevons.core.observed import Known
from jevons.core.snapshot import Snapshot
from jevons.core.spec import AcceleratorClass, Key
from jevons.ports import Metrics

NOW = 1_767_261_600.0
DEPLOYMENTS = Kind("apps", "v1", "deployments", "Deployment")
HEARD = Signals(Metrics(health=Known(None, NOW), pods={}, demand={}, outcomes={}, held={}, queries=0), {})
KEY = Key("a", "assistant")


class Server:
    """Refuses every Deployment that is made, and the scale of `first`; takes everything else."""

    def __init__(self, status: int) -> None:
        self.status, self.taken = status, list[str]()

    async def write(self, method: str, path: str, body: Any = None, **_: Any) -> dict[str, Any]:
        if (method == "POST" and path.endswith("/deployments")) or path.endswith("/first/scale"):
            raise ApiError(self.status, "Invalid", "no such thing")
        self.taken.append(f"{method} {path}")
        return {"metadata": {"namespace": "a", "name": "x", "uid": "x", "resourceVersion": "9"}, **(body or {})} | {
            "metadata": {"namespace": "a", "name": "x", "uid": "x", "resourceVersion": "9"}
        }


@pytest.mark.parametrize(("status", "scaled"), [(403, 1), (422, 1), (429, 0), (500, 0), (0, 0)])
async def test_a_refused_variant_keeps_no_other_from_being_scaled_and_an_ailing_server_is_asked_no_more(status, scaled):
    world = empty([DEPLOYMENTS])
    for name in ("first", "second"):
        meta = {"namespace": "a", "name": name, "uid": name, "resourceVersion": "1"}
        spec = {"replicas": 0, "selector": {"matchLabels": {"app": name}}}
        world.workloads["apps/v1", "Deployment"].apply("ADDED", {"metadata": meta, "spec": spec})
    accelerator = {"className": "a100", "count": 1}
    variants = [{"name": name, "accelerator": accelerator, "targetRef": {"name": name}} for name in ("first", "second")]
    made = {"name": "made", "accelerator": accelerator, "template": {"spec": {"containers": []}}}
    meta = {"namespace": "a", "name": "assistant", "uid": "u", "resourceVersion": "1", "generation": 1}
    body = {"apiVersion": "jevons.dev/v1alpha1", "kind": "InferenceDeployment", "metadata": meta, "spec": {"variants": [made, *variants]}}
    world.deployments.apply("ADDED", body)
    view = Viewer(world).build(HEARD, NOW)
    decision = decide(Snapshot(view.deployments, {"a100": AcceleratorClass("a100")}, metrics=Known(None, NOW)), NOW)
    wanted = decision.deployments[KEY]
    replicas = tuple(replace(each, desired={"first": 2, "second": 1}.get(each.variant, each.desired)) for each in wanted.replicas)
    decision = replace(decision, deployments={KEY: replace(wanted, replicas=replicas)})

    server: Any = Server(status)
    kinds = {("apps/v1", "Deployment"): DEPLOYMENTS}
    origins = Origins(server, world, kinds, namespace="jevons-system")
    outcome = await Actuator(server, world, Events(server), kinds, origins).act(decision, view, NOW)

    assert ("PATCH /apis/apps/v1/namespaces/a/deployments/second/scale" in server.taken) == bool(scaled)
    assert any(path.endswith("/assistant/status") for path in server.taken)
    assert (outcome.scaled, outcome.failures) == (scaled, {"Invalid": 1})

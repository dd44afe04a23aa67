"""R4: a Prometheus that lost its data and comes back with zeros moves nothing down for 300 s; then what it says is believed."""

from __future__ import annotations

import asyncio
import shutil
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from jevons.controller.loop import SystemClock
from jevons.controller.outage import Outage
from jevons.core.observed import Known
from jevons.core.spec import Key
from jevons.signals.prometheus import Prometheus
from jevons.signals.reader import PrometheusReader

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

PROFILE = "llama-3.1-70b/int4_wo/a100_sxm/1/trtllm"


class Ahead(SystemClock):
    """The machine's clock, and a while more."""

    ahead_s = 0.0

    def now(self) -> float:
        return time.time() + self.ahead_s


class Gateway(ThreadingHTTPServer):
    """A gateway's metrics: requests arrive at `per_second`; `lose()` begins all counters anew."""

    def __init__(self, namespace: str) -> None:
        super().__init__(("127.0.0.1", 0), Metrics)
        self.namespace, self.per_second, self.since = namespace, 30.0, time.monotonic()

    def lose(self) -> None:
        self.per_second = 0.0

    def page(self) -> str:
        requests = int(self.per_second * (time.monotonic() - self.since))
        of = f'{{namespace="{self.namespace}",deployment="assistant",class="default"}}'
        return f"jevons_gateway_table_age_seconds 0\njevons_gateway_arrivals_total{of} {requests}\n"


class Metrics(BaseHTTPRequestHandler):
    server: Gateway

    def do_GET(self) -> None:
        body = self.server.page().encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def gateway(sandbox, namespace) -> Iterator[Gateway]:
    with Gateway(namespace) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        sandbox.prometheus.watch("r04-gateway", f"127.0.0.1:{server.server_address[1]}")
        yield server
        sandbox.prometheus.unwatch("r04-gateway")
        server.shutdown()
        thread.join()


def manifests() -> tuple[dict, ...]:
    labels = {"app": "large"}
    ready = {"pod-ready.stage.kwok.x-k8s.io/delay": "1s"}
    scraped = {"sandbox.jevons.dev/profile": PROFILE, "prometheus.io/scrape": "true", "prometheus.io/port": "8000", **ready}
    container = {"name": "engine", "image": "engine", "resources": {"limits": {"nvidia.com/gpu": "1"}}}
    spec = {"nodeSelector": {"jevons.dev/accelerator": "a100-80gb"}, "containers": [container]}
    price = {"effectiveFrom": "2020-01-01T00:00:00Z", "onDemand": "2"}
    large = {
        "name": "large",
        "accelerator": {"className": "r04-a100", "count": 1},
        "capacity": {"profile": PROFILE},
        "startup": {"expected": "1s"},
        "replicas": {"min": 1, "max": 2},
        "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "large"},
    }
    ours = "jevons.dev/v1alpha1"
    return (
        {"apiVersion": ours, "kind": "AcceleratorClass", "metadata": {"name": "r04-a100"}, "spec": {"prices": [price]}},
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "large"},
            "spec": {
                "replicas": 2,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels, "annotations": scraped}, "spec": spec},
            },
        },
        {
            "apiVersion": ours,
            "kind": "InferenceDeployment",
            "metadata": {"name": "assistant"},
            "spec": {"scaling": {"idleAfter": "5s"}, "variants": [large]},
        },
    )


async def test_nothing_goes_down_for_300_s_on_the_zeros_of_a_prometheus_that_lost_its_data(*, sandbox, namespace, operators, gateway, eventually):
    key = Key(namespace, "assistant")
    for manifest in manifests():
        await sandbox.apply(manifest, namespace=None if manifest["kind"] == "AcceleratorClass" else namespace)
    leader, clock = await operators.start(), Ahead()
    reader = PrometheusReader(Prometheus(sandbox.prometheus_url), scrape_interval_s=sandbox.scrape_interval_s, clock=clock.now)
    loop = leader.loop
    loop._source, loop._clock, loop._outage, loop._started_at_s = reader, clock, Outage(2 * sandbox.scrape_interval_s), clock.now() - 3600
    leader.signals.read = lambda: _last(loop)  # type: ignore[method-assign]
    polling = asyncio.create_task(loop._poll())

    async def arrivals() -> float | None:
        await leader.passes(1)
        demand = leader.metrics.last.view.deployments[key].demand
        reading = demand[0].arrivals_per_s if demand else None
        return reading.value if isinstance(reading, Known) else None

    async def decided() -> tuple[int | None, tuple[str, ...]]:
        await leader.passes(1)
        found = leader.metrics.last.decision.deployments[key]
        return found.replicas[0].desired, found.explanation.binding

    async def after(since_back_s: float) -> tuple[int | None, tuple[str, ...]]:
        """What is decided then, on a reading of then."""
        clock.ahead_s = (loop._outage.back_since_s or 0.0) + since_back_s - time.time()
        await eventually(lambda: isinstance(loop._reading.health, Known) and clock.now() - loop._reading.health.at_s < 2.0)
        await leader.passes(1)
        return await decided()

    async def is_at_two() -> bool:
        return (await decided())[0] == 2

    async def two_are_ready() -> bool:
        await leader.passes(1)
        return sum(pod.ready for pod in leader.metrics.last.view.deployments[key].variants["large"].pods) == 2

    async def sees(check) -> bool:
        seen = await arrivals()
        return seen is not None and check(seen)

    async def is_away() -> bool:
        await leader.passes(1)
        return (await leader.condition("assistant", "MetricsAvailable"))["reason"] == "SourceDown"

    try:
        await eventually(lambda: loop._reading is not None)
        await eventually(lambda: sees(lambda rate: rate > 20), within_s=60)
        await eventually(is_at_two, within_s=30)
        await eventually(two_are_ready, within_s=30)

        sandbox.prometheus.kill()
        gateway.lose()
        await eventually(is_away, within_s=30)
        assert (await decided())[0] == 2
        await asyncio.sleep(2 * sandbox.scrape_interval_s + 1.0)
        await asyncio.to_thread(shutil.rmtree, sandbox.dir / "prometheus")
        await sandbox.prometheus.restart()
        await eventually(lambda: sees(lambda rate: rate == 0), within_s=60)
        held = {ahead_s: await after(ahead_s) for ahead_s in (30.0, 120.0, 290.0)}
        assert all(desired == 2 and "MetricsJustBack" in binding for desired, binding in held.values()), held
        assert await leader.replicas("large") == 2
        assert "MetricsJustBack" not in (await after(320.0))[1]
        believed = await after(7200.0)  # what was forecast from before is forgotten by then
        sys.stdout.write(f"R4: {held}; two hours later: {believed}\n")
        assert believed[0] == 1
    finally:
        polling.cancel()
        await asyncio.gather(polling, return_exceptions=True)
        reader.close()
        await sandbox.kubectl("delete", "acceleratorclass", "r04-a100", "--wait=false")


async def _last(loop):
    return loop._reading

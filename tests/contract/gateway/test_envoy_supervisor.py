"""`jevons gateway` as a whole, started while the API server is away: it serves on the last table, heals its children, and drains."""

import concurrent.futures
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import yaml

from jevons.gateway.endpoints import EndpointsFile
from jevons.gateway.inflight import TAILER, Inflight
from jevons.gateway.table import Table, TableFile
from jevons.sandbox.tools import Tools

pytestmark = pytest.mark.envoy

DEAD_CLUSTER = {
    "apiVersion": "v1",
    "kind": "Config",
    "clusters": [{"name": "gone", "cluster": {"server": "http://127.0.0.1:9"}}],
    "contexts": [{"name": "gone", "context": {"cluster": "gone", "user": "nobody"}}],
    "users": [{"name": "nobody", "user": {}}],
    "current-context": "gone",
}


def children(pid: int) -> dict[str, int]:
    """Name (the module or binary) -> process id."""
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    commands = {int(child): Path(f"/proc/{child}/cmdline").read_bytes().decode().split("\0") for child in listed}
    return {next((word.rpartition(".")[2] for word in words if word.startswith("jevons.")), "envoy"): child for child, words in commands.items()}


@pytest.fixture
def gateway(lab, model, tmp_path):
    """(process, url): a state folder with a table, and nobody who could renew it."""
    engine = lab.engine("lonely")
    known = model(large=[engine], small=[])
    with socket.create_server(("127.0.0.1", 0)) as probe:
        room = f"127.0.0.1:{probe.getsockname()[1]}"
    table = Table({known.key: known}, {"assistant": known.key}, room, 5, time.time() - 1000)
    EndpointsFile(tmp_path / "eds.json").write(table)
    TableFile(tmp_path / "table.json").write(table)
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(DEAD_CLUSTER))
    command = [sys.executable, "-m", "jevons", "gateway", "--kubeconfig", str(tmp_path / "kubeconfig"), "--listen", "127.0.0.1:0", "--pickers", "2"]
    command += [
        "--state-dir",
        str(tmp_path),
        "--envoy",
        str(Tools.resolve(["envoy"])["envoy"]),
        "--room-address",
        room,
        "--metrics-port",
        "0",
        "--health-port",
        "0",
    ]
    with (tmp_path / "gateway.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log)
    try:
        ready = json.loads(process.stdout.readline())
        assert ready["ready"]
        yield process, f"http://127.0.0.1:{ready['ports']['http']}", ready["ports"]
    finally:
        process.kill()
        process.wait(10)
        process.stdout.close()
        lab.kill("lonely")


def until(holds, what):
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def ask(url, headers=None, **more):
    body = {"model": "assistant@large", "messages": [{"role": "user", "content": "hi"}], **more}
    sent = {"content-type": "application/json", **(headers or {})}
    request = urllib.request.Request(f"{url}/v1/chat/completions", json.dumps(body).encode(), sent)  # noqa: S310
    return urllib.request.urlopen(request, timeout=30)  # noqa: S310


def refusal(url, body, headers):
    with pytest.raises(urllib.error.HTTPError) as refused:
        ask(url, headers, **body)
    with refused.value as answer:
        return answer.code, json.loads(answer.read())["error"]["code"]


def statuses(url, stop):
    """Of requests one after another, until it stops; at least five."""
    seen = []
    while not stop.is_set() or len(seen) < 5:
        with ask(url) as answer:
            seen.append(answer.status)
    return seen


def scraped(port):
    with contextlib.suppress(urllib.error.URLError), urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as metrics:
        return b"jevons_gateway_requests_total" in metrics.read()
    return False


def held(process):
    """How many requests wait, as the metrics will say."""
    path = Path(process.args[process.args.index("--state-dir") + 1]) / "held.json"
    return sum(count for variants in json.loads(path.read_bytes())["held"].values() for count in variants.values()) if path.exists() else 0


def booked(process):
    """What is outstanding on the one pod, as every picker sees it."""
    state = Path(process.args[process.args.index("--state-dir") + 1])
    (pod,) = Table.load((state / "table.json").read_bytes()).models["team-a/assistant"].variant("large").pods
    return Inflight(state / "inflight.bin", TAILER).outstanding([pod.address], time.time())[0]


def test_it_serves_on_the_last_table_heals_its_children_and_drains(gateway):
    process, url, ports = gateway
    with ask(url) as answer:
        assert answer.status == 200
        assert int(answer.headers["x-jevons-table-age"]) >= 1000
        assert answer.headers["x-request-id"]
        assert answer.headers["x-envoy-upstream-service-time"] is None
    with urllib.request.urlopen(f"http://127.0.0.1:{ports['metrics']}/metrics", timeout=10) as metrics:
        assert b"jevons_gateway_table_age_seconds" in metrics.read()
    with urllib.request.urlopen(f"http://127.0.0.1:{ports['health']}/healthz", timeout=10) as health:
        assert health.status == 200

    until(lambda: booked(process).sequences == 0, "the first request is off the books")
    with ask(url, stream=True, n=3, n_tokens=20, slow=20) as stream:
        stream.readline()
        assert booked(process).sequences == 3
        assert stream.read().endswith(b"data: [DONE]\n\n")
    until(lambda: booked(process).sequences == 0, "its choices are off the books")
    assert booked(process).tokens < 0.1

    before = children(process.pid)
    assert set(before) == {"agent", "serve_picker", "room", "envoy"}
    with concurrent.futures.ThreadPoolExecutor() as pool:
        waiting = pool.submit(refusal, url, {"model": "assistant@small"}, {"x-jevons-max-wait": "3"})
        until(lambda: held(process) == 1, "a request waits")
        os.kill(before["room"], signal.SIGKILL)
        assert waiting.result(30) == (504, "wake_timeout")  # by the room that was started in its place
    assert children(process.pid)["room"] != before["room"]

    stop = threading.Event()
    with concurrent.futures.ThreadPoolExecutor() as pool:
        load = [pool.submit(statuses, url, stop) for _ in range(2)]
        for name in ("serve_picker", "agent"):
            os.kill(before[name], signal.SIGKILL)
            until(lambda name=name: children(process.pid).get(name, before[name]) not in before.values(), f"another {name}")
        until(lambda: scraped(ports["metrics"]), "the new agent serves")
        stop.set()
        answered = [status for one in load for status in one.result(60)]
    assert set(answered) == {200}

    with ask(url, stream=True, n_tokens=20, slow=50) as stream:
        first = stream.readline()
        process.send_signal(signal.SIGTERM)
        rest = stream.read()
    assert first.startswith(b"data: {")
    assert rest.endswith(b"data: [DONE]\n\n")
    assert process.wait(30) == 0
    counted = json.loads((Path(process.args[process.args.index("--state-dir") + 1]) / "accounting.json").read_bytes())
    assert sum(row[-1] for row in counted["accounting"]["totals"]["counters"]["requests"]) == 4 + len(answered)

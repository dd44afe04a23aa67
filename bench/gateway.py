"""What the gateway adds to a request: the real Envoy and pickers with all logic on, beside a direct connection to the same engine.

    .venv/bin/python bench/gateway.py --rps 100 --seconds 20

Requests arrive at a fixed rate (open loop), every other one goes direct, so both see the same machine at the same time. The engine answers at
once; its share is in both. Also prints CPU per request (what latency says little about while other work shares the machine): of the whole picker
process, and of our own code in it, without gRPC. Holds the result against the target (added p50 <= 4 ms at 100 req/s).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import platform
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import uvloop
from aiohttp import web
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb

from jevons.gateway.endpoints import EndpointsFile
from jevons.gateway.envoy.bootstrap import EnvoySettings, write_bootstrap
from jevons.gateway.inflight import Inflight
from jevons.gateway.level import DemandLevel
from jevons.gateway.picker import Picker, handed_over
from jevons.gateway.serve_picker import socket_of
from jevons.gateway.sessions import SessionTable
from jevons.gateway.steps.classify import scorer
from jevons.gateway.steps.decide import Decider
from jevons.gateway.steps.respond import REQUEST_NAMESPACE
from jevons.gateway.table import Model, Pod, RequestClass, Table, TableFile, Variant
from jevons.sandbox.tools import Tools

TARGET_P50_MS = 4.0
WORDS = ("the", "model", "answers", "a", "question", "about", "energy", "prices", "in", "2031", "and", "explains", "why", "engines", "burn", "coal")


def engine(port: int) -> None:
    """An engine that answers at once."""

    async def answer(request: web.Request) -> web.Response:
        body = await request.json()
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "yes"}}
        usage = {"prompt_tokens": 200, "completion_tokens": 1, "total_tokens": 201}
        return web.json_response({"id": "c", "object": "chat.completion", "model": body["model"], "choices": [choice], "usage": usage})

    uvloop.install()
    app = web.Application()
    app.router.add_post("/v1/chat/completions", answer)
    web.run_app(app, host="127.0.0.1", port=port, print=None, access_log=None)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def table_of(engines: list[int]) -> Table:
    """One model, two variants, four classes: every rule has something to do."""
    scores = (("small", 0.8),)
    classes = (
        RequestClass("documents", header=("x-kind", "documents"), max_input_tokens=100_000, min_score=scores),
        RequestClass("chat", max_input_tokens=5_000, max_output_tokens=1_000, min_score=scores, degraded_share=0.2),
        RequestClass("default", min_score=scores),
    )
    variants = tuple(
        Variant(
            name=name,
            state="Ready",
            served_model=f"org/{name}",
            quality=quality,
            context_length=131_072,
            usd_per_1k=0.01,
            kv_tokens=400_000,
            pods=tuple(Pod(f"{name}-{port}", f"127.0.0.1:{port}") for port in engines),
        )
        for name, quality in (("large", 1.0), ("small", 0.7))
    )
    model = Model(
        "team-a", "assistant", "assistant", variants, classes, best="large", wake="small", session_max_calls=1_000_000, team_header="x-team"
    )
    return Table({model.key: model}, {"assistant": model.key}, "127.0.0.1:9", 1, time.time())


@contextlib.contextmanager
def gateway(folder: Path, engines: list[int], pickers: int) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """URL and picker processes."""
    (folder / "secret").write_bytes(b"thirty-two bytes of a bench secret")
    table = table_of(engines)
    EndpointsFile(folder / "eds.json").write(table)
    TableFile(folder / "table.json").write(table)
    port = free_port()
    settings = EnvoySettings(folder, tuple(socket_of(folder, index) for index in range(pickers)), port=port)
    write_bootstrap(settings, folder / "envoy.json")
    command = [sys.executable, "-m", "jevons.gateway.serve_picker", "--state-dir", str(folder), "--index"]
    picking = [subprocess.Popen([*command, str(index)]) for index in range(pickers)]
    envoy = str(Tools.resolve(["envoy"])["envoy"])
    running = [*picking]
    try:
        while not all(path.exists() for path in settings.pickers):
            time.sleep(0.02)
        running.append(subprocess.Popen([envoy, "-c", str(folder / "envoy.json"), "--disable-hot-restart", "--concurrency", "2", "-l", "error"]))
        yield f"http://127.0.0.1:{port}", picking
    finally:
        for process in running:
            process.send_signal(signal.SIGTERM)
        for process in running:
            process.wait(20)


def body_of(rng: random.Random) -> bytes:
    text = " ".join(rng.choice(WORDS) for _ in range(rng.randint(20, 400)))
    return json.dumps({"model": "assistant", "messages": [{"role": "user", "content": text}], "max_tokens": 100}).encode()


async def measure(urls: dict[str, str], *, rps: float, seconds: float) -> dict[str, list[float]]:
    """Milliseconds per request by way; every request must be answered with 200."""
    rng = random.Random(7)
    times: dict[str, list[float]] = {name: [] for name in urls}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=3)) as http:

        async def one(name: str, body: bytes, number: int) -> None:
            headers = {"content-type": "application/json", "x-session-id": f"s{number % 500}", "x-team": "blue"}
            began = time.perf_counter()
            async with http.post(f"{urls[name]}/v1/chat/completions", data=body, headers=headers) as response:
                await response.read()
                if response.status != 200:
                    raise RuntimeError(f"{name}: {response.status} {await response.text()}")
            times[name].append(1000 * (time.perf_counter() - began))

        for name in urls:
            for number in range(50):
                await one(name, body_of(rng), number)
            times[name].clear()
        tasks = []
        began = time.perf_counter()
        for number in range(int(rps * seconds)):
            for offset, name in enumerate(urls):
                at = began + (number + offset / len(urls)) / rps
                await asyncio.sleep(max(0.0, at - time.perf_counter()))
                tasks.append(asyncio.create_task(one(name, body_of(rng), number)))
        await asyncio.gather(*tasks)
    return times


def cpu_s(process: subprocess.Popen[bytes]) -> float:
    fields = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def own_cpu_ms(folder: Path, engines: list[int], requests: int = 40, batches: int = 60) -> float:
    """CPU of one decision, from Envoy's message to the bytes of the answer [ms]: the lowest tenth of the batches, which others disturb least."""
    decider = Decider(scorer(), Inflight(folder / "own-inflight.bin", 0), SessionTable(folder / "own-sessions.bin", 0), table_of(engines))
    picker = Picker(decider, DemandLevel(time.time()), b"thirty-two bytes of a bench secret", wished=lambda: None)
    rng = random.Random(7)
    messages = []
    for number in range(requests * 10):
        told = {
            ":path": "/v1/chat/completions",
            ":method": "POST",
            "content-type": "application/json",
            "x-session-id": f"s{number}",
            "x-team": "blue",
        }
        message = pb.ProcessingRequest(request_body=pb.HttpBody(body=body_of(rng), end_of_stream=True))
        message.metadata_context.filter_metadata[REQUEST_NAMESPACE]["headers"] = "\n".join(f"{name}:{value}" for name, value in told.items())
        messages.append(message.SerializeToString())
    spent = []
    for batch in range(batches):
        began = time.process_time()
        for raw in messages[batch % 10 * requests :][:requests]:
            message = pb.ProcessingRequest.FromString(raw)
            picker.answer(handed_over(message), message.request_body.body)
        spent.append(1000 * (time.process_time() - began) / requests)
    return statistics.quantiles(spent, n=10)[0]


def main() -> None:
    parser = argparse.ArgumentParser(description="added latency of the gateway")
    parser.add_argument("--rps", type=float, default=100)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--pickers", type=int, default=2)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--engine", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.engine:
        engine(options.engine)
        return
    port = free_port()
    serving = subprocess.Popen([sys.executable, __file__, "--engine", str(port)])
    try:
        with tempfile.TemporaryDirectory() as folder, gateway(Path(folder), [port], options.pickers) as (url, picking):
            time.sleep(2.5)
            before = sum(map(cpu_s, picking))
            times = asyncio.run(measure({"direct": f"http://127.0.0.1:{port}", "gateway": url}, rps=options.rps, seconds=options.seconds))
            spent = sum(map(cpu_s, picking)) - before
            own_ms = own_cpu_ms(Path(folder), [port])
    finally:
        serving.terminate()
        serving.wait(10)
    report(times, spent, own_ms, options)


def report(times: dict[str, list[float]], picker_cpu_s: float, own_ms: float, options: argparse.Namespace) -> None:
    quantiles = {name: statistics.quantiles(values, n=100) for name, values in times.items()}
    direct = {f"p{p}": quantiles["direct"][p - 1] for p in (50, 90, 99)}
    added = {name: quantiles["gateway"][int(name[1:]) - 1] - value for name, value in direct.items()}
    print(f"{options.rps:g} req/s for {options.seconds:g} s on {os.cpu_count()} cores ({platform.machine()}), {options.pickers} pickers")
    for name, values in quantiles.items():
        print(f"  {name:8} p50 {values[49]:6.2f} ms   p90 {values[89]:6.2f} ms   p99 {values[98]:6.2f} ms   ({len(times[name])} requests)")
    print(f"  added    p50 {added['p50']:6.2f} ms   p90 {added['p90']:6.2f} ms   p99 {added['p99']:6.2f} ms")
    per_request = 1000 * picker_cpu_s / (len(times["gateway"]) + 50)
    print(f"  picker CPU {per_request:.2f} ms per request (health checks and idle included); our own code {own_ms:.2f} ms of it")
    print(f"  target: added p50 <= {TARGET_P50_MS:g} ms: {'met' if added['p50'] <= TARGET_P50_MS else 'MISSED'}")
    if options.json:
        options.json.write_text(
            json.dumps({"rps": options.rps, "added_ms": added, "direct_ms": direct, "picker_cpu_ms": per_request, "own_cpu_ms": own_ms})
        )


if __name__ == "__main__":
    main()

"""The picker as a process: `python -m jevons.gateway.serve_picker --state-dir DIR --index N ...`, started by the supervisor.

Reads `table.json`, `tokens.json` and `secret` of the state folder, serves ext_proc and gRPC health on `picker-N.sock`, and reports to the
operators. SIGTERM says "not serving" to Envoy, waits for the requests in hand (milliseconds each), and ends with 0.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import time
from pathlib import Path

import grpc
import grpc.aio
import uvloop
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer

from jevons.gateway import logs
from jevons.gateway.demand import DemandClient, dns_resolver, token_file
from jevons.gateway.inflight import Inflight
from jevons.gateway.level import DemandLevel
from jevons.gateway.picker import HEALTH_NAMES, Picker
from jevons.gateway.serving import Serving
from jevons.gateway.sessions import SessionTable
from jevons.gateway.steps.classify import scorer
from jevons.gateway.steps.decide import Decider
from jevons.gateway.steps.parse import MAX_BODY_BYTES
from jevons.gateway.table import TableFile
from jevons.gateway.tokens import TokenEstimator

TOKENS_EVERY_S = 5.0
DRAIN_S = 5.0
COLLECT = (10_000, 20, 20)
"""Garbage collection by so many new objects: a request makes few cycles, and the usual 700 would look for them at every other request."""


def socket_of(state_dir: Path, index: int) -> Path:
    """The unix socket of picker `index`."""
    return state_dir / f"picker-{index}.sock"


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line, written by the supervisor."""
    parser = argparse.ArgumentParser(description="ext_proc server of one Jevons gateway")
    parser.add_argument("--state-dir", type=Path, required=True)
    parser.add_argument("--index", type=int, required=True)
    parser.add_argument("--source", default="gateway")
    parser.add_argument("--operator", action="append", default=[])
    parser.add_argument("--operator-dns")
    parser.add_argument("--token-file", type=Path)
    parser.add_argument("--classifier", default="")
    return parser.parse_args(argv)


async def serve(options: argparse.Namespace) -> None:
    """Until SIGTERM or SIGINT."""
    state: Path = options.state_dir
    serving = Serving()
    level = DemandLevel(time.time())
    demand = DemandClient(
        options.operator,
        source=f"{options.source}/picker-{options.index}",
        level=level.level,
        token=token_file(options.token_file) if options.token_file else None,
        resolver=dns_resolver(options.operator_dns) if options.operator_dns else None,
    )
    decider = Decider(
        scorer(options.classifier), Inflight(state / "inflight.bin", options.index), SessionTable(state / "sessions.bin", options.index)
    )
    picker = Picker(decider, level, (state / "secret").read_bytes(), wished=demand.nudge)
    gc.freeze()  # what was imported never becomes garbage: collections stay short
    gc.set_threshold(*COLLECT)
    server, health = await _listen(picker, socket_of(state, options.index))

    async def ending() -> None:
        await health.enter_graceful_shutdown()
        await server.stop(DRAIN_S)

    await serving.run(_follow_table(decider, state), _follow_tokens(decider, state), demand.run(), ending=ending)


async def _listen(picker: Picker, socket: Path) -> tuple[grpc.aio.Server, HealthServicer]:
    socket.unlink(missing_ok=True)  # noqa: ASYNC240 - once, before anything is served
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", 2 * MAX_BODY_BYTES), ("grpc.max_concurrent_streams", 10_000)])
    server.add_generic_rpc_handlers((picker.handler(),))
    health = HealthServicer()
    for name in HEALTH_NAMES:
        await health.set(name, health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    server.add_insecure_port(f"unix:{socket}")
    await server.start()
    return server, health


async def _follow_table(decider: Decider, state: Path) -> None:
    async for table in TableFile(state / "table.json").watch():
        decider.table = table


async def _follow_tokens(decider: Decider, state: Path) -> None:
    while True:
        decider.tokens = TokenEstimator.load(state / "tokens.json")
        await asyncio.sleep(TOKENS_EVERY_S)


if __name__ == "__main__":
    options = arguments()
    logs.configure(f"picker-{options.index}")
    uvloop.run(serve(options))

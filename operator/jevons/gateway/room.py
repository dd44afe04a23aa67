"""The waiting room as a process: holds requests for models that are asleep, asks for them to be woken, and loses none.

`python -m jevons.gateway.room --state-dir DIR --address 127.0.0.1:9814 --operator HOST:PORT ...`, started by the supervisor. Reads
`table.json` of the state folder, reports who waits to the operators and, for metrics, in `held.json`. SIGTERM answers everybody who waits
(503, or an error event) and ends with 0. What it does with a request is in room_http.py.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import uvloop
from aiohttp import web

from jevons.gateway import logs, room_http
from jevons.gateway.demand import DemandClient, dns_resolver, token_file
from jevons.gateway.inflight import ROOM, Inflight
from jevons.gateway.room_hold import Holder
from jevons.gateway.room_http import Limits, Room
from jevons.gateway.room_queue import RoomQueue
from jevons.gateway.room_relay import Relay
from jevons.gateway.serving import Serving
from jevons.gateway.table import TableFile, write_atomic

HELD_EVERY_S = 1.0
BACKLOG = 4_096


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line, written by the supervisor."""
    parser = argparse.ArgumentParser(prog="jevons.gateway.room", description="waiting room of one Jevons gateway")
    parser.add_argument("--state-dir", type=Path, required=True)
    parser.add_argument("--address", default="127.0.0.1:9814", help="where Envoy reaches it; port 0 picks a free one")
    parser.add_argument("--listen-fd", type=int, help="a listening socket to use instead: its owner keeps it open while this process is restarted")
    parser.add_argument("--source", default="gateway")
    parser.add_argument("--operator", action="append", default=[])
    parser.add_argument("--operator-dns")
    parser.add_argument("--token-file", type=Path)
    parser.add_argument("--grace", type=float, default=Limits().grace_s, help="seconds before a streaming client gets 200 and comments")
    parser.add_argument("--comment-every", type=float, default=Limits().comment_s)
    parser.add_argument("--max-held", type=int, default=5_000)
    parser.add_argument("--max-bytes", type=int, default=256 * 1024 * 1024)
    return parser.parse_args(argv)


def level(holder: Holder) -> dict[str, dict[str, Any]]:
    """What this room tells the operators: who waits for what (see demand.py)."""
    said: dict[str, dict[str, Any]] = {}
    for line in holder.queue.held(holder.clock()):
        told = said.setdefault(line.model, {"held": []})
        told["held"].append({"variant": line.variant, "count": line.count - line.patient, "waiting": line.patient, "oldest": line.oldest})
    return said


async def serve(options: argparse.Namespace) -> None:
    """Until SIGTERM or SIGINT."""
    serving = Serving()
    state: Path = options.state_dir
    demand = DemandClient(
        options.operator,
        source=f"{options.source}/room",
        level=lambda _now: level(holder),
        token=token_file(options.token_file) if options.token_file else None,
        resolver=dns_resolver(options.operator_dns) if options.operator_dns else None,
    )
    inflight = Inflight(state / "inflight.bin", ROOM)
    holder = Holder(RoomQueue(max_count=options.max_held, max_bytes=options.max_bytes), demand.nudge, outstanding=inflight.outstanding)
    limits = Limits(grace_s=options.grace, comment_s=min(15.0, options.comment_every))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), auto_decompress=False) as session:
        room = Room(holder, Relay(session, inflight), limits)
        runner = room_http.runner(room)
        await runner.setup()
        site = _site(runner, options)
        await site.start()
        sys.stdout.write(orjson.dumps({"ready": True, "ports": {"room": runner.addresses[0][1]}}).decode() + "\n")
        sys.stdout.flush()

        async def ending() -> None:
            await site.stop()
            holder.fail_all("was not awake yet when this gateway was stopped; try again")
            await runner.cleanup()

        await serving.run(_follow_table(holder, state), _tick(holder, state), demand.run(), ending=ending)


def _site(runner: web.AppRunner, options: argparse.Namespace) -> web.BaseSite:
    """Where it listens. With a socket that was handed down nobody is refused while a new process takes over: they wait in its backlog."""
    if options.listen_fd is not None:
        return web.SockSite(runner, socket.socket(fileno=options.listen_fd), backlog=BACKLOG)
    host, _, port = options.address.rpartition(":")
    return web.TCPSite(runner, host.strip("[]"), int(port), backlog=BACKLOG)


async def _follow_table(holder: Holder, state: Path) -> None:
    async for table in TableFile(state / "table.json").watch():
        holder.update(table)


async def _tick(holder: Holder, state: Path) -> None:
    """Each second: verdicts that only need time, and `held.json` (`{"at": s, "held": {"namespace/name": {variant: count}}}`) for the metrics."""
    held: dict[str, dict[str, int]] = {}
    while True:
        holder.tick()
        held = {model: dict.fromkeys(variants, 0) for model, variants in held.items()}
        for model, told in level(holder).items():
            held.setdefault(model, {}).update({one["variant"]: one["count"] for one in told["held"]})
        write_atomic(state / "held.json", orjson.dumps({"at": time.time(), "held": held}))
        await asyncio.sleep(HELD_EVERY_S)


def main() -> None:
    """Entry point of `python -m jevons.gateway.room`."""
    options = arguments()
    logs.configure("room")
    uvloop.run(serve(options))


if __name__ == "__main__":
    main()

"""Accounting as a running thing: the tailer over `access.log`, what it settles, what it teaches the pickers, and the metrics page.

The agent runs it beside its watches. All of its state is in the state folder: `access.log` (Envoy's), `accounting.json` (totals and place),
`tokens.json` (what usage taught; pickers read it), and its own rows of `inflight.bin` and `sessions.bin`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from jevons.gateway.exposition import GatewayCollector
from jevons.gateway.inflight import TAILER, Inflight
from jevons.gateway.sessions import SessionTable
from jevons.gateway.settling import Settling
from jevons.gateway.table import Table
from jevons.gateway.tailer import ROTATE_BYTES, Tailer
from jevons.gateway.tokens import TokenEstimator

TOKENS_EVERY_S = 5.0


async def account(
    state: Path, metrics_address: str, table: Callable[[], Table], *, admin: Path | None = None, rotate_bytes: int = ROTATE_BYTES
) -> None:
    """Count until cancelled, and serve `/metrics` on `metrics_address` (`host:port`).

    table: gives the last table. admin: Envoy's admin socket; None = the log is not rotated.
    """
    tokens = TokenEstimator.load(state / "tokens.json")
    settling = Settling(Inflight(state / "inflight.bin", TAILER), SessionTable(state / "sessions.bin", TAILER), table, tokens)
    tailer = Tailer(
        state / "access.log",
        state / "accounting.json",
        each=settling,
        reopen=reopener(admin) if admin is not None else None,
        rotate_bytes=rotate_bytes,
    )
    while tailer.step():  # noqa: ASYNC110 - what came while nobody counted, before anybody scrapes
        await asyncio.sleep(0)
    registry = CollectorRegistry()
    registry.register(GatewayCollector(lambda: tailer.accounting.totals, state / "held.json", lambda: _age(table())))
    runner = web.AppRunner(metrics_page(registry), access_log=None)
    await runner.setup()
    host, _, port = metrics_address.rpartition(":")
    try:
        await web.TCPSite(runner, host.strip("[]"), int(port)).start()
        async with asyncio.TaskGroup() as group:
            group.create_task(tailer.run())
            group.create_task(_save_tokens(tokens, state / "tokens.json"))
    finally:
        await runner.cleanup()


def metrics_page(registry: CollectorRegistry) -> web.Application:
    """`GET /metrics` in Prometheus' text form."""

    async def metrics(_request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"content-type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    return app


def reopener(admin: Path) -> Callable[[], Awaitable[None]]:
    """Tells Envoy by its admin socket to open its access log anew. Raises OSError when it cannot be told."""

    async def reopen() -> None:
        async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(admin))) as session:
            try:
                async with session.post("http://envoy/reopen_logs", timeout=aiohttp.ClientTimeout(total=5)) as answer:
                    answer.raise_for_status()
            except (aiohttp.ClientError, TimeoutError) as error:
                raise OSError(f"Envoy was not told to reopen its log: {error}") from error

    return reopen


def _age(table: Table) -> float | None:
    return max(0.0, time.time() - table.built_at) if table.built_at else None


async def _save_tokens(tokens: TokenEstimator, path: Path) -> None:
    while True:
        await asyncio.sleep(TOKENS_EVERY_S)
        if tokens.learned:
            tokens.save(path)

"""The accountant's half of the agent: tails the access log, settles what each request gives back, and serves the metrics."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from jevons.gateway.exposition import GatewayCollector
from jevons.gateway.inflight import TAILER, Inflight
from jevons.gateway.sessions import SessionTable
from jevons.gateway.settled import Settled
from jevons.gateway.settling import Settling
from jevons.gateway.table import Table
from jevons.gateway.tailer import Tailer
from jevons.gateway.tokens import TokenEstimator

SAVE_TOKENS_S = 5.0
FORGET_EVERY_S = 60.0
CONFIRMED_S = 300.0
"""Only a table so fresh says that a deployment is no more."""


class Books:
    """One gateway pod's accounts. `table` gives the table as last published (for prices, and for its age)."""

    def __init__(self, state: Path, table: Callable[[], Table]) -> None:
        self._table = table
        self._tokens_file = state / "tokens.json"
        self._admin = state / "envoy-admin.sock"
        inflight, sessions = Inflight(state / "inflight.bin", TAILER), SessionTable(state / "sessions.bin", TAILER)
        self.settling = Settling(inflight, sessions, table, TokenEstimator.load(self._tokens_file))
        settled = Settled(state / "settled.bin")
        self.tailer = Tailer(state / "access.log", state / "accounting.json", each=self.settling, settled=settled, reopen=self._reopen)
        self.registry = CollectorRegistry()
        self.registry.register(GatewayCollector(lambda: self.tailer.accounting.totals, state / "held.json", lambda: age_of(table(), time.time())))

    async def run(self) -> None:
        """Tail, save what was learned about token counts, and forget deployments that are no more, until cancelled."""
        beside = [asyncio.create_task(one) for one in (self._save_tokens(), self._forget())]
        try:
            await self.tailer.run()
        finally:
            for task in beside:
                task.cancel()

    async def _forget(self) -> None:
        while True:
            await asyncio.sleep(FORGET_EVERY_S)
            self.forget(time.time())

    def forget(self, now_s: float) -> None:
        """Series of deployments that have been gone for a day end here, if the table is fresh enough to say so."""
        table = self._table()
        age = age_of(table, now_s)
        if age is not None and age <= CONFIRMED_S:
            self.tailer.accounting.forget({(model.namespace, model.name) for model in table.models.values()}, now_s)

    async def _save_tokens(self) -> None:
        while True:
            await asyncio.sleep(SAVE_TOKENS_S)
            self.settling.tokens.save(self._tokens_file)

    async def _reopen(self) -> None:
        """Let Envoy write a new access log. OSError when it cannot be asked."""
        connector = aiohttp.UnixConnector(path=str(self._admin))
        try:
            async with aiohttp.ClientSession(connector=connector) as session, session.post("http://envoy/reopen_logs") as response:
                response.raise_for_status()
        except aiohttp.ClientError as error:
            raise OSError(f"Envoy did not reopen its logs: {error}") from error

    @contextlib.asynccontextmanager
    async def metrics(self, address: str) -> AsyncIterator[None]:
        """Serve `/metrics` on `host:port`."""

        async def answer(_: web.Request) -> web.Response:
            return web.Response(body=generate_latest(self.registry), headers={"content-type": CONTENT_TYPE_LATEST})

        app = web.Application()
        app.router.add_get("/metrics", answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        host, _, port = address.rpartition(":")
        try:
            await web.TCPSite(runner, host.strip("[]"), int(port)).start()
            yield
        finally:
            await runner.cleanup()


def age_of(table: Table, now: float) -> float | None:
    """Seconds since the table was last known to be true; None when there is none yet."""
    return max(0.0, now - table.built_at) if table.built_at else None

"""The API server as these tests use it: objects in, verdict out, nothing stored."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest_asyncio

from jevons.api.kinds import API_VERSION, KINDS
from jevons.sandbox import Sandbox
from jevons.sandbox.fleet_kube import read_kubeconfig


@dataclass(frozen=True)
class Verdict:
    """What the API server said: the object as it would be stored, or its refusal."""

    code: int
    body: dict[str, Any]

    @property
    def accepted(self) -> bool:
        return self.code in (200, 201)

    @property
    def said(self) -> str:
        return "" if self.accepted else str(self.body["message"])


class Server:
    """Strict, dry-run requests, eight at a time."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self.session = session
        self.url = url
        self.places = asyncio.Semaphore(8)

    def path(self, obj: Mapping[str, Any]) -> str:
        kind = next(kind for kind in KINDS if kind.kind == obj["kind"])
        where = f"/namespaces/{obj['metadata']['namespace']}" if kind.namespaced else ""
        return f"{self.url}/apis/{API_VERSION}{where}/{kind.plural}"

    async def create(self, obj: Mapping[str, Any]) -> Verdict:
        return await self._send("POST", self.path(obj), obj)

    async def replace(self, obj: Mapping[str, Any]) -> Verdict:
        return await self._send("PUT", f"{self.path(obj)}/{obj['metadata']['name']}", obj)

    async def create_all(self, objects: Sequence[Mapping[str, Any]]) -> list[Verdict]:
        return list(await asyncio.gather(*(self.create(obj) for obj in objects)))

    async def _send(self, method: str, url: str, obj: Mapping[str, Any]) -> Verdict:
        body = io.BytesIO(json.dumps(obj).encode())
        strictly = {"dryRun": "All", "fieldValidation": "Strict"}
        headers = {"Content-Type": "application/json"}
        async with self.places, self.session.request(method, url, params=strictly, data=body, headers=headers) as answer:
            return Verdict(answer.status, await answer.json())


@pytest_asyncio.fixture
async def server(sandbox: Sandbox) -> AsyncIterator[Server]:
    access = read_kubeconfig(sandbox.kubeconfig)
    async with aiohttp.ClientSession(headers=access.headers, connector=aiohttp.TCPConnector(ssl=access.tls)) as session:
        yield Server(session, sandbox.api_url)

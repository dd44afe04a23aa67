"""How the fleet hears of pods and nodes: list, then watch, and list again after anything odd.

The fleet is no part of Jevons' product and must not share its client (a bug there would hide itself), so this is the smallest reader that is correct:
plain HTTP with the kubeconfig's own certificates, the whole list handed over at each (re)start, and single changes in between.
"""

from __future__ import annotations

import asyncio
import base64
import os
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import aiohttp
import orjson
import structlog
import yaml

log = structlog.get_logger(__name__)

RELIST_AFTER_S = 0.5
"""Pause after a failed list or a watch that ended [s]."""
SILENT_S = 330
"""A watch that says nothing for this long [s] is given up; the server is asked to end it after 300 s."""


class Follower(Protocol):
    """Who is told. `replace` is the whole truth, `put` and `drop` are single changes to it."""

    def replace(self, objects: Sequence[dict[str, Any]]) -> None:
        """Exactly these exist."""

    def put(self, item: dict[str, Any]) -> None:
        """This one is new or different."""

    def drop(self, item: dict[str, Any]) -> None:
        """This one (in its last state) is gone."""


@dataclass(frozen=True, slots=True)
class ApiServer:
    """Where the API server is and how to be let in."""

    url: str
    tls: ssl.SSLContext | bool
    headers: dict[str, str]


def in_cluster() -> ApiServer:
    """The API server as a pod with a ServiceAccount sees it. Raises OSError outside of a pod, KeyError without the service's variables."""
    account = Path("/var/run/secrets/kubernetes.io/serviceaccount")
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    tls = ssl.create_default_context(cafile=str(account / "ca.crt"))
    return ApiServer(f"https://{host}:{port}", tls, {"Authorization": f"Bearer {(account / 'token').read_text()}"})


def read_kubeconfig(path: Path) -> ApiServer:
    """The current context of a kubeconfig with a client certificate or a token. Raises ValueError naming what is missing."""
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    try:
        context = _named(config["contexts"], config["current-context"])["context"]
        cluster = _named(config["clusters"], context["cluster"])["cluster"]
        user = _named(config["users"], context["user"])["user"]
        url = str(cluster["server"]).rstrip("/")
    except (KeyError, TypeError, StopIteration) as error:
        raise ValueError(f"{path}: no usable current context ({error!r})") from error
    headers = {"Authorization": f"Bearer {user['token']}"} if "token" in user else {}
    if not url.startswith("https:"):
        return ApiServer(url, tls=True, headers=headers)
    authority = _material(path, cluster, "certificate-authority")
    tls = ssl.create_default_context(cadata=None if authority is None else authority.decode())
    if cluster.get("insecure-skip-tls-verify"):
        tls.check_hostname = False
        tls.verify_mode = ssl.CERT_NONE
    _load_client_certificate(path, user, tls)
    return ApiServer(url, tls, headers)


def _load_client_certificate(path: Path, user: dict[str, Any], tls: ssl.SSLContext) -> None:
    """Load the user's certificate; the ssl module wants files, so inline data passes through an anonymous memory file."""
    certificate, key = _material(path, user, "client-certificate"), _material(path, user, "client-key")
    if certificate is None or key is None:
        return
    descriptor = os.memfd_create("client-certificate")
    try:
        os.write(descriptor, certificate + b"\n" + key)
        os.lseek(descriptor, 0, os.SEEK_SET)
        tls.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)


def _named(entries: Sequence[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(entry for entry in entries if entry["name"] == name)


def _material(path: Path, holder: dict[str, Any], name: str) -> bytes | None:
    """A certificate or key, inline (`<name>-data`, base64) or in a file (relative to the kubeconfig)."""
    if inline := holder.get(f"{name}-data"):
        return base64.b64decode(str(inline))
    if file := holder.get(name):
        return (path.parent / str(file)).read_bytes()
    return None


async def follow(server: ApiServer, path: str, follower: Follower, *, synced: asyncio.Event | None = None) -> None:
    """Tell `follower` about the objects under `path` (`/api/v1/pods`) until cancelled. `synced` is set after the first list."""
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=SILENT_S)
    connector = aiohttp.TCPConnector(ssl=server.tls)
    async with aiohttp.ClientSession(connector=connector, headers=server.headers, timeout=timeout, read_bufsize=2**22) as session:
        while True:
            try:
                version = await _list(session, server.url + path, follower)
                if synced is not None:
                    synced.set()
                await _watch(session, server.url + path, version, follower)
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                log.warning("relisting", path=path, error=repr(error))
            await asyncio.sleep(RELIST_AFTER_S)


async def _list(session: aiohttp.ClientSession, url: str, follower: Follower) -> str:
    """Hand over the whole list; the version from which to watch."""
    async with session.get(url, timeout=aiohttp.ClientTimeout(total=30)) as response:
        response.raise_for_status()
        listed = orjson.loads(await response.read())
    follower.replace(listed["items"] or [])
    return str(listed["metadata"]["resourceVersion"])


async def _watch(session: aiohttp.ClientSession, url: str, version: str, follower: Follower) -> None:
    """Hand over changes until the server ends the watch; returns when a new list is due."""
    query = {"watch": "1", "resourceVersion": version, "allowWatchBookmarks": "true", "timeoutSeconds": "300"}
    async with session.get(url, params=query) as response:
        response.raise_for_status()
        async for line in response.content:
            event = orjson.loads(line)
            match event["type"]:
                case "ADDED" | "MODIFIED":
                    follower.put(event["object"])
                case "DELETED":
                    follower.drop(event["object"])
                case "ERROR":
                    log.info("watch ended", url=url, reason=event["object"].get("reason"))
                    return

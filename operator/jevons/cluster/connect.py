"""One client of the Kubernetes API server: plain JSON in, plain JSON out.

The official client (kubernetes.aio) reads kubeconfigs, refreshes tokens and owns TLS; its generated models are left aside, because the operator
keeps extracted fields of thousands of objects and the models cost more memory than the objects. Every request has a deadline, and every failure is
one exception:

    ApiError                 status >= 400: the server's word; status 0: no answer at all (refused, reset, timed out)

beside `NoClusterError`, before the first request: nothing says where the cluster is.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import aiohttp
import orjson
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.config import ConfigException, load_incluster_config, load_kube_config

MERGE_PATCH = "application/merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
PAGE = 500
"""Objects per page of a list."""
WRITE_TIMEOUT_S = 4.0
"""A write's deadline: added to the lease's renew deadline (10 s) it still ends before anybody else may lead (15 s)."""
WATCH_LINE_LIMIT = 16 * 1024 * 1024
"""A watch event longer than this [bytes] ends the watch (etcd objects end at 1.5 MiB)."""


class NoClusterError(Exception):
    """Where the cluster is, and who we are there, cannot be read; the message says from what."""


class ApiError(Exception):
    """The API server refused, or did not answer (`status` 0). `retry_after_s` is what it asked us to wait, if it did."""

    def __init__(self, status: int, reason: str, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message
        self.retry_after_s = retry_after_s

    @property
    def not_found(self) -> bool:
        """The object (or its kind) is not there."""
        return self.status == 404

    @property
    def conflict(self) -> bool:
        """Somebody else was faster, or owns the field."""
        return self.status == 409

    @property
    def ailing(self) -> bool:
        """It was the server's trouble, not a refusal of this one request: asking on would only add to it."""
        return self.status == 429 or not 400 <= self.status < 500


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of the API: how its objects are addressed. `group` is "" for the core group."""

    group: str
    version: str
    plural: str
    kind: str = ""
    namespaced: bool = True
    scalable: bool = True
    """Of a target kind: it has a scale subresource."""

    @property
    def api_version(self) -> str:
        """`apps/v1`, or `v1` for the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """URL path of the collection, one object, or its subresource. Example: `/apis/apps/v1/namespaces/a/deployments/b/scale`."""
        parts = ["/api" if not self.group else f"/apis/{self.group}", self.version]
        if namespace and self.namespaced:
            parts += ["namespaces", namespace]
        parts += [part for part in (self.plural, name, subresource) if part]
        return "/".join(parts)


@dataclass(frozen=True, slots=True)
class Credentials:
    """What another client (kopf) needs to reach the same server. Files are paths, secrets are plain text."""

    server: str
    ca_path: str | None
    certificate_path: str | None
    private_key_path: str | None
    token: str | None
    insecure: bool


class WriteHook(Protocol):
    """Called before each write with verb and path; may raise to stop it (leadership lost, a test's crash)."""

    def __call__(self, method: str, path: str) -> None:
        """Return to let the write through."""
        ...


class Api:
    """Requests against one API server. Safe for concurrent use; open it with `connect()`."""

    def __init__(self, client: ApiClient, *, timeout_s: float = 10.0) -> None:
        self._client = client
        self._timeout_s = timeout_s
        self.before_write: WriteHook | None = None
        self.writes = 0
        """Writes sent so far (requests that change objects; reviews and token requests do not count)."""

    @property
    def server(self) -> str:
        """The server's base URL."""
        return str(self._client.configuration.host)

    async def credentials(self) -> Credentials:
        """The same access for a second client, with the token as it is now."""
        configuration = self._client.configuration
        header = (await configuration.auth_settings()).get("BearerToken", {}).get("value") or ""
        return Credentials(
            server=configuration.host,
            ca_path=configuration.ssl_ca_cert,
            certificate_path=configuration.cert_file,
            private_key_path=configuration.key_file,
            token=header.split(" ", 1)[1].strip() if " " in header else None,
            insecure=not configuration.verify_ssl,
        )

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Read one object or collection."""
        return await self.request("GET", path, query=query)

    async def write(
        self, method: str, path: str, body: Any = None, *, query: Mapping[str, str] | None = None, content_type: str = "application/json"
    ) -> dict[str, Any]:
        """Create, replace, patch or delete. Counted in `writes` and announced to `before_write`."""
        if self.before_write is not None:
            self.before_write(method, path)
        self.writes += 1
        return await self.request(method, path, body=body, query=query, content_type=content_type, timeout_s=WRITE_TIMEOUT_S)

    async def request(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        query: Mapping[str, str] | None = None,
        content_type: str = "application/json",
        timeout_s: float | None = None,
    ) -> dict[str, Any]:
        """One request, one JSON answer. Raises ApiError."""
        response = await self._send(method, path, body=body, query=query, content_type=content_type, timeout_s=timeout_s or self._timeout_s)
        try:
            payload = await response.read()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise ApiError(0, "Unreachable", f"{method} {path}: {type(error).__name__} {error}") from error
        if response.status >= 400:
            raise _refusal(response, payload)
        try:
            answer = orjson.loads(payload) if payload else {}
        except orjson.JSONDecodeError as error:
            raise ApiError(0, "NotJSON", f"{method} {path}: {error}") from error
        return answer if isinstance(answer, dict) else {}

    async def list(
        self, kind: Kind, *, namespace: str | None = None, label_selector: str = "", field_selector: str = "", page: int = PAGE
    ) -> tuple[list[dict[str, Any]], str]:
        """All objects of a kind, page by page, and the resourceVersion to watch from. Raises ApiError."""
        items: list[dict[str, Any]] = []
        query = {"limit": str(page)}
        if label_selector:
            query["labelSelector"] = label_selector
        if field_selector:
            query["fieldSelector"] = field_selector
        while True:
            answer = await self.request("GET", kind.path(namespace), query=query, timeout_s=30.0)
            items.extend(answer.get("items") or [])
            metadata = answer.get("metadata") or {}
            token = metadata.get("continue")
            if not token:
                return items, str(metadata.get("resourceVersion", ""))
            query["continue"] = token

    async def watch(self, path: str, query: Mapping[str, str], *, inactivity_s: float) -> AsyncGenerator[dict[str, Any], None]:
        """Events of one watch, until the server ends it. Raises ApiError, also when nothing arrives for `inactivity_s` seconds."""
        timeout = aiohttp.ClientTimeout(total=None, connect=5.0, sock_read=inactivity_s)
        response = await self._send("GET", path, query={**query, "watch": "1"}, timeout_s=timeout)
        try:
            if response.status >= 400:
                raise _refusal(response, await response.read())
            buffer = b""
            async for chunk in response.content.iter_any():
                *lines, buffer = (buffer + chunk).split(b"\n")
                for line in lines:
                    if line:
                        yield orjson.loads(line)
                if len(buffer) > WATCH_LINE_LIMIT:
                    raise ApiError(0, "TooLarge", f"watch {path}: an event above {WATCH_LINE_LIMIT} bytes")
        except (aiohttp.ClientError, OSError, TimeoutError, orjson.JSONDecodeError) as error:
            raise ApiError(0, "Unreachable", f"watch {path}: {type(error).__name__} {error}") from error
        finally:
            response.close()

    async def _send(
        self,
        method: str,
        path: str,
        *,
        timeout_s: float | aiohttp.ClientTimeout,
        body: Any = None,
        query: Mapping[str, str] | None = None,
        content_type: str = "application/json",
    ) -> aiohttp.ClientResponse:
        headers = {"Accept": "application/json", "Content-Type": content_type, "User-Agent": self._client.user_agent}
        timeout = timeout_s if isinstance(timeout_s, aiohttp.ClientTimeout) else aiohttp.ClientTimeout(total=timeout_s, connect=5.0)
        try:
            _, url, headers, body, _ = await self._client.param_serialize(
                method=method,
                resource_path=path,
                query_params=list((query or {}).items()),
                header_params=headers,
                body=body,
                auth_settings=["BearerToken"],
            )
            rest = self._client.rest_client
            answer = await rest.request(method, url, headers=headers, body=body, _request_timeout=timeout)  # type: ignore[no-untyped-call]
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise ApiError(0, "Unreachable", f"{method} {path}: {type(error).__name__} {error}") from error
        response: aiohttp.ClientResponse = answer.response
        return response


def _refusal(response: aiohttp.ClientResponse, payload: bytes) -> ApiError:
    """The server's Status object as an exception; a proxy's HTML becomes its first 200 characters."""
    reason, message = response.reason or "", payload[:200].decode(errors="replace")
    try:
        status = json.loads(payload)
        reason, message = status.get("reason") or reason, status.get("message") or message
    except (ValueError, AttributeError):
        pass
    wait = response.headers.get("Retry-After", "")
    return ApiError(response.status, reason, message, float(wait) if wait.isdigit() else None)


@asynccontextmanager
async def connect(kubeconfig: str | None = None, *, user_agent: str = "jevons", timeout_s: float = 10.0) -> AsyncIterator[Api]:
    """Open a client by kubeconfig file, or with the pod's ServiceAccount when `kubeconfig` is None; closed at the end of the block.

    Raises NoClusterError.
    """
    configuration = type.__call__(Configuration)  # not the process-wide default, which its metaclass would hand out
    try:
        if kubeconfig is None:
            load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        else:
            await load_kube_config(config_file=kubeconfig, client_configuration=configuration, persist_config=False)  # type: ignore[no-untyped-call]
    except Exception as error:  # the library says in exceptions of any kind what is wrong with a file
        where = "no pod's ServiceAccount here, and no kubeconfig given" if kubeconfig is None else kubeconfig
        kind = "" if isinstance(error, ConfigException) else f"{type(error).__name__}: "
        raise NoClusterError(f"{where}: {kind}{' '.join(str(error).split())}") from error
    configuration.client_session_kwargs = {"trust_env": False}
    client = ApiClient(configuration=configuration)
    client.user_agent = user_agent
    try:
        yield Api(client, timeout_s=timeout_s)
    finally:
        await client.close()  # type: ignore[no-untyped-call]

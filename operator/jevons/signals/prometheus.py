"""Asking Prometheus, so that no answer, and no lack of one, can hurt.

prometheus-api-client brings the protocol; left alone it would wait for ever, try three times over ten seconds, follow redirects, drop warnings and
read bodies of any size. So: no retries, a session of our own that reads at most 8 MiB before a deadline, and a thread that nobody waits for beyond
5 s.

    MetricsUnavailable       no usable answer; `kind` is one CamelCase word for the condition's message
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
import requests
from prometheus_api_client import PrometheusConnect
from prometheus_api_client.exceptions import PrometheusApiClientException
from urllib3.util.retry import Retry

BODY_LIMIT = 8 * 1024 * 1024
"""Bytes of one answer."""
DEADLINE_S = 4.5
"""For all queries of a pass together; the caller gives up at 5 s whatever happens."""


class MetricsUnavailable(Exception):  # noqa: N818  it names a state of the world, not a mistake
    """Prometheus gave no usable answer."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind, self.detail = kind, detail


class Session(requests.Session):
    """Reads answers up to a size and a deadline, and checks them before the library does."""

    def __init__(self) -> None:
        super().__init__()
        self.trust_env = False
        self.deadline = float("inf")
        """Monotonic second after which reading stops."""
        self.warnings: list[str] = []
        """Of the last answer."""

    def request(self, method: str, url: str | bytes, *args: Any, **kwargs: Any) -> requests.Response:
        """One request: streamed, bounded, not redirected."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise MetricsUnavailable("Timeout", "the deadline of the pass is over")
        kwargs |= {"stream": True, "allow_redirects": False, "timeout": (min(2.0, left), left)}
        response = super().request(method, url, *args, **kwargs)
        with response:
            content = bytearray()
            for chunk in response.iter_content(65536):
                content += chunk
                if len(content) > BODY_LIMIT:
                    raise MetricsUnavailable("TooLarge", f"an answer above {BODY_LIMIT} bytes")
                if time.monotonic() > self.deadline:
                    raise MetricsUnavailable("Timeout", "the answer did not end in time")
        if response.status_code != 200:
            raise MetricsUnavailable(f"HTTP{response.status_code}", bytes(content[:200]).decode(errors="replace"))
        document = _checked(bytes(content))
        self.warnings = [str(warning) for warning in document.get("warnings") or []]
        response.json = lambda **_: document  # type: ignore[method-assign]  # parsed and checked once
        return response


def _checked(content: bytes) -> dict[str, Any]:
    """The document of a successful answer. Raises MetricsUnavailable for anything else."""
    try:
        document = orjson.loads(content)
        if document["status"] != "success":
            raise MetricsUnavailable("Refused", str(document.get("error", ""))[:200])
        if not isinstance(document["data"]["result"], list):
            raise MetricsUnavailable("NotPrometheus", "no list of results")
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise MetricsUnavailable("NotPrometheus", f"the answer is not one of Prometheus' API: {type(error).__name__}") from error
    return dict(document)


class Prometheus:
    """One Prometheus. Blocking: call it in a thread, one at a time."""

    def __init__(self, url: str, *, token_file: str | None = None, ca_file: str | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username or parts.password:
            raise ValueError(f"Prometheus URL must be http(s)://HOST[:PORT][/PATH] without credentials, got {url!r}")
        self._token_file = token_file
        self._session = Session()
        if ca_file:
            self._session.verify = ca_file
        self._client = PrometheusConnect(url=url.rstrip("/"), session=self._session, retry=Retry(total=0), method="POST")

    def ask(self, queries: Sequence[str]) -> list[list[dict[str, Any]] | MetricsUnavailable]:
        """The results of instant queries, in order, within DEADLINE_S for all of them. A query that fails alone is an exception in its place.

        Raises MetricsUnavailable when the first query fails: then nobody is there, and the others need not be tried.
        """
        self._session.deadline = time.monotonic() + DEADLINE_S
        if self._token_file:
            self._session.headers["Authorization"] = f"Bearer {Path(self._token_file).read_text().strip()}"
        answers: list[list[dict[str, Any]] | MetricsUnavailable] = []
        for query in queries:
            try:
                answers.append(self._one(query))
            except MetricsUnavailable as error:
                if not answers:
                    raise
                answers.append(error)
        return answers

    def _one(self, query: str) -> list[dict[str, Any]]:
        try:
            result: list[dict[str, Any]] = self._client.custom_query(query)
        except requests.exceptions.SSLError as error:
            raise MetricsUnavailable("TLS", _short(error)) from error
        except requests.exceptions.Timeout as error:
            raise MetricsUnavailable("Timeout", _short(error)) from error
        except (requests.exceptions.RequestException, PrometheusApiClientException, OSError) as error:
            raise MetricsUnavailable("Unreachable", _short(error)) from error
        if self._session.warnings:
            raise MetricsUnavailable("Partial", "; ".join(self._session.warnings)[:200])
        return result

    def close(self) -> None:
        """Release the connection."""
        self._client.close()


def _short(error: Exception) -> str:
    """The innermost reason, without the query that the library puts into its messages."""
    cause = getattr(error.args[0] if error.args else error, "reason", error)
    return f"{type(error).__name__}: {str(cause).rsplit(': ', maxsplit=1)[-1]}"[:200]

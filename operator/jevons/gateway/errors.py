"""What a client is told when its request is not served, in OpenAI's form, with a code, a sentence a person understands, and when to come back.

`Refusal` is the one exception of the steps: raised where a rule says no, turned into an answer by the picker (and by the waiting room).
`Retry-After` never exceeds 120 s: the common SDKs do not retry at all on more.
"""

from __future__ import annotations

import math
from typing import Any

import orjson

RETRY_AFTER_MAX_S = 120
ERROR_HEADER = "x-jevons-error"
"""Response header of whatever the gateway itself refused: the code."""

CODES = frozenset(
    {
        "budget_exceeded",
        "context_length_exceeded",
        "headers_too_large",
        "internal_error",
        "invalid_request",
        "method_not_allowed",
        "model_not_found",
        "no_capacity",
        "not_supported",
        "overloaded",
        "request_timeout",
        "request_too_large",
        "session_limit_exceeded",
        "timeout",
        "unknown_url",
        "unsupported_encoding",
        "upstream_error",
        "upstream_lost",
        "wake_timeout",
    }
)
"""Every code that pickers, waiting room and Envoy answer with."""

_TYPES = {401: "authentication_error", 404: "invalid_request_error", 429: "rate_limit_error", 503: "server_error", 504: "server_error"}


class Refusal(Exception):  # noqa: N818 - it is an answer, not a fault
    """A request that is not served. `status` is HTTP's; `code` and `message` go to the client; `param` names the field at fault.

    `model` is the `namespace/name` of the deployment that refuses, set by whoever knows it; empty when no model was recognised.
    """

    def __init__(self, status: int, code: str, message: str, *, param: str | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.param = param
        self.model = ""
        self.retry_after_s = None if retry_after_s is None else max(1, min(RETRY_AFTER_MAX_S, math.ceil(retry_after_s)))

    def body(self) -> bytes:
        """`{"error": {...}}` as JSON."""
        return error_body(self.status, self.code, self.message, param=self.param)

    def headers(self) -> dict[str, str]:
        """Content type, the code, and Retry-After where waiting helps."""
        retry = {} if self.retry_after_s is None else {"retry-after": str(self.retry_after_s)}
        return {"content-type": "application/json", ERROR_HEADER: self.code, **retry}


def error_body(status: int, code: str, message: str, *, param: str | None = None) -> bytes:
    """OpenAI's error object as JSON. `type` follows from `status`."""
    kind = "insufficient_quota" if code == "budget_exceeded" else _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    error: dict[str, Any] = {"message": message, "type": kind, "param": param, "code": code}
    return orjson.dumps({"error": error})


def invalid(message: str, *, param: str | None = None, code: str = "invalid_request") -> Refusal:
    """400: the request cannot be understood."""
    return Refusal(400, code, message, param=param)

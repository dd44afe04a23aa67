"""ServiceAccount tokens: who calls the demand port, and (for tests and local runs) a token to call it with."""

from __future__ import annotations

import time

from jevons.cluster.connect import Api, ApiError, Kind

AUDIENCE = "jevons-demand"
TOKEN_REVIEWS = Kind("authentication.k8s.io", "v1", "tokenreviews", "TokenReview", namespaced=False)
SERVICE_ACCOUNTS = Kind("", "v1", "serviceaccounts", "ServiceAccount")
REMEMBER_S = 60.0
"""A verdict holds this long: a revoked token is refused after a minute at most."""


class TokenReviewer:
    """Asks the API server whether a token is valid for our audience."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._verdicts: dict[str, tuple[float, str | None]] = {}

    async def user(self, token: str) -> str | None:
        """The user behind a token, or None when it is not valid here. Raises ApiError when the server cannot say: that is not a yes."""
        now = time.monotonic()
        self._verdicts = {known: verdict for known, verdict in self._verdicts.items() if verdict[0] > now}
        if token in self._verdicts:
            return self._verdicts[token][1]
        body = {"apiVersion": TOKEN_REVIEWS.api_version, "kind": TOKEN_REVIEWS.kind, "spec": {"token": token, "audiences": [AUDIENCE]}}
        status = (await self._api.request("POST", TOKEN_REVIEWS.path(), body=body)).get("status") or {}
        valid = bool(status.get("authenticated")) and AUDIENCE in (status.get("audiences") or [])
        user = str((status.get("user") or {}).get("username") or "") if valid else None
        if len(self._verdicts) < 1024:
            self._verdicts[token] = (now + REMEMBER_S, user)
        return user


async def request_token(api: Api, *, namespace: str, service_account: str, expires_s: int = 3600, audience: str = AUDIENCE) -> str:
    """A token of a ServiceAccount for our audience (the account is made when it is missing). Raises ApiError."""
    try:
        await api.request("POST", SERVICE_ACCOUNTS.path(namespace), body={"metadata": {"name": service_account}})
    except ApiError as error:
        if not error.conflict:
            raise
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": [audience], "expirationSeconds": expires_s}}
    answer = await api.request("POST", SERVICE_ACCOUNTS.path(namespace, service_account, "token"), body=body)
    return str(answer["status"]["token"])

"""Watching starts where the process' user has no entry in the password file, as in a container."""

from __future__ import annotations

import asyncio

import kopf
import pytest
from kopf._core.engines import peering

from jevons.controller.handlers import Watcher


async def test_watching_needs_no_name_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    async def operator(*, identity: str | None = None, **_: object) -> None:
        seen.append(identity if identity is not None else peering.detect_own_id(manual=False))

    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 65532")

    monkeypatch.setattr(kopf, "operator", operator)
    monkeypatch.setattr("getpass.getuser", nobody)
    watcher = Watcher(None, lambda *_: None, (), ())
    assert await asyncio.to_thread(watcher._watch, asyncio.get_running_loop()) == "stopped"
    assert seen == ["jevons"]

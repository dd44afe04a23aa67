"""Checkpoints are stored one after the other while there is time, and many at a time when there is none."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from jevons.cluster.checkpoints import AT_ONCE, Checkpoints
from jevons.cluster.connect import ApiError
from jevons.cluster.lease import NotLeadingError
from jevons.core.ledger import Account, Ledger
from jevons.core.memory import Memory
from jevons.core.spec import Key

KEYS = [Key("a", f"d-{number}") for number in range(40)]
LEDGER = Ledger({key: Account(as_of_s=1.0) for key in KEYS})


class Server:
    """Answers each write a turn of the loop later; refuses as told; notes how many were in flight at once."""

    def __init__(self) -> None:
        self.refuses: dict[str, Exception] = {}
        self.stored: list[str] = []
        self.asked = self.in_flight = self.most = 0
        self.open = asyncio.Event()
        self.open.set()

    async def write(self, method: str, path: str, body: Any = None, **_: Any) -> dict[str, Any]:
        name = path.rsplit("/", 1)[-1] if method != "POST" else body["metadata"]["name"]
        self.asked += 1
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        try:
            await asyncio.sleep(0)
            await self.open.wait()
            if (refusal := self.refuses.get(name.rpartition(".")[2], self.refuses.get("*"))) is not None:
                raise refusal
        finally:
            self.in_flight -= 1
        self.stored.append(f"{method} {name}")
        return {}


def made() -> tuple[Server, Checkpoints]:
    server: Any = Server()
    return server, Checkpoints(server, namespace="jevons-system", every_s=0.0)


async def test_the_last_round_writes_many_at_a_time_and_others_one():
    server, checkpoints = made()
    assert await checkpoints.save(Memory(), LEDGER) == 40
    assert server.most == 1
    later = Ledger({key: Account(as_of_s=2.0) for key in KEYS})
    assert await checkpoints.save(Memory(), later) == 0, "not worth a write"
    assert await checkpoints.save(Memory(), later, now=True) == 40
    assert server.most == AT_ONCE
    assert await checkpoints.save(Memory(), later, now=True) == 0


async def test_a_refused_checkpoint_keeps_no_other_from_being_stored_and_is_tried_again():
    server, checkpoints = made()
    server.refuses["d-3"] = ApiError(422, "Invalid", "too long")
    with pytest.raises(ApiError):
        await checkpoints.save(Memory(), LEDGER)
    assert len(server.stored) == 39
    server.refuses.clear()
    assert await checkpoints.save(Memory(), LEDGER) == 1
    assert server.stored[-1] == "POST jevons-ledger-a.d-3"


@pytest.mark.parametrize("trouble", [ApiError(0, "Unreachable", "reset"), ApiError(429, "TooManyRequests", "later"), NotLeadingError("deposed")])
async def test_a_server_in_trouble_or_a_lost_lease_ends_the_round(trouble):
    server, checkpoints = made()
    server.refuses["*"] = trouble
    with pytest.raises(type(trouble)):
        await checkpoints.save(Memory(), LEDGER)
    assert server.asked == 1
    with pytest.raises(type(trouble)):
        await checkpoints.save(Memory(), LEDGER, now=True)
    assert server.asked <= 1 + AT_ONCE


async def test_a_round_under_way_ends_with_its_write_when_the_last_one_begins():
    server, checkpoints = made()
    server.open.clear()
    slow = asyncio.create_task(checkpoints.save(Memory(), LEDGER))
    while not server.in_flight:  # noqa: ASYNC110
        await asyncio.sleep(0)
    last = asyncio.create_task(checkpoints.save(Memory(), LEDGER, now=True))
    await asyncio.sleep(0)
    server.open.set()
    assert (await slow, await last) == (1, 39)
    assert len(set(server.stored)) == 40


async def test_what_is_gone_is_deleted():
    server, checkpoints = made()
    await checkpoints.save(Memory(), LEDGER)
    assert await checkpoints.save(Memory(), Ledger({}), now=True) == 40
    assert sum(1 for entry in server.stored if entry.startswith("DELETE")) == 40

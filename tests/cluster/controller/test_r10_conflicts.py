"""R10: the API server refuses the scale and the status of one object ten times each, with 409 or 422; it is tried again, others do not wait."""

from __future__ import annotations

import sys
import time
from collections import Counter

import pytest

from jevons.cluster.connect import ApiError

pytestmark = pytest.mark.cluster

TIMES = 10


@pytest.mark.parametrize(("status", "reason"), [(409, "Conflict"), (422, "Invalid")])
async def test_what_is_refused_ten_times_is_carried_out_at_last_and_the_others_are_served_at_once(operators, assistant, status, reason):
    refused, others = f"r10-{status}", [f"r10-{status}-other-{index}" for index in range(3)]
    for name in (refused, *others):
        await assistant(name)
    leader = await operators.start()
    for name in (refused, *others):
        leader.holds(name, "small", 2)
    attempts: Counter[str] = Counter()
    write = leader.api.write

    async def refusing(method, path, *args, **kwargs):
        kind = path.rsplit("/", 1)[1]
        if kind in {"scale", "status"} and path.split("/")[-2] in {refused, f"{refused}-small", f"{refused}-target"} and attempts[kind] < TIMES:
            attempts[kind] += 1
            raise ApiError(status, reason, "not now")
        return await write(method, path, *args, **kwargs)

    leader.api.write = refusing
    began = time.monotonic()
    passes = 0
    while (attempts["scale"] < TIMES or attempts["status"] < TIMES) and passes < 4 * TIMES:
        await leader.passes()
        passes += 1
        if passes == 1:
            first_s = time.monotonic() - began
            assert [await leader.replicas(f"{name}-small") for name in others] == [1, 1, 1]
            for name in others:
                assert (await leader.condition(name, "Accepted"))["status"] == "True"
    await leader.passes(3)  # after quiet: the same state as everybody's, no condition lost
    assert await leader.replicas(f"{refused}-small") == 1
    told = {entry["type"] for entry in (await leader.infd(refused))["status"]["conditions"]}
    assert told == {entry["type"] for entry in (await leader.infd(others[0]))["status"]["conditions"]}
    assert attempts == {"scale": TIMES, "status": TIMES}
    assert (await leader.passes(2)).scaled == 0
    sys.stdout.write(
        f"R10: {status} {TIMES} times on scale and on status, done after {passes} passes; the others in a first pass of {first_s:.2f} s\n"
    )

"""R5: the operator is killed after its k-th write, for every k, and the next one ends in the same state without doing anything twice."""

from __future__ import annotations

import sys
from collections import Counter

import pytest

pytestmark = pytest.mark.cluster


async def test_killed_after_any_write_the_next_operator_ends_in_the_same_state(operators, assistant, killed, sandbox, namespace):
    async def story(name, die_after):
        """Apply; one operator until it dies (or not); another to the end. Returns the state and the writes per object."""
        await assistant(name)
        first = await operators.start(die_after=die_after)
        first.holds(name, "small", 2)
        died = False
        try:
            await first.passes(3)
        except killed:
            died = True
        second = await operators.start()
        second.holds(name, "small", 2)
        await second.passes(3)
        status = (await second.infd(name))["status"]
        state = {
            "target": await second.replicas(f"{name}-target"),
            "child": await second.replicas(f"{name}-small"),
            "spec changes of the child": (await sandbox.get("deployment", f"{name}-small", namespace=namespace))["metadata"]["generation"],
            "desired": [(entry["name"], entry["desired"]) for entry in status["variants"]],
            "routing": status["routing"]["best"],
        }
        await sandbox.kubectl("delete", f"infd/{name}", f"deploy/{name}-target", "-n", namespace, "--wait=false")
        mine = [(method, path.split("/")[-2:]) for method, path in [*first.done, *second.done] if name in path or method == "POST"]
        own = sum(name in path or method == "POST" for method, path in first.writes)
        return state, Counter(f"{method} {'/'.join(path)}".replace(name, "NAME") for method, path in mine), own, died

    whole, counts, own, _ = await story("r5-whole", None)
    assert whole["child"] == 1
    assert own >= 5
    # How much is written about others (an accelerator class seen for the first time, the ledger of the story before) is another number each time.
    for k in range(4 * own):
        state, mine, made, died = await story(f"r5-{k}", k)
        assert state == whole, f"k={k}"
        for write, count in mine.items():
            if "events" in write or "ledger" in write or "memory" in write or "configmaps" in write:
                continue  # each operator may tell an event, and stores what it learned
            assert count <= counts[write] + 1, f"k={k}: {write} {count} times instead of {counts[write]}"
        if not died:
            break
    assert not died, "no operator came to the end of its story"
    assert made >= 5
    sys.stdout.write(f"R5: killed after each of {k} writes, {made} of them about its own deployment\n")

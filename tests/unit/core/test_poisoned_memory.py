"""A checkpoint that somebody or something has spoiled, number by number: it is left out, or it can be decided with; it stops nobody for ever."""

from __future__ import annotations

import json
import math

import pytest
from core_plant import Plant, assistant
from core_worlds import KEY, NOW

from jevons.core.decide import decide
from jevons.core.memory import Memory


@pytest.fixture(scope="module")
def plant():
    """A deployment that has served five requests a second for ten minutes."""
    made = Plant({KEY: assistant()}, NOW, {KEY: 5.0})
    for _ in range(40):
        made.step()
    return made


def places(part, path=()):
    """Where single values stand in a document."""
    if not isinstance(part, dict | list):
        return [path]
    return [place for key, inner in (part.items() if isinstance(part, dict) else enumerate(part)) for place in places(inner, (*path, key))]


def spoiled(text, place, poison):
    document = json.loads(text)
    part = document
    for key in place[:-1]:
        part = part[key]
    part[place[-1]] = poison
    return json.dumps(document)


@pytest.mark.parametrize("poison", [math.nan, math.inf, 1e300, -1e300, 10**400, 1e12, -1e12, -1, None, "x", []], ids=lambda poison: str(poison)[:8])
def test_no_spoiled_number_of_a_checkpoint_stops_a_deployment(plant, poison):
    text, kept = plant.memory.to_json(KEY), 0
    found = places(json.loads(text))
    assert len(found) > 60
    for place in found:
        plant.memory = Memory.from_json({KEY: spoiled(text, place, poison)})
        kept += KEY in plant.memory.deployments
        (made,) = decide(plant.snapshot(), plant.now).deployments.values()
        assert "InternalError" not in {condition.reason for condition in made.conditions}, place
        assert all(target.desired is not None for target in made.replicas), place
    plant.memory = Memory.from_json({KEY: text})
    assert KEY in plant.memory.deployments
    assert kept < len(found)

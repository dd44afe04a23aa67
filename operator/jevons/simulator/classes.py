"""Which request class is each request of a trace, as the gateway would have found it?

A trace holds no headers. A class that is matched by a header gets the requests that a column `Class` names for it, or a share of all at random; the
others go to the first class without a header that they fit, in the manifest's order, or to the default class (`gateway/steps/limits.py`). The tokens
that were generated stand for the limit that the client set: nothing else says that an answer was meant to be short.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from jevons.core.spec import DEFAULT_CLASS, Deployment, RequestClass
from jevons.core.waiting import patience_s
from jevons.simulator.scenario import Requests, SimClass
from jevons.simulator.traces import UNTOLD


def named(written: Deployment) -> tuple[RequestClass, ...]:
    """The manifest's classes beside the default one, in order."""
    return tuple(one for one in written.classes if one.name != DEFAULT_CLASS)


def names(written: Deployment) -> tuple[str, ...]:
    """Of every class, by its number in `Requests.klass`."""
    return (DEFAULT_CLASS, *(one.name for one in named(written)))


def served(written: Deployment) -> tuple[SimClass, ...]:
    """The classes as a scenario has them."""
    return tuple(SimClass(one, patience_s(written, one.name)) for one in named(written))


def classed(requests: Requests, written: Deployment, shares: Mapping[str, float], *, seed: int = 0) -> Requests:
    """The requests with their classes; those whose class is UNTOLD get one. `shares`: part (0..1) of the requests by name of class.

    Raises ValueError for shares of a class that does not exist, above 1 in all, or of a trace that names classes itself, and for a request that a
    class which is named for it would refuse.
    """
    known, klass = named(written), requests.klass.copy()
    untold = klass == UNTOLD
    if shares and not untold.all():
        raise ValueError("--share: the trace has a column Class; leave one of them out")
    for number, one in enumerate(known, start=1):
        refused = np.flatnonzero((klass == number) & ~_fits(requests, one))
        if len(refused):
            given, wanted = requests.input_tokens[refused[0]], requests.output_tokens[refused[0]]
            raise ValueError(f"trace: a request of {given} input and {wanted} output tokens is named {one.name!r}, which is not for that many")
    lots, below = np.random.default_rng([seed, 24]).random(len(requests)), 0.0
    for name, share in shares.items():
        if name not in names(written):
            raise ValueError(f"--share: no request class is called {name!r}; there are {', '.join(names(written))}")
        number = names(written).index(name)
        fits = _fits(requests, known[number - 1]) if number else np.True_
        klass[untold & fits & (lots >= below) & (lots < below + share)] = number
        below += share
    if below > 1.0 + 1e-9:
        raise ValueError(f"--share: {below:g} in all; they are parts of all requests, 1 at most together")
    for number, one in enumerate(known, start=1):
        if one.header is None:
            klass[(klass == UNTOLD) & _fits(requests, one)] = number
    return replace(requests, klass=np.maximum(klass, 0).astype(np.int16))


def unmatched(requests: Requests, written: Deployment) -> tuple[str, ...]:
    """Classes that a header matches and of which no request is."""
    return tuple(one.name for number, one in enumerate(named(written), start=1) if one.header is not None and not (requests.klass == number).any())


def _fits(requests: Requests, one: RequestClass) -> NDArray[np.bool_]:
    """Which requests the class has room for."""
    most_in = np.inf if one.max_input_tokens is None else one.max_input_tokens
    most_out = np.inf if one.max_output_tokens is None else one.max_output_tokens
    return np.asarray((requests.input_tokens <= most_in) & (requests.output_tokens <= most_out))

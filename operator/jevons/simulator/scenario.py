"""What a simulated cluster is made of, and what comes out of it: the values that trace, fleet, cluster, controllers and protocol hand to each other.

A `Scenario` is everything that is the same for all who compete on it: who arrives when, how replicas behave, how long they take to start,
what they cost, what counts as a good answer. A `Controller` is one competitor. `Outcome` is what became of every request and accelerator-second.
Times are seconds from the scenario's start, money is USD as float (a simulation bills nobody).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from jevons.core.spec import PRIORITIES, Objectives, Profile, RequestClass, Tier
from jevons.simulator.policies.policy import FleetPolicy
from jevons.simulator.shocks import Shock

Floats = NDArray[np.float64]
Ints = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Requests:
    """`n` requests in order of arrival, as columns of length n. `cached_tokens` of a prompt need no computing."""

    at_s: Floats
    input_tokens: Ints
    output_tokens: Ints
    cached_tokens: Ints
    score: NDArray[np.float32]
    """The router's score 0..1 (how likely the cheapest variant is right); 0 where there is no router."""
    klass: NDArray[np.int16] = field(default_factory=lambda: np.zeros(0, np.int16))
    """Request class: k > 0 is `Scenario.classes[k - 1]`, 0 the default class, as everybody is when nothing is given."""

    def __post_init__(self) -> None:
        """Nobody is of a class unless somebody says so."""
        if not len(self.klass) and len(self.at_s):
            object.__setattr__(self, "klass", np.zeros(len(self.at_s), np.int16))

    def __len__(self) -> int:
        """How many."""
        return len(self.at_s)

    def first(self, count: int) -> Requests:
        """The first `count` of them, as views of the same columns."""
        return self.some(slice(count))

    def some(self, which: slice | NDArray[np.bool_] | NDArray[np.intp]) -> Requests:
        """Those of these places, in their order."""
        columns = (self.at_s, self.input_tokens, self.output_tokens, self.cached_tokens, self.score, self.klass)
        return Requests(*(column[which] for column in columns))  # type: ignore[arg-type]  # each is of its own kind


@dataclass(frozen=True, slots=True)
class Physics:
    """How one replica behaves beyond its `profile`: `jitter` is the sigma of a lognormal factor per iteration, `slowdown` multiplies all times.

    static_batch > 0: the engine takes that many requests at a time and starts the next batch when all of them are done (no continuous batching).
    """

    profile: Profile
    jitter: float = 0.0
    slowdown: float = 1.0
    static_batch: int = 0


class Dispatch(IntEnum):
    """How a request finds its replica among the ready ones of its variant."""

    LEAST_LOAD = 0
    """The one with the least load (`core.load`), as our gateway does; of equals the lowest slot."""
    RANDOM = 1
    """Any: a Service through kube-proxy."""
    ROUND_ROBIN = 2
    LEAST_REQUESTS = 3
    """The one with the fewest requests in it."""
    TWO_CHOICES = 4
    """Of two drawn at random the one with fewer requests."""


@dataclass(frozen=True, slots=True)
class Startup:
    """Seconds from scheduled to ready: lognormal with this median and sigma; `fails` is the chance that a start never becomes ready."""

    median_s: float
    sigma: float = 0.0
    fails: float = 0.0
    home_s: float | None = None
    """The median on a node that still has the variant's weights (`homes.py`); None = nodes make no difference."""


@dataclass(frozen=True, slots=True)
class HostMemory:
    """A replica's sleep in host memory: what part of its price it costs, and how long waking takes (lognormal), and lying down."""

    holding: float
    wake_s: float
    sigma: float = 0.0
    lie_s: float = 20.0
    """From the mark to being asleep, once the replica is empty: a scrape has to show that it is, and weights have to move."""


@dataclass(frozen=True, slots=True)
class SimVariant:
    """One variant as the cluster runs it. `usd_per_h` is of one replica, all its accelerators together."""

    name: str
    physics: Physics
    startup: Startup
    usd_per_h: float
    accelerator: str = "gpu"
    accelerators: int = 1
    min_replicas: int = 0
    max_replicas: int = 64
    initial_replicas: int = 1
    """Ready at time 0."""
    quality: float = 1.0
    reclaim_per_h: float = 0.0
    """Spot: chance per hour that a replica is taken away (Poisson)."""
    crash_per_h: float = 0.0
    sleep: HostMemory | None = None
    """None = its engine cannot."""


TIERS = {Tier.INTERACTIVE: 0, Tier.FLEX: 1, Tier.BATCH: 2}


@dataclass(frozen=True, slots=True)
class SimClass:
    """A request class beside the default one. `patience_s`: how long its requests are said to wait for idle capacity while no budget presses."""

    written: RequestClass
    patience_s: float = 0.0

    @property
    def rank(self) -> int:
        """Who goes first of those that wait: by tier, then by priority; the smaller."""
        return TIERS[self.written.tier] * len(PRIORITIES) + max(PRIORITIES.values()) - PRIORITIES[self.written.priority]


DEFAULT_RANK = SimClass(RequestClass("default")).rank


@dataclass(frozen=True, slots=True)
class Scenario:
    """The same world for everybody. Nobody is shown `requests` ahead of time, except reference points that say so."""

    name: str
    requests: Requests
    variants: tuple[SimVariant, ...]
    objectives: Objectives
    inventory: Mapping[str, int] = field(default_factory=dict)
    """Accelerators that exist, by class; a class that is not named is without bound."""
    node_keeps_s: float = 600.0
    """So long an empty node stays, and with it the weights on it, where starts tell nodes apart."""
    provisioning_s: float = 0.0
    """Until a node is there for a pod that found no room (inside the inventory's bound)."""
    free_at_start: int | None = None
    """Accelerators on nodes that exist already; None = all of the inventory, so that nothing waits for a node."""
    scrape_s: float = 15.0
    actuation_s: float = 0.5
    """From a changed replica count to the pod's creation or the beginning of its end."""
    drain_limit_s: float = 600.0
    """A replica on its way out is cut off after this long; what still runs on it is lost."""
    max_wait_s: float = 600.0
    """A request that no replica has taken by then is refused (missed)."""
    burn_in_s: float = 0.0
    """Arrivals before this instant count in no figure, and neither does what was paid before it."""
    seed: int = 0
    dispatch: Dispatch = Dispatch.LEAST_LOAD
    shocks: tuple[Shock, ...] = ()
    classes: tuple[SimClass, ...] = ()
    max_waiting: int = 500
    """Places in front of all variants together: who can wait gets none where four fifths are taken (`kernel_patient.py`), others always get one."""


Controller: TypeAlias = FleetPolicy
"""One competitor. It sees samples and views only (see `policies.policy`), never a request; Jevons' own also sees what its gateway counts."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of everything. Columns are parallel to the scenario's requests; NaN = it never came.

    variant: index of the variant that answered, -1 = refused, lost or never taken.
    usd: paid from `burn_in_s` on, from scheduled to gone, until the last completion; `starting_gpu_s` is the part before ready, included in `gpu_s`.
    timeline: per scrape, columns (at_s, ready, starting, pending, running, waiting, held), summed over variants.
    """

    first_token_s: Floats
    end_s: Floats
    largest_gap_s: Floats
    variant: Ints
    usd: float
    gpu_s: float
    starting_gpu_s: float
    drained_gpu_s: float
    scale_events: int
    failed_starts: int
    timeline: Floats
    ended_s: float
    """When the last request was done, or the trace ended."""
    waited_s: Floats = field(default_factory=lambda: np.zeros(0))
    """How long each stood in front of the replicas before it went to one; 0 for who never stood there, or never went."""
    patience_s: Floats = field(default_factory=lambda: np.zeros(0))
    """How long each was to wait for idle capacity, as its gateway had it."""


def met(
    requests: Requests, outcome: Outcome, objectives: Objectives, classes: Sequence[SimClass] = (), patience_s: Floats | None = None
) -> NDArray[np.bool_]:
    """Per request, whether it was answered `inside` the objectives; `patience_s` None = the outcome's."""
    given = outcome.patience_s if patience_s is None else patience_s
    return inside(requests, outcome.first_token_s, outcome.end_s, objectives, classes, given)


def inside(  # noqa: PLR0917 - columns, and what they are held against
    requests: Requests,
    first_token_s: Floats,
    end_s: Floats,
    objectives: Objectives,
    classes: Sequence[SimClass] = (),
    patience_s: Floats | None = None,
) -> NDArray[np.bool_]:
    """Per request: first token within `ttft_s`, and (end - first) / max(output - 1, 16) within `itl_s` (benchmarks B1).

    Of a class its own objectives; time to first token counts from the end of its patience (what its gateway gave it, or what is said of the class,
    whichever is longer). Whatever never came (NaN) is missed.
    """
    ttft_s, itl_s = _bounds(requests, objectives, classes, patience_s) if classes else (objectives.ttft_s, objectives.itl_s)
    with np.errstate(invalid="ignore"):
        pace = (end_s - first_token_s) / np.maximum(requests.output_tokens - 1, 16)
        good = (first_token_s - requests.at_s <= ttft_s) & (pace <= itl_s)
    return np.asarray(good & np.isfinite(end_s), dtype=np.bool_)


def _bounds(requests: Requests, objectives: Objectives, classes: Sequence[SimClass], patience_s: Floats | None) -> tuple[Floats, Floats]:
    """Time to first token from arrival, and pace, that each request must keep [s]."""
    said = np.array([0.0, *(one.patience_s for one in classes)])[requests.klass]
    promised = [objectives, *(one.written.objectives for one in classes)]
    ttft_s, itl_s = (np.array(column)[requests.klass] for column in zip(*((one.ttft_s, one.itl_s) for one in promised), strict=True))
    return ttft_s + (said if patience_s is None or not len(patience_s) else np.maximum(said, patience_s)), itl_s

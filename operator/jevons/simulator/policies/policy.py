"""What an autoscaler is to the simulator: something that is shown metrics and says how many replicas it wants.

A peer must see no more than it would see in life, so its world has two doors. `observe` is its metrics collector: a `Sample` of what pods (and the
queue in front of them) expose, at the peer's own scrape period. `decide` is its control loop: a `View` of what the API server says about the pods, at
the peer's own sync period. Windows, averages, staleness and memory are the policy's own business, as they are the peer's.

A sample has three outcomes, and peers differ most in how they treat them: values, no series at all (`pods` empty), and a failed query (`failed`).
Time is a parameter [s, any origin, not decreasing]; nothing is random; a policy never looks at a request.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class Signal(StrEnum):
    """Which number of a pod a peer scales on."""

    IN_FLIGHT = "in-flight"
    """Running and waiting requests."""
    WAITING = "waiting"
    """Requests in the engine's queue (`vllm:num_requests_waiting`)."""
    KV = "kv"
    """Share of the KV cache in use, 0..1 (`vllm:kv_cache_usage_perc`)."""
    TOKENS = "tokens"
    """Tokens in the KV cache plus prompt tokens queued for it."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What one pod's metrics page says at an instant. `leaving`: the pod is being deleted and still answers."""

    pod: str
    running: int = 0
    waiting: int = 0
    kv_tokens: int = 0
    kv_capacity: int = 0
    queued_tokens: int = 0
    leaving: bool = False

    @property
    def kv_usage(self) -> float:
        """Share of the KV cache in use; 0 when the capacity is not known."""
        return self.kv_tokens / self.kv_capacity if self.kv_capacity else 0.0

    def of(self, signal: Signal) -> float:
        """This pod's value of `signal`."""
        if signal is Signal.IN_FLIGHT:
            return self.running + self.waiting
        if signal is Signal.WAITING:
            return self.waiting
        if signal is Signal.KV:
            return self.kv_usage
        return self.kv_tokens + self.queued_tokens


@dataclass(frozen=True, slots=True)
class Sample:
    """One scrape of one variant at `at_s`.

    pods: those that answered; loading pods do not. held, held_tokens: requests waiting in front of the pods for this variant (each request waits for
    one), and their prompt tokens. arrivals, completed: requests since the start, a counter each; prompt_tokens, output_tokens: tokens of the
    completed ones. failed: the query itself failed (a metrics server that is down), which is not the same as an empty answer.
    """

    at_s: float
    pods: tuple[Reading, ...] = ()
    held: int = 0
    held_tokens: int = 0
    arrivals: int = 0
    completed: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0
    failed: bool = False

    def total(self, signal: Signal, *, held: bool) -> float | None:
        """Sum of `signal` over the pods that answered; None when there is no series.

        held: whether the peer's query also counts what waits in front of the pods. That series exists without pods.
        """
        if not self.pods and not held:
            return None
        value = float(sum(reading.of(signal) for reading in self.pods))
        if held and signal in (Signal.IN_FLIGHT, Signal.WAITING):
            value += self.held
        if held and signal is Signal.TOKENS:
            value += self.held_tokens
        return value


@dataclass(frozen=True, slots=True)
class View:
    """What the API server says of one variant: `replicas` wanted (spec) and the pods that exist, by state.

    ready: pass their readiness probe. starting: on a node, loading. pending: no node yet. Pods being deleted are in none of them.
    """

    replicas: int
    ready: int
    starting: int = 0
    pending: int = 0

    @property
    def existing(self) -> int:
        """Pods that exist and are not being deleted: `status.replicas` of the scale subresource."""
        return self.ready + self.starting + self.pending


class Policy(Protocol):
    """An autoscaler of one variant."""

    @property
    def period_s(self) -> float:
        """Seconds between two calls of `decide`."""

    @property
    def sample_s(self) -> float:
        """Seconds between two calls of `observe`."""

    def observe(self, sample: Sample) -> None:
        """A scrape has come in."""

    def decide(self, now: float, view: View) -> int:
        """Replicas wanted from `now` on; `view.replicas` to leave them alone."""

    def wake(self, now: float, view: View) -> int:
        """Replicas wanted when a request has just arrived and no replica is wanted yet; `view.replicas` where the peer does not react to that."""


class FleetPolicy(Protocol):
    """An autoscaler of all variants of one model. What the simulator calls; see `Apart` for policies that know one variant only."""

    @property
    def period_s(self) -> float:
        """Seconds between two calls of `decide`."""

    @property
    def sample_s(self) -> float:
        """Seconds between two calls of `observe`."""

    def observe(self, samples: Mapping[str, Sample]) -> None:
        """A scrape of every variant, by name."""

    def decide(self, now: float, views: Mapping[str, View]) -> Mapping[str, int]:
        """Replicas wanted of every variant in `views`."""

    def wake(self, now: float, views: Mapping[str, View]) -> Mapping[str, int]:
        """The same, when a request has just arrived and no replica of the variants in `views` is wanted yet; give only those it may go to."""


class Apart:
    """Several one-variant policies side by side, none knowing of the others: how most peers see a model with variants.

    Raises ValueError when there is none, or when their periods differ (they are copies of one peer).
    """

    def __init__(self, policies: Mapping[str, Policy]) -> None:
        periods = {(policy.period_s, policy.sample_s) for policy in policies.values()}
        if len(periods) != 1:
            raise ValueError(f"policies: need at least one, all with the same periods, not {sorted(periods)}")
        self._policies = dict(policies)
        self.period_s, self.sample_s = periods.pop()

    def observe(self, samples: Mapping[str, Sample]) -> None:
        """Each policy sees its own variant's scrape."""
        for name, policy in self._policies.items():
            policy.observe(samples[name])

    def decide(self, now: float, views: Mapping[str, View]) -> dict[str, int]:
        """Each policy's own answer; a variant nobody scales stays as it is."""
        return {name: self._policies[name].decide(now, view) if name in self._policies else view.replicas for name, view in views.items()}

    def wake(self, now: float, views: Mapping[str, View]) -> dict[str, int]:
        """Each policy's own answer to an arrival without replicas."""
        return {name: self._policies[name].wake(now, view) if name in self._policies else view.replicas for name, view in views.items()}


def whole(value: float) -> int:
    """The smallest whole number not below `value`, float noise below 1e-9 forgiven. Example: 3 * 0.4 / 0.4 is 3.0000000000000004, and 3 replicas."""
    return math.ceil(round(value, 9))


def clamped(wanted: int, minimum: int, maximum: int | None) -> int:
    """`wanted` inside the bounds; `maximum` None means no upper bound. The upper bound wins over the lower one."""
    wanted = max(wanted, minimum)
    return wanted if maximum is None else min(wanted, maximum)

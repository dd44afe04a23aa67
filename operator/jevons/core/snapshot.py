"""What the core sees and what it answers: the two values on either side of `decide`.

`Snapshot` is the whole world at one moment (level-based: every pass starts from it alone); `Decision` is everything the shell has to carry out or to
show. What must outlive a pass (forecast levels, idle histories, spend) travels as `Memory` and `Ledger`: given in the snapshot, given back in the
decision, checkpointed by the shell. Times are wall-clock seconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from jevons.core.ledger import Ledger
from jevons.core.memory import Memory
from jevons.core.observed import Known, Observed, Unknown
from jevons.core.spec import AcceleratorClass, Deployment, Key, Rung, SharedBudget
from jevons.core.value import value


@dataclass(frozen=True, slots=True)
class PodSignals:
    """What one engine pod and its accelerators report. Rates per second, shares 0..1."""

    running: Observed[float] = Unknown("NoData")
    waiting: Observed[float] = Unknown("NoData")
    kv_used: Observed[float] = Unknown("NoData")
    prompt_tokens_per_s: Observed[float] = Unknown("NoData")
    generation_tokens_per_s: Observed[float] = Unknown("NoData")
    gpu_util: Observed[float] = Unknown("NoData")
    """Mean over the pod's accelerators, 0..1 (DCGM_FI_DEV_GPU_UTIL / 100)."""
    dram_active: Observed[float] = Unknown("NoData")
    power_watts: Observed[float] = Unknown("NoData")
    """Sum over the pod's accelerators."""
    tokens_at_s: Observed[float] = Unknown("NoData")
    """When a token counter was last seen to have grown; 0 = not within the last four scrapes."""


@dataclass(frozen=True, slots=True)
class Pod:
    """One replica's pod. `scheduled_at_s` None = no node yet; `ready_at_s` None = not Ready now."""

    name: str
    uid: str
    created_at_s: float
    scheduled_at_s: float | None = None
    ready_at_s: float | None = None
    node: str | None = None
    unschedulable: bool = False
    terminating: bool = False
    failed: bool = False
    """Crash-looping or in phase Failed: counts as no capacity."""
    spot: bool = False
    signals: PodSignals = PodSignals()
    marked_at_s: float | None = None
    """Since when it is marked to sleep, so that gateways send it nothing; None = it is not."""
    asleep: bool = False
    """It is marked, and its engine has said that it sleeps."""
    sleepless: bool = False
    """Its engine has refused to sleep."""

    @property
    def ready(self) -> bool:
        """Ready to serve, not on its way out, and not put to sleep."""
        return self.ready_at_s is not None and not self.terminating and self.marked_at_s is None


@dataclass(frozen=True, slots=True)
class TargetState:
    """The workload behind a variant. `problem` is a CamelCase reason when it must not be touched, else None.

    Problems: TargetNotFound, TargetKindNotAllowed, TargetNotScalable, ForeignOwner, ManagedByAutoscaler (HPA or ScaledObject), TargetClaimed (two
    InferenceDeployments name it: the oldest keeps it), TemplateRefused (the API server does not take the template; what runs of an older one may
    still be scaled).
    """

    exists: bool
    replicas: int | None = None
    """`.spec.replicas` as last seen; None when it does not exist."""
    uid: str | None = None
    problem: str | None = None
    message: str = ""
    foreign_change_at_s: float | None = None
    """When someone else last moved the replicas; None = nobody, or long ago."""
    foreign_changes: int = 0
    """Foreign changes seen within the last 30 minutes; from the second after a pause on it is a standing rival."""
    foreign_writer: str = ""

    @property
    def untouchable(self) -> bool:
        """Its replicas are not ours to set: it has a problem, other than that a newer template of it was refused."""
        return self.problem is not None and not (self.exists and self.problem == "TemplateRefused")

    @property
    def paid_elsewhere(self) -> bool:
        """Its pods are on the account of the deployment that holds the target: nothing is paid twice."""
        return self.problem == "TargetClaimed"


@dataclass(frozen=True, slots=True)
class VariantState:
    """One variant as it is."""

    target: TargetState
    pods: tuple[Pod, ...] = ()
    selector: str = ""
    """Label selector of its pods, as published to the gateway."""


SCORE_BINS = 20
"""The classifier's score 0..1 is counted in this many equal bins."""


@dataclass(frozen=True, slots=True)
class ClassDemand:
    """What one request class asks for, over the last minute. `scores` counts requests per score bin (SCORE_BINS, decayed), empty = none seen."""

    name: str
    arrivals_per_s: Observed[float]
    input_tokens: Observed[float] = Unknown("NoData")
    """Mean per request."""
    output_tokens: Observed[float] = Unknown("NoData")
    scores: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Held:
    """Requests that wait for a variant to wake: they are demand in full. `variant` is the one the picker would wake."""

    variant: str
    count: int
    oldest_at_s: float
    patient: int = 0
    """Others of it that can still wait for idle capacity: no demand yet."""


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Counters since the gateway began, by accounting: monotone apart from resets, which the ledger handles."""

    offered: float = 0.0
    useful: float = 0.0
    input_tokens: float = 0.0
    output_tokens: float = 0.0


@dataclass(frozen=True, slots=True)
class DeploymentState:
    """One InferenceDeployment and everything seen of it."""

    spec: Deployment
    variants: Mapping[str, VariantState]
    demand: tuple[ClassDemand, ...] = ()
    held: tuple[Held, ...] = ()
    last_arrival_at_s: float | None = None
    """When a request last arrived at the gateway (from pickers, or metrics); None = never seen."""
    outcomes: Observed[Outcomes] = Unknown("NoData")
    name_taken_by: Key | None = None
    """The older deployment that holds this short model name."""
    invalid: str = ""
    """Why the stored object could not be resolved at all (field, value, bound); empty = it could."""


@dataclass(frozen=True, slots=True)
class Inventory:
    """Accelerators of one class on the nodes we can see (counts)."""

    nodes: int
    allocatable: int
    allocated: int
    """Requested by pods of any owner that hold a node."""


@dataclass(frozen=True, slots=True)
class RouterCurve:
    """The classifier's calibration: P(cheaper variant right) and P(best right) per score bin, SCORE_BINS each."""

    p_small: tuple[float, ...]
    p_large: tuple[float, ...]

    def __hash__(self) -> int:
        """Of its first numbers: a curve is part of every routing question."""
        return hash(self.p_small[:2])


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The world at one moment."""

    deployments: Mapping[Key, DeploymentState]
    accelerators: Mapping[str, AcceleratorClass]
    inventory: Mapping[str, Observed[Inventory]] = field(default_factory=dict)
    shared_budgets: tuple[SharedBudget, ...] = ()
    metrics: Observed[None] = Known(None, 0.0)
    """Whether Prometheus answered, and when it last did."""
    metrics_down_since_s: float | None = None
    metrics_back_since_s: float | None = None
    """When Prometheus came back after an outage; scale-downs wait 300 s from here."""
    started_at_s: float = 0.0
    """When this operator process began to lead; what it found running goes down 180 s from here at the earliest."""
    scrape_interval_s: float = 15.0
    router: RouterCurve | None = None
    memory: Memory = Memory()
    ledger: Ledger = Ledger()


@value
class ReplicaTarget:
    """What one variant should have, and why. `desired` None = leave alone (with the reason)."""

    variant: str
    current: int | None
    desired: int | None
    reason: str
    """CamelCase: Steady, Demand, Wake, Idle, ReplicaStuck, Fallback, BudgetCap, MetricsUnavailable, ForeignScaling, Paused, Recommend..."""
    message: str = ""
    recommended: int | None = None
    """What would be desired if it were ours to move (Recommend mode, a foreign pause)."""
    stuck: tuple[str, ...] = ()
    """Names of ready pods that have work and do none of it: they go first when it shrinks."""
    replace: str = ""
    """Name of the stuck pod that shall be replaced now; empty = none."""
    asleep: tuple[str, ...] = ()
    """Names of the pods that shall sleep in host memory; all others of the variant shall be awake."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One Kubernetes condition, positive polarity. status: True | False | Unknown."""

    type: str
    status: str
    reason: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class EventNote:
    """One Kubernetes event to post. `type` Normal | Warning."""

    type: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class VariantRoute:
    """How pickers find and weigh one variant. `state`: Ready | Asleep | Waking | Failed | Capped | Shadow | Unavailable."""

    name: str
    state: str
    selector: str
    port: int
    usd_per_1k_tokens: float | None = None
    """Marginal cost for ordering variants by price; None = not known, ordered by hourly rate."""
    startup_s: float = 0.0
    """What a waiting client is told."""
    idle_tokens: float | None = None
    """Outstanding work of a pod [tokens] below which it takes requests that can wait; None = not known."""


@value
class ClassRoute:
    """Per class: requests whose score is at least `min_score[variant]` may go to that variant (tried in the order given, cheapest first).

    `degraded_share` (0..1) of the others go to the cheapest variant as well, by budget pressure.
    """

    name: str
    min_score: tuple[tuple[str, float], ...]
    degraded_share: float = 0.0
    expected_quality: float = 1.0
    """Calibrated, relative to always-best, on the observed scores."""
    patience_s: float = 0.0
    """How long its requests may wait for idle capacity (`waiting.py`)."""


@value
class RoutingPlan:
    """What the pickers read (`status.routing`). Content only: the shell adds generation and time."""

    best: str
    wake: str
    """The variant to wake when nothing is ready: the cheapest that can serve."""
    rung: Rung
    pressure: float
    """0..1, how hard the budget pushes towards cheaper variants."""
    blocked_until_s: float | None
    variants: tuple[VariantRoute, ...]
    classes: tuple[ClassRoute, ...]


@value
class CostView:
    """Money, for status and metrics. None = not known (no price, no useful answer yet)."""

    hourly_usd: Decimal | None
    variant_hourly_usd: Mapping[str, Decimal]
    period_spend_usd: Decimal
    period_forecast_usd: Decimal | None
    per_thousand_useful_usd: Decimal | None
    period_start_s: float
    period_end_s: float
    budget_usd: Decimal | None
    estimated: bool = False
    """Part of the spend was billed over a gap in what we saw."""


class Deferred:
    """Holds how to work out a value that hardly anybody asks for."""

    __slots__ = ("write",)
    if TYPE_CHECKING:  # no field: it is never written down
        write: Callable[[], Explanation]


@value
class Explanation(Deferred):
    """Why: what was read with its age [s], what was weighed, what bound.

    Most decisions are never explained: one made by `later` is written when it is first looked at, from what it was decided on.
    """

    inputs: tuple[tuple[str, str, float | None], ...] = ()
    """(name, value as text, age or None)."""
    alternatives: tuple[tuple[str, str, str], ...] = ()
    """(plan, its cost as text, why it was rejected or chosen)."""
    binding: tuple[str, ...] = ()
    """Constraints that bind, e.g. `spec.variants[large].replicas.max`."""

    @classmethod
    def later(cls, write: Callable[[], Explanation]) -> Explanation:
        """An explanation that `write` works out when it is needed; equal to the one that `write` returns."""
        made = cls.__new__(cls)
        made.write = write
        return made

    def __getattr__(self, name: str) -> Any:
        """A field that is not there yet."""
        if name not in EXPLAINED:
            raise AttributeError(name)
        told = self.write()
        for field_name in EXPLAINED:
            setattr(self, field_name, getattr(told, field_name))
        return getattr(told, name)


EXPLAINED = ("inputs", "alternatives", "binding")


@value
class DeploymentDecision:
    """Everything decided for one deployment."""

    key: Key
    id: str
    """Stable for equal inputs: a digest of what was decided."""
    replicas: tuple[ReplicaTarget, ...]
    routing: RoutingPlan
    conditions: tuple[Condition, ...]
    cost: CostView
    reason: str
    message: str
    explanation: Explanation
    events: tuple[EventNote, ...] = ()


@dataclass(frozen=True, slots=True)
class BudgetDecision:
    """One InferenceBudget's money and rung, for its status."""

    name: str
    amount_usd: Decimal
    spend_usd: Decimal
    forecast_usd: Decimal | None
    rung: Rung
    period_start_s: float
    period_end_s: float
    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer to one snapshot."""

    at_s: float
    deployments: Mapping[Key, DeploymentDecision]
    budgets: Mapping[str, BudgetDecision]
    memory: Memory
    ledger: Ledger

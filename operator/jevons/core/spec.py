"""What people asked for, with every default resolved: the core's view of the three kinds.

`jevons.api` validates what users write and `jevons.api.resolve` turns it into these frozen values; nothing here knows YAML or Kubernetes.
Units are in the names. Money is `Decimal`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """Which InferenceDeployment: its namespace and name. Prints as `namespace/name`."""

    namespace: str
    name: str

    def __str__(self) -> str:
        """`namespace/name`, the form used in logs, metrics and checkpoints."""
        return f"{self.namespace}/{self.name}"


class Tier(StrEnum):
    """How long a request class may wait for capacity."""

    INTERACTIVE = "Interactive"
    FLEX = "Flex"
    BATCH = "Batch"


class Priority(StrEnum):
    """Who goes first when not all can be served."""

    HIGH = "High"
    NORMAL = "Normal"
    LOW = "Low"


PRIORITIES = {Priority.LOW: 0, Priority.NORMAL: 1, Priority.HIGH: 2}


class RoutingMode(StrEnum):
    """Auto routes; Shadow scores and samples but routes nothing; Off sends all to the best variant."""

    AUTO = "Auto"
    SHADOW = "Shadow"
    OFF = "Off"


class ScalingMode(StrEnum):
    """Enforce acts; Recommend publishes and touches nothing; Paused does not even decide replicas."""

    ENFORCE = "Enforce"
    RECOMMEND = "Recommend"
    PAUSED = "Paused"


class Promotion(StrEnum):
    """Auto: a variant takes traffic by its prior quality. Shadow: only after measured agreement."""

    AUTO = "Auto"
    SHADOW = "Shadow"


class Period(StrEnum):
    """The length over which a budget's amount is meant, in the budget's own time zone."""

    HOUR = "Hour"
    DAY = "Day"
    WEEK = "Week"
    MONTH = "Month"


class Rung(StrEnum):
    """How far a budget may be enforced; each includes the ones before it (api.md "Precedence")."""

    NONE = "None"
    ALERT = "Alert"
    DEGRADE = "Degrade"
    CAP = "Cap"
    BLOCK = "Block"

    @property
    def level(self) -> int:
        """0 for None .. 4 for Block, so that rungs compare as numbers."""
        return LEVELS[self]


LEVELS = {rung: level for level, rung in enumerate(Rung)}


@dataclass(frozen=True, slots=True)
class Objectives:
    """The promise: at `percentile` (0..100) of requests, first token within `ttft_s` and mean gap within `itl_s`."""

    percentile: float = 95.0
    ttft_s: float = 2.0
    itl_s: float = 0.060
    late_cost_usd: Decimal | None = None
    """USD lost by one late or failed answer; None = Auto, 10x the model's cost per useful request."""


@dataclass(frozen=True, slots=True)
class RequestClass:
    """One request class; the first whose match holds takes the request."""

    name: str
    header: tuple[str, str] | None = None
    max_input_tokens: int | None = None
    max_output_tokens: int | None = None
    min_quality: float | None = None
    objectives: Objectives = Objectives()
    priority: Priority = Priority.NORMAL
    tier: Tier = Tier.INTERACTIVE


DEFAULT_CLASS = "default"
"""The name under which requests that match no class are counted."""


@dataclass(frozen=True, slots=True)
class Profile:
    """How fast one replica is: ITL(B, ctx) = a + (b + c * ctx_k) * B and prefill(L) = p0 + p1 * L_k + p2 * L_k^2, in seconds (k = 1,000 tokens).

    Source: `data/perf/seed_profiles.csv` (times there are ms). A prior only: capacity is learned.
    """

    itl_a_s: float
    itl_b_s: float
    itl_c_s: float
    prefill_p0_s: float
    prefill_p1_s: float
    prefill_p2_s: float
    kv_tokens: int
    max_num_seqs: int = 256
    chunk_tokens: int = 2048

    def __hash__(self) -> int:
        """Of a field that tells most profiles apart: profiles are looked up for every variant in every pass."""
        return hash(self.itl_a_s)


@dataclass(frozen=True, slots=True)
class TargetRef:
    """An existing workload with a scale subresource, in the deployment's own namespace."""

    api_version: str
    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class Sleep:
    """An idle replica may sleep in host memory: its engine offers it. See docs/designs/0014-warm-tiers.md."""

    holding: Decimal
    """Share 0..1 of its price that a sleeping replica costs."""
    wake_s: float = 10.0
    """How long waking takes; a prior."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to serve the model. `target` is the workload to scale; when None Jevons owns a Deployment named `<deployment>-<variant>`."""

    name: str
    served_model: str
    accelerator_class: str
    quality: float = 1.0
    precision: str = "BF16"
    techniques: tuple[str, ...] = ()
    context_length: int = 8192
    capabilities: frozenset[str] = frozenset()
    accelerator_count: int = 1
    engine: str = "VLLM"
    port: int = 8000
    profile: Profile | None = None
    startup_s: float = 240.0
    min_replicas: int = 0
    max_replicas: int = 10
    target: TargetRef | None = None
    promotion: Promotion = Promotion.AUTO
    sleep: Sleep | None = None
    """None = its replicas are loaded or gone."""


@dataclass(frozen=True, slots=True)
class RoutingSpec:
    """How requests are spread over variants. Shares are fractions 0..1."""

    mode: RoutingMode = RoutingMode.AUTO
    min_quality: float = 0.95
    max_degraded_share: float = 0.6
    sticky_header: str | None = "x-session-id"
    sticky_s: float = 1800.0


@dataclass(frozen=True, slots=True)
class ScalingSpec:
    """When replicas move. `idle_after_s` None = Auto (learned, see idle.py); `fallback_after_s` None = off."""

    mode: ScalingMode = ScalingMode.ENFORCE
    idle_after_s: float | None = None
    wake_timeout_s: float = 600.0
    max_waiting: int = 500
    on_delete_restore: bool = False
    fallback_after_s: float | None = None
    fallback_replicas: int = 1


@dataclass(frozen=True, slots=True)
class BudgetSpec:
    """Money for a period. `when_exceeded` is the last rung the controller may climb."""

    amount_usd: Decimal
    period: Period = Period.MONTH
    time_zone: str = "UTC"
    when_exceeded: Rung = Rung.CAP


@dataclass(frozen=True, slots=True)
class Deployment:
    """One InferenceDeployment, resolved. `model` is the short name clients may send."""

    key: Key
    uid: str
    generation: int
    created_at_s: float
    model: str
    variants: tuple[Variant, ...]
    objectives: Objectives = Objectives()
    classes: tuple[RequestClass, ...] = ()
    routing: RoutingSpec = RoutingSpec()
    scaling: ScalingSpec = ScalingSpec()
    budget: BudgetSpec | None = None
    session_budget_usd: Decimal | None = None
    session_max_calls: int | None = None
    cache_ttl_s: float | None = None
    team_header: str | None = None

    def variant(self, name: str) -> Variant:
        """The variant of that name; KeyError if there is none."""
        for variant in self.variants:
            if variant.name == name:
                return variant
        raise KeyError(name)

    @property
    def best(self) -> Variant:
        """The variant of the highest quality; of equals the one listed first."""
        return max(self.variants, key=lambda variant: variant.quality)

    @property
    def priority(self) -> int:
        """The highest of its classes': 0 (low) to 2; who has the lowest gives first where not all can have what they want."""
        return max([PRIORITIES[request_class.priority] for request_class in self.classes], default=1)


@dataclass(frozen=True, slots=True)
class Price:
    """USD per hour of *one accelerator* of the class from `effective_from_s` on. `spot_usd_per_h` None = no spot market."""

    effective_from_s: float
    on_demand_usd_per_h: Decimal
    spot_usd_per_h: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Committed:
    """A contract: `count` accelerators at `usd_per_h` each until `until_s`, paid whether used or not."""

    count: int
    usd_per_h: Decimal
    until_s: float


@dataclass(frozen=True, slots=True)
class AcceleratorClass:
    """One kind of accelerator, the admin's. `memory_gb` is GiB per accelerator; `bandwidth_gb_s` GB/s; watts per accelerator."""

    name: str
    resource_name: str = "nvidia.com/gpu"
    node_selector: Mapping[str, str] = field(default_factory=dict)
    memory_gb: float | None = None
    bandwidth_gb_s: float | None = None
    prices: tuple[Price, ...] = ()
    spot_selector: Mapping[str, str] = field(default_factory=dict)
    committed: Committed | None = None
    idle_watts: float | None = None
    peak_watts: float | None = None
    limit_watts: float | None = None
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class SharedBudget:
    """One InferenceBudget and the deployments that its selector chooses now."""

    name: str
    uid: str
    generation: int
    budget: BudgetSpec
    members: frozenset[Key]

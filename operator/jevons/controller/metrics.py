"""The operator's own Prometheus metrics (docs/designs/0001-the-house.md, "Metrics"), rendered from the last pass when somebody asks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from jevons.cluster.view import View
from jevons.core.snapshot import Decision

LABELS = ("namespace", "deployment")


@dataclass(slots=True)
class LastPass:
    """What the collector shows: set by the loop after each pass; empty while another operator leads."""

    decision: Decision | None = None
    view: View | None = None
    writes: Mapping[str, int] = field(default_factory=dict)


class OperatorMetrics(Collector):
    """All metrics of one operator process, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.last = LastPass()
        self.pass_seconds = Histogram(
            "jevons_pass_seconds", "Duration of a pass", buckets=(0.05, 0.1, 0.25, 0.5, 1, 2, 3, 5, 10, 30), registry=self.registry
        )
        self.passes = Counter("jevons_passes", "Passes of the control loop", registry=self.registry)
        self.queries = Gauge("jevons_promql_queries", "PromQL queries of the last reading", registry=self.registry)
        self.decision_errors = Counter("jevons_decision_errors", "Passes or objects that could not be decided or carried out", registry=self.registry)
        self.writes = Counter("jevons_api_writes", "Writes sent to the API server", ["kind"], registry=self.registry)
        self.recorded = Counter("jevons_passes_recorded", "Passes for jevons replay, by what became of them", ["outcome"], registry=self.registry)
        self.leader = Gauge("jevons_leader", "1 while this operator leads", registry=self.registry)
        self.wake_seconds = Histogram(
            "jevons_wake_seconds",
            "From a wake-up to the end of the pass it caused",
            buckets=(0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5),
            registry=self.registry,
        )
        self.registry.register(self)

    def written(self, _method: str, path: str) -> None:
        """Count one write by what it was to: scale, status, or the plural."""
        parts = path.strip("/").split("/")
        kind = next((part for part in reversed(parts) if part in {"scale", "status", "deployments", "configmaps", "events", "pods"}), "other")
        self.writes.labels(kind).inc()

    def pass_recorded(self, outcome: str) -> None:
        """Count one pass of the recorder: recorded, left-out or failed."""
        self.recorded.labels(outcome).inc()

    def render(self) -> bytes:
        """The page."""
        return generate_latest(self.registry)

    def collect(self) -> Iterator[Metric]:
        """Families of the last pass."""
        decision, view = self.last.decision, self.last.view
        if decision is None or view is None:
            return
        yield from self._replicas(decision, view)
        yield from self._money(decision)

    def _replicas(self, decision: Decision, view: View) -> Iterator[Metric]:
        replicas = GaugeMetricFamily("jevons_replicas", "Replicas of a variant", labels=[*LABELS, "variant", "state"])
        for key, decided in decision.deployments.items():
            for target in decided.replicas:
                labels = (key.namespace, key.name, target.variant)
                seen = view.deployments[key].variants.get(target.variant)
                ready = sum(pod.ready for pod in seen.pods) if seen is not None else None
                asleep = sum(pod.asleep for pod in seen.pods) if seen is not None else 0
                counts = (("desired", target.desired), ("current", target.current), ("ready", ready), ("asleep", asleep or None))
                for state, value in counts:
                    if value is not None:
                        replicas.add_metric([*labels, state], value)
        yield replicas

    def _money(self, decision: Decision) -> Iterator[Metric]:
        cost = CounterMetricFamily("jevons_cost_usd", "Money spent since the account began", labels=[*LABELS, "variant", "accelerator"])
        seconds = CounterMetricFamily("jevons_gpu_seconds", "Accelerator seconds held", labels=[*LABELS, "variant", "accelerator"])
        for key, account in decision.ledger.accounts.items():
            for meter in account.meters:
                labels = [key.namespace, key.name, meter.variant, meter.accelerator]
                cost.add_metric(labels, float(meter.usd))
                seconds.add_metric(labels, meter.gpu_s)
        amount = GaugeMetricFamily("jevons_budget_usd", "Amount of the budget", labels=LABELS)
        spend = GaugeMetricFamily("jevons_budget_spend_usd", "Spend of the budget's period", labels=LABELS)
        rung = GaugeMetricFamily("jevons_budget_rung", "0 None, 1 Alert, 2 Degrade, 3 Cap, 4 Block", labels=LABELS)
        for key, decided in decision.deployments.items():
            labels = [key.namespace, key.name]
            spend.add_metric(labels, float(decided.cost.period_spend_usd))
            rung.add_metric(labels, decided.routing.rung.level)
            if decided.cost.budget_usd is not None:
                amount.add_metric(labels, float(decided.cost.budget_usd))
        yield from (cost, seconds, amount, spend, rung)
        yield from _shared(decision)


def _shared(decision: Decision) -> Iterator[Metric]:
    """InferenceBudgets, by name."""
    amount = GaugeMetricFamily("jevons_shared_budget_usd", "Amount of the InferenceBudget", labels=["budget"])
    spend = GaugeMetricFamily("jevons_shared_budget_spend_usd", "What all it selects spent in the period", labels=["budget"])
    rung = GaugeMetricFamily("jevons_shared_budget_rung", "0 None, 1 Alert, 2 Degrade, 3 Cap, 4 Block", labels=["budget"])
    for name, decided in decision.budgets.items():
        if decided.amount_usd.is_finite():
            amount.add_metric([name], float(decided.amount_usd))
        spend.add_metric([name], float(decided.spend_usd))
        rung.add_metric([name], decided.rung.level)
    yield from (amount, spend, rung)

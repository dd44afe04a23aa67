"""What the demo shows while it runs: Jevons' own metrics, read every second from the two processes that count.

A `Reading` is one look at the operator's and the gateway's /metrics; nothing is computed that they do not say. In a terminal it becomes a live table,
elsewhere a line now and then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

import aiohttp
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Group
from rich.table import Table
from rich.text import Text

Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@dataclass(frozen=True, slots=True)
class Reading:
    """One look. `ready`, `desired`: (deployment, variant) -> replicas. Counters since the processes began."""

    at_s: float
    """Seconds since the load began."""
    ready: Mapping[tuple[str, str], int] = field(default_factory=dict)
    desired: Mapping[tuple[str, str], int] = field(default_factory=dict)
    held: int = 0
    requests: int = 0
    useful: int = 0
    cold_starts: int = 0
    by_model: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Deployment -> (requests, useful answers)."""
    usd: Decimal = Decimal(0)
    gpu_seconds: float = 0.0
    budget_usd: Decimal = Decimal(0)
    spent_usd: Decimal = Decimal(0)


async def scrape(session: aiohttp.ClientSession, url: str) -> Series:
    """All samples of one /metrics; empty when the process does not answer just now."""
    try:
        async with session.get(url, timeout=aiohttp.ClientTimeout(total=2)) as answer:
            text = await answer.text()
    except (aiohttp.ClientError, TimeoutError):
        return {}
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def total(series: Series, name: str, **labels: str) -> float:
    """Sum of the samples of `name` that carry `labels`."""
    return sum(value for (found, have), value in series.items() if found == name and labels.items() <= dict(have).items())


def by_deployment(series: Series, name: str) -> dict[str, int]:
    """A counter of the gateway summed by deployment."""
    found: dict[str, int] = {}
    for (metric, labels), value in series.items():
        if metric == name:
            deployment = dict(labels)["deployment"]
            found[deployment] = found.get(deployment, 0) + int(value)
    return found


def by_variant(series: Series, state: str) -> dict[tuple[str, str], int]:
    """`jevons_replicas` in one state, by (deployment, variant)."""
    found = {}
    for (name, labels), value in series.items():
        have = dict(labels)
        if name == "jevons_replicas" and have.get("state") == state:
            found[have["deployment"], have["variant"]] = int(value)
    return found


def reading(operator: Series, gateway: Series, *, at_s: float, budget: str) -> Reading:
    """A reading from the two processes' samples; `budget` is the InferenceBudget whose money is shown."""
    useful = by_deployment(gateway, "jevons_gateway_useful_total")
    return Reading(
        at_s=at_s,
        by_model={name: (count, useful.get(name, 0)) for name, count in by_deployment(gateway, "jevons_gateway_requests_total").items()},
        ready=by_variant(operator, "ready"),
        desired=by_variant(operator, "desired"),
        held=int(total(gateway, "jevons_gateway_held")),
        requests=int(total(gateway, "jevons_gateway_requests_total")),
        useful=int(total(gateway, "jevons_gateway_useful_total")),
        cold_starts=int(total(gateway, "jevons_gateway_cold_starts_total")),
        usd=Decimal(str(total(operator, "jevons_cost_usd_total"))),
        gpu_seconds=total(operator, "jevons_gpu_seconds_total"),
        budget_usd=Decimal(str(total(operator, "jevons_shared_budget_usd", budget=budget))),
        spent_usd=Decimal(str(total(operator, "jevons_shared_budget_spend_usd", budget=budget))),
    )


class Watch:
    """Reads once a second until it is cancelled; keeps the last reading and every change of the ready replicas."""

    def __init__(self, *, operator_url: str, gateway_url: str, budget: str) -> None:
        self._urls = operator_url, gateway_url
        self._budget = budget
        self._began = asyncio.get_running_loop().time()
        self.last = Reading(0.0)
        self.changes: dict[str, list[tuple[float, int]]] = {}

    def begin(self) -> None:
        """From now on count seconds: the load begins."""
        self._began = asyncio.get_running_loop().time()

    @property
    def elapsed_s(self) -> float:
        """Seconds since `begin`."""
        return asyncio.get_running_loop().time() - self._began

    async def look(self, session: aiohttp.ClientSession) -> Reading:
        """One reading now. A process that does not answer leaves the last reading as it is."""
        operator, gateway = await asyncio.gather(*(scrape(session, url) for url in self._urls))
        if operator and gateway:
            self.last = reading(operator, gateway, at_s=self.elapsed_s, budget=self._budget)
            for (deployment, variant), count in self.last.ready.items():
                series = self.changes.setdefault(f"{deployment}/{variant}", [(self.last.at_s, count)])
                if series[-1][1] != count:
                    series.append((self.last.at_s, count))
        return self.last

    async def run(self, session: aiohttp.ClientSession) -> None:
        """Look once a second, for ever."""
        while True:
            await self.look(session)
            await asyncio.sleep(1.0)


def picture(now: Reading, *, sent: int, answered: int, small: int, routed: int) -> Group:
    """The live table. `sent`, `answered`, `small`, `routed` are the load generator's own counts."""
    table = Table("deployment", "variant", "ready", "wanted", box=None, pad_edge=False)
    asleep = []
    for (deployment, variant), ready in sorted(now.ready.items()):
        wanted = now.desired.get((deployment, variant), 0)
        if ready or wanted:
            table.add_row(deployment, variant, "#" * ready or "-", str(wanted))
        else:
            asleep.append(deployment if variant == "main" else f"{deployment}/{variant}")
    share = f"{100 * small / routed:.0f} % of {routed}" if routed else "-"
    lines = [
        f"{now.at_s:5.0f} s   sent {sent}   answered {answered}   held {now.held}   useful {now.useful}   sent small {share}",
        f"          spent ${now.usd:.2f} ({now.gpu_seconds / 3600:.3f} GPU-hours)   budget ${now.spent_usd:.2f} of ${now.budget_usd:.2f}",
    ]
    return Group(*(Text(line) for line in lines), table, Text("asleep: " + (", ".join(asleep) or "none"), style="dim"))


def sentence(now: Reading, *, sent: int, answered: int) -> str:
    """The same for a log: one line."""
    awake = " ".join(f"{deployment}/{variant}={ready}" for (deployment, variant), ready in sorted(now.ready.items()) if ready)
    return f"{now.at_s:5.0f} s  sent {sent}  answered {answered}  held {now.held}  useful {now.useful}  ${now.usd:.2f}  ready: {awake or 'none'}"

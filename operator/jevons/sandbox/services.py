"""Jevons' own processes as a sandbox runs them: the command lines of the contract (docs/designs/0001-the-house.md), and where each one listens."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from jevons.sandbox.nodes import SYSTEM_NAMESPACE
from jevons.sandbox.processes import Program

_JEVONS = (sys.executable, "-m", "jevons")


class _Measured(Program):
    """A process that Prometheus scrapes."""

    metrics_port = 0

    @property
    def metrics_address(self) -> str:
        """host:port that Prometheus scrapes."""
        return f"127.0.0.1:{self.metrics_port}"

    @property
    def metrics_url(self) -> str:
        """Its metrics, those of its children included."""
        return f"http://{self.metrics_address}/metrics"


class Operator(_Measured):
    """`jevons operator`. `kill()` is SIGKILL; `restart()` brings it back on the same addresses."""

    demand_port = 0
    health_port = 0

    @classmethod
    def of(
        cls,
        name: str,
        folder: Path,
        *,
        kubeconfig: Path,
        prometheus_url: str,
        scrape_interval_s: float,
        period_s: float,
        resync_s: float,
        ports: tuple[int, int, int],
        options: Sequence[str],
        env: Mapping[str, str] | None,
    ) -> Self:
        """ports: demand, health, metrics. Intervals in seconds."""
        demand, health, metrics = ports
        command = [*_JEVONS, "operator", "--kubeconfig", str(kubeconfig), "--namespace", SYSTEM_NAMESPACE, "--prometheus-url", prometheus_url]
        command += ["--prometheus-scrape-interval", f"{scrape_interval_s:g}s", "--period", f"{period_s:g}s", "--resync", f"{resync_s:g}s"]
        command += ["--listen", "127.0.0.1", "--demand-port", str(demand), "--health-port", str(health), "--metrics-port", str(metrics), *options]
        made = cls(name, command, folder=folder, env=env)
        made.demand_port, made.health_port, made.metrics_port = ports
        return made

    @property
    def demand_address(self) -> str:
        """host:port that gateways dial."""
        return f"127.0.0.1:{self.demand_port}"

    @property
    def health_url(self) -> str:
        """Base address of the health endpoints."""
        return f"http://127.0.0.1:{self.health_port}"


class Gateway(_Measured):
    """`jevons gateway`: the supervisor with its children."""

    port = 0
    room_port = 0

    @classmethod
    def of(
        cls,
        name: str,
        folder: Path,
        *,
        kubeconfig: Path,
        envoy: Path,
        operators: Sequence[str],
        pickers: int,
        token: Path,
        ports: tuple[int, int, int],
        options: Sequence[str],
        env: Mapping[str, str] | None,
    ) -> Self:
        """ports: requests, metrics, waiting room."""
        listen, metrics, room = ports
        command = [*_JEVONS, "gateway", "--kubeconfig", str(kubeconfig), "--listen", f"127.0.0.1:{listen}", "--pickers", str(pickers)]
        for operator in operators:
            command += ["--operator", operator]
        command += ["--state-dir", str(folder / name), "--envoy", str(envoy), "--metrics-port", str(metrics)]
        command += ["--room-address", f"127.0.0.1:{room}", "--token-file", str(token), *options]
        made = cls(name, command, folder=folder, env=env)
        made.port, made.metrics_port, made.room_port = ports
        return made

    @property
    def url(self) -> str:
        """Where clients send requests."""
        return f"http://127.0.0.1:{self.port}"

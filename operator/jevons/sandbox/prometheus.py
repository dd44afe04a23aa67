"""A real Prometheus that finds pods through the API server, as in production, and the processes of this machine through a file.

Target labels are those the operator's queries join on: `namespace`, `pod`, `node`. A pod is scraped when its annotation `prometheus.io/scrape` is
"true", on the port of `prometheus.io/port`. Samples that carry `namespace` or `pod` of their own (DCGM) keep them as `exported_namespace` and
`exported_pod`. Operator and gateway run as plain processes and tell of objects that are not themselves, so there the sample's labels win
(`honor_labels`).
"""

from __future__ import annotations

import asyncio
import http.client
import json
import urllib.parse
from http import HTTPStatus
from pathlib import Path
from typing import Any

import yaml

from jevons.sandbox.processes import Program, SandboxError

_POD = "__meta_kubernetes_pod_"
POD_LABELS = (
    {"source_labels": ["__meta_kubernetes_namespace"], "target_label": "namespace"},
    {"source_labels": [f"{_POD}name"], "target_label": "pod"},
    {"source_labels": [f"{_POD}node_name"], "target_label": "node"},
)
"""Relabelling that says whose samples they are."""


def pods_job(discovery: dict[str, Any]) -> dict[str, Any]:
    """The scrape job that finds pods by annotation. `discovery`: how the API server is reached (`kubeconfig_file`; empty in a pod of the cluster)."""
    pods = [
        {"source_labels": [f"{_POD}annotation_prometheus_io_scrape"], "regex": "true", "action": "keep"},
        {"source_labels": [f"{_POD}phase"], "regex": "Succeeded|Failed", "action": "drop"},
        {"source_labels": [f"{_POD}ip", f"{_POD}annotation_prometheus_io_port"], "separator": ":", "regex": "(.+:[0-9]+)", "action": "keep"},
        {"source_labels": [f"{_POD}ip", f"{_POD}annotation_prometheus_io_port"], "separator": ":", "target_label": "__address__"},
        {"source_labels": [f"{_POD}annotation_prometheus_io_path"], "regex": "(/.*)", "target_label": "__metrics_path__"},
        *POD_LABELS,
    ]
    return {"job_name": "pods", "kubernetes_sd_configs": [{"role": "pod", **discovery}], "relabel_configs": pods}


def configuration(*, kubeconfig: Path, targets: Path, scrape_interval_s: float) -> str:
    """prometheus.yml. kubeconfig: how to reach the API server; targets: folder of file_sd files; scrape_interval_s: for every job."""
    interval = f"{round(scrape_interval_s * 1000)}ms"
    return yaml.safe_dump(
        {
            "global": {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval},
            "scrape_configs": [
                pods_job({"kubeconfig_file": str(kubeconfig)}),
                {
                    "job_name": "processes",
                    "honor_labels": True,
                    "file_sd_configs": [{"files": [f"{targets}/*.json"], "refresh_interval": "5s"}],
                },
            ],
        },
        sort_keys=False,
    )


class Prometheus(Program):
    """The server. A restart keeps address and data; `watch` and `unwatch` add and remove processes of this machine."""

    def __init__(self, binary: Path, folder: Path, *, port: int, kubeconfig: Path, scrape_interval_s: float) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._port = port
        self.scrape_interval_s = scrape_interval_s
        self._targets = folder / "targets"
        self._targets.mkdir(parents=True, exist_ok=True)
        config = folder / "prometheus.yml"
        config.write_text(configuration(kubeconfig=kubeconfig, targets=self._targets, scrape_interval_s=scrape_interval_s))
        command = [
            str(binary),
            f"--config.file={config}",
            f"--storage.tsdb.path={folder / 'prometheus'}",
            "--storage.tsdb.retention.time=6h",
            f"--web.listen-address=127.0.0.1:{port}",
            "--log.level=warn",
        ]
        super().__init__("prometheus", command, folder=folder, ready=lambda _printed: _fetch(port, "/-/ready")[0] == HTTPStatus.OK)

    def watch(self, name: str, address: str) -> None:
        """Scrape `address` (host:port) under the job label `name` until `unwatch(name)`; Prometheus notices the file by itself."""
        groups = [{"targets": [address], "labels": {"job": name}}]
        whole = self._targets / f".{name}.new"
        whole.write_text(json.dumps(groups))
        whole.rename(self._targets / f"{name}.json")

    def unwatch(self, name: str) -> None:
        """Stop scraping what `watch` named."""
        (self._targets / f"{name}.json").unlink(missing_ok=True)

    async def query(self, promql: str) -> list[dict[str, Any]]:
        """The instant vector of a query as Prometheus answers it; for people and tests. Raises SandboxError when it does not answer."""
        status, body = await asyncio.to_thread(_fetch, self._port, f"/api/v1/query?{urllib.parse.urlencode({'query': promql})}")
        if status != HTTPStatus.OK:
            raise SandboxError(f"Prometheus on port {self._port} answers {status or 'nothing'} to {promql}: {body.decode(errors='replace')}")
        return list(json.loads(body)["data"]["result"])


def _fetch(port: int, path: str) -> tuple[int, bytes]:
    """Status and body of a GET on loopback; status 0 when nothing answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException):
        return 0, b""
    finally:
        connection.close()

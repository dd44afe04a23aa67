"""A real Kubernetes cluster in containers: everything that is particular to kind.

    async with Kind.start(progress=print) as cluster:
        await cluster.install()
        await cluster.apply(*engine_pods(found), namespace="team-a")

Kubelets and containers are real, GPUs are a patch of the nodes' status, and each engine is a pod that runs the fleet's engine (fleet_pod.py). Images
are built from the checkout's Dockerfile and side-loaded; Envoy and Prometheus are their makers' images or, where those cannot be pulled, the binaries
of tools.py. So only the base image (`BASE_IMAGE`) and the node image (`KIND_NODE_IMAGE`) have to come from elsewhere.
This machine talks to the cluster through port mappings on 127.0.0.1 alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
import os
import shutil
import subprocess
import tempfile
import time
import urllib.parse
from collections.abc import AsyncIterator, Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from jevons.sandbox.fleet_pods import PREFIX
from jevons.sandbox.kubectl import Kubectl
from jevons.sandbox.nodes import SYSTEM_NAMESPACE
from jevons.sandbox.processes import CommandError, SandboxError, output_of
from jevons.sandbox.prometheus import POD_LABELS, pods_job
from jevons.sandbox.tools import CHECKOUT, Tools

CONFIG = CHECKOUT / "kind-config.yaml"
GATEWAY_URL = "http://127.0.0.1:30080"
PROMETHEUS_URL = "http://127.0.0.1:30090"
IMAGE, ENVOY_IMAGE, PROMETHEUS_IMAGE = "jevons:kind", "jevons-envoy:kind", "jevons-prometheus:kind"
DEFAULT_BASE_IMAGE = "python:3.11-slim"
NEEDED = ("kubectl", "helm", "prometheus", "envoy")
GPUS_LABEL = PREFIX + "gpus"
SCRAPE_INTERVAL_S = 2
MINUTES = 60.0

Progress = Callable[[str], None]


def missing() -> str | None:
    """Why no kind cluster can be had here, in a sentence; None when it can."""
    if shutil.which("docker") is None:
        return "no container engine: there is no docker command"
    answer = subprocess.run(["docker", "info", "--format", "{{.ServerVersion}}"], capture_output=True, text=True, timeout=30, check=False)
    if answer.returncode != 0:
        return f"no container engine answers (DOCKER_HOST={os.environ.get('DOCKER_HOST', 'not set')}): {answer.stderr.strip()[:200]}"
    if _kind_path() is None:
        return "kind is neither in $JEVONS_TOOLS, .tools nor $PATH; get it by `go install sigs.k8s.io/kind@v0.33.0`"
    absent = [name for name in NEEDED if name not in Tools.present(NEEDED).found]
    return f"{', '.join(absent)} not found; run `make tools` first" if absent else None


def configuration(workers: int | None = None) -> dict[str, Any]:
    """kind-config.yaml, cut down to that many workers, at least one."""
    found: dict[str, Any] = yaml.safe_load(CONFIG.read_text())
    chosen = [node for node in found["nodes"] if node["role"] == "worker"][: None if workers is None else max(1, workers)]
    found["nodes"] = [node for node in found["nodes"] if node["role"] != "worker"] + chosen
    return found


def prometheus_configuration() -> str:
    """prometheus.yml: engines and exporters by annotation, operator and gateway as the chart's monitors scrape them."""
    name, port = "__meta_kubernetes_pod_label_app_kubernetes_io_name", "__meta_kubernetes_pod_container_port_name"
    jevons = [{"source_labels": [name, port], "separator": "/", "regex": "jevons/metrics", "action": "keep"}, *POD_LABELS]
    interval = f"{SCRAPE_INTERVAL_S}s"
    own_job = {"job_name": "jevons", "honor_labels": True, "kubernetes_sd_configs": [{"role": "pod"}], "relabel_configs": jevons}
    times = {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval}
    return yaml.safe_dump({"global": times, "scrape_configs": [pods_job({}), own_job]}, sort_keys=False)


def engine_pods(found: dict[str, Any]) -> dict[str, Any]:
    """The object with engines that a kubelet can start: every pod template with a profile annotation runs the fleet's engine instead of its image.

    Handles workloads and InferenceDeployments with `template` variants; anything else comes back as it was.
    """
    found = copy.deepcopy(found)
    spec = found.get("spec") or {}
    for template in [spec.get("template"), *(variant.get("template") for variant in spec.get("variants") or ())]:
        if template and PREFIX + "profile" in ((template.get("metadata") or {}).get("annotations") or {}):
            _simulate(template["spec"])
    return found


def _simulate(pod: dict[str, Any]) -> None:
    """Let the first container play the engine, under the restricted Pod Security Standard (in place)."""
    container = pod["containers"][0]
    fields = {"POD_NAME": "metadata.name", "POD_NAMESPACE": "metadata.namespace", "POD_UID": "metadata.uid", "NODE_NAME": "spec.nodeName"}
    container.pop("args", None)
    container.update(
        image=IMAGE,
        imagePullPolicy="Never",
        command=["python3", "-m", "jevons.sandbox.fleet_pod"],
        env=[{"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in fields.items()],
        volumeMounts=[{"name": "podinfo", "mountPath": "/etc/podinfo"}],
        readinessProbe={"httpGet": {"path": "/health", "port": 8000}, "periodSeconds": 1, "timeoutSeconds": 2},
        securityContext={"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}},
    )
    resources = container.setdefault("resources", {})
    resources["requests"] = {**resources.get("requests", {}), "cpu": "20m", "memory": "96Mi"}
    annotations = {"path": "annotations", "fieldRef": {"fieldPath": "metadata.annotations"}}
    pod["volumes"] = [{"name": "podinfo", "downwardAPI": {"items": [annotations]}}]
    pod["securityContext"] = {"runAsNonRoot": True, "runAsUser": 65534, "seccompProfile": {"type": "RuntimeDefault"}}


class Kind(Kubectl):
    """One running kind cluster with Prometheus and exporters; made by `Kind.start`."""

    gateway_url = GATEWAY_URL

    def __init__(self, folder: Path, *, name: str, tools: Tools, progress: Progress) -> None:
        self.dir = folder
        self.name = name
        self.tools = tools
        self._progress = progress
        self._env = {
            "KUBECONFIG": str(self.kubeconfig),
            "DOCKER_BUILDKIT": os.environ.get("DOCKER_BUILDKIT", "0"),
            **{f"HELM_{kind}_HOME": str(folder / "helm" / kind) for kind in ("CACHE", "CONFIG", "DATA")},
        }

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.dir / "kubeconfig"

    @property
    def kubectl_path(self) -> Path:
        """The kubectl of the tools."""
        return self.tools["kubectl"]

    @classmethod
    @contextlib.asynccontextmanager
    async def start(cls, *, progress: Progress = lambda _sentence: None) -> AsyncIterator[Kind]:
        """A cluster for the time of an `async with`; with JEVONS_KIND_KEEP set it stays, and the next start takes it over.

        Raises SandboxError naming what is missing or the command that failed.
        """
        if reason := await asyncio.to_thread(missing):
            raise SandboxError(reason)
        workers = os.environ.get("KIND_WORKERS")
        config = configuration(int(workers) if workers else None)
        tools = await asyncio.to_thread(Tools.present, NEEDED)
        with tempfile.TemporaryDirectory(prefix="jevons-kind-") as folder:
            cluster = cls(Path(folder), name=config["name"], tools=tools, progress=progress)
            try:
                await asyncio.gather(cluster._create(config), cluster._build())
                await cluster._furnish()
                progress("ready")
                yield cluster
            finally:
                if os.environ.get("JEVONS_KIND_KEEP"):
                    progress(f"the cluster stays; end it by `kind delete cluster --name {cluster.name}`")
                else:
                    await cluster._run(str(_kind_path()), "delete", "cluster", "--name", cluster.name)

    async def helm(self, *arguments: str) -> str:
        """The real Helm; returns its standard output. Raises SandboxError with its standard error."""
        return await self._run(str(self.tools["helm"]), *arguments)

    async def install(self, *options: str, namespace: str = SYSTEM_NAMESPACE) -> None:
        """Install both charts, or bring them to these options, and wait until every pod is Ready. The namespace enforces the restricted standard."""
        label = {"pod-security.kubernetes.io/enforce": "restricted"}
        await self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": label}})
        values = {
            "image": {"repository": IMAGE.partition(":")[0], "tag": "kind", "pullPolicy": "Never"},
            "prometheus": {"url": "http://prometheus.monitoring.svc:9090", "scrapeInterval": f"{SCRAPE_INTERVAL_S}s"},
            "operator": {"period": "2s"},
            "gateway": {
                "envoy": {"repository": ENVOY_IMAGE.partition(":")[0], "tag": "kind"},
                "service": {"type": "NodePort", "nodePort": int(GATEWAY_URL.rpartition(":")[2])},
                "drainSeconds": 20,  # on a busy machine the hook that tells Envoy of it takes seconds to start
            },
        }
        given = self.dir / "values.yaml"
        given.write_text(yaml.safe_dump(values))
        charts = CHECKOUT / "helm"
        await self.helm("upgrade", "--install", "jevons-crds", str(charts / "jevons-crds"), "-n", namespace)
        await self.helm(
            "upgrade", "--install", "jevons", str(charts / "jevons"), "-n", namespace, "-f", str(given), "--wait", "--timeout=8m", *options
        )

    async def query(self, promql: str) -> list[dict[str, Any]]:
        """The instant vector of a query. Raises SandboxError when Prometheus does not answer it."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
            address = f"{PROMETHEUS_URL}/api/v1/query?{urllib.parse.urlencode({'query': promql})}"
            async with session.get(address) as response:
                if response.status != 200:
                    raise SandboxError(f"Prometheus answers {response.status} to {promql}: {await response.text()}")
                return list((await response.json())["data"]["result"])

    async def _create(self, config: dict[str, Any]) -> None:
        kind = str(_kind_path())
        with self._timed(f"cluster of {len(config['nodes'])} nodes"):
            if self.name in (await self._run(kind, "get", "clusters")).split():
                await self._run(kind, "export", "kubeconfig", "--name", self.name)
                await self.helm("uninstall", "jevons", "-n", SYSTEM_NAMESPACE, "--ignore-not-found", "--wait")  # its pods would keep their old image
            else:
                given = self.dir / "kind.yaml"
                given.write_text(yaml.safe_dump(config))
                image = os.environ.get("KIND_NODE_IMAGE")
                chosen = ("--image", image) if image else ()
                await self._run(kind, "create", "cluster", "--config", str(given), "--wait", "180s", *chosen)
            await self.kubectl("wait", "nodes", "--all", "--for=condition=Ready", "--timeout=180s", timeout_s=200)
            await self._fake_gpus()

    async def _fake_gpus(self) -> None:
        for node in await self.items("nodes", selector=GPUS_LABEL):
            count = node["metadata"]["labels"][GPUS_LABEL]
            patch = {"status": {field: {"nvidia.com/gpu": count} for field in ("capacity", "allocatable")}}
            await self.kubectl("patch", "node", node["metadata"]["name"], "--subresource=status", "--type=merge", "-p", json.dumps(patch))

    async def _build(self) -> None:
        """Jevons from the checkout; Envoy and Prometheus from their makers, or on the same base from the binaries of tools.py."""
        base = os.environ.get("BASE_IMAGE", DEFAULT_BASE_IMAGE)
        index = ("--build-arg", "PIP_INDEX_URL") if "PIP_INDEX_URL" in os.environ else ()
        envoy = yaml.safe_load((CHECKOUT / "helm" / "jevons" / "values.yaml").read_text())["gateway"]["envoy"]
        with self._timed("images"):
            await self._run("docker", "build", "-q", "-t", IMAGE, "--build-arg", f"BASE_IMAGE={base}", *index, str(CHECKOUT), timeout_s=20 * MINUTES)
            await self._program_image(ENVOY_IMAGE, "envoy", f"{envoy['repository']}:{envoy['tag']}", base)
            await self._program_image(PROMETHEUS_IMAGE, "prometheus", f"prom/prometheus:v{self.tools.version('prometheus')}", base)

    async def _program_image(self, tag: str, program: str, official: str, base: str) -> None:
        try:
            await self._run("docker", "pull", "-q", official, timeout_s=3 * MINUTES)
            await self._run("docker", "tag", official, tag)
        except SandboxError as error:
            self._progress(f"{official} cannot be pulled, so {program} comes from {self.tools[program]} ({str(error).splitlines()[-1][:120]})")
            context = self.dir / program
            context.mkdir()
            shutil.copy(self.tools[program], context / program)
            (context / "Dockerfile").write_text(f"FROM {base}\nCOPY {program} /usr/local/bin/\n")
            await self._run("docker", "build", "-q", "-t", tag, str(context))

    async def _furnish(self) -> None:
        """Load the images, start Prometheus and the exporters."""
        with self._timed("loading the images into the nodes"):
            workers = ",".join(node["metadata"]["name"] for node in await self.items("nodes", selector=GPUS_LABEL))
            chosen = ("--name", self.name, "--nodes", workers)
            await self._run(str(_kind_path()), "load", "docker-image", IMAGE, ENVOY_IMAGE, PROMETHEUS_IMAGE, *chosen)
        with self._timed("Prometheus and exporters"):
            objects = [one for one in yaml.safe_load_all((files("jevons.sandbox") / "kind.yaml").read_text(encoding="utf-8")) if one]
            settings = {"prometheus.yml": prometheus_configuration()}
            config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "prometheus", "namespace": "monitoring"}, "data": settings}
            await self.apply(objects[0], config, *objects[1:])
            for workload in ("deployment/prometheus", "daemonset/dcgm-exporter"):
                await self.kubectl("rollout", "status", workload, "-n", "monitoring", "--timeout=180s", timeout_s=200)

    async def _run(self, *command: str, timeout_s: float = 8 * MINUTES) -> str:
        try:
            return await output_of(*command, env=self._env, timeout_s=timeout_s)
        except CommandError as error:
            raise SandboxError(f"{' '.join(command)}: {str(error)[-2000:]}") from None

    @contextlib.contextmanager
    def _timed(self, what: str) -> Iterator[None]:
        self._progress(f"{what}: begun")
        began = time.monotonic()
        yield
        self._progress(f"{what}: {time.monotonic() - began:.0f} s")


def _kind_path() -> Path | None:
    """The kind program: $JEVONS_TOOLS, .tools of the checkout, $PATH."""
    folders = [Path(value) for value in [os.environ.get("JEVONS_TOOLS")] if value]
    beside = [folder / "kind" for folder in (*folders, CHECKOUT / ".tools") if (folder / "kind").is_file()]
    found = shutil.which("kind")
    return beside[0] if beside else Path(found) if found else None

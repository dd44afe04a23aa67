"""A real Kubernetes control plane in a folder: etcd, kube-apiserver, kube-controller-manager, kube-scheduler and kwok, started by kwokctl.

No container engine, no root, nothing outside the folder and the loopback network. kwok plays the kubelets (stages.yaml); pods get addresses in this
sandbox's own 127.x network, which any process on Linux can bind. etcd does not wait for the disk: the data is scratch.

Facts that cost time: a partial options block of KwokConfiguration zeroes the rest ("playStageParallelism must be greater than 0"); kwokctl listens on
all addresses unless told; it probes for free ports downwards from 32767, which two starts at once do alike, so every port is given.
kube-controller-manager ends when the API server is not healthy 10 s after its own start, and nobody starts it again: `revive` does.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import yaml

from jevons.sandbox.processes import NotReadyError, Program
from jevons.sandbox.slots import Slot
from jevons.sandbox.tools import Tools

COMPONENTS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok-controller")


class Cluster:
    """The control plane of one sandbox. Its processes end with the sandbox's folder (watchdog.py), not here."""

    def __init__(self, folder: Path, *, slot: Slot, tools: Tools) -> None:
        self.kubeconfig = folder / "kubeconfig"
        self._folder = folder
        self._slot = slot
        self._tools = tools
        self._name = f"jevons-{slot.index}"
        self._port = slot.port()
        self._again: dict[str, Program] = {}

    @property
    def api_url(self) -> str:
        """The API server's address."""
        return f"https://127.0.0.1:{self._port}"

    @property
    def home(self) -> Path:
        """Folder that kwokctl keeps for this cluster: logs/, pki/, pids/."""
        return self._folder / "kwok" / "clusters" / self._name

    def component_pid(self, component: str) -> int:
        """Process id of one of COMPONENTS, for the faults a test makes. Raises FileNotFoundError before the start, KeyError for another name."""
        if component not in COMPONENTS:
            raise KeyError(f"{component} is not one of {', '.join(COMPONENTS)}")
        return int((self.home / "pids" / f"{component}.pid").read_text())

    def pause(self, component: str) -> None:
        """SIGSTOP a component: connections stay open and nothing answers."""
        os.kill(self.component_pid(component), signal.SIGSTOP)

    def resume(self, component: str) -> None:
        """SIGCONT after `pause`."""
        os.kill(self.component_pid(component), signal.SIGCONT)

    async def start(self, progress: Callable[[str], None], *, timeout_s: float = 180.0) -> None:
        """Start everything and wait until the API server says it is ready. Raises NotReadyError with kwokctl's words."""
        config = self._folder / "kwok.yaml"
        config.write_text(configuration(self._slot, api_port=self._port))
        progress("starting etcd, API server, controller manager, scheduler and kwok")
        command = [str(self._tools["kwokctl"]), "--name", self._name, "--config", str(config), "create", "cluster"]
        command += ["--runtime", "binary", "--kubeconfig", str(self.kubeconfig), "--wait", f"{timeout_s:g}s"]
        kwokctl = Program("kwokctl", command, folder=self._folder, env=self._environment())
        kwokctl.spawn()
        code = await asyncio.to_thread(kwokctl.wait, timeout_s=timeout_s + 30)
        if code != 0:
            raise NotReadyError(f"kwokctl could not start the cluster (exit code {code}):\n{_words(kwokctl.tail())}")

    def revive(self) -> list[str]:
        """Start again each of COMPONENTS that ended by itself, with the command that kwokctl gave it; returns their names."""
        ended = [component for component in COMPONENTS if not _runs(self.component_pid(component))]
        if ended:
            documents = yaml.safe_load_all((self.home / "kwok.yaml").read_text(encoding="utf-8"))
            known = {one["name"]: one for document in documents if document for one in document.get("components") or ()}
            for component in ended:
                program = Program(f"{component}-again", [known[component]["binary"], *known[component]["args"]], folder=self._folder)
                program.spawn()
                (self.home / "pids" / f"{component}.pid").write_text(str(program.pid))
                self.let_go(component)
                self._again[component] = program
        return ended

    def let_go(self, *components: str) -> None:
        """Kill what `revive` started of those, or of all."""
        for component in components or tuple(self._again):
            if (program := self._again.pop(component, None)) is not None:
                program.kill()

    def _environment(self) -> dict[str, str]:
        binaries = {
            "KWOK_KUBE_APISERVER_BINARY": "kube-apiserver",
            "KWOK_KUBE_CONTROLLER_MANAGER_BINARY": "kube-controller-manager",
            "KWOK_KUBE_SCHEDULER_BINARY": "kube-scheduler",
            "KWOK_ETCD_BINARY": "etcd",
            "KWOK_CONTROLLER_BINARY": "kwok",
            "KWOK_KUBECTL_BINARY": "kubectl",
        }
        return {
            **{name: str(self._tools[tool]) for name, tool in binaries.items()},
            "KWOK_KUBE_VERSION": f"v{self._tools.version('kube-apiserver')}",
            "KWOK_WORKDIR": str(self._folder / "kwok"),
        }


def _runs(pid: int) -> bool:
    """Whether that process is there and has not ended (what nobody collects stays as a zombie)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in {"Z", "X"}
    except OSError:
        return False


def configuration(slot: Slot, *, api_port: int) -> str:
    """KwokConfiguration, KwokctlConfiguration and the stages, as one YAML stream."""
    kwok = {
        "cidr": slot.kwok_cidr,
        "manageAllNodes": True,
        "nodeLeaseDurationSeconds": 40,
        "nodeLeaseParallelism": 4,
        "nodePlayStageParallelism": 4,
        "podPlayStageParallelism": 4,
    }
    kwokctl = {
        "bindAddress": "127.0.0.1",
        "disableQPSLimits": True,
        "etcdPort": slot.port(),
        "etcdPeerPort": slot.port(),
        "kubeApiserverPort": api_port,
        "kubeControllerManagerPort": slot.port(),
        "kubeSchedulerPort": slot.port(),
        "kwokControllerPort": slot.port(),
    }
    # one of each runs: no leader to elect
    alone = [{"key": "leader-elect", "value": "false"}]
    patches = [
        {"name": "etcd", "extraArgs": [{"key": "unsafe-no-fsync", "value": "true"}]},
        {"name": "kube-controller-manager", "extraArgs": alone},
        {"name": "kube-scheduler", "extraArgs": alone},
    ]
    version = "config.kwok.x-k8s.io/v1alpha1"
    documents = [
        {"apiVersion": version, "kind": "KwokConfiguration", "options": kwok},
        {"apiVersion": version, "kind": "KwokctlConfiguration", "options": kwokctl, "componentsPatches": patches},
    ]
    stages = resources.files("jevons.sandbox").joinpath("stages.yaml").read_text()
    return yaml.safe_dump_all(documents) + "---\n" + stages


def _words(log: str) -> str:
    """What kwokctl said: the `msg` and `err` of its JSON log lines, or the lines as they are."""
    sentences = []
    for line in log.splitlines():
        try:
            said = json.loads(line)
        except json.JSONDecodeError:
            sentences.append(line)
        else:
            sentences.append(" ".join(str(said[key]) for key in ("msg", "err") if key in said))
    return "\n".join(sentences)

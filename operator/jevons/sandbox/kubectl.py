"""The real kubectl against one cluster, embedded or kind. What is read back are plain objects, so nothing depends on a client library."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from jevons.sandbox.processes import CommandError, KubectlError, output_of


class Kubectl(ABC):
    """A cluster as its administrator sees it. Not tied to an event loop."""

    @property
    @abstractmethod
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""

    @property
    @abstractmethod
    def kubectl_path(self) -> Path:
        """The program."""

    @property
    def environment(self) -> Mapping[str, str]:
        """What is added to the environment of its programs."""
        return {}

    async def kubectl(self, *arguments: str, input: str | bytes | None = None, timeout_s: float = 60.0) -> str:  # noqa: A002 - subprocess' own word
        """The real kubectl as administrator; returns its standard output. Raises KubectlError with its standard error."""
        text = input.encode() if isinstance(input, str) else input
        env = {"KUBECONFIG": str(self.kubeconfig), **self.environment}
        try:
            return await output_of(str(self.kubectl_path), *arguments, env=env, timeout_s=timeout_s, given=text)
        except CommandError as error:
            raise KubectlError(f"kubectl {' '.join(arguments)}: {error}") from None

    async def apply(self, *objects: dict[str, Any], namespace: str | None = None) -> None:
        """Server-side apply of objects, in order. Raises KubectlError."""
        where = ("-n", namespace) if namespace else ()
        await self.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", *where, input=yaml.safe_dump_all(objects))

    async def get(self, kind: str, name: str, *, namespace: str | None = None) -> dict[str, Any] | None:
        """One object, None when there is none."""
        where = ("-n", namespace) if namespace else ()
        text = await self.kubectl("get", kind, name, "-o", "json", "--ignore-not-found", *where)
        return dict(json.loads(text)) if text else None

    async def items(self, kind: str, *, namespace: str | None = None, selector: str | None = None) -> list[dict[str, Any]]:
        """Objects of a kind, of all namespaces when none is named."""
        arguments = ["get", kind, "-o", "json", *(("-n", namespace) if namespace else ("-A",)), *(("-l", selector) if selector else ())]
        return list(json.loads(await self.kubectl(*arguments))["items"])

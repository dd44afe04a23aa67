"""The objects of the story: one model in two sizes, as small as real engines of the profile table allow on eight A100s."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

_CLIENT = Path(__file__).with_name("client.py")
_SPEC = importlib.util.spec_from_file_location("main_job_client", _CLIENT)
assert _SPEC is not None
assert _SPEC.loader is not None
client = importlib.util.module_from_spec(_SPEC)
sys.modules["main_job_client"] = client
_SPEC.loader.exec_module(client)


def variant(name: str, profile: str, *, count: int, quality: str, precision: str, startup_s: int, most: int) -> dict[str, Any]:
    return {
        "name": name,
        "servedModel": name,
        "quality": quality,
        "precision": precision,
        "contextLength": 16384,
        "accelerator": {"className": "a100-80gb", "count": count},
        "capacity": {"profile": profile},
        "startup": {"expected": f"{startup_s}s"},
        "replicas": {"min": 0, "max": most},
        "template": {
            "metadata": {
                "annotations": {
                    "sandbox.jevons.dev/profile": profile,
                    "pod-ready.stage.kwok.x-k8s.io/delay": f"{startup_s}s",
                    "prometheus.io/scrape": "true",
                    "prometheus.io/port": "8000",
                }
            },
            "spec": {
                "nodeSelector": {"jevons.dev/accelerator": "a100-80gb"},
                "containers": [{"name": "engine", "image": "engine", "resources": {"limits": {"nvidia.com/gpu": str(count)}}}],
            },
        },
    }


@pytest.fixture
def assistant() -> dict[str, Any]:
    """large: 70B on one A100, at most 3; small: 8B INT4 on one, at most 2. Both may sleep."""
    return {
        "apiVersion": "jevons.dev/v1alpha1",
        "kind": "InferenceDeployment",
        "metadata": {"name": "assistant"},
        "spec": {
            "model": "assistant",
            "objectives": {"timeToFirstToken": "2s", "interTokenLatency": "60ms"},
            "scaling": {"idleAfter": "8s", "wake": {"timeout": "60s"}},
            "budget": {"amount": "500", "period": "Hour", "whenExceeded": "Block"},
            "variants": [
                variant("large", "llama-3.1-70b/int4_wo/a100_sxm/1/trtllm", count=1, quality="1.0", precision="INT4", startup_s=3, most=3),
                variant("small", "llama-3.1-8b/int4_wo/a100_sxm/1/trtllm", count=1, quality="0.7", precision="INT4", startup_s=3, most=2),
            ],
        },
    }

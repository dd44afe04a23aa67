"""Names under which the API server knows the three kinds; everything that builds a URL or an owner reference reads them here."""

from __future__ import annotations

from dataclasses import dataclass

GROUP = "jevons.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
CATEGORY = "jevons"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind: its CamelCase name, URL plural, `kubectl` short name, and whether it lives in a namespace."""

    kind: str
    plural: str
    short: str
    namespaced: bool

    @property
    def singular(self) -> str:
        """The kind in lower case, as `kubectl get` takes it."""
        return self.kind.lower()

    @property
    def crd_name(self) -> str:
        """Name of the CustomResourceDefinition, `<plural>.<group>`."""
        return f"{self.plural}.{GROUP}"


INFERENCE_DEPLOYMENT = Kind("InferenceDeployment", "inferencedeployments", "infd", namespaced=True)
INFERENCE_BUDGET = Kind("InferenceBudget", "inferencebudgets", "infb", namespaced=False)
ACCELERATOR_CLASS = Kind("AcceleratorClass", "acceleratorclasses", "accel", namespaced=False)
KINDS = (INFERENCE_DEPLOYMENT, INFERENCE_BUDGET, ACCELERATOR_CLASS)

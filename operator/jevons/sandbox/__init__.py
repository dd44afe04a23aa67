"""Sandbox: a real control plane on a laptop, with engines and GPUs that are simulated. For tests, `up` and the demo; never for production."""

from jevons.sandbox.box import Sandbox
from jevons.sandbox.nodes import DEFAULT_NODES, NodeSpec
from jevons.sandbox.processes import KubectlError, NotReadyError, SandboxError
from jevons.sandbox.tools import ToolError, Tools

__all__ = ["DEFAULT_NODES", "KubectlError", "NodeSpec", "NotReadyError", "Sandbox", "SandboxError", "ToolError", "Tools"]

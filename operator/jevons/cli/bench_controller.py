"""`jevons bench controller`: the real operator with many deployments on the embedded cluster, beside an idle one (benchmark B6)."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from jevons.cli.bench_machine import JsonFile
from jevons.cli.written import write_json

TARGETS = {"pass_p50_s": 5.0, "pass_max_s": 5.0, "promql_queries": 10.0, "writes_at_rest": 0.0}
"""At most, at 500 deployments."""


def controller(
    json_file: JsonFile = None,
    deployments: Annotated[int, typer.Option(help="InferenceDeployments of two variants", min=1, max=5000)] = 200,
    seconds: Annotated[float, typer.Option(help="how long it is watched at rest", min=5)] = 75.0,
    quick: Annotated[bool, typer.Option("--quick", help="20 s at rest")] = False,
) -> None:
    """Measure the operator on an embedded control plane: pass time, queries, writes at rest, memory, processor.

    Needs the control plane's binaries (`jevons sandbox tools`); it works outside a checkout.
    """
    from jevons.sandbox.bench_controller import measure
    from jevons.sandbox.processes import SandboxError
    from jevons.sandbox.tools import ToolError

    try:
        figures = asyncio.run(measure(deployments, 20.0 if quick else seconds, lambda sentence: print(f"  {sentence}", flush=True)))
    except (ToolError, SandboxError, TimeoutError) as error:
        raise SystemExit(f"bench controller: {error}") from None
    for name, value in figures.items():
        most = TARGETS.get(name)
        target = "" if most is None else f"<= {most:g}  {'met' if value <= most else 'MISSED'}"
        print(f"  {name:28} {value:10.3f}  {target}".rstrip())
    if json_file is not None:
        write_json(json_file, figures)

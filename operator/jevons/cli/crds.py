"""`jevons crds`: write the custom resource definitions, as plain files and as the jevons-crds chart.

The chart's templates carry `helm.sh/resource-policy: keep`: uninstalling or rolling back the chart must never delete the schemas, and with them every
InferenceDeployment. `--check` writes nothing and fails when a file differs, which is how a forgotten `make crds` is noticed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    out: Annotated[Path, typer.Option(help="folder for the plain CRDs", envvar="JEVONS_CRDS_OUT")],
    chart: Annotated[Path | None, typer.Option(help="folder of the jevons-crds chart", envvar="JEVONS_CRDS_CHART")] = None,
    docs: Annotated[Path | None, typer.Option(help="reference page whose generated tables are renewed", envvar="JEVONS_CRDS_DOCS")] = None,
    check: Annotated[bool, typer.Option("--check", help="write nothing; exit 1 when a file differs")] = False,
) -> None:
    """Write the custom resource definitions from the models."""
    wanted = files(out, chart, docs)
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if check:
        for path in stale:
            print(f"{path} differs from the models; run `make crds`")
        raise typer.Exit(1 if stale else 0)
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(wanted[path], encoding="utf-8")
        print(f"wrote {path}")


def files(out: Path, chart: Path | None = None, docs: Path | None = None) -> dict[Path, str]:
    """Every generated file and its text."""
    from jevons.api import crds, reference
    from jevons.api.kinds import KINDS

    wanted = {out / f"{kind.plural}.yaml": crds.rendered(kind) for kind in KINDS}
    if chart is not None:
        wanted |= {chart / "templates" / f"{kind.plural}.yaml": crds.chart_template(kind) for kind in KINDS}
    if docs is not None:
        wanted[docs] = reference.page()
    return wanted

"""`jevons bench`: what Jevons saves, and against whom, on traces of your own; each benchmark is a command."""

from __future__ import annotations

import typer

from jevons.cli.bench_autoscale import autoscale
from jevons.cli.bench_budget import budget
from jevons.cli.bench_controller import controller
from jevons.cli.bench_simulator import simulator
from jevons.cli.bench_zoo import zoo

app = typer.Typer(no_args_is_help=True)
app.command("autoscale")(autoscale)
app.command("zoo")(zoo)
app.command("budget")(budget)
app.command("controller")(controller)
app.command("simulator")(simulator)


@app.callback()
def _root() -> None:
    """Keep `jevons bench NAME` a group."""

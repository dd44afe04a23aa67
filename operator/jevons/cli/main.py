"""`jevons`: one command, many subcommands, each loaded only when it is called (importing them all would cost seconds).

A subcommand's module has either `app` (a Typer with subcommands) or `command` (one function).
"""

from __future__ import annotations

import importlib
import sys

import typer

COMMANDS: dict[str, tuple[str, str]] = {
    "operator": ("jevons.cli.operator", "run the controller"),
    "gateway": ("jevons.cli.gateway", "run Envoy, the pickers and the waiting room"),
    "sandbox": ("jevons.cli.sandbox", "embedded cluster with simulated engines: up, demo, tools"),
    "crds": ("jevons.cli.crds", "write the custom resource definitions"),
    "explain": ("jevons.cli.explain", "why a deployment has what it has"),
    "replay": ("jevons.cli.replay", "decide recorded passes again, and say whether the same comes out"),
    "simulate": ("jevons.cli.simulate", "what a manifest would cost and do on a trace, without a cluster"),
    "regret": ("jevons.cli.regret", "what knowing the future would have saved, and which part of the controller lost it"),
    "advise": ("jevons.cli.advise", "which engine settings would save money on this traffic, tried in the simulator"),
    "bench": ("jevons.cli.bench", "what Jevons saves against every peer, on traces of your own"),
    "train": ("jevons.cli.train", "fit the request classifier"),
    "evaluate-router": ("jevons.cli.evaluate_router", "measure the request classifier against its controls"),
}
"""name -> (module, one line of help)."""


def build(argv: list[str]) -> typer.Typer:
    """The application with the subcommand that `argv` names, or with all of them when it names none (help, completion)."""
    app = typer.Typer(
        name="jevons",
        help="Serve every LLM request with the cheapest model that answers it well.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
    )

    @app.callback()
    def _root() -> None:
        """Keep `jevons NAME` a group even when one subcommand is loaded."""

    named = next((word for word in argv if not word.startswith("-")), None)
    for name in [named] if named in COMMANDS else COMMANDS:
        module_name, summary = COMMANDS[name]
        module = importlib.import_module(module_name)
        if hasattr(module, "app"):
            app.add_typer(module.app, name=name, help=summary)
        else:
            app.command(name=name, help=summary)(module.command)
    return app


def main() -> None:
    """Entry point of the console script."""
    build(sys.argv[1:])()

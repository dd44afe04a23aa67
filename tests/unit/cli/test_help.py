"""`--help` says everything that was written: rich takes words in square brackets for its markup and drops them."""

from __future__ import annotations

from collections.abc import Iterator

import typer.main

from jevons.cli.main import COMMANDS, build
from jevons.simulator.traces_synthetic import Shape

ROOT = typer.main.get_command(build([]))


def leaves(command: object, path: str = "") -> Iterator[tuple[str, typer.core.TyperCommand]]:
    """Every command that does something, by its words."""
    if isinstance(command, typer.core.TyperGroup):
        for name, each in command.commands.items():
            yield from leaves(each, f"{path} {name}".strip())
    elif isinstance(command, typer.core.TyperCommand):
        yield path, command


def test_every_command_is_there() -> None:
    assert {path.split()[0] for path, _ in leaves(ROOT)} == set(COMMANDS)


def test_no_word_of_a_help_is_taken_for_markup() -> None:
    said = [(path, parameter.name, getattr(parameter, "help", None) or "") for path, command in leaves(ROOT) for parameter in command.params]
    assert len(said) > 100
    assert [one for one in said if "[" in one[2]] == []


def test_the_shapes_that_bench_autoscale_plays_are_named() -> None:
    autoscale = dict(leaves(ROOT))["bench autoscale"]
    (told,) = (getattr(parameter, "help", "") for parameter in autoscale.params if parameter.name == "trace")
    assert [shape for shape in Shape if f"{shape}" not in told] == []

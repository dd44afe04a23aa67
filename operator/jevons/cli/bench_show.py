"""What `jevons bench autoscale` shows while it works and when it is done: bars or lines of progress, a table per comparison, pictures."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jevons.simulator.protocol.cell import Cell
    from jevons.simulator.protocol.study import Found, Progress

LEGEND = (
    "$ = USD per 1,000 offered requests at that attainment, - = unreached; ours/it below 1: jevons is cheaper, [95 % interval]; "
    "plain: worst 10-minute windows do not bind"
)
ROUTING_LEGEND = "$ = USD per 1,000 right answers in time; quality: right answers over the large model's, at 95 %"
WIDTH = 150
SAY_S = 20.0
"""Where the output is no terminal, at most one line of progress in this time."""


def console() -> Any:
    """Of the terminal; room for a wide table where there is none."""
    from rich.console import Console

    made = Console()
    if not made.is_terminal:
        made.width = max(made.width, WIDTH)
    return made


@contextmanager
def progress(console: Any) -> Iterator[Progress]:
    """Bars that say what runs now, on a terminal; elsewhere lines, with how long it has taken and what is left by that measure."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    bars = Progress(
        TextColumn("{task.description:14}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(), console=console
    )

    def stage(what: str, total: int) -> Callable[[], None]:
        if not console.is_terminal:
            return _lines(console, what, total)
        task = bars.add_task(what, total=total)
        return lambda: bars.advance(task)

    bars.disable = not console.is_terminal
    with bars:
        yield stage


def _lines(console: Any, what: str, total: int) -> Callable[[], None]:
    console.print(f"{what}: {total} jobs", markup=False)
    began = said = time.monotonic()
    done = 0

    def count() -> None:
        nonlocal done, said
        done += 1
        now = time.monotonic()
        if now - said >= SAY_S and done < total:
            left = (now - began) / done * (total - done)
            console.print(f"{what}: {done} of {total}, {now - began:.0f} s, about {left:.0f} s left", markup=False)
            said = now

    return count


def show(console: Any, found: Found, made: Sequence[Any]) -> None:
    """A table per cell."""
    from rich.box import SIMPLE
    from rich.table import Table

    from jevons.simulator.protocol import robustness
    from jevons.simulator.protocol.report import routings
    from jevons.simulator.protocol.tables import headings, lines, routing_headings, routing_lines, routing_title, title

    def print_table(above: str, legend: str, names: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        console.print(above, markup=False)
        table = Table(box=SIMPLE, caption=legend, caption_justify="left")
        for at, heading in enumerate(names):
            table.add_column(heading, justify="left" if at < 1 else "right", no_wrap=True)
        for row in rows:
            table.add_row(*row)
        console.print(table)

    routed = routings(found)
    for cell in _nominal(found):
        print_table(title(cell), LEGEND, headings(), list(lines(cell, found, made)))
        if len(names := robustness.headings(made, cell)) > 3 and not cell.condition:
            above = f"{cell.trace}: our cost over theirs at {robustness.SHOWN:.0%} when physics or prior are wrong; settings as before"
            print_table(above, "below 1: jevons is cheaper, [95 % interval]", names, list(robustness.lines(made, cell)))
        if some := list(routing_lines(cell, routed)):
            print_table(routing_title(cell), ROUTING_LEGEND, routing_headings(), some)


def draw(found: Found, folder: Path) -> list[Path]:
    """The pictures of every cell."""
    from jevons.simulator.protocol.plots import draw as draw_one

    return [file for cell in _nominal(found) for file in draw_one(cell, found, folder)]


def _nominal(found: Found) -> list[Cell]:
    """The cells that have a table of their own: those in which nothing is wrong on purpose."""
    return list(dict.fromkeys(entry.cell for entry in found.entries if not entry.cell.condition or entry.cell.own_dispatcher))

"""`jevons sandbox`: the embedded cluster from the command line.

`tools` finds or builds its binaries, `up` runs it until Ctrl-C, `demo` shows the main job on real input.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import time
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from jevons.cli.written import write_json
from jevons.sandbox import DEFAULT_NODES, Sandbox, SandboxError, ToolError, Tools
from jevons.sandbox.tools import CHECKOUT, Progress

app = typer.Typer(no_args_is_help=True)
T = TypeVar("T")


@app.command()
def tools() -> None:
    """Find, download or build the binaries of the embedded cluster, and say what is where."""
    found = _tools()
    table = Table("tool", "version", "from", "path", box=None)
    for name, tool in found.found.items():
        table.add_row(name, tool.version, tool.origin, str(tool.path))
    Console(width=None if sys.stdout.isatty() else 200).print(table)


@app.command()
def up(
    gateway: Annotated[bool, typer.Option(help="run the operator and a gateway as well")] = True,
    time_scale: Annotated[float, typer.Option(help="how much faster than the wall clock engines run")] = 1.0,
    scrape_interval: Annotated[float, typer.Option(help="of Prometheus, in seconds")] = 2.0,
    data_dir: Annotated[Path | None, typer.Option(help="where the operator keeps its passes, for replay, regret and advise; stays there")] = None,
) -> None:
    """Run a cluster with simulated GPUs until Ctrl-C, then remove all of it."""
    found = _tools()
    try:
        asyncio.run(_up(found, gateway=gateway, time_scale=time_scale, scrape_interval_s=scrape_interval, data_dir=data_dir))
    except SandboxError as error:
        raise SystemExit(f"sandbox: {error}") from None


@app.command()
def demo(
    json_file: Annotated[Path | None, typer.Option("--json", help="write the summary to this file as well")] = None,
    engine: Annotated[str, typer.Option(help="simulated, or llamacpp: one variant answers with a real llama.cpp server")] = "simulated",
) -> None:
    """The main job on real input: scale, sleep and wake, route, keep a budget; ends with measured figures."""
    from jevons.sandbox.demo import demo as run_demo
    from jevons.sandbox.demo_report import as_text

    if engine not in {"simulated", "llamacpp"}:
        raise typer.BadParameter(f"--engine: {engine!r} is neither simulated nor llamacpp")
    found = _tools()
    console = Console(stderr=True)
    began = time.monotonic()

    def say(sentence: str) -> None:
        console.print(f"[dim]{time.monotonic() - began:5.0f} s[/dim]  {sentence}", highlight=False)

    try:
        summary = asyncio.run(_until_told(run_demo(console, say=say, tools=found, llamacpp=engine == "llamacpp")))
    except SandboxError as error:
        raise SystemExit(f"demo: {error}") from None
    if summary is None:
        raise SystemExit("demo: stopped; everything it started is gone")
    table = Table(box=None, show_header=False, pad_edge=False, title="What was measured", title_justify="left")
    for what, figure in as_text(summary):
        table.add_row(what, figure)
    Console(width=None if sys.stdout.isatty() else 180).print(table, highlight=False)
    if json_file is not None:
        write_json(json_file, summary)


async def _until_told(work: Coroutine[Any, Any, T]) -> T | None:
    """What `work` returns, or None when SIGINT, SIGTERM or SIGHUP ended it; it has cleaned up by then."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)
    working, waiting = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    await asyncio.wait({working, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if working.done():
        return working.result()
    working.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await working
    return None


async def _up(found: Tools, *, gateway: bool, time_scale: float, scrape_interval_s: float, data_dir: Path | None) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)
    async with contextlib.AsyncExitStack() as stack:
        parts = _start(stack, found, gateway=gateway, time_scale=time_scale, scrape_interval_s=scrape_interval_s, data_dir=data_dir)
        starting = asyncio.ensure_future(parts)
        waiting = asyncio.ensure_future(stop.wait())
        await asyncio.wait({starting, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await starting
            return
        for line in starting.result():
            print(line, flush=True)
        await waiting
        print("removing everything", file=sys.stderr, flush=True)


async def _start(
    stack: contextlib.AsyncExitStack, found: Tools, *, gateway: bool, time_scale: float, scrape_interval_s: float, data_dir: Path | None
) -> list[str]:
    """Everything that `up` runs, entered into `stack`; returns what to print."""
    with _spinner() as say:
        box = await stack.enter_async_context(
            Sandbox.start(nodes=DEFAULT_NODES, tools=found, scrape_interval_s=scrape_interval_s, time_scale=time_scale, progress=say)
        )
        lines = [f"export KUBECONFIG={box.kubeconfig}", f"API server  {box.api_url}", f"Prometheus  {box.prometheus_url}"]
        accelerators = CHECKOUT / "examples" / "accelerators.yaml"
        if accelerators.exists():
            say("what the accelerators of these nodes cost")
            await box.kubectl("apply", "-f", str(accelerators))
        if gateway:
            say("starting the operator")
            op = await stack.enter_async_context(box.operator(options=[] if data_dir is None else ["--data-dir", str(data_dir)]))
            say("starting the gateway")
            gw = await stack.enter_async_context(box.gateway(operators=[op.demand_address]))
            lines += [f"gateway     {gw.url}", f"operator    {op.metrics_url}"]
        return [*lines, f"logs        {box.dir / 'logs'}", "Ctrl-C ends it and removes all of it."]


def _tools() -> Tools:
    try:
        with _spinner() as say:
            return Tools.resolve(progress=say)
    except ToolError as error:
        raise SystemExit(f"sandbox: {error}") from None


@contextlib.contextmanager
def _spinner() -> Iterator[Progress]:
    """What goes on, on standard error: one line that changes in a terminal; elsewhere a line for each new subject, not for each count."""
    console = Console(stderr=True)
    if console.is_terminal:
        with console.status("looking for tools") as status:
            yield status.update
        return
    subject = ""

    def say(sentence: str) -> None:
        nonlocal subject
        if (now := sentence.split(": ", maxsplit=1)[0]) != subject:
            subject = now
            print(sentence, file=sys.stderr, flush=True)

    yield say

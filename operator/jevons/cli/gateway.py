"""`jevons gateway`: Envoy, the pickers, the waiting room and the agent of one gateway pod."""

from __future__ import annotations

import asyncio
import shutil
import socket
from pathlib import Path
from typing import Annotated

import typer

_ENV = "JEVONS_GATEWAY_"


def command(  # noqa: PLR0917 - typer makes options of them
    state_dir: Annotated[Path, typer.Option(envvar=f"{_ENV}STATE_DIR", help="folder for sockets, table, access log; one per gateway")],
    envoy: Annotated[Path | None, typer.Option(envvar=f"{_ENV}ENVOY", help="the Envoy binary to run as a child")] = None,
    no_envoy: Annotated[bool, typer.Option("--no-envoy", envvar=f"{_ENV}NO_ENVOY", help="Envoy runs elsewhere on STATE_DIR/envoy.json")] = False,
    kubeconfig: Annotated[str | None, typer.Option(envvar=f"{_ENV}KUBECONFIG", help="how to reach the API server; default: in the cluster")] = None,
    operator: Annotated[list[str] | None, typer.Option(envvar=f"{_ENV}OPERATOR", help="HOST:PORT of an operator's demand port; repeat")] = None,
    operator_dns: Annotated[str | None, typer.Option(envvar=f"{_ENV}OPERATOR_DNS", help="NAME:PORT that resolves to all operators")] = None,
    listen: Annotated[str, typer.Option(envvar=f"{_ENV}LISTEN", help="where clients send requests")] = "127.0.0.1:8080",
    pickers: Annotated[int, typer.Option(envvar=f"{_ENV}PICKERS", min=1, max=14, help="picker processes")] = 2,
    metrics_port: Annotated[int, typer.Option(envvar=f"{_ENV}METRICS_PORT", help="Prometheus metrics")] = 9813,
    metrics_host: Annotated[str, typer.Option(envvar=f"{_ENV}METRICS_HOST", help="address the metrics are served on")] = "127.0.0.1",
    room_address: Annotated[str, typer.Option(envvar=f"{_ENV}ROOM_ADDRESS", help="where Envoy reaches the waiting room")] = "127.0.0.1:9814",
    room_grace: Annotated[
        float, typer.Option(envvar=f"{_ENV}ROOM_GRACE", min=0, max=60, help="seconds before a held stream gets 200 and comments")
    ] = 10.0,
    token_file: Annotated[Path | None, typer.Option(envvar=f"{_ENV}TOKEN_FILE", help="bearer token for the demand stream")] = None,
    watch_namespace: Annotated[list[str] | None, typer.Option(envvar=f"{_ENV}WATCH_NAMESPACE", help="only these namespaces; repeat")] = None,
    controller_name: Annotated[str, typer.Option(envvar=f"{_ENV}CONTROLLER_NAME", help="which InferenceDeployments are ours")] = "jevons",
    health_port: Annotated[
        int | None,
        typer.Option(envvar=f"{_ENV}HEALTH_PORT", min=0, max=65_535, help="GET /healthz for liveness probes, also under overload; default: none"),
    ] = None,
    max_heap_bytes: Annotated[
        int,
        typer.Option(envvar=f"{_ENV}MAX_HEAP_BYTES", min=64 * 2**20, help="Envoy's heap; near it new requests get 503. Below its container's limit"),
    ] = 640 * 2**20,
    concurrency: Annotated[int, typer.Option(envvar=f"{_ENV}CONCURRENCY", min=1, help="Envoy's worker threads")] = 2,
    source: Annotated[str | None, typer.Option(envvar=f"{_ENV}SOURCE", help="this gateway's name towards operators; default: host name")] = None,
) -> None:
    """Run one gateway until SIGTERM; prints one line of JSON when it serves."""
    from jevons.gateway import logs
    from jevons.gateway.supervisor import GatewayOptions, Supervisor

    if (envoy is None) != no_envoy:
        raise typer.BadParameter("give either --envoy PATH or --no-envoy")
    if envoy is not None and shutil.which(envoy) is None:
        raise typer.BadParameter(f"--envoy: {envoy} is no program that can be run")
    options = GatewayOptions(
        state_dir=state_dir.absolute(),
        envoy=envoy,
        listen=listen,
        room_address=room_address,
        room_grace_s=room_grace,
        metrics_port=metrics_port,
        metrics_host=metrics_host,
        pickers=pickers,
        operators=tuple(operator or ()),
        operator_dns=operator_dns,
        token_file=token_file,
        kubeconfig=kubeconfig,
        watch_namespaces=tuple(watch_namespace or ()),
        controller_name=controller_name,
        concurrency=concurrency,
        health_port=health_port,
        max_heap_bytes=max_heap_bytes,
        source=source or socket.gethostname(),
    )
    logs.configure("supervisor")
    asyncio.run(Supervisor(options).run())

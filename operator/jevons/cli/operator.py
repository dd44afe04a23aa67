"""`jevons operator`: the controller. Options as in docs/designs/0001-the-house.md, each also as JEVONS_OPERATOR_<OPTION>."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import secrets
import socket
import sys
from pathlib import Path
from typing import Annotated

import typer

_ENV = "JEVONS_OPERATOR_"
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def seconds(text: str) -> float:
    """`15s`, `1m30s` or a bare number of seconds. Raises typer.BadParameter."""
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h)", text)
    if parts and "".join(number + unit for number, unit in parts) == text:
        value = sum(float(number) * _UNITS[unit] for number, unit in parts)
    else:
        try:
            value = float(text)
        except ValueError:
            raise typer.BadParameter(f"{text!r} is not a duration; write 15s or 2m") from None
    if not 0.05 <= value <= 3600:
        raise typer.BadParameter(f"{text!r} is not between 50ms and 1h")
    return value


def command(  # noqa: PLR0917  typer makes options of them
    prometheus_url: Annotated[str, typer.Option(envvar=f"{_ENV}PROMETHEUS_URL", help="where signals are read; http(s), without credentials")],
    kubeconfig: Annotated[str | None, typer.Option(envvar=f"{_ENV}KUBECONFIG", help="how to reach the API server; default: in the cluster")] = None,
    namespace: Annotated[str, typer.Option(envvar=f"{_ENV}NAMESPACE", help="the operator's own namespace")] = "jevons-system",
    prometheus_scrape_interval: Annotated[
        str, typer.Option(envvar=f"{_ENV}PROMETHEUS_SCRAPE_INTERVAL", help="samples older than two are stale")
    ] = "15s",
    prometheus_token_file: Annotated[
        str | None, typer.Option(envvar=f"{_ENV}PROMETHEUS_TOKEN_FILE", help="bearer token, read anew each pass")
    ] = None,
    prometheus_ca_file: Annotated[str | None, typer.Option(envvar=f"{_ENV}PROMETHEUS_CA_FILE", help="CA of Prometheus' certificate")] = None,
    period: Annotated[str, typer.Option(envvar=f"{_ENV}PERIOD", help="time between passes when nothing happens")] = "15s",
    resync: Annotated[str, typer.Option(envvar=f"{_ENV}RESYNC", help="time between full lists")] = "120s",
    listen: Annotated[str, typer.Option(envvar=f"{_ENV}LISTEN", help="address of all ports")] = "0.0.0.0",
    demand_port: Annotated[int, typer.Option(envvar=f"{_ENV}DEMAND_PORT", help="gateways report here (gRPC)")] = 9810,
    health_port: Annotated[int, typer.Option(envvar=f"{_ENV}HEALTH_PORT", help="/livez, /readyz, /decisions")] = 9811,
    metrics_port: Annotated[int, typer.Option(envvar=f"{_ENV}METRICS_PORT", help="/metrics")] = 9812,
    watch_namespace: Annotated[list[str] | None, typer.Option(envvar=f"{_ENV}WATCH_NAMESPACE", help="only these namespaces; repeat")] = None,
    target_kind: Annotated[list[str] | None, typer.Option(envvar=f"{_ENV}TARGET_KIND", help="group/version/Kind that may be scaled; repeat")] = None,
    identity: Annotated[str | None, typer.Option(envvar=f"{_ENV}IDENTITY", help="name in the Lease; default: host name and a random part")] = None,
    insecure_demand: Annotated[
        bool, typer.Option("--insecure-demand", envvar=f"{_ENV}INSECURE_DEMAND", help="accept reports without a token")
    ] = False,
    demand_user: Annotated[
        list[str] | None,
        typer.Option(envvar=f"{_ENV}DEMAND_USER", help="user that may report demand; default: ServiceAccount jevons-gateway of --namespace; repeat"),
    ] = None,
    controller_name: Annotated[str, typer.Option(envvar=f"{_ENV}CONTROLLER_NAME", help="which InferenceDeployments are ours")] = "jevons",
    data_dir: Annotated[Path | None, typer.Option(envvar=f"{_ENV}DATA_DIR", help="folder for the audit log and the recorded passes")] = None,
    record_mib: Annotated[
        int, typer.Option(envvar=f"{_ENV}RECORD_MIB", help="MiB of passes kept in --data-dir for `jevons replay`; 0 = none", min=0)
    ] = 256,
    log_level: Annotated[str, typer.Option(envvar=f"{_ENV}LOG_LEVEL", help="debug, info, warning or error")] = "info",
) -> None:
    """Run one operator until SIGTERM; prints one line of JSON when it serves."""
    import structlog

    level = logging.getLevelNamesMapping().get(log_level.upper())
    if level is None:
        raise typer.BadParameter(f"{log_level!r} is not debug, info, warning or error", param_hint="--log-level")
    structlog.configure(
        processors=[structlog.processors.add_log_level, structlog.processors.TimeStamper(fmt="iso"), structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
    )
    logging.basicConfig(level=max(level, logging.WARNING), format='{"level": "%(levelname)s", "logger": "%(name)s", "event": "%(message)s"}')

    from jevons.cluster.connect import NoClusterError
    from jevons.cluster.lister import DEFAULT_TARGET_KINDS
    from jevons.controller.wiring import Options, run

    options = Options(
        namespace=namespace,
        prometheus_url=prometheus_url,
        identity=identity or f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}",
        kubeconfig=kubeconfig,
        scrape_interval_s=seconds(prometheus_scrape_interval),
        period_s=seconds(period),
        resync_s=seconds(resync),
        listen=listen,
        demand_port=demand_port,
        health_port=health_port,
        metrics_port=metrics_port,
        watch_namespaces=tuple(watch_namespace or ()),
        target_kinds=tuple(target_kind or DEFAULT_TARGET_KINDS),
        insecure_demand=insecure_demand,
        demand_users=tuple(demand_user or ()),
        controller_name=controller_name,
        data_dir=data_dir,
        record_mib=record_mib,
        prometheus_token_file=prometheus_token_file,
        prometheus_ca_file=prometheus_ca_file,
    )
    try:
        asyncio.run(run(options))
    except NoClusterError as error:
        raise SystemExit(f"operator: {error}") from None

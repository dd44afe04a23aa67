"""`jevons explain`: why a deployment has what it has, from the operator's own record of decisions.

The operator writes a line whenever a decision changes (`--data-dir`, `decisions.jsonl`). This prints the last one of a deployment: what was read and
how old it was, the plans that were weighed with their costs, and the bounds that bind. It reads a file and asks nobody. From recorded passes
(`--recording`) it explains any moment of them.
"""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer


def command(
    deployment: Annotated[str, typer.Argument(help="namespace/name of the InferenceDeployment")],
    data_dir: Annotated[
        Path | None, typer.Option(envvar="JEVONS_OPERATOR_DATA_DIR", help="the operator's --data-dir", exists=True, file_okay=False, readable=True)
    ] = None,
    recording: Annotated[Path | None, typer.Option(help="recorded passes instead: the operator's --data-dir, or a file", exists=True)] = None,
    at: Annotated[datetime | None, typer.Option(help="with --recording: the last pass until then, UTC; default: the last of all")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print the recorded decision as JSON")] = False,
) -> None:
    """Print the last recorded decision of a deployment, with its inputs, alternatives and binding constraints."""
    if deployment.count("/") != 1:
        raise typer.BadParameter(f"{deployment!r} is not namespace/name")
    if (data_dir is None and recording is None) or (at is not None and recording is None):
        raise typer.BadParameter("give --data-dir DIR, or --recording PATH with or without --at TIME; in the operator's pod neither is needed")
    try:
        found = recorded_decision(recording, deployment, at) if recording is not None else last_decision(data_dir or Path(), deployment)
    except (ValueError, OSError) as error:
        raise SystemExit(f"explain: {error}") from None
    if found is None:
        typer.echo(f"no decision of {deployment} is recorded in {recording or data_dir}; is it of the operator that leads?", err=True)
        raise typer.Exit(1)
    print(json.dumps(found, indent=2) if as_json else "\n".join(as_lines(found)))


def recorded_decision(recording: Path, deployment: str, at: datetime | None) -> dict[str, Any] | None:
    """The deployment's decision in the last recorded pass until `at` (UTC unless it says otherwise) that has one; None if there is none."""
    from jevons.cli.recordings import passes
    from jevons.controller.audit import document
    from jevons.core.spec import Key

    key, until_s = Key(*deployment.split("/")), math.inf
    if at is not None:
        until_s = (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()
    found = None
    for one in passes(recording, only=key):
        if one.at_s > until_s:
            break
        found = (one.at_s, one.decision.deployments[key]) if key in one.decision.deployments else found
    return None if found is None else {"time": datetime.fromtimestamp(found[0], UTC).isoformat(), "kind": "decision", **document(found[1])}


def last_decision(folder: Path, deployment: str) -> dict[str, Any] | None:
    """The newest recorded decision of `namespace/name`, the newest file first; None if there is none. Lines cut short by a crash are passed over."""
    older = sorted(folder.glob("decisions.[0-9]*.jsonl"), key=lambda path: int(path.name.split(".")[1]))
    for path in (folder / "decisions.jsonl", *older):
        found = None
        if path.exists():
            with path.open(encoding="utf-8", errors="replace") as lines:
                for line in lines:
                    found = _matching(line, deployment) or found
        if found is not None:
            return found
    return None


def _matching(line: str, deployment: str) -> dict[str, Any] | None:
    if deployment not in line:
        return None
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and record.get("kind") == "decision" and record.get("deployment") == deployment else None


def as_lines(record: dict[str, Any]) -> list[str]:
    """A recorded decision for people."""
    lines = [f"{record['deployment']}  decision {record['id']}  {record['time']}", f"{record['reason']}: {record['message']}", "", "replicas"]
    for item in record["replicas"]:
        desired = "left alone" if item["desired"] is None else item["desired"]
        wish = f", would be {item['recommended']}" if item["recommended"] is not None else ""
        lines.append(f"  {item['variant']}: {item['current']} -> {desired}{wish}  {item['reason']}: {item['message']}")
    lines += ["", "read"]
    for item in record["inputs"]:
        age = f", {item['ageSeconds']:.0f} s old" if item["ageSeconds"] is not None else ""
        lines.append(f"  {item['name']}: {item['value']}{age}")
    lines += ["", "weighed"]
    lines += [f"  {item['plan']}  {item['cost']}  {item['verdict']}" for item in record["alternatives"]]
    if record["binding"]:
        lines += ["", "binds", *(f"  {item}" for item in record["binding"])]
    lines += ["", "not as it should be" if any(item["status"] != "True" for item in record["conditions"]) else "all conditions are True"]
    lines += [f"  {item['type']}={item['status']} {item['reason']}: {item['message']}" for item in record["conditions"] if item["status"] != "True"]
    return lines

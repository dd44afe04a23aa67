"""Write helm/jevons/values.schema.json and values.yaml from the one commented description, values.schema.yaml.

`python tools/chart_values.py` writes; with `--check` it writes nothing and ends with 1 when a file differs from what it would write.
"""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).parent.parent / "helm" / "jevons"


def schema(node: dict[str, Any]) -> dict[str, Any]:
    """JSON schema of one node: groups become objects that refuse unknown names."""
    if "default" in node or "properties" not in node:
        return node
    return {
        **{key: value for key, value in node.items() if key != "properties"},
        "type": "object",
        "additionalProperties": False,
        "properties": {name: schema(child) for name, child in node["properties"].items()},
    }


def values(node: dict[str, Any], *, indent: int = 0) -> list[str]:
    """Lines of values.yaml: each default under its description."""
    lines: list[str] = []
    for name, child in node["properties"].items():
        pad = " " * indent
        if indent == 0:
            lines.append("")
        lines += [f"{pad}# {line}" for line in textwrap.wrap(child.get("description", ""), 145 - indent)]
        if "default" in child:
            lines += [pad + line for line in yaml.safe_dump({name: child["default"]}, sort_keys=False).rstrip().splitlines()]
        else:
            lines += [f"{pad}{name}:", *values(child, indent=indent + 2)]
    return lines


def generated() -> dict[Path, str]:
    """File -> text."""
    source = yaml.safe_load((CHART / "values.schema.yaml").read_text())
    top = schema(source)
    top["properties"]["global"] = {"type": "object", "description": "Set by parent charts; not used."}
    head = "# Generated from values.schema.yaml by tools/chart_values.py; edit that file."
    return {
        CHART / "values.schema.json": json.dumps({"$schema": "http://json-schema.org/draft-07/schema#", **top}, indent=2) + "\n",
        CHART / "values.yaml": "\n".join([head, *values(source)]) + "\n",
    }


def main() -> int:
    """Write or check; the exit code says whether something differed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only say what differs")
    check = parser.parse_args().check
    changed = [path for path, text in generated().items() if not path.exists() or path.read_text() != text]
    for path in changed:
        if check:
            print(f"{path} differs from values.schema.yaml; run python tools/chart_values.py")
        else:
            path.write_text(generated()[path])
    return int(check and bool(changed))


if __name__ == "__main__":
    sys.exit(main())

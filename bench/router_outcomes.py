"""Makes the labelled outcomes that `jevons bench autoscale` packs: scores of the shipped classifier, and who answered right, without any text.

    python -m bench.router_outcomes --data ../shared/data/routing/mmlu_pro_llama31_dev.csv.gz

To be run after the weights were trained anew. Labels: TIGER-AI-Lab/MMLU-Pro @ f418b11 (Apache-2.0), Llama-3.1-8B-Instruct and -70B-Instruct; only
the test fold, which the weights have not seen.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from jevons.cli.bench_labels import outcomes

TARGET = Path(__file__).parents[1] / "operator/jevons/simulator/protocol/router_outcomes.json"


def main() -> None:
    parser = argparse.ArgumentParser(description="the packaged outcomes of the router")
    parser.add_argument("--data", type=Path, required=True, help="labelled prompts, CSV or CSV.gz")
    made = outcomes(parser.parse_args().data)
    source = {"source": "TIGER-AI-Lab/MMLU-Pro @ f418b11, Llama-3.1-8B-Instruct and Llama-3.1-70B-Instruct, test fold", "licence": "Apache-2.0"}
    TARGET.write_text(json.dumps(source | made, separators=(",", ":")) + "\n")
    print(f"{TARGET}: {len(made['rows'])} prompts")


if __name__ == "__main__":
    main()

"""How long does one score take? p50 and p99 at several lengths, one thread, beside the limits of the design (0.4 ms at 400 words, 0.6 ms at any).

`python bench/classifier.py [--json FILE]`; exits 1 when a limit is passed by the CPU time of a score (the wall clock also counts
what else the machine does).
"""

import argparse
import json
import sys
from pathlib import Path

from jevons.classifier import Classifier
from jevons.classifier.evaluate import latency

LIMITS_MS = {30: 0.4, 100: 0.4, 400: 0.4, 1_000: 0.6, 8_000: 0.6, 100_000: 0.6}
SENTENCE = "determine the equilibrium concentration (x+1) when 25 mL of acid, pK 4.76, is titrated against strong base until neutral"
WORDS = [*SENTENCE.split(), "\n"]


def main() -> int:
    """Measure, print, optionally write; the exit code says whether the limits hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    wanted = parser.parse_args()
    classifier = Classifier.load_default()
    rows = []
    for words, limit in LIMITS_MS.items():
        text = " ".join(f"{WORDS[n % len(WORDS)]}{n % 97}" for n in range(words))
        rows.append({"words": words, **latency(classifier, text), "limit_p99_ms": limit})
        clocks = f"p50 {rows[-1]['p50_ms']:.3f} ms  p99 {rows[-1]['p99_ms']:.3f} ms (CPU {rows[-1]['cpu_p99_ms']:.3f} ms)"
        print(f"{words:>8} words  {clocks}  limit {limit} ms")
    if wanted.json:
        wanted.json.write_text(json.dumps({"rows": rows}, indent=2) + "\n")
    return int(any(row["cpu_p99_ms"] > row["limit_p99_ms"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())

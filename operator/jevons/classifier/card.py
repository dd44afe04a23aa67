"""The model card for people: what the weights were fitted on, how well they do beside their controls, and what they are not."""

from __future__ import annotations

from typing import Any

LIMITS = (
    "Multiple-choice exam questions in English; everyday chat, code and other languages were not measured. Recalibrate on your own traffic.",
    "Tools, images, turns, max_tokens and JSON answers do not vary in these data and carry no weight; the gateway's gates see to them.",
    "Text without spaces between words (Chinese, Japanese, Thai) is hashed in long runs and scored by its dense features alone.",
    "One pair of sizes of one family. Another pair needs its own labels: the curve is what the plan trusts.",
    "The regularisation was chosen by cross-fitting with all folds in view; the choice moved APGR by about 0.01.",
)


def markdown(card: dict[str, Any]) -> str:
    """The card as Markdown; every figure comes from `card` (the .json beside the weights)."""
    data, found = card["data"], card["evaluation"]
    router, planned, shuffled = found["router"], found["planned"], found["shuffled"]

    def row(name: str, one: dict[str, Any]) -> str:
        return f"| {name} | {one['apgr']:.3f} | {one['cpt50']:.1%} | {one['cpt80']:.1%} | {one['cpt95']:.1%} | {one['share_small']:.1%} |"

    low, high = router["apgr_ci95"]
    lines = [
        "# Model card: which requests a cheaper variant answers as well",
        "",
        f"Fitted {card['date']} on `{data['file']}` ({data['rows']} labelled requests, sha256 `{data['sha256'][:16]}...`). {data['source']}".rstrip(),
        "",
        f"Split {found['split']} ({found['rows']} requests); {card['fit']['rows']} requests fit and, cross-fitted, calibrate.",
        "",
        "| order | APGR | CPT50 | CPT80 | CPT95 | sent small at 95 % of always-large (hindsight) |",
        "|---|---|---|---|---|---|",
        row("router", router),
        row("random (expected)", found["random"]),
        row("oracle", found["oracle"]),
        "",
        f"APGR's 95 % interval (bootstrap over requests): {low:.3f} .. {high:.3f}.",
        f"Always-small is right on {found['always_small']['quality']:.1%}, always-large on {found['always_large']['quality']:.1%}.",
        "",
        (
            f"Planned beforehand for 95 %: {planned['share_small']:.1%} sent small, {planned['quality_kept']:.1%} of always-large's quality kept. "
            f"Shuffled control at the same share: {shuffled['quality_kept']:.1%}"
            f" ({shuffled['quality_ci95'][0]:.1%} .. {shuffled['quality_ci95'][1]:.1%} right, the router {planned['quality']:.1%})."
        ),
        "",
        "## Limits",
        *[f"* {limit}" for limit in LIMITS],
        "",
    ]
    return "\n".join(lines)

"""The examples go together: what one of them asks for, another one pays."""

from pathlib import Path

import yaml

from jevons.cli.simulate import read_manifests
from jevons.core.money import accelerator_usd_per_h

EXAMPLES = Path(__file__).parents[3] / "examples"
AT_S = 1_790_000_000.0


def test_a_day_of_what_runs_at_the_least_is_inside_the_teams_budget_whatever_the_hour():
    written, accelerators = read_manifests([EXAMPLES / "assistant.yaml", EXAMPLES / "accelerators.yaml"])
    least_usd_per_h = sum(
        variant.min_replicas * variant.accelerator_count * accelerator_usd_per_h(accelerators[variant.accelerator_class], AT_S)
        for variant in written.variants
    )
    budget = yaml.safe_load((EXAMPLES / "team-budget.yaml").read_text())["spec"]
    assert budget["period"] == "Day"
    assert 10.0 < least_usd_per_h < 0.5 * float(budget["amount"]) / 24.0

"""What the demo promises before it runs, and the summary that it writes."""

from dataclasses import replace
from decimal import Decimal

import pytest

from jevons.api.resolve import resolve_accelerator, resolve_deployment
from jevons.core.spec import Objectives, Promotion
from jevons.sandbox.demo import EXAMPLES, _as_stored, manifests, static_models, workload
from jevons.sandbox.demo_report import BASELINE, Baseline, Measured, StaticModel, as_json, as_text, static_baseline
from jevons.sandbox.demo_watch import reading
from jevons.sandbox.fleet_pods import profile_rows
from jevons.sandbox.load import percentile
from jevons.simulator.workload import Arrival

RUN = Measured(
    requests=1000,
    answered=1000,
    useful=980,
    small=100,
    routed=800,
    cold_starts=2,
    cold_waits_s=(9.0, 11.0, 10.0),
    usd=Decimal("2.94"),
    gpu_hours=0.9,
    budget_usd=Decimal(300),
    spent_usd=Decimal("2.94"),
    seconds=190.0,
)
STATIC = Baseline({"assistant": 3}, Decimal("4.90"), 1.2, 980, 190.0)


def test_the_summary_has_the_figures_of_its_contract():
    summary = as_json(RUN, STATIC)
    told = {key: summary[key] for key in ("requests", "useful", "share_small", "gpu_hours", "usd", "usd_per_1k_useful")}
    assert told == {"requests": 1000, "useful": 980, "share_small": 0.125, "gpu_hours": 0.9, "usd": 2.94, "usd_per_1k_useful": 3.0}
    assert {key: summary["cold_starts"][key] for key in ("count", "wait_p50_s", "wait_p95_s")} == {"count": 2, "wait_p50_s": 10.0, "wait_p95_s": 11.0}
    assert {key: summary["baseline"][key] for key in ("name", "usd", "usd_per_1k_useful", "kind")} == {
        "name": "always-large-static-at-peak",
        "usd": 4.9,
        "usd_per_1k_useful": 5.0,
        "kind": "Modelled",
    }
    assert summary["budget"] == {"amount_usd": 300.0, "spent_usd": 2.94, "kept": True}
    assert "Modelled" in dict(as_text(summary))["baseline"]


def test_a_budget_that_was_passed_is_said_and_what_was_not_measured_is_no_zero():
    nothing = as_json(replace(RUN, spent_usd=Decimal(301), useful=0, routed=0, cold_waits_s=()), STATIC)
    assert nothing["budget"]["kept"] is False
    assert (nothing["usd_per_1k_useful"], nothing["share_small"], nothing["cold_starts"]["wait_p50_s"]) == (None, None, None)
    assert "NOT kept" in dict(as_text(nothing))["budget"]


@pytest.mark.parametrize(("q", "expected"), [(0.0, 1.0), (0.5, 1.0), (0.51, 2.0), (1.0, 2.0)])
def test_quantiles_are_nearest_rank(q, expected):
    assert percentile([2.0, 1.0], 100 * q) == expected


def test_the_baseline_pays_for_the_whole_time_and_for_models_nobody_asked():
    row = next(iter(profile_rows().values()))
    models = {name: StaticModel(name, row.profile, Objectives(60.0, 60.0), Decimal(36), 2) for name in ("asked", "asleep")}
    made = static_baseline([Arrival(float(second), 100, 10, "asked") for second in range(10)], models, seconds=100.0)
    assert (made.replicas, made.usd, made.useful) == ({"asked": 1, "asleep": 1}, Decimal(2), 10)
    assert made.gpu_hours == pytest.approx(4 * 100 / 3600)


def test_the_default_run_is_what_the_readme_says():
    files = manifests()
    zoo = [found["spec"]["model"] for found in files["zoo.yaml"]]
    requests = workload(EXAMPLES, zoo)
    assert len(zoo) == 10
    assert len(requests) >= 500
    assert requests[-1].at_s < 300
    objects = [found for one in files.values() for found in one]
    specs = [resolve_deployment(_as_stored(found)) for found in objects if found["kind"] == "InferenceDeployment"]
    classes = {found["metadata"]["name"]: resolve_accelerator(found) for found in objects if found["kind"] == "AcceleratorClass"}
    assistant = next(spec for spec in specs if spec.model == "assistant")
    assert next(one for one in assistant.variants if one.name == "small-int4").promotion == Promotion.AUTO
    assert all(model.usd_per_h > 0 for model in static_models(specs, classes).values())
    assert BASELINE == "always-large-static-at-peak"


def test_a_reading_adds_up_what_both_processes_say():
    operator = {
        ("jevons_replicas", (("deployment", "a"), ("state", "ready"), ("variant", "v"))): 2.0,
        ("jevons_cost_usd_total", (("deployment", "a"),)): 1.5,
        ("jevons_cost_usd_total", (("deployment", "b"),)): 0.5,
        ("jevons_shared_budget_usd", (("budget", "t"),)): 10.0,
        ("jevons_shared_budget_usd", (("budget", "other"),)): 99.0,
    }
    gateway = {
        ("jevons_gateway_requests_total", (("code", "200"), ("deployment", "a"))): 3.0,
        ("jevons_gateway_requests_total", (("code", "504"), ("deployment", "a"))): 1.0,
        ("jevons_gateway_useful_total", (("deployment", "a"),)): 2.0,
    }
    seen = reading(operator, gateway, at_s=1.0, budget="t")
    assert (seen.by_model, seen.ready, seen.usd, seen.budget_usd) == ({"a": (4, 2)}, {("a", "v"): 2}, Decimal("2.0"), Decimal("10.0"))

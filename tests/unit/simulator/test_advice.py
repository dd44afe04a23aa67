"""`jevons advise`: every setting is tried on the traffic before it is named, and what does not pay is not advised."""

import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from jevons.api.profiles import table
from jevons.cli.advise import Gauges
from jevons.cli.main import build
from jevons.core.observed import Known
from jevons.core.snapshot import DeploymentState, Pod, PodSignals, TargetState, VariantState
from jevons.core.spec import AcceleratorClass, Deployment, Key, Objectives, Price, Variant
from jevons.simulator.advice import advice
from jevons.simulator.advice_ways import Setting, changed, fits, machines, ways_of
from jevons.simulator.protocol.pool import local
from jevons.simulator.regret import Asked
from jevons.simulator.traces import columns

EXAMPLES = Path(__file__).parents[3] / "examples"
KEY = Key("team-a", "code")
CLASSES = {
    name: AcceleratorClass(name, prices=(Price(0.0, Decimal(price)),))
    for name, price in (("a100-80gb", "3.67"), ("h100-80gb", "6.88"), ("l40s", "1.86"))
}
PROFILE = table()["llama-3.1-8b/bf16/a100_sxm/1/vllm"]


def run(*words):
    return CliRunner().invoke(build(["advise"]), ["advise", *map(str, words)])


def written(**changes):
    variant = Variant("only", "model", "a100-80gb", precision="BF16", profile=PROFILE, startup_s=30.0, min_replicas=1, max_replicas=16)
    return Deployment(KEY, "u", 1, 0.0, "code", (replace(variant, **changes),), objectives=Objectives(95.0, 2.0, 0.05))


def long_prompts_among_short_answers(seconds=900.0, per_s=7.0, seed=5):
    """As of a coding assistant: prompts of 500 or 7,000 tokens, answers of 60."""
    chance = np.random.default_rng(seed)
    at_s = np.sort(chance.random(int(seconds * per_s)) * seconds)
    given = np.where(chance.random(len(at_s)) < 0.15, 7000, 500).astype(np.int32)
    return columns(at_s, given, np.full(len(at_s), 60, np.int32))


def no_progress(_what, _total):
    return lambda: None


def test_a_chunk_that_makes_many_iterations_of_one_prompt_is_advised_to_grow():
    slow = replace(table()["llama-3.1-8b/bf16/l40s/1/vllm"], chunk_tokens=256)
    manifest = written(profile=slow, accelerator_class="l40s")
    manifest = replace(manifest, objectives=Objectives(95.0, 3.0, 0.06))
    asked = Asked(manifest, CLASSES, long_prompts_among_short_answers())
    ways = [one for one in ways_of(asked.written, asked.requests) if one.then in {"512", "2048"}]
    with local(1) as pool:
        found = advice(asked, ways, pool, no_progress)
    by = {(one.way.setting, one.way.then): one for one in found.tried}
    (best,) = found.advised
    assert best is by[Setting.CHUNK, "2048"]
    assert best.saved > 0.1
    assert best.static[1] < found.written.static[1]
    assert by[Setting.SEQUENCES, "512"].saved == pytest.approx(0.0, abs=0.02)
    assert found.together is None


def test_a_limit_on_the_context_counts_what_it_refuses_as_missed():
    requests = long_prompts_among_short_answers()
    asked = Asked(written(), CLASSES, requests)
    (short,) = [replace(one, context_length=1024, then="1024") for one in ways_of(asked.written, requests)[:1]]
    short = replace(short, setting=Setting.CONTEXT, profile=PROFILE)
    assert len(fits(requests, changed(asked.written, [short]))) == int((requests.input_tokens == 500).sum())
    with local(1) as pool:
        found = advice(asked, [short], pool, no_progress)
    (tried,) = found.tried
    assert tried.attained < 0.87
    assert found.advised == ()


def test_only_what_has_a_class_and_a_profile_is_compared():
    found, notes = machines(written(), CLASSES, table())
    then = {(one.setting.value, one.then) for one in found}
    assert ("accelerator", "1 x h100_sxm (vllm)") in then
    assert ("accelerator", "1 x l40s (vllm)") in then
    assert ("precision", "int8_wo (trtllm)") in then
    assert all("b200" not in text for _, text in then)
    assert "only: b200_sxm not compared, no AcceleratorClass of that name is given" in notes
    _, unknown = machines(written(profile=replace(PROFILE, itl_a_s=1.0)), CLASSES, table())
    assert "no row of the packaged table" in unknown[0]


def test_several_ways_at_once_keep_each_others_settings():
    requests = long_prompts_among_short_answers()
    others, _ = machines(written(), CLASSES, table())
    chunk = next(one for one in ways_of(written(), requests) if one.setting is Setting.CHUNK and one.then == "512")
    h100 = next(one for one in others if one.then == "1 x h100_sxm (vllm)")
    (variant,) = changed(written(), [chunk, h100]).variants
    assert variant.accelerator_class == "h100-80gb"
    assert variant.profile.chunk_tokens == 512
    assert variant.profile.itl_a_s == table()["llama-3.1-8b/bf16/h100_sxm/1/vllm"].itl_a_s


def test_the_command_says_what_it_tried_and_changes_nothing(tmp_path):
    files = ("-f", EXAMPLES / "assistant.yaml", "-f", EXAMPLES / "accelerators.yaml", "--trace", EXAMPLES / "data" / "azure_conv_sample.csv")
    result = run(*files, "--setting", "accelerator", "--jobs", 1, "--json", tmp_path / "out.json")
    assert result.exit_code == 0, result.output
    made = json.loads((tmp_path / "out.json").read_text())
    assert {one["way"]["setting"] for one in made["tried"]} == {"accelerator"}
    assert made["written"]["static_95"] >= 1
    assert "note: large: b200_sxm not compared" in result.output
    assert run(*files, "--setting", "colour").exit_code == 2


def test_what_the_operator_measured_is_told():
    at = 1000.0
    busy = PodSignals(running=Known(12.0, at), kv_used=Known(0.5, at), dram_active=Known(0.8, at))
    pods = (
        Pod("a", "a", 0.0, 0.0, 1.0, signals=busy),
        Pod("b", "b", 0.0, 0.0, 1.0, signals=PodSignals(running=Known(0.0, at), kv_used=Known(0.0, at))),
    )
    state = DeploymentState(written(), {"only": VariantState(TargetState(True, 2), pods)})
    gauges = Gauges()
    gauges.watch(state)
    gauges.watch(state)
    assert gauges.told() == ["measured on busy pods of only: running 12.0, KV used 50%, memory bandwidth used 80%"]


def test_a_traffic_without_a_price_is_refused():
    asked = Asked(written(accelerator_class="none"), CLASSES, long_prompts_among_short_answers())
    with local(1) as pool, pytest.raises(ValueError, match="no price for class 'none'"):
        advice(asked, [], pool, no_progress)


def test_what_saves_alone_is_not_advised_where_it_does_not_save_beside_the_best():
    class Pool:
        """Alone both save; together no more than the better one."""

        def __call__(self, function, jobs, done):
            answers = []
            for job in jobs:
                names = {way.setting for way in job.ways}
                usd = {frozenset(): 10.0, frozenset({Setting.CHUNK}): 9.0, frozenset({Setting.ACCELERATOR}): 5.0}.get(frozenset(names), 5.1)
                answers.append((0.97, usd) if hasattr(job, "percentile") else None)
                done()
            return answers

    asked = Asked(written(), CLASSES, long_prompts_among_short_answers(100.0))
    chunk = next(one for one in ways_of(asked.written, asked.requests) if one.setting is Setting.CHUNK)
    h100 = next(one for one in machines(written(), CLASSES, table())[0] if one.then == "1 x h100_sxm (vllm)")
    found = advice(asked, [chunk, h100], Pool(), lambda _what, _total: lambda: None)
    assert [one.saved for one in found.tried] == pytest.approx([0.1, 0.5])
    assert [one.way.setting for one in found.advised] == [Setting.ACCELERATOR]
    assert found.together is None


def test_advice_on_an_object_is_on_its_own_traffic(tmp_path):
    result = run("-f", EXAMPLES / "assistant.yaml", "--trace", EXAMPLES / "data" / "azure_conv_sample.csv", "--publish")
    assert result.exit_code == 2
    assert "--recording" in result.output

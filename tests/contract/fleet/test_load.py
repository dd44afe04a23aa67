"""The load generator against simulated engines, and the shipped samples it reads."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from jevons.sandbox.fleet_faults import Fault
from jevons.sandbox.fleet_socket import Listener
from jevons.sandbox.load import Planned, Prompt, load_prompts, merged, percentile, plan, run, summary
from jevons.simulator.traces import read_arrivals
from jevons.simulator.workload import Arrival, compressed, load_zoo

from .conftest import pod, until, url

DATA = Path(__file__).parents[3] / "examples" / "data"
L40S = "llama-3.1-8b/bf16/l40s/1/vllm"
HELLO = ({"role": "user", "content": "hello"},)


async def test_a_slice_of_the_real_trace_with_real_prompts_is_served_and_lengths_match(play):
    item = pod(profile=L40S)  # 23 ms a token: a test that stands still for a moment reads several at once
    await play(item)
    arrivals = compressed(read_arrivals(DATA / "azure_conv_sample.csv")[:40], 40)
    workload = plan(arrivals, load_prompts(DATA / "prompts_sample.csv.gz"), model="m", streamed=0.5, longest_output=40)
    outcomes = await run(workload, url(item))
    assert [outcome.planned for outcome in outcomes] == workload
    assert all(outcome.ok for outcome in outcomes)
    assert all(outcome.prompt_tokens == outcome.planned.input_tokens for outcome in outcomes)
    assert all(outcome.tokens == outcome.planned.output_tokens for outcome in outcomes)
    matching = [outcome for outcome, arrival in zip(outcomes, arrivals, strict=True) if outcome.prompt_tokens == arrival.input_tokens]
    assert len(matching) > 25, "the others' questions are longer than the trace's prompt"
    streamed = [outcome for outcome in outcomes if outcome.planned.stream and outcome.tokens > 5]
    assert 5 < len(streamed) < 40
    assert all(outcome.itl_mean_s > 0.003 and outcome.ttft_s > 0.003 for outcome in streamed)
    figures = summary(outcomes)
    assert (figures.requests, figures.answered, figures.errors) == (40, 40, {})
    assert figures.ttft_p50_s <= figures.ttft_p95_s <= figures.ttft_p99_s


async def test_refusals_cut_answers_and_dead_servers_are_told_apart(play):
    item = pod(context_length="100")
    await play(item)
    fits = Planned(0.0, "m", HELLO, 2, 5)
    workload = [fits, replace(fits, messages=({"role": "user", "content": "x" * 4000},)), replace(fits, output_tokens=500)]
    outcomes = await run(workload, url(item))
    assert [outcome.ok for outcome in outcomes] == [True, False, False]
    assert (outcomes[1].status, outcomes[1].error) == (400, "400")
    assert (outcomes[2].status, outcomes[2].error, outcomes[2].finish_reason) == (200, None, "length")
    (dead,) = await run([fits], "http://127.210.255.254:9")
    assert (dead.status, dead.error) == (0, "ClientConnectorError")
    assert summary([*outcomes, dead]).errors == {"400": 1, "length": 1, "ClientConnectorError": 1}


async def test_comments_are_not_tokens_and_an_error_event_is_an_error():
    async def held(request: web.BaseRequest) -> web.StreamResponse:
        answer = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "x-jevons-variant": "large", "x-jevons-reason": "hard", "x-jevons-wait-ms": "12"}
        )
        await answer.prepare(request)
        await answer.write(b": waking large, about 35 s\n\n: still waking\n\n")
        await answer.write(b'data: {"error": {"message": "no", "type": "x", "code": "no_capacity"}}\n\n')
        await answer.write_eof()
        return answer

    listener = Listener("127.210.255.253", 8000, held)
    await listener.open()
    (outcome,) = await run([Planned(0.0, "m", HELLO, 2, 5)], "http://127.210.255.253:8000")
    listener.abort()
    assert (outcome.comments, outcome.error, outcome.ttft_s) == (2, "no_capacity", None)
    assert (outcome.variant, outcome.reason, outcome.wait_ms) == ("large", "hard", 12.0)


async def test_a_slow_server_does_not_hold_back_the_arrivals(play, fleet):
    item = pod()
    await play(item)
    fleet.set_faults([Fault(pod="*", frozen=True)])
    outcomes = await run([Planned(0.01 * number, "m", HELLO, 2, 5) for number in range(5)], url(item), timeout_s=1.0)
    assert all(outcome.sent_s < 0.9 for outcome in outcomes)
    assert {outcome.error for outcome in outcomes} == {"TimeoutError"}


async def test_a_run_can_be_stopped_and_keeps_what_it_has(play):
    item = pod()
    await play(item)
    stop, seen = asyncio.Event(), []
    later = Planned(3600.0, "m", HELLO, 2, 5)
    running = asyncio.create_task(run([replace(later, at_s=0.0), later], url(item), stop=stop, seen=seen.append))
    await until(lambda: bool(seen))
    stop.set()
    assert len(await running) == 1


def test_the_shipped_samples_are_whole():
    arrivals = read_arrivals(DATA / "azure_conv_sample.csv")
    prompts = load_prompts(DATA / "prompts_sample.csv.gz")
    zoo = load_zoo(DATA / "zoo_sample.csv", seed=0, sizes=arrivals)
    assert (len(arrivals), len(prompts), len({call.model for call in zoo})) == (2000, 400, 10)
    assert sum(prompt.large_right for prompt in prompts) > sum(prompt.small_right for prompt in prompts) > 100
    assert "CC-BY-4.0" in (DATA / "README.md").read_text()


def test_the_shipped_prompts_were_kept_from_the_classifier():
    from jevons.classifier.dataset import TEST_FOLD, fold_of

    assert {fold_of(prompt.text) for prompt in load_prompts(DATA / "prompts_sample.csv.gz")} == {TEST_FOLD}


def test_a_plan_is_the_same_for_the_same_seed_and_plans_merge_in_time():
    prompts = [Prompt("What is two and two?", small_right=True, large_right=True)]
    trace, zoo = [Arrival(1.0, 100, 10), Arrival(3.0, 100, 10)], [Arrival(2.0, 50, 5, "zoo-1")]
    assert plan(trace, prompts, model="a", seed=3) == plan(trace, prompts, model="a", seed=3)
    both = merged(plan(trace, prompts, model="a"), plan(zoo, prompts, model="a", padded=False))
    assert [planned.model for planned in both] == ["a", "zoo-1", "a"]
    assert [planned.input_tokens for planned in both] == [100, 5, 100]


@pytest.mark.parametrize(("percent", "is_"), [(50, 5), (95, 10), (99, 10), (10, 1)])
def test_percentiles_are_nearest_rank(percent, is_):
    assert percentile(list(range(1, 11)), percent) == is_
    assert percentile([], percent) is None

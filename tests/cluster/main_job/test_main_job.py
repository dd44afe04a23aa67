"""The main job on the embedded cluster, as one story: real API server, real Prometheus, real Envoy, the operator and the gateway as processes.

apply -> a request wakes it and is answered, a streaming one with comments -> replicas rise under load -> fall -> zero -> simple prompts small, hard
ones large -> the operator killed in the middle changes nothing -> Prometheus stopped changes nothing and sets a condition -> the budget degrades,
caps, blocks -> a human's `kubectl scale` is respected and reported -> delete leaves nothing behind that should not stay.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from main_job_client import Answer, Client

from jevons.classifier.features import RequestFeatures
from jevons.classifier.model import Classifier
from jevons.core.periods import bounds
from jevons.core.spec import Period
from jevons.sandbox import Sandbox
from jevons.sandbox.load import load_prompts

pytestmark = [pytest.mark.cluster, pytest.mark.envoy, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[3]
PROMPTS = ROOT / "examples" / "data" / "prompts_sample.csv.gz"


class Story:
    """One deployment in its namespace, seen with kubectl and used over HTTP."""

    def __init__(self, box: Sandbox, namespace: str, client: Client) -> None:
        self.box, self.namespace, self.client = box, namespace, client
        self.model = f"{namespace}/assistant"
        scorer = Classifier.load_default()
        ranked = sorted((one.text for one in load_prompts(PROMPTS)), key=lambda text: scorer.score(text, features=RequestFeatures(turns=1)))
        self.hard, self.simple = ranked[:10], ranked[-10:]
        self.mixed = ranked[::7]

    async def replicas(self) -> dict[str, int]:
        items = await self.box.items("deployments", namespace=self.namespace)
        return {item["metadata"]["name"].removeprefix("assistant-"): item["spec"]["replicas"] for item in items}

    async def ready(self) -> dict[str, int]:
        items = await self.box.items("deployments", namespace=self.namespace)
        return {item["metadata"]["name"].removeprefix("assistant-"): item["status"].get("readyReplicas", 0) for item in items}

    async def status(self) -> dict[str, Any]:
        found = await self.box.get("infd", "assistant", namespace=self.namespace)
        return {} if found is None else found.get("status", {})

    async def condition(self, kind: str) -> tuple[str, str]:
        for condition in (await self.status()).get("conditions", []):
            if condition["type"] == kind:
                return condition["status"], condition["reason"]
        return "", ""

    async def budget(self, **fields: str) -> None:
        await self.box.kubectl("patch", "infd", "assistant", "-n", self.namespace, "--type=merge", "-p", json.dumps({"spec": {"budget": fields}}))

    async def ask(self, prompt: str, **options: Any) -> Answer:
        return await self.client.ask(self.model, prompt, **options)


async def until(what: str, seen: Callable[[], Coroutine[Any, Any, Any]], holds: Callable[[Any], bool], *, within_s: float) -> Any:
    """The first value that holds. Fails with the last value when none did within `within_s`."""
    deadline = time.monotonic() + within_s
    while not holds(value := await seen()):
        assert time.monotonic() < deadline, f"{what}: not within {within_s:g} s; last seen {value}"
        await asyncio.sleep(0.5)
    return value


@pytest_asyncio.fixture
async def operators_and_gateway(sandbox: Sandbox) -> AsyncIterator[tuple[Any, Any, Any]]:
    """Two operators, one of which leads, and a gateway whose held streams get a comment after one second."""
    await sandbox.kubectl("apply", "--server-side", "-f", str(ROOT / "examples" / "accelerators.yaml"))
    async with sandbox.operator(identity="first") as first, sandbox.operator(identity="second") as second:
        addresses = [first.demand_address, second.demand_address]
        async with sandbox.gateway(operators=addresses, options=["--room-grace", "1"]) as gateway:
            yield first, second, gateway


def long_period() -> str:
    """A budget period with more than three hours left, so that money is paced the same at any time of the day."""
    now = time.time()
    return next(str(period) for period in (Period.DAY, Period.WEEK, Period.MONTH) if bounds(period, "UTC", now)[1] - now > 3 * 3600)


async def test_the_main_job(sandbox: Sandbox, namespace: str, assistant: dict[str, Any], operators_and_gateway: tuple[Any, Any, Any]) -> None:
    first, second, gateway = operators_and_gateway
    assistant["spec"]["budget"]["period"] = long_period()
    assistant["spec"]["model"] = f"assistant-{namespace}"
    async with Client(gateway.url) as client:
        story = Story(sandbox, namespace, client)
        try:
            await applied_is_created_at_zero(story, assistant)
            await a_request_wakes_it(story)
            await a_stream_is_kept_alive_while_it_wakes(story)
            await replicas_follow_load(story)
            await simple_goes_small_and_hard_goes_large(story)
            await a_killed_operator_changes_nothing(story, first, second)
            await a_stopped_prometheus_changes_nothing(story)
            await the_budget_degrades_then_caps_then_blocks(story)
            await a_humans_scale_is_respected(story)
            await delete_leaves_nothing_behind(story)
        except AssertionError:
            print(json.dumps(await story.status(), indent=1))
            raise


async def applied_is_created_at_zero(story: Story, manifest: dict[str, Any]) -> None:
    await story.box.apply(manifest, namespace=story.namespace)
    assert await until("children at 0", story.replicas, lambda found: found == {"large": 0, "small": 0}, within_s=60)
    await until("accepted", lambda: story.condition("Accepted"), lambda found: found[0] == "True", within_s=60)
    assert await story.condition("Ready") == ("True", "Asleep")


async def a_request_wakes_it(story: Story) -> None:
    answer = await story.ask(story.simple[0])
    assert answer.status == 200, answer
    assert answer.variant == "small", "only the cheapest that can serve is started from zero"
    assert float(answer.headers["x-jevons-wait-ms"]) > 1000
    print(
        f"\nwoken from zero: answered after {answer.seconds:.1f} s, "
        f"of which {float(answer.headers['x-jevons-wait-ms']) / 1000:.1f} s held (start takes 3 s)"
    )
    await until("asleep again", story.replicas, lambda found: found == {"large": 0, "small": 0}, within_s=60)


async def a_stream_is_kept_alive_while_it_wakes(story: Story) -> None:
    answer = await story.ask(story.simple[1], stream=True)
    assert answer.status == 200, answer
    assert answer.done, answer
    assert any("waking" in comment for comment in answer.comments), answer.comments
    assert answer.chunks >= 20
    print(f"stream over a cold start: first byte after {answer.first_byte_s:.1f} s, comments {answer.comments}")


async def replicas_follow_load(story: Story) -> None:
    load = asyncio.create_task(story.client.steady(story.model, per_s=5, seconds=30, prompts=story.mixed, max_tokens=150))
    top = Counter[str]()
    while not load.done():
        for name, count in (await story.replicas()).items():
            top[name] = max(top[name], count)
        await asyncio.sleep(1)
    answers = await load
    bad = Counter((answer.status, answer.error) for answer in answers if answer.status != 200 or not answer.done)
    assert not bad, bad
    assert top["large"] >= 2, top
    assert top["large"] <= 3
    assert top["small"] <= 2
    print(f"{len(answers)} requests at 5/s: replicas rose to {dict(top)}, by variant {Counter(answer.variant for answer in answers)}")
    began = time.monotonic()
    await until("fall to zero", story.replicas, lambda found: found == {"large": 0, "small": 0}, within_s=120)
    print(f"back at zero {time.monotonic() - began:.0f} s after the load ended")


async def simple_goes_small_and_hard_goes_large(story: Story) -> None:
    async def warm() -> list[str]:
        answers = await asyncio.gather(story.ask(story.hard[0]), story.ask(story.simple[0]))
        assert [answer.status for answer in answers] == [200, 200]
        return [answer.variant for answer in answers]

    await until("both serve", warm, lambda found: found == ["large", "small"], within_s=60)
    asked = [story.ask(prompt) for prompt in (*story.hard, *story.simple)]  # at once: one that is not asked for 8 s lies down
    answers = await asyncio.gather(*asked)
    hard, simple = answers[: len(story.hard)], answers[len(story.hard) :]
    assert {answer.variant for answer in hard} == {"large"}, Counter(answer.variant for answer in hard)
    assert {answer.variant for answer in simple} == {"small"}, [(answer.variant, answer.reason) for answer in simple]
    assert {answer.reason for answer in simple} == {"simple"}


async def a_killed_operator_changes_nothing(story: Story, first: Any, second: Any) -> None:
    """Under load: the leader is killed, the other one takes over, and no replica moves for it; not one request is lost."""
    load = asyncio.create_task(story.client.steady(story.model, per_s=2, seconds=24, prompts=story.mixed, max_tokens=60))
    await asyncio.sleep(3)
    before = await story.replicas()
    assert sum(before.values()) >= 1
    holder = (await story.box.get("lease", "jevons-operator", namespace="jevons-system") or {})["spec"]["holderIdentity"]
    leader = first if holder.startswith("first") else second
    leader.kill()
    seen = []
    while not load.done():
        seen.append(await story.replicas())
        await asyncio.sleep(1)
    answers = await load
    assert all(answer.status == 200 and answer.done for answer in answers), Counter((answer.status, answer.error) for answer in answers)
    assert all(found[name] >= before[name] for found in seen for name in before), (before, seen)

    async def who() -> str:
        return str((await story.box.get("lease", "jevons-operator", namespace="jevons-system") or {})["spec"]["holderIdentity"])

    await until("the other one leads", who, lambda found: found not in {"", holder}, within_s=60)
    await leader.restart()
    print(f"leader {holder} killed under load: {len(answers)} of {len(answers)} answered, replicas {before} -> {seen[-1]}")


async def a_stopped_prometheus_changes_nothing(story: Story) -> None:
    before = await story.replicas()
    assert sum(before.values()) >= 1
    assert story.box.prometheus is not None
    story.box.prometheus.pause()
    try:
        await until("condition", lambda: story.condition("MetricsAvailable"), lambda found: found[0] == "False", within_s=60)
        for _ in range(12):  # longer than idleAfter
            assert all(count >= before[name] for name, count in (await story.replicas()).items())
            await asyncio.sleep(1)
        answer = await story.ask(story.simple[2])
        assert answer.status == 200, answer
    finally:
        story.box.prometheus.resume()
    await until("condition back", lambda: story.condition("MetricsAvailable"), lambda found: found[0] == "True", within_s=40)


async def the_budget_degrades_then_caps_then_blocks(story: Story) -> None:
    stop = asyncio.Event()
    answers: list[Answer] = []

    async def traffic() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            answers.append(await story.ask(story.hard[number % 10], max_tokens=20))
            await asyncio.sleep(0.2)

    sending = asyncio.gather(*(traffic() for _ in range(8)))  # more than one large replica serves, so that degrading saves one
    try:
        await until("two large ones serve", story.ready, lambda found: found.get("large", 0) >= 2, within_s=40)
        cost = (await story.status())["cost"]
        spent, forecast = float(cost["periodSpend"]), float(cost["periodForecast"])
        await story.budget(amount=f"{spent + 0.8 * (forecast - spent):.2f}", whenExceeded="Degrade")
        await until("degrading", lambda: story.condition("WithinBudget"), lambda found: found[1] == "Degrading", within_s=30)
        before = len(answers)
        await until(
            "hard ones sent small by the budget",
            _async(lambda: answers[before:]),
            lambda new: any(one.reason == "budget" for one in new),
            within_s=30,
        )
        spent = float((await story.status())["cost"]["periodSpend"])
        await story.budget(amount=f"{spent + 0.03:.2f}", whenExceeded="Cap")
        await until("capped", story.replicas, lambda found: found["large"] == 0, within_s=30)
        assert (await story.condition("WithinBudget"))[1] in {"Capped", "Exceeded", "Infeasible"}
        await story.budget(amount=f"{spent + 0.03:.2f}", whenExceeded="Block")
        refused = await until("refused", lambda: story.ask(story.hard[1]), lambda answer: answer.status == 429, within_s=40)
        assert refused.body["error"]["code"] == "budget_exceeded", refused.body
        assert 0 < int(refused.headers["retry-after"]) <= 120
        print(f"blocked: {refused.body['error']['message']}")
    finally:
        stop.set()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(sending, 60)
    spend = float((await story.status())["cost"]["periodSpend"])
    print(f"spend {spend:.4f} of {spent + 0.03:.4f} USD after Cap")
    await story.budget(amount="500", whenExceeded="Block")
    await until("served again", lambda: story.ask(story.simple[3]), lambda answer: answer.status == 200, within_s=40)


def _async(value: Callable[[], Any]) -> Callable[[], Coroutine[Any, Any, Any]]:
    async def seen() -> Any:
        return value()

    return seen


async def a_humans_scale_is_respected(story: Story) -> None:
    await story.box.kubectl("scale", "deployment", "assistant-small", "--replicas=2", "-n", story.namespace)
    await until("reported", lambda: story.condition("ScaleUncontested"), lambda found: found == ("Unknown", "ForeignScaling"), within_s=60)
    for _ in range(5):
        assert (await story.replicas())["small"] == 2
        await asyncio.sleep(1)


async def delete_leaves_nothing_behind(story: Story) -> None:
    began = time.monotonic()
    await story.box.kubectl("delete", "infd", "assistant", "-n", story.namespace, "--timeout=30s")
    await until("children gone", story.replicas, lambda found: not found, within_s=60)
    await until("pods gone", lambda: story.box.items("pods", namespace=story.namespace), lambda found: not found, within_s=60)
    ledgers = await story.box.items("configmaps", namespace="jevons-system", selector="jevons.dev/checkpoint=ledger")
    assert any(story.namespace in item["metadata"]["name"] for item in ledgers), "what was spent stays spent"
    answer = await until("forgotten", lambda: story.ask("anyone there?"), lambda answer: answer.status == 404, within_s=60)
    assert answer.body["error"]["code"] == "model_not_found"
    print(f"deleted: nothing left after {time.monotonic() - began:.0f} s but its ledger")

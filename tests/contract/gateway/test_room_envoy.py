"""The waiting room behind the real Envoy and real pickers: nobody who waits is lost, and everybody who waits is told."""

import asyncio
import io
import json
import re
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import aiohttp
import openai
import pytest

from jevons.core.load import Work
from jevons.gateway.access_log import read
from jevons.gateway.inflight import Inflight
from jevons.gateway.table import RequestClass
from jevons.gateway.tailer import Tailer

from .conftest import transports_closed

pytestmark = pytest.mark.envoy

CHAT = "/v1/chat/completions"
OPERATOR = Path(__file__).with_name("lab_operator.py")
GRACE_S = 0.6


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Waiting:
    """The lab with the real waiting room and an operator that only listens."""

    def __init__(self, lab) -> None:
        self.lab = lab
        self.operator = free_port()
        self.heard = 0
        self.listen()
        self.port = self.socket.getsockname()[1]
        lab.start("operator", [sys.executable, str(OPERATOR), str(self.operator)])
        self.begin()
        lab.kill("room")
        lab.room_port = self.port

    def listen(self, port: int = 0) -> None:
        """As the supervisor does: the socket outlives the process that accepts from it."""
        self.socket = socket.create_server(("127.0.0.1", port), backlog=4_096)

    def begin(self) -> None:
        lab, handed_down = self.lab, self.socket.fileno()
        command = [sys.executable, "-m", "jevons.gateway.room", "--state-dir", str(lab.dir), "--listen-fd", str(handed_down)]
        options = ["--operator", f"127.0.0.1:{self.operator}", "--grace", str(GRACE_S), "--comment-every", "0.2"]
        with (lab.dir / "real-room.log").open("ab") as log:
            lab.processes["real-room"] = subprocess.Popen([*command, *options], stdout=log, stderr=log, pass_fds=[handed_down])

    def told(self) -> list[dict]:
        return [json.loads(line) for line in (self.lab.dir / "operator.log").read_text().splitlines() if line.endswith("}")]

    async def held(self, count: int, variant: str = "small") -> dict:
        """The first message from which on the operator knows that `count` wait for `variant`."""
        return await self.message(lambda deployments: {"variant": variant, "count": count}.items() <= self._only(deployments).items())

    async def nobody(self) -> None:
        """Until the operator knows that nobody waits any more; what it was told up to now is then of no account to `message`."""
        end = time.time() + 60
        while (told := self.told()) and told[-1]["deployments"]:
            if time.time() > end:
                pytest.fail(f"somebody still waits: {told[-1]}")
            await asyncio.sleep(0.02)
        self.heard = len(told)

    async def reported(self) -> None:
        """Until the next report: a second passes before the one after it, unless something happens."""
        before, end = len(self.told()), time.time() + 60
        while len(self.told()) == before:
            assert time.time() < end, "no report"
            await asyncio.sleep(0.02)

    async def message(self, fits) -> dict:
        start = time.time()
        while time.time() < start + 60:
            for message in reversed(self.told()[self.heard :]):
                if message["at"] >= start - 1.2 and fits(message["deployments"]):
                    return message
            await asyncio.sleep(0.02)
        pytest.fail(f"the operator was not told; last: {self.told()[-1:]}")

    @staticmethod
    def _only(deployments: dict) -> dict:
        return (deployments.get("team-a/assistant", {}).get("held") or [{}])[0]


@pytest.fixture(scope="module")
def waiting(lab):
    made = Waiting(lab)
    yield made
    made.socket.close()


@pytest.fixture(scope="module")
def pod(lab):
    return lab.engine("one")


@pytest.fixture
async def http():
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=60)) as session:
        yield session
    await transports_closed()


@pytest.fixture
async def asleep(waiting, lab, model):
    """`assistant` with both variants asleep; gives the function that wakes `small` on a port."""
    cold = model(large=[], small=[])
    lab.publish(cold)
    await waiting.nobody()

    def wake(port: int) -> None:
        lab.publish(model(large=[], small=[port]))

    wake.model = cold
    return wake


def hello(**more):
    return {"model": "assistant@small", "messages": [{"role": "user", "content": "What is two and two?"}], **more}


async def post(http, lab, body, **headers):
    async with http.post(lab.url + CHAT, data=io.BytesIO(json.dumps(body).encode()), headers=headers) as response:
        return response.status, response.headers, await response.read()


async def test_a_request_to_a_sleeping_model_is_reported_at_once_and_answered_by_the_pod_when_it_wakes(lab, waiting, pod, asleep, http):
    await waiting.reported()
    asking = asyncio.create_task(post(http, lab, hello()))
    message = await waiting.held(1)
    assert message["source"].endswith("/room")
    before = max(one["at"] for one in waiting.told() if one["source"] == message["source"] and one["at"] < message["at"])
    assert message["at"] - before < 0.9, "not the once-a-second report"
    await asyncio.sleep(2 * GRACE_S)
    asleep(pod)
    status, headers, body = await asking
    answer = json.loads(body)
    assert (status, answer["choices"][0]["message"]["content"]) == (200, f"from {pod}")
    assert (answer["body"]["model"], headers["x-jevons-variant"]) == ("org/small", "small")
    assert int(headers["x-jevons-wait-ms"]) >= 1000 * GRACE_S
    await waiting.message(lambda deployments: not deployments)


async def test_a_stream_that_starts_within_the_grace_comes_from_the_pod_itself(lab, waiting, pod, asleep, http):
    for _ in range(10):
        lab.publish(asleep.model)
        sent = time.monotonic()
        asking = asyncio.create_task(post(http, lab, hello(stream=True)))
        await waiting.held(1)
        asleep(pod)
        within = time.monotonic() - sent < GRACE_S
        status, headers, body = await asking
        if within:  # otherwise the machine took longer than the grace, and it has to be done again
            break
        await waiting.nobody()
    assert status == 200
    assert b": " not in body.replace(b"data: ", b"").replace(b'": ', b"")
    assert body.endswith(b"data: [DONE]\n\n")
    assert "x-accel-buffering" not in headers


async def test_a_stream_that_waits_longer_gets_comments_then_tokens_and_an_openai_client_notices_nothing(lab, waiting, pod, asleep, http):
    client = openai.AsyncOpenAI(base_url=f"{lab.url}/v1", api_key="none", max_retries=0)
    raw = asyncio.create_task(post(http, lab, hello(stream=True)))
    stream = asyncio.create_task(
        client.chat.completions.create(
            model="assistant@small", messages=[{"role": "user", "content": "Hello?"}], stream=True, extra_body={"n_tokens": 3}
        )
    )
    await waiting.held(2)
    opened = await stream  # the response has begun, with its status
    asleep(pod)
    texts = [chunk.choices[0].delta.content async for chunk in opened]
    assert texts == [f"{pod} "] * 3
    status, headers, body = await raw
    comments = [line for line in body.split(b"\n\n") if line.startswith(b":")]
    assert (status, headers["content-type"]) == (200, "text/event-stream")
    assert comments[0].startswith(b": waking small, about ")
    assert comments[-1].startswith(b": small answers after ")
    assert len(comments) >= 2
    assert int(headers["x-jevons-wait-ms"]) >= 1000 * GRACE_S
    assert b'"choices": []' not in body
    await client.close()


async def test_fifty_held_requests_are_all_answered_although_a_picker_is_killed(lab, waiting, pod, asleep, http):
    asking = [asyncio.create_task(post(http, lab, hello(stream=index % 2 == 0))) for index in range(50)]
    await waiting.held(50)
    lab.kill("picker-0")
    asleep(pod)
    answers = await asyncio.gather(*asking)
    lab.picker(0)
    assert [status for status, _, _ in answers] == [200] * 50
    assert all(b"upstream" not in body and (b"[DONE]" in body or b'"stop"' in body) for _, _, body in answers)


async def test_a_room_that_is_killed_loses_nobody_whose_status_was_not_sent(lab, waiting, pod, asleep, http):
    """More of them than Envoy's own retry budget repeats, after others whose idle connections die with the room while the first retries use them."""
    many = 150
    for killed in (False, True):
        lab.publish(asleep.model)
        asking = [asyncio.create_task(post(http, lab, hello())) for _ in range(many)]
        await waiting.held(many)
        if killed:
            lab.kill("real-room")
            waiting.begin()
            await waiting.held(many)
        asleep(pod)
        assert [status for status, _, _ in await asyncio.gather(*asking)] == [200] * many


async def test_a_room_whose_address_refuses_for_two_seconds_loses_nobody_either(lab, waiting, pod, asleep, http):
    asking = [asyncio.create_task(post(http, lab, hello())) for _ in range(20)]
    await waiting.held(20)
    waiting.socket.close()  # the supervisor's end, too: its container is started again
    lab.kill("real-room")
    await asyncio.sleep(2)
    waiting.listen(waiting.port)
    waiting.begin()
    await waiting.held(20)
    asleep(pod)
    assert [status for status, _, _ in await asyncio.gather(*asking)] == [200] * 20


async def test_a_client_that_leaves_frees_its_place(lab, waiting, asleep, http):
    asking = [asyncio.create_task(post(http, lab, hello(stream=stream))) for stream in (True, False)]
    await waiting.held(2)
    await asyncio.sleep(1.5 * GRACE_S)  # one of them has its 200 by now
    for task in asking:
        task.cancel()
    await waiting.message(lambda deployments: not deployments)


async def test_the_model_s_own_bound_is_429_with_a_time_to_come_back(lab, waiting, pod, asleep, http):
    lab.publish(replace(asleep.model, max_waiting=1))
    asking = asyncio.create_task(post(http, lab, hello()))
    await waiting.held(1)
    status, headers, body = await post(http, lab, hello())
    assert (status, json.loads(body)["error"]["code"]) == (429, "overloaded")
    assert 1 <= int(headers["retry-after"]) <= 120
    asleep(pod)
    assert (await asking)[0] == 200


async def test_time_running_out_is_504_before_the_status_was_sent_and_an_error_event_after(lab, waiting, asleep, http):
    stuck = tuple(replace(one, obstacle="no node has a free l40s") for one in asleep.model.variants)
    lab.publish(replace(asleep.model, variants=stuck))
    short, long = await asyncio.gather(
        post(http, lab, hello(), **{"x-jevons-max-wait": "1"}), post(http, lab, hello(stream=True), **{"x-jevons-max-wait": "3"})
    )
    told = json.loads(short[2])["error"]
    assert (short[0], told["code"]) == (504, "wake_timeout")
    assert re.fullmatch(r"'small' of 'assistant' did not start within \d+ s: no node has a free l40s\.", told["message"])
    assert 1 <= int(short[1]["retry-after"]) <= 120
    assert long[0] == 200
    assert b": waiting for small: no node has a free l40s\n\n" in long[2]
    *_, error, done, _ = long[2].split(b"\n\n")
    assert json.loads(error.removeprefix(b"data: "))["error"]["code"] == "wake_timeout"
    assert done == b"data: [DONE]"
    asked = {short[1]["x-request-id"], long[1]["x-request-id"]}
    logged = []
    for _ in range(100):
        logged = [read(json.dumps(row).encode()) for row in lab.log() if row["id"] in asked]
        if len(logged) == len(asked):
            break
        await asyncio.sleep(0.05)
    assert [(one.deployment, one.error) for one in logged] == [("assistant", "wake_timeout")] * 2


async def test_a_start_that_fails_is_told_to_all_who_wait(lab, waiting, asleep, http):
    def small(state: str):
        variants = tuple(replace(one, state=state) if one.name == "small" else one for one in asleep.model.variants)
        return replace(asleep.model, variants=variants)

    asking = [asyncio.create_task(post(http, lab, hello(stream=stream))) for stream in (False, True)]
    await waiting.held(2)
    lab.publish(small("Waking"))
    await asyncio.sleep(1.5 * GRACE_S)
    lab.publish(small("Failed"))
    plain, stream = await asyncio.gather(*asking)
    assert (plain[0], json.loads(plain[2])["error"]["code"]) == (503, "no_capacity")
    assert "failed to start" in json.loads(plain[2])["error"]["message"]
    assert int(plain[1]["retry-after"]) <= 120
    assert (stream[0], b'"code":"no_capacity"' in stream[2], stream[2].endswith(b"data: [DONE]\n\n")) == (200, True, True)


async def test_a_pod_that_is_listed_but_dead_costs_a_wait_and_not_an_error(lab, waiting, pod, model, http):
    lab.publish(model(large=[], small=[free_port()]))
    asking = asyncio.create_task(post(http, lab, hello()))
    await asyncio.sleep(0.3)
    lab.publish(model(large=[], small=[pod]))
    status, _, body = await asking
    assert (status, json.loads(body)["choices"][0]["message"]["content"]) == (200, f"from {pod}")


async def test_pods_that_stay_dead_end_in_an_error_and_not_in_a_loop(lab, waiting, model, http):
    lab.publish(model(large=[], small=[free_port()]))
    status, headers, body = await post(http, lab, hello())
    assert (status, json.loads(body)["error"]["code"]) == (503, "no_capacity")
    assert "location" not in headers


async def test_what_waited_is_counted_once_with_its_wait(lab, waiting, pod, asleep, http, tmp_path):  # noqa: PLR0917 - fixtures
    before = Tailer(lab.dir / "access.log", tmp_path / "none.json")
    await asyncio.sleep(0.3)  # Envoy's flush
    while before.step():
        pass
    started = dict(before.accounting.totals.counters["requests"])
    asking = [asyncio.create_task(post(http, lab, hello(stream=stream, n_tokens=6))) for stream in (True, False, True)]
    await waiting.held(3)
    await asyncio.sleep(1.2 * GRACE_S)
    asleep(pod)
    await asyncio.gather(*asking)
    totals = before.accounting.totals
    for _ in range(200):
        before.step()
        if sum(totals.counters["requests"].values()) - sum(started.values()) >= 3:
            break
        await asyncio.sleep(0.02)
    key = ("team-a", "assistant", "default", "small")
    assert sum(totals.counters["requests"].values()) - sum(started.values()) == 3
    assert sum(totals.buckets["wait_seconds"]["team-a", "assistant", "small"]) >= 3
    assert sum(totals.buckets["ttft_seconds"][(*key, "true")]) >= 2
    assert totals.counters["output_tokens"][key] >= 18
    assert before.broken_lines == 0
    before.close()


async def test_a_log_that_is_rotated_under_traffic_loses_and_doubles_no_request(lab, pod, model, http, tmp_path):
    lab.publish(model(large=[], small=[pod]))

    async def reopen() -> None:
        connector = aiohttp.UnixConnector(str(lab.dir / "envoy-admin.sock"))
        async with aiohttp.ClientSession(connector=connector) as admin, admin.post("http://envoy/reopen_logs") as answer:
            answer.raise_for_status()

    tailer = Tailer(lab.dir / "access.log", tmp_path / "accounting.json", reopen=reopen, rotate_bytes=4_000)
    counted = tailer.accounting.totals.counters["requests"]
    before, rotations, sent = sum(counted.values()), 0, 0
    while rotations < 3 and sent < 2_000:
        sent += 10
        answers = await asyncio.gather(*(post(http, lab, hello()) for _ in range(10)))
        assert {status for status, _, _ in answers} == {200}
        tailer.step()
        tailer.save()
        rotations += await tailer.rotate()
    for _ in range(500):
        tailer.step()
        if sum(counted.values()) - before >= sent:
            break
        await asyncio.sleep(0.02)
    await asyncio.sleep(0.3)  # Envoy's flush: one line too many would be here by now
    tailer.step()
    assert sum(counted.values()) - before == sent
    assert rotations == 3
    tailer.close()


async def test_a_flex_request_waits_for_a_pod_with_little_to_do_while_others_are_answered(lab, waiting, model, http):
    pod = lab.engine("of its own")  # nobody takes answered requests off the books here, so the others' pod looks busy by and by
    made = model(large=[], small=[pod])
    documents = RequestClass("documents", header=("x-jevons-class", "documents"), tier="Flex", wait_s=20.0)
    busy = Inflight(lab.dir / "inflight.bin", 9)
    busy.add(f"127.0.0.1:{pod}", Work(50_000.0, 1), time.time())
    lab.publish(replace(made, variants=tuple(replace(one, idle_tokens=1_000.0) for one in made.variants), classes=(documents, *made.classes)))
    await waiting.nobody()
    flex = asyncio.create_task(post(http, lab, hello(), **{"x-jevons-class": "documents"}))
    message = await waiting.message(lambda deployments: waiting._only(deployments).get("waiting") == 1)
    assert message["deployments"]["team-a/assistant"]["held"][0]["count"] == 0
    assert (await post(http, lab, hello()))[0] == 200
    assert not flex.done()
    busy.add(f"127.0.0.1:{pod}", Work(-50_000.0, -1), time.time())
    status, headers, _ = await asyncio.wait_for(flex, 60.0)
    assert status == 200
    assert headers["x-jevons-variant"] == "small"
    assert int(headers["x-jevons-wait-ms"]) > 0

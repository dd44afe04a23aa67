"""Putting engines to sleep and waking them: in which order, what is safe to lose, and what an engine may answer."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web

from jevons.cluster import sleep_mark
from jevons.cluster.connect import Api, ApiError
from jevons.cluster.lease import NotLeadingError
from jevons.cluster.sleep_mark import Mark
from jevons.cluster.sleepers import Sleepers
from jevons.cluster.world import empty
from jevons.core.observed import Known
from jevons.core.snapshot import DeploymentState, Pod, PodSignals, ReplicaTarget, TargetState, VariantState
from jevons.core.spec import Deployment, Key, Variant

NOW = 1_767_261_600.0
KEY = Key("a", "assistant")


class Engine:
    """One engine on loopback; `statuses` are what it answers next (200 after that)."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.statuses: list[int] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.heard = asyncio.Event()
        self.port = 0
        self.asleep: bool | None = False
        self.knows = 200
        self.lies = False

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/is_sleeping":
            body = b"maybe" if self.asleep is None else b'{"is_sleeping": %s}' % str(self.asleep).lower().encode()
            return web.Response(status=self.knows, body=body)
        self.asked.append(request.path_qs)
        self.heard.set()
        await self.gate.wait()
        status = self.statuses.pop(0) if self.statuses else 200
        if status == 200 and not self.lies:
            self.asleep = request.path == "/sleep"
        return web.Response(status=status, headers={"Location": "http://127.0.0.1:1/elsewhere"} if status == 302 else None)


class Line:
    """The API server's pods, as far as marks go."""

    def __init__(self) -> None:
        self.world = empty([])
        self.before_write: Any = None
        self.written: list[str | None] = []
        self.refuses = 0
        self.pod("p")

    def pod(self, name: str, mark: str | None = None, ip: str = "127.0.0.1") -> None:
        annotations = {} if mark is None else {sleep_mark.ANNOTATION: mark}
        self._put({"metadata": {"namespace": "a", "name": name, "uid": f"u-{name}", "annotations": annotations}, "status": {"podIP": ip}})

    def _put(self, item: dict[str, Any]) -> None:
        self.item = item
        self.world.pods.apply("MODIFIED", item)

    async def write(self, method: str, path: str, body: Any, **_: Any) -> dict[str, Any]:
        if self.before_write is not None:
            self.before_write(method, path)
        if self.refuses:
            raise ApiError(self.refuses, "no", "no")
        text = body["metadata"]["annotations"][sleep_mark.ANNOTATION]
        self.written.append(text)
        annotations = {} if text is None else {sleep_mark.ANNOTATION: text}
        return {**self.item, "metadata": {**self.item["metadata"], "annotations": annotations}}

    @property
    def mark(self) -> Mark | None:
        record = self.world.pods.get("a", "p")
        return None if record is None else sleep_mark.read(record.sleep)


@pytest.fixture
async def engine():
    made = Engine()
    runner = web.ServerRunner(web.Server(made.handle))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.port = site._server.sockets[0].getsockname()[1]
    yield made
    await runner.cleanup()


@pytest.fixture
async def line():
    return Line()


@pytest.fixture
async def sleepers(line):
    api: Api = line
    made = Sleepers(api, line.world)
    yield made
    await made.close()


def seen(line, *, running=0.0, at_s=NOW, **changes):
    """The pod as the view has it."""
    signals = PodSignals(running=Known(running, at_s), waiting=Known(0.0, at_s))
    mark = line.mark
    resting = mark is not None and mark.resting
    plain = Pod("p", "u-p", NOW - 900.0, NOW - 900.0, NOW - 600.0, "n", signals=signals)
    asleep = mark is not None and mark.word == sleep_mark.ASLEEP
    return replace(plain, marked_at_s=mark.at_s if resting else None, asleep=asleep, sleepless=mark is not None and not resting, **changes)


def wish(*asleep, desired=1):
    return ReplicaTarget("only", 1, desired, "Asleep", asleep=asleep)


async def step(sleepers, engine, pod, target, now_s=NOW):
    """One pass, and what it began."""
    variant = Variant("only", "m", "a100", port=engine.port)
    await sleepers.settle(KEY, variant, (pod,), target, now_s)
    await asyncio.gather(*sleepers._running.values())


async def test_marked_first_then_asked_when_a_later_sample_is_empty_then_written(sleepers, engine, line):
    await step(sleepers, engine, seen(line), wish("p"))
    assert (line.mark.word, line.mark.at_s, line.mark.owner, line.mark.port) == (sleep_mark.MARKED, NOW, "assistant", engine.port)
    assert engine.asked == []
    for early in (seen(line, at_s=NOW), seen(line, at_s=NOW + 15.0, running=1.0), replace(seen(line), signals=PodSignals())):
        await step(sleepers, engine, early, wish("p"), NOW + 15.0)
    assert engine.asked == [], "a sample of before the mark, work, or no sample at all"
    await step(sleepers, engine, seen(line, at_s=NOW + 30.0), wish("p"), NOW + 30.0)
    assert engine.asked == ["/sleep?level=1&mode=wait"]
    assert line.mark.word == sleep_mark.ASLEEP
    await step(sleepers, engine, seen(line, at_s=NOW + 45.0), wish("p"), NOW + 45.0)
    assert len(engine.asked) == 1
    assert len(line.written) == 2, "a sleeping pod is left alone"


@pytest.mark.parametrize("word", [sleep_mark.MARKED, sleep_mark.ASLEEP])
async def test_woken_first_then_unmarked(word, sleepers, engine, line):
    line.pod("p", Mark(word, NOW, "assistant", engine.port).text)
    engine.asleep = True
    engine.gate.clear()
    variant = Variant("only", "m", "a100", port=engine.port)
    await sleepers.settle(KEY, variant, (seen(line),), wish(), NOW)
    await sleepers.settle(KEY, variant, (seen(line),), wish(), NOW + 1.0)
    await engine.heard.wait()
    assert line.mark.word == word, "no gateway sends it anything yet"
    engine.gate.set()
    await asyncio.gather(*sleepers._running.values())
    assert (engine.asked, line.mark) == (["/wake_up"], None)


async def test_one_that_goes_is_not_woken_first(sleepers, engine, line):
    line.pod("p", Mark(sleep_mark.ASLEEP, NOW, "assistant", engine.port).text)
    await step(sleepers, engine, seen(line), wish(desired=0))
    await step(sleepers, engine, seen(line, terminating=True), wish())
    assert (engine.asked, line.written) == ([], [])


@pytest.mark.parametrize(("knows", "status"), [(404, 200), (200, 405), (200, 401)])
async def test_an_engine_without_sleep_mode_is_unmarked_for_good(knows, status, sleepers, engine, line):
    await step(sleepers, engine, seen(line), wish("p"))
    engine.knows, engine.statuses = knows, [status]
    await step(sleepers, engine, seen(line, at_s=NOW + 20.0), wish("p"), NOW + 20.0)
    assert line.mark.word == sleep_mark.REFUSED
    assert not line.mark.resting
    await step(sleepers, engine, seen(line, at_s=NOW + 40.0), wish("p"), NOW + 40.0)
    assert len(engine.asked) == (knows == 200)


async def test_an_engine_that_says_yes_and_does_not_sleep_is_taken_to_refuse(sleepers, engine, line):
    await step(sleepers, engine, seen(line), wish("p"))
    engine.lies = True
    for tried in range(1, 4):
        assert line.mark.word == sleep_mark.MARKED
        await step(sleepers, engine, seen(line, at_s=NOW + 20.0 * tried), wish("p"), NOW + 20.0 * tried)
    assert line.mark.word == sleep_mark.REFUSED


async def test_an_engine_that_is_awake_already_is_not_woken_twice(sleepers, engine, line):
    line.pod("p", Mark(sleep_mark.ASLEEP, NOW, "assistant", engine.port).text)
    await step(sleepers, engine, seen(line), wish())
    assert (engine.asked, line.mark) == ([], None)


@pytest.mark.parametrize("said", [None, "true"])
async def test_an_engine_that_does_not_say_stays_marked(said, sleepers, engine, line):
    line.pod("p", Mark(sleep_mark.ASLEEP, NOW, "assistant", engine.port).text)
    engine.asleep = said
    if said is not None:
        engine.knows = 500
    await step(sleepers, engine, seen(line), wish())
    assert (engine.asked, line.mark.word) == ([], sleep_mark.ASLEEP)


async def test_an_engine_that_fails_is_asked_three_times(sleepers, engine, line):
    await step(sleepers, engine, seen(line), wish("p"))
    engine.statuses = [500, 302, 503]
    words = []
    for tried in range(1, 4):
        await step(sleepers, engine, seen(line, at_s=NOW + 20.0 * tried), wish("p"), NOW + 20.0 * tried)
        words.append(line.mark.word)
    assert words == [sleep_mark.MARKED, sleep_mark.MARKED, sleep_mark.REFUSED]
    assert len(engine.asked) == 3, "a redirect is followed nowhere"


async def test_an_engine_that_does_not_wake_stays_marked_and_is_asked_again(sleepers, engine, line):
    line.pod("p", Mark(sleep_mark.ASLEEP, NOW, "assistant", engine.port).text)
    engine.asleep = True
    engine.statuses = [500]
    await step(sleepers, engine, seen(line), wish())
    assert line.mark.word == sleep_mark.ASLEEP
    await step(sleepers, engine, seen(line), wish())
    assert line.mark is None


async def test_an_engine_that_sleeps_and_refuses_to_wake_stays_marked(sleepers, engine, line):
    """A 4xx to the request says nothing about an engine that has just said that it sleeps: unmarked, gateways would send it requests."""
    line.pod("p", Mark(sleep_mark.ASLEEP, NOW, "assistant", engine.port).text)
    engine.asleep, engine.statuses = True, [404]
    await step(sleepers, engine, seen(line), wish(), NOW + 60.0)
    assert (line.mark.word, line.written) == (sleep_mark.ASLEEP, [])
    await step(sleepers, engine, seen(line), wish(), NOW + 75.0)
    assert (line.mark, engine.asleep) == (None, False)


async def test_it_is_woken_where_it_lay_down_when_the_spec_has_another_port_by_now(sleepers, engine, line):
    line.pod("p", Mark(sleep_mark.ASLEEP, NOW, "assistant", engine.port).text)
    engine.asleep = True
    await sleepers.settle(KEY, Variant("only", "m", "a100", port=1), (seen(line),), wish(), NOW + 60.0)
    await asyncio.gather(*sleepers._running.values())
    assert (line.mark, engine.asked) == (None, ["/wake_up"])


async def test_an_object_that_names_the_same_workload_does_not_wake_what_another_put_to_sleep(sleepers, engine, line):
    line.pod("p", Mark(sleep_mark.ASLEEP, NOW, "older", engine.port).text)
    engine.asleep = True
    await step(sleepers, engine, seen(line), ReplicaTarget("only", 1, None, "TargetClaimed"), NOW + 60.0)
    assert (line.mark.word, engine.asked) == (sleep_mark.ASLEEP, [])


async def test_an_operator_that_died_between_two_writes_is_taken_up_where_it_was(sleepers, engine, line):
    await step(sleepers, engine, seen(line), wish("p"))
    line.refuses = 500
    await step(sleepers, engine, seen(line, at_s=NOW + 20.0), wish("p"), NOW + 20.0)
    assert (len(engine.asked), line.mark.word) == (1, sleep_mark.MARKED), "asleep, and nobody wrote it down"
    line.refuses = 0
    await step(sleepers, engine, seen(line, at_s=NOW + 40.0), wish("p"), NOW + 40.0)
    assert (len(engine.asked), line.mark.word) == (1, sleep_mark.ASLEEP), "it says that it sleeps already"


async def test_who_does_not_lead_asks_no_engine(sleepers, engine, line):
    line.pod("p", Mark(sleep_mark.ASLEEP, NOW, "assistant", engine.port).text)

    def deposed(method, path):
        raise NotLeadingError(path)

    line.before_write = deposed
    await step(sleepers, engine, seen(line), wish())
    assert engine.asked == []


async def test_what_sleeps_for_an_object_that_is_gone_is_woken(sleepers, engine, line):
    def owner(*pods, invalid=""):
        spec = Deployment(KEY, "i", 1, NOW, "m", (Variant("only", "m", "a100"),))
        return {KEY: DeploymentState(spec, {"only": VariantState(TargetState(exists=True), pods)}, invalid=invalid)}

    line.pod("p", Mark(sleep_mark.ASLEEP, NOW, "assistant", engine.port).text)
    engine.asleep = True
    line.world.deployments.apply("ADDED", {"metadata": {"namespace": "a", "name": "assistant", "uid": "i"}})
    for theirs in (owner(seen(line)), owner(invalid="broken"), {}):
        sleepers.wake_orphans(theirs)
        assert not sleepers._running, "it counts the pod, nobody knows, or it is another install's"
    sleepers.wake_orphans(owner())
    await asyncio.gather(*sleepers._running.values())
    assert (engine.asked, line.mark) == (["/wake_up"], None)
    line.pod("p", Mark(sleep_mark.MARKED, NOW, "assistant", engine.port).text)
    line.world.deployments.apply("DELETED", {"metadata": {"namespace": "a", "name": "assistant", "uid": "i"}})
    sleepers.wake_orphans({})
    await asyncio.gather(*sleepers._running.values())
    assert line.mark is None


def test_a_mark_is_read_as_it_was_written_and_nothing_else_is_one():
    mark = Mark(sleep_mark.ASLEEP, NOW + 0.125, "assistant", 8000)
    assert mark.text == "Asleep 2026-01-01T10:00:00.125Z assistant 8000"
    assert sleep_mark.read(mark.text) == mark
    for text in (None, 7, "", "Asleep", "Asleep soon assistant 8000", "Dozing 2026-01-01T10:00:00Z a 8000", "Asleep 2026-01-01T10:00:00Z a 99999"):
        assert sleep_mark.read(text) is None

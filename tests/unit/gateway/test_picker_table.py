"""The table: built from specs, plans and pods; written, read again, watched."""

import asyncio
from decimal import Decimal

import orjson
import pytest

from jevons.core import spec
from jevons.gateway.build import PodSeen, Source, build_table, selector_matcher
from jevons.gateway.endpoints import EndpointsFile, endpoints_of
from jevons.gateway.table import Table, TableFile

ROUTING = {
    "generation": 7,
    "best": "large",
    "wake": "small",
    "rung": "Degrade",
    "pressure": "0.40",
    "blockedUntil": "2026-01-01T00:00:00Z",
    "variants": [
        {
            "name": "large",
            "state": "Ready",
            "selector": "app=llama,tier in (gpu, tpu)",
            "port": 9000,
            "usdPer1kTokens": "0.0109",
            "startupSeconds": 240,
        },
        {"name": "small", "state": "Asleep", "selector": "app=tiny", "port": 8000, "usdPer1kTokens": None, "startupSeconds": 30},
    ],
    "classes": [
        {"name": "chat", "minScore": [{"variant": "small", "score": "0.62"}], "degradedShare": "0.10", "expectedQuality": "0.957"},
        {"name": "default", "minScore": [{"variant": "small", "score": "nonsense"}], "degradedShare": "7", "expectedQuality": None},
    ],
}


def deployment(namespace="team-a", name="assistant", created=1.0, model="assistant", **more):
    variants = (
        spec.Variant("large", "org/large", "a100", target=spec.TargetRef("apps/v1", "Deployment", "llama")),
        spec.Variant("small", "org/small", "a100", quality=0.7),
    )
    classes = (spec.RequestClass("chat", header=("X-Kind", "chat")),)
    key = spec.Key(namespace, name)
    return spec.Deployment(key, f"uid-{namespace}", 1, created, model, variants, classes=classes, session_budget_usd=Decimal("0.5"), **more)


def pod(name, labels, *, namespace="team-a", ip="10.0.0.1", ready=True, draining=False):
    return PodSeen(namespace, name, labels, ip, ready, draining)


def test_a_pod_without_a_node_and_a_failed_start_are_obstacles_that_a_waiting_client_is_told():
    tiny = {"app": "tiny"}
    pods = [PodSeen("team-a", "t1", tiny, None, ready=False, unschedulable=True)]
    small = build(Source(deployment(), ROUTING), pods=pods).models["team-a/assistant"].variant("small")
    assert (small.ready, small.pods, small.obstacle) == (False, (), "no node has a free a100")
    failed = {**ROUTING, "variants": [{**ROUTING["variants"][1], "state": "Failed"}]}
    assert build(Source(deployment(), failed)).models["team-a/assistant"].variant("small").obstacle == "its last start failed"
    assert build(Source(deployment(), ROUTING)).models["team-a/assistant"].variant("small").obstacle == ""


def build(*sources, pods=()):
    return build_table(sources, pods, room="127.0.0.1:9814", generation=3, now=100.0)


def test_plan_and_pods_come_together():
    llama = {"app": "llama", "tier": "gpu"}
    pods = [
        pod("l1", llama),
        pod("l2", llama, ip="10.0.0.2", ready=False),
        pod("l3", llama, ip="10.0.0.3", draining=True),
        pod("l4", llama, ip=None),
        pod("other", llama, namespace="team-b", ip="10.9.9.9"),
        pod("wrong", {"app": "llama", "tier": "cpu"}, ip="10.8.8.8"),
    ]
    table = build(Source(deployment(), ROUTING), pods=pods)
    model = table.models["team-a/assistant"]
    large = model.variant("large")
    assert [(one.address, one.usable) for one in large.pods] == [("10.0.0.1:9000", True), ("10.0.0.2:9000", False), ("10.0.0.3:9000", False)]
    assert (large.usd_per_1k, large.startup_s, large.ready) == (0.0109, 240.0, True)
    assert (model.best, model.wake, model.rung, model.pressure, model.blocked_until) == ("large", "small", "Degrade", 0.4, 1767225600.0)
    chat, default = model.classes
    assert (chat.header, chat.min_score, chat.degraded_share, chat.expected_quality) == (("x-kind", "chat"), (("small", 0.62),), 0.1, 0.957)
    assert (default.name, default.min_score, default.degraded_share, default.expected_quality) == ("default", (), 1.0, 1.0)
    assert endpoints_of(table) == ["10.0.0.1:9000", "10.0.0.3:9000", "127.0.0.1:9814"]


def test_before_the_operators_first_word_own_pods_are_found_by_their_labels_and_all_may_be_woken():
    own = pod("s1", {"jevons.dev/deployment": "assistant", "jevons.dev/variant": "small"}, ip="10.0.0.9")
    model = build(Source(deployment()), pods=[own]).models["team-a/assistant"]
    assert model.variant("small").ready
    assert not model.variant("large").ready
    assert model.variant("large").wakeable
    assert (model.best, model.rung) == ("large", "None")


def test_the_oldest_holder_keeps_a_short_name_and_the_other_is_reachable_in_full():
    table = build(Source(deployment("team-b", created=2.0)), Source(deployment("team-a", created=1.0)))
    assert table.resolve("assistant")[0].key == "team-a/assistant"
    assert table.resolve("team-b/assistant")[0].key == "team-b/assistant"


def test_a_model_name_works_with_its_namespace_too():
    table = build(Source(deployment(name="infd-7", model="assistant")))
    assert table.resolve("team-a/assistant")[0].key == table.resolve("team-a/infd-7")[0].key == "team-a/infd-7"


def test_a_table_survives_its_file(tmp_path):
    table = build(Source(deployment(), ROUTING), pods=[pod("l1", {"app": "llama", "tier": "gpu"})])
    assert Table.load(table.dump()) == table
    file = TableFile(tmp_path / "table.json")
    assert not file.refresh()
    file.write(table)
    assert file.refresh()
    assert file.table == table
    assert not file.refresh()


@pytest.mark.parametrize("broken", [b"", b"{", b"{}", b"[]", b'{"models": {"a": 1}}', b'{"models": {"a/b": {"nope": 1}}, "names": {}}'])
def test_a_broken_file_leaves_the_last_table_standing(tmp_path, broken):
    file = TableFile(tmp_path / "table.json")
    file.write(build(Source(deployment())))
    file.refresh()
    file.path.write_bytes(broken)
    assert not file.refresh()
    assert "team-a/assistant" in file.table.models


async def test_a_watcher_sees_every_replacement(tmp_path):
    file = TableFile(tmp_path / "table.json")
    reader = TableFile(file.path).watch(every_s=0.001)
    for generation in (1, 2):
        file.write(Table(generation=generation))
        assert (await asyncio.wait_for(anext(reader), 5)).generation == generation
    await reader.aclose()


def test_endpoints_are_written_only_when_they_change(tmp_path):
    file = EndpointsFile(tmp_path / "eds.json")
    table = build(Source(deployment(), ROUTING), pods=[pod("l1", {"app": "llama", "tier": "gpu"}, ip="fd00::1")])
    assert file.write(table)
    assert not file.write(table)
    (assignment,) = orjson.loads(file.path.read_bytes())["resources"]
    hosts = [one["endpoint"]["address"]["socket_address"] for one in assignment["endpoints"][0]["lb_endpoints"]]
    assert hosts == [{"address": "127.0.0.1", "port_value": 9814}, {"address": "fd00::1", "port_value": 9000}]


@pytest.mark.parametrize(
    ("selector", "labels", "matches"),
    [
        ("a=b", {"a": "b"}, True),
        ("a==b,c!=d", {"a": "b"}, True),
        ("a=b,c!=d", {"a": "b", "c": "d"}, False),
        ("a in (x, b),!z", {"a": "b"}, True),
        ("a notin (x,b)", {"a": "b"}, False),
        ("a", {"a": ""}, True),
        ("a", {}, False),
        ("", {"a": "b"}, False),
        ("a=b,(((", {"a": "b"}, False),
    ],
)
def test_selectors_read_as_kubernetes_reads_them_and_an_unreadable_one_matches_nothing(selector, labels, matches):
    assert selector_matcher(selector)(labels) is matches

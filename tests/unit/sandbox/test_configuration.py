"""What kwok, Prometheus and Jevons' own processes are told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from jevons.sandbox import NodeSpec, cluster, nodes, prometheus
from jevons.sandbox.services import Gateway, Operator
from jevons.sandbox.slots import Slot, take


@pytest.fixture
def slot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Slot]:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    taken = take()
    yield taken
    taken.release()


def test_kwok_gets_every_option_because_a_partial_block_zeroes_the_rest(slot: Slot) -> None:
    kwok, kwokctl, *stages = yaml.safe_load_all(cluster.configuration(slot, api_port=20001))
    assert all(kwok["options"].values())
    assert len(kwok["options"]) == 6
    assert kwok["options"]["cidr"] == "127.96.0.1/16"
    assert kwokctl["options"]["bindAddress"] == "127.0.0.1"
    assert {stage["kind"] for stage in stages} == {"Stage"}


def test_no_two_components_share_a_port(slot: Slot) -> None:
    _, kwokctl, *_ = yaml.safe_load_all(cluster.configuration(slot, api_port=slot.port()))
    ports = [value for key, value in kwokctl["options"].items() if key.endswith("Port")]
    assert len(set(ports)) == len(ports) == 6


def test_a_node_offers_its_gpus_under_its_own_resource_name() -> None:
    node = NodeSpec("n", accelerator="mi300x", gpus=4, resource="amd.com/gpu", spot=True).manifest()
    assert node["status"]["allocatable"]["amd.com/gpu"] == "4"
    assert node["metadata"]["labels"][nodes.ACCELERATOR_LABEL] == "mi300x"
    assert node["metadata"]["labels"]["karpenter.sh/capacity-type"] == "spot"


def test_samples_of_our_processes_keep_their_labels_and_samples_of_pods_do_not(tmp_path: Path) -> None:
    text = prometheus.configuration(kubeconfig=tmp_path / "kubeconfig", targets=tmp_path, scrape_interval_s=0.5)
    config = yaml.safe_load(text)
    pods, processes = config["scrape_configs"]
    assert config["global"]["scrape_interval"] == "500ms"
    assert processes["honor_labels"] is True
    assert "honor_labels" not in pods
    assert {rule["target_label"] for rule in pods["relabel_configs"] if "target_label" in rule} >= {"namespace", "pod", "node"}


def test_the_operator_is_started_as_the_contract_says(tmp_path: Path) -> None:
    op = Operator.of(
        "operator-1",
        tmp_path,
        kubeconfig=tmp_path / "kubeconfig",
        prometheus_url="http://127.0.0.1:1",
        scrape_interval_s=2,
        period_s=0.5,
        resync_s=120,
        ports=(2, 3, 4),
        options=["--identity", "a"],
        env=None,
    )
    words = " ".join(op.command)
    assert "operator --kubeconfig" in words
    assert "--prometheus-scrape-interval 2s --period 0.5s --resync 120s" in words
    assert words.endswith("--demand-port 2 --health-port 3 --metrics-port 4 --identity a")
    assert (op.demand_address, op.metrics_url, op.health_url) == ("127.0.0.1:2", "http://127.0.0.1:4/metrics", "http://127.0.0.1:3")


def test_the_gateway_dials_every_operator(tmp_path: Path) -> None:
    gw = Gateway.of(
        "gateway-1",
        tmp_path,
        kubeconfig=tmp_path / "kubeconfig",
        envoy=Path("/envoy"),
        operators=["127.0.0.1:2", "127.0.0.1:5"],
        pickers=3,
        token=tmp_path / "token",
        ports=(6, 7, 8),
        options=[],
        env=None,
    )
    words = " ".join(gw.command)
    assert "--listen 127.0.0.1:6 --pickers 3 --operator 127.0.0.1:2 --operator 127.0.0.1:5" in words
    assert "--metrics-port 7 --room-address 127.0.0.1:8" in words
    assert gw.url == "http://127.0.0.1:6"

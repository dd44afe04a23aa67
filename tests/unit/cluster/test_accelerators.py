"""Which accelerator a variant occupies when its spec does not say: one class, or what to do."""

from __future__ import annotations

import pytest

from jevons.cluster.accelerators import class_of, count_of
from jevons.cluster.records import PodTemplate
from jevons.core.spec import AcceleratorClass

H100 = AcceleratorClass("h100", node_selector={"acc": "h100"})
A100 = AcceleratorClass("a100", node_selector={"acc": "a100"})
NEURON = AcceleratorClass("neuron", resource_name="aws.amazon.com/neuron")
CLASSES = {each.name: each for each in (H100, A100, NEURON)}
GPU = {"nvidia.com/gpu": 2}


@pytest.mark.parametrize(
    ("template", "nodes", "published", "name"),
    [
        (PodTemplate(GPU, {"acc": "h100"}), [], "", "h100"),
        (PodTemplate({"aws.amazon.com/neuron": 1}, {}), [], "", "neuron"),
        (PodTemplate(GPU, {"zone": "b"}), [{"acc": "a100", "zone": "b"}], "", "a100"),
        (PodTemplate(GPU, {}), [], "a100", "a100"),
        (PodTemplate(GPU, {}), [{"acc": "a100"}, {"acc": "h100"}], "", ""),
        (PodTemplate(GPU, {"acc": "h100"}), [{"acc": "a100"}], "a100", "h100"),
        (PodTemplate(GPU, {"acc": "b200"}), [], "a100", ""),
    ],
    ids=["node selector", "resource", "nodes of its pods", "as before", "pods on two kinds", "the template is newer", "none fits"],
)
def test_the_one_class_that_fits(template, nodes, published, name):
    found, problem = class_of(template, CLASSES, nodes, published)
    assert found == name
    assert bool(problem) == (not name)


def test_the_only_class_of_a_resource_needs_no_labels():
    assert class_of(PodTemplate(GPU, {}), {"h100": H100, "neuron": NEURON}, [], "") == ("h100", "")


def test_what_is_missing_says_what_to_write():
    assert class_of(PodTemplate(GPU, {}), CLASSES, [], "")[1] == "the pod template fits a100, h100; set accelerator.className to one of a100, h100"
    nothing = "the pod template requests no accelerator, which is the resourceName of no AcceleratorClass; set accelerator.className to one of "
    assert class_of(PodTemplate({}, {}), CLASSES, [], "")[1] == nothing + "a100, h100, neuron"
    assert "create an AcceleratorClass" in class_of(PodTemplate(GPU, {}), {}, [], "")[1]


def test_the_count_is_what_the_pods_request():
    assert count_of(PodTemplate(GPU, {}), "nvidia.com/gpu") == 2
    assert count_of(PodTemplate({}, {}), "nvidia.com/gpu") == count_of(None, "") == 1

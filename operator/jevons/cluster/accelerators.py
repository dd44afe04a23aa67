"""Which accelerator does a variant occupy when its spec does not say?

The pods say it: what their template requests and where it may run, or where they run now. A guess would be money at a wrong price, so the answer is
one AcceleratorClass or a sentence that says what to write. Once known it is published in the status and stays while it is still possible: a variant
that sleeps has no pods that could be asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from jevons.cluster.records import PodTemplate
from jevons.core.spec import AcceleratorClass

UNKNOWN_CLASS = "unknown"
"""Stands in a resolved variant whose class neither the spec nor the pods say."""


def count_of(template: PodTemplate | None, resource: str) -> int:
    """Accelerators per replica as the template requests them; 1 when it requests none that we can see."""
    return (template.requests.get(resource, 0) if template is not None else 0) or 1


def class_of(
    template: PodTemplate | None, classes: Mapping[str, AcceleratorClass], nodes: Iterable[Mapping[str, str]], published: str
) -> tuple[str, str]:
    """(name of the class, "") or ("", what to do). `nodes`: labels of the nodes where its pods run; `published`: what the status said last.

    Asked in this order, each until exactly one class is left: the template's nodeSelector contains the class's; the template does not contradict it;
    its pods' nodes carry its labels; it was the answer before.
    """
    if template is None:
        return "", "there is no pod template to read it from; set accelerator.className"
    candidates = {name: each for name, each in classes.items() if template.requests.get(each.resource_name)}
    if not candidates:
        requested = ", ".join(sorted(template.requests)) or "no accelerator"
        return "", f"the pod template requests {requested}, which is the resourceName of no AcceleratorClass; {_advice(classes)}"
    selector = template.node_selector
    possible = {
        name: each for name, each in candidates.items() if all(selector.get(key, value) == value for key, value in each.node_selector.items())
    }
    pinned = [name for name, each in possible.items() if each.node_selector and each.node_selector.items() <= selector.items()]
    for names in (pinned, list(possible)):
        if len(names) == 1:
            return names[0], ""
    seen = {name for labels in nodes for name, each in possible.items() if each.node_selector and each.node_selector.items() <= labels.items()}
    if len(seen) == 1:
        return next(iter(seen)), ""
    if published in possible:
        return published, ""
    several = f"fits {', '.join(sorted(possible))}" if possible else "contradicts the nodeSelector of every AcceleratorClass that it could use"
    return "", f"the pod template {several}; {_advice(possible or candidates)}"


def _advice(names: Iterable[str]) -> str:
    listed = ", ".join(sorted(names)[:16])
    return f"set accelerator.className to one of {listed}" if listed else "create an AcceleratorClass for it (examples/accelerators.yaml)"

"""What the shadow prices were that a deployment's ways were compared at, and which ways there were, in words (`explain.py`)."""

from __future__ import annotations

from jevons.core.course import Course, Way
from jevons.core.funding import Funded
from jevons.core.sizing import AUTO_LATE_FACTOR


def inputs(funded: Funded) -> list[tuple[str, str, float | None]]:
    """Lambda, alpha and phi, of a deployment that has a choice; lambda and alpha only where they are above zero."""
    ground = funded.ground
    if ground.course is None:
        return []
    rows: list[tuple[str, str, float | None]] = []
    pressure = sum(pace.pressure for pace in funded.paces)
    if pressure > 0.0:
        rows.append(("lambda", f"{pressure:.2f}, the budgets' pressure: prices count {1.0 + pressure:.2f} times", None))
    for name in dict.fromkeys(variant.spec.accelerator_class for variant in funded.facts.variants):
        alpha = ground.shadow.scarcity.get(name, 0.0)
        if alpha > 0.0:
            rows.append((f"alpha[{name}]", f"{alpha:.3g} USD/h each, because more are wanted than there are", None))
    rows.append(("phi", _phi(funded), None))
    return rows


def ways(funded: Funded) -> list[tuple[str, str, str]]:
    """The course, and the other ways that were valued with it."""
    course = funded.ground.course
    if course is None:
        return []
    rows = [(f"routes and replicas together: {_spelled(course.way)}", f"{course.way.usd_per_h:.4g} USD/h", _state(course))]
    for way in course.others:
        wanting = "not better by enough to pay for the change" if way.usd_per_h < course.way.usd_per_h else "dearer, or worse at other demand"
        rows.append((f"another way: {_spelled(way)}", f"{way.usd_per_h:.4g} USD/h", wanting))
    return rows


def binding(funded: Funded) -> list[str]:
    """What binds, with the saving if it did not."""
    ground = funded.ground
    return [text for text in (ground.course.why if ground.course is not None else "", ground.trouble) if text]


def _phi(funded: Funded) -> str:
    late_cost = funded.facts.spec.objectives.late_cost_usd
    if late_cost is not None and late_cost.is_finite():
        return f"{late_cost} USD per late answer, by objectives.lateAnswerCost"
    best = next((item for item in funded.plan.variants if item.facts.spec.name == funded.plan.best), None)
    if best is None or best.facts.usd_per_h is None:
        return f"{AUTO_LATE_FACTOR:.0f} times what an answer costs, per late answer"
    usd = AUTO_LATE_FACTOR * best.facts.usd_per_h / 3600.0 / (best.capacity_per_s or best.fluid_per_s)
    return f"{usd:.3g} USD per late answer, {AUTO_LATE_FACTOR:.0f} times what one costs"


def _spelled(way: Way) -> str:
    return ", ".join(f"{count} {name}" for name, count in way.units) or "nothing"


def _state(course: Course) -> str:
    return "chosen" if course.now == course.aim else "chosen; requests go where they went until its replicas are ready"

"""The Dockerfile, as text: what can be said of it without a container engine."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
STEPS = re.sub(r"\\\n\s*", " ", "\n".join(line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.startswith("#"))).splitlines()


def steps(word):
    return [step for step in STEPS if step.startswith(word)]


def test_the_image_runs_as_nobody_in_particular():
    last = STEPS.index(steps("FROM")[-1])
    assert "USER 65532:65532" in STEPS[last:]


def test_every_installed_package_is_pinned_by_hash():
    installs = [step for step in steps("RUN") if "pip install" in step]
    assert installs
    assert all(step.count("pip install") == step.count("--require-hashes") == step.count("--only-binary :all:") for step in installs)


def test_it_builds_without_buildkit_and_on_a_given_base():
    text = (ROOT / "Dockerfile").read_text()
    assert not re.search(r"# *syntax=|--mount=|COPY --chmod|COPY --link|<<", text)
    assert steps("FROM") == ["FROM ${BASE_IMAGE} AS build", "FROM ${BASE_IMAGE}"]


def test_only_the_package_and_its_locks_are_sent_to_the_builder():
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    copied = {word for step in steps("COPY") if "--from" not in step for word in step.split()[1:-1]}
    assert copied == {line[1:] for line in lines if line.startswith("!")}

"""The ways in which a manifest may be different: engine settings, precision, accelerator. What they are worth is `advice.py`'s to try."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from jevons.core.spec import AcceleratorClass, Deployment, Profile, Variant
from jevons.simulator.scenario import Requests

CHUNKS = (256, 512, 1024, 2048, 4096, 8192)
SEQUENCES = (32, 64, 128, 256, 512)
LONGEST = (99.0, 99.9)
"""Percentiles of a request's tokens that a context limit may be set to, rounded up to 1,024 tokens."""


class Setting(StrEnum):
    """What is different."""

    CHUNK = "max batched tokens"
    SEQUENCES = "max sequences"
    CONTEXT = "context limit"
    PRECISION = "precision"
    ACCELERATOR = "accelerator"


@dataclass(frozen=True, slots=True)
class Way:
    """The manifest with one thing of one variant different. `now`, `then`: its values in words."""

    variant: str
    setting: Setting
    now: str
    then: str
    profile: Profile
    context_length: int
    accelerator_class: str
    accelerator_count: int
    precision: str


def ways_of(written: Deployment, requests: Requests) -> list[Way]:
    """Chunks, sequences and context limits for every variant that has a profile."""
    tokens = requests.input_tokens + requests.output_tokens
    limits = sorted({1024 * int(np.ceil(float(np.percentile(tokens, percentile)) / 1024)) for percentile in LONGEST})
    made: list[Way] = []
    for variant in written.variants:
        profile = variant.profile
        if profile is None:
            continue
        chunk, count, limit = str(profile.chunk_tokens), str(profile.max_num_seqs), variant.context_length
        tuned = [(Setting.CHUNK, chunk, each, replace(profile, chunk_tokens=each)) for each in CHUNKS if each != profile.chunk_tokens]
        tuned += [(Setting.SEQUENCES, count, each, replace(profile, max_num_seqs=each)) for each in SEQUENCES if each != profile.max_num_seqs]
        made += [way(variant, setting, now, str(each), profile=other) for setting, now, each, other in tuned]
        shorter = [each for each in limits if each < min(limit, int(tokens.max()))]
        made += [way(variant, Setting.CONTEXT, str(limit), str(each), context_length=each) for each in shorter]
    return made


def way(variant: Variant, setting: Setting, now: str, then: str, **changes: object) -> Way:
    """The variant with these fields different."""
    same: dict[str, object] = {
        "profile": variant.profile,
        "context_length": variant.context_length,
        "accelerator_class": variant.accelerator_class,
        "accelerator_count": variant.accelerator_count,
        "precision": variant.precision,
    }
    return Way(variant.name, setting, now, then, **{**same, **changes})  # type: ignore[arg-type]


def changed(written: Deployment, ways: Sequence[Way]) -> Deployment:
    """The manifest with all these ways gone. Of two for one variant the second's machine keeps the first's chunk and sequences."""
    variants = {variant.name: variant for variant in written.variants}
    machine_first = sorted(ways, key=lambda one: one.setting not in {Setting.PRECISION, Setting.ACCELERATOR})
    for one in machine_first:
        before = variants[one.variant]
        profile = before.profile or one.profile
        if one.setting is Setting.CHUNK:
            variants[one.variant] = replace(before, profile=replace(profile, chunk_tokens=one.profile.chunk_tokens))
        elif one.setting is Setting.SEQUENCES:
            variants[one.variant] = replace(before, profile=replace(profile, max_num_seqs=one.profile.max_num_seqs))
        elif one.setting is Setting.CONTEXT:
            variants[one.variant] = replace(before, context_length=one.context_length)
        else:
            machine = {"accelerator_class": one.accelerator_class, "accelerator_count": one.accelerator_count, "precision": one.precision}
            variants[one.variant] = replace(before, profile=one.profile, **machine)  # type: ignore[arg-type]
    return replace(written, variants=tuple(variants.values()))


def fits(requests: Requests, written: Deployment) -> Requests:
    """Those that the best variant can hold."""
    best = written.best
    most = min(best.context_length, best.profile.kv_tokens) if best.profile is not None else best.context_length
    kept = requests.input_tokens + requests.output_tokens <= most
    if kept.all():
        return requests
    return requests.some(kept)


def machines(written: Deployment, accelerators: Mapping[str, AcceleratorClass], table: Mapping[str, Profile]) -> tuple[list[Way], list[str]]:
    """Other precisions and accelerators of the profile table for each variant, and what could not be compared and why.

    table: by `model/precision/gpu/count/backend`. A GPU of the table is one of the classes when their names begin alike (a100_sxm, a100-80gb).
    """
    made, notes = [], []
    for variant in written.variants:
        name = next((path for path, profile in table.items() if _same(profile, variant.profile)), None)
        if name is None:
            notes.append(f"{variant.name}: its profile is no row of the packaged table, so no other precision or accelerator is known for it")
            continue
        model, precision, gpu, count, _ = name.split("/")
        for path, profile in table.items():
            other_model, other_precision, other_gpu, other_count, backend = path.split("/")
            if other_model != model or path == name:
                continue
            classes = [each for each in accelerators if each.split("-")[0].split("_")[0] == other_gpu.split("_")[0]]
            if not classes:
                notes.append(f"{variant.name}: {other_gpu} not compared, no AcceleratorClass of that name is given")
                continue
            same_machine = (other_gpu, other_count) == (gpu, count)
            if (other_precision == precision) == same_machine:
                continue  # another backend, or precision and machine at once
            current = variant.profile or profile
            tuned = replace(profile, chunk_tokens=current.chunk_tokens, max_num_seqs=current.max_num_seqs)
            where = {"accelerator_class": classes[0], "accelerator_count": int(other_count), "precision": other_precision}
            setting = Setting.PRECISION if same_machine else Setting.ACCELERATOR
            now, then = (
                (precision, f"{other_precision} ({backend})") if same_machine else (f"{count} x {gpu}", f"{other_count} x {other_gpu} ({backend})")
            )
            made.append(way(variant, setting, now, then, profile=tuned, **where))
    return made, list(dict.fromkeys(notes))


def _same(row: Profile, mine: Profile | None) -> bool:
    return mine is not None and replace(row, chunk_tokens=mine.chunk_tokens, max_num_seqs=mine.max_num_seqs) == mine

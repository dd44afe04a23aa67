"""One way to serve a model: which weights, on what, how fast (as far as known), how many, and the workload behind it."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from jevons.api.base import Model, Rule
from jevons.api.lists import Distinct
from jevons.api.quantities import ClassName, Fraction, Integer, Label, Milliseconds, ProfilePath, ServedModel, Subdomain, Text, Word, duration

Port = Annotated[int, Integer(1, 65535)]
Replicas = Annotated[int, Field(strict=True, ge=0, le=1000)]
GroupVersion = Annotated[str, Text("^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?v[0-9]+((alpha|beta)[0-9]+)?$", 128)]

Capability = Literal["Tools", "JSONSchema", "Images", "Audio", "Embeddings", "Reasoning"]


def _both_or_neither(first: object) -> str:
    return "neither" if first is None else "both"


class AcceleratorUse(Model):
    """What one replica (one replica group of a LeaderWorkerSet) occupies."""

    class_name: ClassName | None = None
    """Name of an AcceleratorClass; left out, the one that fits the pods: what they request, and the nodes they may run on."""
    count: Annotated[int, Integer(1, 4096)] | None = None
    """Accelerators per replica; left out, what the pods request."""


class Engine(Model):
    """The inference server."""

    type: Literal["VLLM", "SGLang", "TGI", "TensorRTLLM", "Triton", "LlamaCpp"] = "VLLM"
    """Decides which metric names are read."""
    port: Port = 8000
    """Where its pods answer."""


class CapacityNumbers(Model):
    """One replica's speed: ITL(B, ctx) = itlBase + (itlPerSequence + itlPerSequenceKiloToken * ctx_k) * B and a prefill of second order, in ms."""

    itl_base: Milliseconds
    """ms per token of an empty batch."""
    itl_per_sequence: Milliseconds
    """ms more for each running sequence."""
    itl_per_sequence_kilo_token: Milliseconds
    """ms more for each running sequence and 1,000 tokens of its context."""
    prefill_base: Milliseconds
    """ms for the shortest prompt."""
    prefill_per_kilo_token: Milliseconds
    """ms more for each 1,000 tokens of prompt."""
    prefill_per_kilo_token_squared: Milliseconds = "0"  # noqa: S105 - tokens of text
    """ms more for each (1,000 tokens)^2 of prompt."""
    kv_tokens: Annotated[int, Integer(1, 1_000_000_000)]
    """Tokens the KV cache holds."""


class Capacity(Model):
    """How fast one replica is, as a prior: it is corrected while serving. Left out entirely, it is learned from scratch."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "CapacityOneOf",
            "has(self.profile) != has(self.numbers)",
            "exactly one of profile and numbers must be set",
            "'exactly one of profile and numbers must be set, got ' + (has(self.profile) ? 'both' : 'neither')",
            lambda capacity: (capacity.profile is None) != (capacity.numbers is None),
            lambda capacity: f"exactly one of profile and numbers must be set, got {_both_or_neither(capacity.profile)}",
        ),
    )

    profile: ProfilePath | None = None
    """A row of the profile table: model/precision/gpu/count/engine."""
    numbers: CapacityNumbers | None = None
    """Your own measurement."""
    max_num_seqs: Annotated[int, Integer(1, 65536)] = 256
    """The engine's limit of running sequences."""
    max_num_batched_tokens: Annotated[int, Integer(64, 1_048_576)] = 2048
    """The engine's prefill chunk."""


class Startup(Model):
    """From scheduling to ready."""

    expected: Annotated[str, duration("1s", "2h")] = "4m"
    """Prior; learned."""


class Sleep(Model):
    """An idle replica may sleep in host memory before it goes (vLLM's sleep mode, level 1). Left out, replicas are loaded or gone."""

    holding_cost: Fraction
    """Share of its price that a sleeping replica costs, 0 to 1: it holds its accelerator as before, so less than 1 only where that is shared."""
    wake: Annotated[str, duration("100ms", "10m")] = "10s"
    """How long waking takes; a prior, learned."""


class ReplicaBounds(Model):
    """How many replicas; min 0 = may sleep."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "ReplicasMinMax",
            "self.min <= self.max",
            "min must not be above max; raise max or lower min",
            "'min %d is above max %d; raise max or lower min'.format([self.min, self.max])",
            lambda replicas: replicas.min <= replicas.max,
            lambda replicas: f"min {replicas.min} is above max {replicas.max}; raise max or lower min",
        ),
    )

    min: Replicas = 0
    """Fewest replicas while the budget allows; 0 = may sleep."""
    max: Replicas = 10
    """Most replicas, always."""


class TargetRef(Model):
    """An existing workload with a scale subresource in this object's own namespace."""

    api_version: GroupVersion = "apps/v1"
    """Group and version of the workload."""
    kind: Word = "Deployment"
    """Kind of the workload; the install allows a list of kinds."""
    name: Subdomain
    """Name of the workload."""


class Variant(Model):
    """One way to serve the model."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "WorkloadOneOf",
            "has(self.targetRef) != has(self.template)",
            "exactly one of targetRef and template must be set",
            "'variant ' + self.name + ': exactly one of targetRef and template must be set, got ' + (has(self.targetRef) ? 'both' : 'neither')",
            lambda variant: (variant.target_ref is None) != (variant.template is None),
            lambda variant: f"variant {variant.name}: exactly one of targetRef and template must be set, got {_both_or_neither(variant.target_ref)}",
        ),
        Rule(
            "SleepEngine",
            "!has(self.sleep) || self.engine.type == 'VLLM'",
            "sleep needs an engine that offers it: VLLM",
            "'variant ' + self.name + ': sleep needs an engine that offers it: VLLM, got ' + self.engine.type",
            lambda variant: variant.sleep is None or variant.engine.type == "VLLM",
            lambda variant: f"variant {variant.name}: sleep needs an engine that offers it: VLLM, got {variant.engine.type}",
        ),
    )

    name: Label
    """Unique in this object; a template's Deployment is called `<object>-<variant>`."""
    served_model: ServedModel | None = None
    """Name the engine serves the weights under; left out, `model`."""
    quality: Fraction = "1.0"
    """Relative to the best variant, 0 to 1: the router's prior."""
    precision: Literal["FP32", "BF16", "FP16", "FP8", "MXFP8", "INT8", "INT4", "FP4", "NVFP4", "MXFP4"] = "BF16"
    """Number format of the weights."""
    techniques: Annotated[tuple[Word, ...], Field(max_length=16), Distinct()] = ()
    """Labels such as SpeculativeDecoding, MoE, Distilled, PrefixCaching; their effect is measured, never assumed."""
    context_length: Annotated[int, Integer(1, 10_000_000)] = 8192
    """Most tokens of prompt and answer together."""
    capabilities: Annotated[tuple[Capability, ...], Field(max_length=16), Distinct()] = ()
    """What requests may ask of it beyond text."""
    accelerator: AcceleratorUse = AcceleratorUse()
    """What one replica occupies, and so what it costs."""
    engine: Engine = Engine()
    """The inference server."""
    capacity: Capacity | None = None
    """How fast one replica is, as a prior; left out, learned from scratch."""
    startup: Startup = Startup()
    """How long a replica takes to become ready."""
    sleep: Sleep | None = None
    """Sleeping in host memory; the engine must be started with `--enable-sleep-mode` and `VLLM_SERVER_DEV_MODE=1`."""
    replicas: ReplicaBounds = ReplicaBounds()
    """How many replicas."""
    promotion: Literal["Auto", "Shadow"] = "Auto"
    """Auto: takes traffic by its quality. Shadow: none of its own; agreement is not measured yet, so that it stays so until this is Auto."""
    target_ref: TargetRef | None = None
    """An existing workload to scale."""
    template: Annotated[dict[str, Any], Field(json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})] | None = None
    """A pod template from which Jevons makes and owns a Deployment."""

"""The part of `metadata` that Jevons reads, and the one rule on it.

The name ends in labels (`jevons.dev/deployment`), whose values have 63 characters at most. It is the only rule at the root of a schema, and final: a
root rule that was tightened later would block status and label writes on objects already stored.
"""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from jevons.api.base import Rule


class Metadata(BaseModel):
    """What the API server keeps about an object; everything else in it is ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=to_camel, validate_by_alias=True, validate_by_name=True)

    name: str
    namespace: str = ""
    uid: str = ""
    generation: int = 0
    creation_timestamp: datetime | None = None


def name_length(limit: int) -> Rule:
    """`metadata.name` has at most `limit` characters."""
    must = f"metadata.name must have at most {limit} characters"
    return Rule(
        "NameLength",
        f"size(self.metadata.name) <= {limit}",
        must,
        f"'{must}, got %d'.format([size(self.metadata.name)])",
        lambda root: len(root.metadata.name) <= limit,
        lambda root: f"{must}, got {len(root.metadata.name)}",
    )

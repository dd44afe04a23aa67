"""What a pod's annotation says of its sleep in host memory. The pod itself is where that stands, so that no restart of ours forgets it.

    (no annotation)     awake
    Marked  ...         about to sleep: gateways send it nothing new, its engine has not said yet that it sleeps
    Asleep  ...         its engine has said so
    Refused ...         its engine cannot: it stays awake, and is not asked again

Behind the word stand since when, whose it is (InferenceDeployment) and the port of its engine, so that it can be woken when that object is gone.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

ANNOTATION = "jevons.dev/sleep"
MARKED, ASLEEP, REFUSED = "Marked", "Asleep", "Refused"


@dataclass(frozen=True, slots=True)
class Mark:
    """One pod's annotation. `at_s`: since when [s since the epoch]; `owner`: name of the InferenceDeployment in the pod's namespace."""

    word: str
    at_s: float
    owner: str
    port: int

    @property
    def text(self) -> str:
        """As written on the pod. Example: `Asleep 2026-01-01T00:00:00.000Z assistant 8000`."""
        at = datetime.fromtimestamp(self.at_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return f"{self.word} {at} {self.owner} {self.port}"

    @property
    def resting(self) -> bool:
        """Gateways send it nothing."""
        return self.word in {MARKED, ASLEEP}


def read(text: object) -> Mark | None:
    """The mark that stands there; None for none, and for what nobody of ours has written."""
    if not isinstance(text, str):
        return None
    try:
        word, at, owner, port = text.split(" ")
        if word not in {MARKED, ASLEEP, REFUSED} or not 0 < int(port) < 65536:
            return None
        return Mark(word, datetime.fromisoformat(at).timestamp(), owner, int(port))
    except (ValueError, OverflowError):
        return None

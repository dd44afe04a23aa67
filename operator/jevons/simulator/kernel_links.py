"""Lines of requests in front of a variant, doubly linked through `work.before` and `work.after`.

Whoever owns a line keeps its ends; these two change what lies between. A replica's batch is linked likewise and by hand (`kernel.py`): through these
every request took a sixth longer there.
"""

from __future__ import annotations

from typing import Any

from jevons.simulator.kernel_cache import inner
from jevons.simulator.kernel_state import NONE, State


@inner
def link(state: State, r: Any, before: Any, after: Any) -> None:
    """Put `r` between two neighbours; NONE = it is that end of the line now."""
    work = state.work[r]
    work.before, work.after = before, after
    if before != NONE:
        state.work[before].after = r
    if after != NONE:
        state.work[after].before = r


@inner
def unlink(state: State, r: Any) -> Any:
    """Take `r` from between its neighbours, which are returned; NONE = it was that end of the line, and the other one is the end now."""
    before, after = state.work[r].before, state.work[r].after
    if before != NONE:
        state.work[before].after = after
    if after != NONE:
        state.work[after].before = before
    return before, after

"""`jevons advise --publish`: what was found, where `kubectl describe` shows it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jevons.simulator.advice import Advice, Priced
    from jevons.simulator.recorded import Recorded

MOST, SHORT = 16, 64
"""As many and as long as `api.status.Advice` takes."""


def as_status(found: Advice, was: Recorded) -> dict[str, Any]:
    """`status.advice`. Money is per month of 720 h; a share is of the bill on this traffic at equal attainment."""
    from jevons.simulator.advice import WORTH

    until = datetime.fromtimestamp(was.until_s, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    settings = [_setting(one, found) for one in found.advised[:MOST]]
    length = f"{found.hours:.1f} h" if found.hours >= 1 else f"{60 * found.hours:.0f} min"
    modelled = f"on {length} of recorded traffic until {until}, {found.target:.1%} kept; tried in the simulator, nothing was changed"
    what = "; ".join(_sentence(one) for one in settings) or f"nothing: none of {len(found.tried)} ways saves {WORTH:.0%} or more"
    both = "" if found.together is None or found.together.saved is None else f"; all of it saves {found.together.saved:.1%}"
    return {
        "observedGeneration": was.asked.written.generation,
        "asOf": until,
        "message": f"{what}{both} ({modelled})",
        "settings": settings,
    }


def _setting(one: Priced, found: Advice) -> dict[str, str]:
    if one.way is None or one.saved is None or found.written.usd is None:
        raise ValueError("what is advised has a way and a price")
    month = 720.0 / found.hours if found.hours else 0.0
    return {
        "variant": one.way.variant,
        "setting": one.way.setting.value,
        "now": one.way.now[:SHORT],
        "then": one.way.then[:SHORT],
        "savedShare": f"{one.saved:.3f}",
        "savedMonthly": f"{one.saved * found.written.usd * month:.2f}",
    }


def _sentence(one: dict[str, str]) -> str:
    saves = f"saves {float(one['savedShare']):.1%} ({float(one['savedMonthly']):,.0f} USD a month)"
    return f"{one['variant']}: {one['setting']} {one['now']} -> {one['then']} {saves}"


def publish(found: Advice, was: Recorded, kubeconfig: str | None) -> None:
    """Into the status of the recorded object. SystemExit says why not."""
    from jevons.cluster import advice

    written = was.asked.written
    try:
        asyncio.run(advice.publish(kubeconfig, written.key, written.uid, as_status(found, was)))
    except advice.NotPublishedError as error:
        raise SystemExit(f"advise: not published: {error}") from None

"""What is asked of a deployment now, from everything that can see it: arrivals at the gateway, held requests, and the engines' own queues.

The gateway knows what arrives and what waits for a wake-up; the engines know what runs and waits on them, traffic that bypasses the gateway included.
Neither is trusted alone. A reading that is missing, old, negative or not a number is no reading: the pod that owes it counts as unseen, never as
empty.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from jevons.core import capacity, forecast, idle, startup, stuck, waiting
from jevons.core.health import WELL, Health, Stalled, Starting
from jevons.core.memory import DeploymentMemory, Trend
from jevons.core.observed import Known, Observed, Unknown
from jevons.core.snapshot import ClassDemand, DeploymentState, Pod, PodSignals, Snapshot, VariantState
from jevons.core.spec import DEFAULT_CLASS, Deployment, Objectives, Variant
from jevons.core.value import value

STALE_MARGIN_S = 5.0
"""Added to two scrape intervals before a sample counts as old."""
NEVER_SEEN = {"NoData", "NotExposed"}
"""A class without a reading that never had one has no requests to lose: the engines' own readings guard what bypasses the gateway."""
VANISHED_S = 300.0
"""A class that had arrivals and is no longer reported by anybody is unknown for this long after its last reading, then forgotten."""
QUEUE = 5.0
"""So many waiting requests on one pod are a queue, and no accident of the moment."""
ROOM_S = 60.0
"""A pod that became ready later has room because nothing has come to it yet."""
NODE_S = 120.0
"""An unschedulable pod is given at least this long to be given a node."""
LOST_SLEEPER = (6.0, 60.0)
"""A pod that is not awake after so many wake times and seconds will not wake."""
ABSURD = 1e12
"""Nothing that is read here per second, per request or per pod is that much: whoever says so counts as not read, for its square may be no number."""
ONLY_DEFAULT = (DEFAULT_CLASS,)
OVERDUE = (1.5, 4.0)
"""A pod that is not ready counts whole until 1.5 times the startup time and no longer at all from 4 times on."""


def stale_after_s(snapshot: Snapshot) -> float:
    """Age [s] from which a sample is no data: two scrape intervals and a margin."""
    return 2.0 * snapshot.scrape_interval_s + STALE_MARGIN_S


def reading(observed: Observed[float], now: float, max_age_s: float) -> float | None:
    """The value if it is known, fresh, not negative and below ABSURD; else None."""
    if isinstance(observed, Known) and now - observed.at_s <= max_age_s and 0.0 <= (value := observed.value) < ABSURD:
        return value
    return None


@value
class ClassLoad:
    """One request class: its rate now and when a replica ordered now is ready [1/s], mean tokens, and the promise it has."""

    name: str
    now_per_s: float
    ahead_per_s: float
    input_tokens: int
    output_tokens: int
    objectives: Objectives
    min_quality: float
    scores: tuple[float, ...]
    dispersion: float = 1.0
    """Of its arrivals: variance over mean of their number, 1 = at random (`forecast.py`)."""
    doubt: float = 0.0
    """Relative variance of `ahead_per_s`."""
    patience_s: float = 0.0
    """How long its requests may wait for idle capacity; 0 = not at all. Of those that may, `ahead_per_s` is the mean."""


@dataclass(slots=True)
class Seen:
    """One variant's pods, summed up."""

    ready: int = 0
    expected: float = 0.0
    """Pods not ready yet, each with its chance to become so in time."""
    pods: int = 0
    """All but those on their way out."""
    unschedulable: int = 0
    unprovisioned: int = 0
    """Unschedulable for longer than a start takes: no node is coming."""
    stuck: tuple[Pod, ...] = ()
    """Ready, with work that makes no progress (`stuck.py`), the longest first: no capacity, and what they hold is no work being done."""
    stalled: tuple[Stalled, ...] = ()
    starting: tuple[Starting, ...] = ()
    spot: tuple[str, ...] = ()
    """UIDs of those that hold a spot node."""
    started_s: tuple[float, ...] = ()
    """How long the starts took that ended since the last pass."""
    started_on: tuple[str, ...] = ()
    """Their nodes; "" = not known."""
    homes: tuple[str, ...] = ()
    """Nodes of ready pods, where none is remembered yet."""
    patience_s: float = 0.0
    """How long a start may take of those under way, by the nodes they have (`startup.on_node_s`), the longest."""
    resting: tuple[Pod, ...] = ()
    """Asleep in host memory, or marked to be: no capacity, and not free either. Those that sleep for longest come first."""
    sleepless: int = 0
    """Ready pods whose engine refused to sleep."""
    drowsy: tuple[Pod, ...] = ()
    """Ready pods that could be put to sleep."""
    woken_s: tuple[float, ...] = ()
    """How long the wakes took that ended since the last pass."""
    queueing: int = 0
    """Ready, with at least QUEUE requests waiting."""
    roomiest: float | None = None
    """Fewest requests that run on a pod without a queue which has been ready for ROOM_S."""
    failed: int = 0
    overdue: int = 0
    borrowed: int = 0
    """Ready, with a busy GPU and no work of ours to be seen: someone else uses it."""
    unseen: int = 0
    """Ready, but without a reading of its queue (nor of its GPU, where there is no queue to read)."""
    running: float = 0.0
    waiting: float = 0.0
    queued: int = 0
    """Ready pods whose queue was read."""
    utils: list[float] = field(default_factory=list)
    """GPU utilisation of ready pods whose engine exposes no queue."""
    working: bool = False
    """Work was seen: running, waiting, or tokens of which nobody can say how old they are."""
    worked_at_s: float = 0.0
    """When tokens were last seen to have grown: work that began and ended between two scrapes is at most one scrape older."""
    quiet: bool = True
    """Every ready pod's GPU was read and is quiet."""
    gpu: str = ""
    """Why not quiet: GPUBusy or GPUUnknown."""
    newest_ready_s: float = 0.0
    best_pod: tuple[float, float, float | None, float | None] | None = None
    """(running, waiting, gpu_util, kv_used) of the pod that runs most without a queue; only where no profile is known."""
    oldest_sample_s: float | None = None
    busy: bool = field(default=False, compare=False)
    """Summed up by `busy.py`: all of them hold a node, are ready and at work, and were read whole."""


def pods_of(variant: Variant, state: VariantState, now: float, max_age_s: float, *, health: Health = WELL, startup_s: float | None = None) -> Seen:
    """Sum up a variant's pods; `startup_s` (None = the spec's) says when one that is not ready is overdue, `health` what they showed before."""
    seen, measured = Seen(), variant.profile is not None
    if startup_s is None:
        startup_s = variant.startup_s
    for pod in state.pods:
        if pod.terminating:
            continue
        seen.pods += 1
        if pod.spot and pod.scheduled_at_s is not None:
            seen.spot += (pod.uid,)
        if pod.failed:
            seen.failed += 1
        elif pod.ready_at_s is not None:
            if health.starting or not health.homes:
                _started_pod(seen, pod, health, now)
            if (variant.sleep is None and pod.marked_at_s is None) or not _sleeper(seen, pod, variant, health, now=now, max_age_s=max_age_s):
                _ready_pod(seen, pod, now, max_age_s, measured=measured, stalled=health.stalled)
            continue
        elif pod.unschedulable:
            seen.unschedulable += 1
            seen.unprovisioned += now - pod.created_at_s >= max(NODE_S, startup_s)
        else:
            own_s = startup.on_node_s(health, variant.startup_s, pod.node) if health.at_home else startup_s
            seen.patience_s = max(seen.patience_s, own_s)
            chance = _chance(now - pod.created_at_s, own_s)
            seen.expected += chance
            seen.overdue += chance <= 0.0
        timed = startup.watched(health.starting, pod.uid, pod.created_at_s, now)
        if timed is not None and len(seen.starting) < startup.WATCHED:
            seen.starting += (timed,)
    if len(seen.stuck) > 1:
        since_s = {uid: at_s for uid, at_s, _ in seen.stalled}
        seen.stuck = tuple(sorted(seen.stuck, key=lambda pod: (since_s[pod.uid], pod.name)))
    return seen


def _started_pod(seen: Seen, pod: Pod, health: Health, now: float) -> None:
    """Note how long the start of a ready pod took, where it was watched, and its node."""
    if health.starting and (taken_s := startup.taken_s(health.starting, pod.uid, pod.ready_at_s or now, now)) is not None:
        seen.started_s += (taken_s,)
        seen.started_on += (pod.node or "",)
    elif not health.homes and pod.node is not None and pod.node not in seen.homes:
        seen.homes += (pod.node,)


def _sleeper(seen: Seen, pod: Pod, variant: Variant, health: Health, *, now: float, max_age_s: float) -> bool:
    """Note a pod that can sleep; whether it does, or is marked to. One that does not wake is stuck; one that sleeps is as good as expected."""
    if pod.marked_at_s is None:
        if health.waking and (woken_s := startup.taken_s(health.waking, pod.uid, now, now)) is not None:
            seen.woken_s += (woken_s,)
        if pod.sleepless:
            seen.sleepless += 1
        else:
            seen.drowsy += (pod,)
        return False
    since_s = next((since_s for uid, since_s, _ in health.waking if uid == pod.uid), now)
    wake_s = startup.wake_s(health, variant.sleep.wake_s) if variant.sleep is not None else 0.0
    if now - since_s >= LOST_SLEEPER[0] * wake_s + LOST_SLEEPER[1]:
        seen.stalled += ((pod.uid, since_s, now),)
        seen.stuck += (pod,)
        return True
    seen.resting = tuple(sorted((*seen.resting, pod), key=lambda one: (not one.asleep, one.marked_at_s or 0.0, one.name)))
    seen.expected += 1.0
    if not pod.asleep and (reading(pod.signals.running, now, max_age_s) or reading(pod.signals.waiting, now, max_age_s)):
        seen.working = True
    return True


def _chance(age_s: float, startup_s: float) -> float:
    """That a pod of this age becomes ready within another startup time."""
    whole_s, none_s = OVERDUE[0] * startup_s + 10.0, OVERDUE[1] * startup_s + 30.0
    return min(1.0, max(0.0, (none_s - age_s) / (none_s - whole_s)))


def _ready_pod(seen: Seen, pod: Pod, now: float, max_age_s: float, *, measured: bool, stalled: tuple[Stalled, ...]) -> None:
    signals = pod.signals
    running, waiting = reading(signals.running, now, max_age_s), reading(signals.waiting, now, max_age_s)
    util = reading(signals.gpu_util, now, max_age_s)
    if stuck.suspect(running, waiting, util) and _silent(signals, now, max_age_s):
        row = stuck.sighted(stalled, pod.uid, now)
        seen.stalled += (row,)
        if now - row[1] >= stuck.STUCK_S:
            seen.stuck += (pod,)
            return
    seen.ready += 1
    if pod.ready_at_s is not None and pod.ready_at_s > seen.newest_ready_s:
        seen.newest_ready_s = pod.ready_at_s
    if running is not None and waiting is not None:
        _queue_read(seen, pod, running, waiting, now)
        if not measured and waiting == 0 and (seen.best_pod is None or running > seen.best_pod[0]):
            seen.best_pod = (running, waiting, util, reading(signals.kv_used, now, max_age_s))
    elif util is not None and _hidden(signals.running) and _hidden(signals.waiting):
        seen.utils.append(util)
    else:
        seen.unseen += 1
    if not seen.working:
        _tokens_seen(seen, signals, now, max_age_s)
    if util is None or util > idle.QUIET_UTIL:
        _not_quiet(seen, signals, util, known=running is not None)
        if util is not None and running == 0.0 and waiting == 0.0 and not _progress(signals, now, max_age_s):
            seen.borrowed += 1
    if isinstance(signals.running, Known) and (seen.oldest_sample_s is None or signals.running.at_s < seen.oldest_sample_s):
        seen.oldest_sample_s = signals.running.at_s


def _not_quiet(seen: Seen, signals: PodSignals, util: float | None, *, known: bool) -> None:
    """Note a GPU that is busy or cannot be read; `known`: its queue is."""
    if util is not None:
        seen.quiet, seen.gpu = False, "GPUBusy"
    elif not (isinstance(signals.gpu_util, Unknown) and signals.gpu_util.reason == "NotExposed" and known):
        # an engine without any accelerator metrics is trusted by its queue alone; missing data never is
        seen.quiet, seen.gpu = False, seen.gpu or "GPUUnknown"


def _queue_read(seen: Seen, pod: Pod, running: float, waiting: float, now: float) -> None:
    """Add what runs and waits on one ready pod."""
    seen.queued += 1
    seen.running += running
    seen.waiting += waiting
    if waiting >= QUEUE:
        seen.queueing += 1
    elif waiting == 0 and (seen.roomiest is None or running < seen.roomiest) and now - (pod.ready_at_s or 0.0) >= ROOM_S:
        seen.roomiest = running
    if running > 0 or waiting > 0:
        seen.working = True


def _tokens_seen(seen: Seen, signals: PodSignals, now: float, max_age_s: float) -> None:
    """Work that shows in no queue any more: when tokens last came or went, or that they do."""
    grown_s = reading(signals.tokens_at_s, now, max_age_s)
    if grown_s is not None:
        seen.worked_at_s = max(seen.worked_at_s, grown_s)
    else:
        seen.working = _progress(signals, now, max_age_s)


def _progress(signals: PodSignals, now: float, max_age_s: float) -> bool:
    """Tokens were seen to come or go in the last minute."""
    return bool(reading(signals.generation_tokens_per_s, now, max_age_s) or reading(signals.prompt_tokens_per_s, now, max_age_s))


def _silent(signals: PodSignals, now: float, max_age_s: float) -> bool:
    """Every token counter that the engine has was read, and stood still."""
    counters = (signals.generation_tokens_per_s, signals.prompt_tokens_per_s)
    return all(_hidden(counter) or reading(counter, now, max_age_s) == 0.0 for counter in counters)


def _hidden(observed: Observed[float]) -> bool:
    return isinstance(observed, Unknown) and observed.reason == "NotExposed"


def class_loads(
    state: DeploymentState, memory: DeploymentMemory, now: float, max_age_s: float, horizon_s: float
) -> tuple[tuple[ClassLoad, ...], Mapping[str, Trend], str]:
    """Every class's load, the trends after this reading, and why the arrivals are not wholly known (empty = they are).

    A class without a reading keeps the level last seen, as an estimate for going up; the reason forbids going down on it.
    """
    spec = state.spec
    trends: dict[str, Trend] = {}
    loads: list[ClassLoad] = []
    unknown, same = "", len(state.demand) == len(memory.trends)
    for demand in state.demand:
        old = memory.trends.get(demand.name)
        rate = reading(demand.arrivals_per_s, now, max_age_s)
        if rate is None:
            reason = demand.arrivals_per_s.reason if isinstance(demand.arrivals_per_s, Unknown) else "Stale"
            trend = old
            if old is not None or reason not in NEVER_SEEN:
                unknown = reason
        else:
            trend = forecast.updated(old, rate, now, horizon_s, _tokens(demand, now))
        if trend is not None:
            trends[demand.name] = trend
        same = same and trend is old and old is not None
        level = rate if rate is not None else trend.level if trend is not None else 0.0
        patience_s = waiting.patience_s(spec, demand.name)
        ahead = level
        if trend is not None:
            ahead = trend.base if patience_s and trend.base is not None else forecast.ahead(trend)
        sizes = (trend.tokens if trend is not None else None) or (None, None)
        objectives, min_quality = promise(spec, demand.name)
        loads.append(
            ClassLoad(
                demand.name,
                level,
                ahead,
                capacity.tokens(sizes[0], capacity.DEFAULT_INPUT_TOKENS),
                capacity.tokens(sizes[1], capacity.DEFAULT_OUTPUT_TOKENS),
                objectives,
                min_quality,
                demand.scores,
                trend.dispersion if trend is not None else 1.0,
                forecast.doubt(trend, ahead) if trend is not None and not patience_s else 0.0,
                patience_s,
            )
        )
    for name, trend in _vanished(state, memory, now):
        trends[name], unknown = trend, unknown or "NoData"
    return tuple(loads), memory.trends if same else trends, unknown


def _tokens(demand: ClassDemand, now: float) -> tuple[float, float] | None:
    """Mean input and output tokens of its requests, if both are known (0 where nothing arrived)."""
    inputs, outputs = reading(demand.input_tokens, now, math.inf), reading(demand.output_tokens, now, math.inf)
    return (inputs, outputs) if inputs and outputs else None


def _vanished(state: DeploymentState, memory: DeploymentMemory, now: float) -> list[tuple[str, Trend]]:
    """Classes that had arrivals lately and of which nothing is said now: a cut stream and gateways that are not scraped look like that.

    A gateway that does report (it tells when a request last arrived) and leaves a class out has none of it: that is a zero, and known.
    """
    if state.last_arrival_at_s is not None:
        return []
    told = {demand.name for demand in state.demand}
    return [(name, trend) for name, trend in memory.trends.items() if name not in told and trend.level > 0.0 and now - trend.at_s <= VANISHED_S]


def promise(spec: Deployment, name: str) -> tuple[Objectives, float]:
    """Objectives and least quality of the class of that name; the deployment's own for the default class."""
    for request_class in spec.classes:
        if request_class.name == name:
            return request_class.objectives, request_class.min_quality if request_class.min_quality is not None else spec.routing.min_quality
    return spec.objectives, spec.routing.min_quality


def class_names(spec: Deployment) -> tuple[str, ...]:
    """The spec's classes in order, then the default class."""
    return (*(request_class.name for request_class in spec.classes), DEFAULT_CLASS) if spec.classes else ONLY_DEFAULT

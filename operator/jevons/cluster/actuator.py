"""Carries out a decision: children, replicas, status, events, in that order, object by object.

Every write is safe to lose: the next pass starts from what the cluster then is, so an operator that dies between any two writes is picked up by the
next one. One object's trouble stays its own: it is logged, counted and told in the outcome, and the others go on, a few at a time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog

from jevons.cluster import status, workloads
from jevons.cluster.connect import Api, ApiError, Kind
from jevons.cluster.evictions import evict
from jevons.cluster.headline import turns
from jevons.cluster.lease import NotLeadingError
from jevons.cluster.origins import Origins
from jevons.cluster.records import CustomRecord, WorkloadRecord
from jevons.cluster.scale import choose_victims, set_replicas
from jevons.cluster.sleepers import Sleepers
from jevons.cluster.view import CHILD_KIND, MESSAGE_LIMIT, TEMPLATE_REFUSED, View, child_name
from jevons.cluster.world import ACCELERATOR_CLASSES, INFERENCE_BUDGETS, INFERENCE_DEPLOYMENTS, Collection, Refusal, World
from jevons.core.observed import Known
from jevons.core.snapshot import Decision, DeploymentDecision, DeploymentState, ReplicaTarget
from jevons.core.spec import ScalingMode
from jevons.ports import EventSink

AT_ONCE = 8
"""Objects worked on at the same time."""
BEGIN_S = 20.0
"""After so long nothing more is begun: what is left waits for the next pass, which decides on what the cluster then is."""
REFUSED_AGAIN_S = 180.0
"""A refused template is sent again after this long: a quota or a policy may have changed, which no event tells."""

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Outcome:
    """What one round of acting did. `failures` counts objects that could not be brought where the decision wants them, by reason."""

    scaled: int = 0
    evicted: int = 0
    """Stuck pods that another one replaces."""
    statuses: int = 0
    failures: dict[str, int] = field(default_factory=dict)
    left: int = 0
    """Objects that were not begun, because others took BEGIN_S: no failure, the next pass goes on with them."""
    deposed: bool = False
    """Leadership ended in the middle; nothing more was sent."""


@dataclass(frozen=True, slots=True)
class _Round:
    """What the jobs of one round share."""

    outcome: Outcome
    orphans: Mapping[str, Sequence[WorkloadRecord]]
    now_s: float


@dataclass(frozen=True, slots=True)
class _Gate:
    """Where jobs wait for their turn; `shuts_at`: the monotonic second from when on nothing is begun."""

    places: asyncio.Semaphore
    shuts_at: float


class Actuator:
    """The only writer of replicas, children and status."""

    def __init__(
        self,
        api: Api,
        world: World,
        events: EventSink,
        target_kinds: Mapping[tuple[str, str], Kind],
        origins: Origins,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._monotonic = monotonic
        self._api, self._world, self._events, self._origins = api, world, events, origins
        self._kinds = dict(target_kinds)
        self._sleepers = Sleepers(api, world)
        self._told: set[str] = set()
        """Uids of deployments whose status this process has looked through."""

    async def close(self) -> None:
        """Give up calls to engines that are under way."""
        await self._sleepers.close()

    async def act(self, decision: Decision, view: View, now_s: float) -> Outcome:
        """Bring the cluster where the decision wants it. Raises nothing of one object's."""
        outcome = Outcome()
        try:
            await self._origins.settle(view)
        except NotLeadingError:
            outcome.deposed = True
            return outcome
        alive_uids = {record.meta.uid for record in self._world.deployments}
        for key in [key for key in self._world.refusals if key[0] not in alive_uids]:
            del self._world.refusals[key]
        self._told &= alive_uids
        self._sleepers.wake_orphans(view.deployments)
        gate = _Gate(asyncio.Semaphore(AT_ONCE), self._monotonic() + BEGIN_S)
        jobs: list[Coroutine[Any, Any, None]] = []
        found = [
            (self._world.deployments.get(key.namespace, key.name), view.deployments.get(key), each) for key, each in decision.deployments.items()
        ]
        alive = [(record, state, each) for record, state, each in found if record and state and record.meta.uid == state.spec.uid]
        work = _Round(outcome, workloads.orphans(self._world, [record for record, _, _ in alive]), now_s)
        for record, state, decided in sorted(alive, key=lambda entry: not _starts(entry[2])):
            jobs.append(self._isolated(gate, outcome, str(decided.key), self._deployment(record, state, decided, work)))
        for name, record, wanted, kind, collection in self._admin_statuses(decision, view, now_s):
            jobs.append(self._isolated(gate, outcome, name, self._status(kind, collection, record, wanted, outcome)))
        await asyncio.gather(*jobs)
        return outcome

    async def _isolated(self, gate: _Gate, outcome: Outcome, name: str, job: Coroutine[Any, Any, None]) -> None:
        try:
            async with gate.places:
                if self._monotonic() >= gate.shuts_at:
                    outcome.left += 1
                else:
                    await job
        except NotLeadingError:
            outcome.deposed = True
        except ApiError as error:
            reason = error.reason or str(error.status)
            outcome.failures[reason] = outcome.failures.get(reason, 0) + 1
            log.warning("not carried out", object=name, error=str(error))
        except Exception as error:
            outcome.failures["InternalError"] = outcome.failures.get("InternalError", 0) + 1
            log.exception("not carried out", object=name, error=repr(error))
        finally:
            job.close()  # one that was not begun

    async def _deployment(self, record: CustomRecord, state: DeploymentState, decided: DeploymentDecision, work: _Round) -> None:
        """Children, replicas, status, events of one object; a variant that is refused does not keep another one from waking.

        Events go with a change of the status: a restart tells nothing twice.
        """
        problems: list[ApiError] = []

        async def tried(step: Coroutine[Any, Any, bool | None]) -> bool:
            if any(problem.ailing for problem in problems):
                step.close()
                return False
            try:
                return bool(await step)
            except ApiError as error:
                problems.append(error)
                return False

        if not state.invalid and state.spec.scaling.mode is ScalingMode.ENFORCE:
            for variant, template in workloads.templates(record).items():
                await tried(self._child(record, state, variant, template, work.now_s))
            for target in sorted(decided.replicas, key=lambda target: -((target.desired or 0) - (target.current or 0))):
                work.outcome.scaled += await tried(self._scale(record, state, target))
            for target in decided.replicas:
                if target.replace:
                    work.outcome.evicted += await tried(self._replace(state, target))
            await tried(workloads.prune(self._api, self._world, work.orphans.get(record.meta.uid, ())))
        if not state.invalid:
            await tried(self._rest(state, decided, work.now_s))
        wanted = status.deployment_status(record, state, decided, work.now_s, first=record.meta.uid not in self._told)
        await self._status(INFERENCE_DEPLOYMENTS, self._world.deployments, record, wanted, work.outcome)
        self._told.add(record.meta.uid)
        if wanted is not None:
            told = (record.body.get("status") or {}).get("conditions") or []
            await self._events.post(decided.key, record.meta.uid, [*decided.events, *turns(told, wanted["conditions"])])
        if problems:
            raise problems[0]

    async def _rest(self, state: DeploymentState, decided: DeploymentDecision, now_s: float) -> None:
        """Put pods to sleep and wake others; whatever the mode, what we put to sleep is woken when it shall no longer sleep."""
        for target in decided.replicas:
            pods = state.variants[target.variant].pods
            if target.asleep or any(pod.marked_at_s is not None for pod in pods):
                await self._sleepers.settle(decided.key, state.spec.variant(target.variant), pods, target, now_s)

    async def _child(self, record: CustomRecord, state: DeploymentState, variant: str, template: Mapping[str, Any], now_s: float) -> None:
        """Make or update one child. A refused template is remembered for the view, and sent again when it may have become acceptable."""
        seen, refusals, key = state.variants.get(variant), self._world.refusals, (record.meta.uid, variant)
        if seen is None or seen.target.problem not in {None, TEMPLATE_REFUSED} or state.name_taken_by is not None:
            return
        refusal = refusals.get(key)
        if refusal is not None and refusal.generation == record.meta.generation and 0 <= now_s - refusal.at_s < REFUSED_AGAIN_S:
            return
        try:
            await workloads.ensure(self._api, self._world, record, variant, template)
        except workloads.TemplateRefusedError as error:
            refusals[key] = Refusal(record.meta.generation, error.message[:MESSAGE_LIMIT], now_s)
            raise
        refusals.pop(key, None)

    async def _scale(self, record: CustomRecord, state: DeploymentState, target: ReplicaTarget) -> bool:
        """Write one variant's replicas when they differ; victims are marked before a scale-down."""
        found = self._workload(state, target.variant)
        if target.desired is None or found is None or state.variants[target.variant].target.untouchable:
            return False
        kind, collection, workload = found
        current = 1 if workload.replicas is None else workload.replicas
        if current == target.desired or workload.meta.deleting or (target.current is not None and target.current != current):
            return False
        if 0 < target.desired < current and kind == workloads.CHILDREN:
            pods = state.variants[target.variant].pods
            leaving = current - target.desired
            namespace, kept = record.meta.namespace, target.asleep
            await choose_victims(self._api, pods, self._world.pods, namespace, leaving=leaving, stuck=target.stuck, kept=kept)
        ref = state.spec.variant(target.variant).target
        if ref is not None:
            await self._origins.before_write(state.spec, ref, workload)
        written = await set_replicas(self._api, kind, collection, workload, target.desired)
        if written:
            name = f"{record.meta.namespace}/{record.meta.name}"
            log.info("scaled", deployment=name, variant=target.variant, was=current, now=target.desired, reason=target.reason)
        return written

    async def _replace(self, state: DeploymentState, target: ReplicaTarget) -> bool:
        """Evict the pod that the decision names, if it still is the one it was taken on."""
        pod = next((pod for pod in state.variants[target.variant].pods if pod.name == target.replace and not pod.terminating), None)
        if pod is None or self._workload(state, target.variant) is None or state.variants[target.variant].target.untouchable:
            return False
        return await evict(self._api, state.spec.key.namespace, pod.name, pod.uid)

    def _workload(self, state: DeploymentState, variant: str) -> tuple[Kind, Collection[WorkloadRecord], WorkloadRecord] | None:
        spec = state.spec.variant(variant)
        address = CHILD_KIND if spec.target is None else (spec.target.api_version, spec.target.kind)
        name = child_name(state.spec.key.name, variant) if spec.target is None else spec.target.name
        collection = self._world.workloads.get(address)
        workload = collection.get(state.spec.key.namespace, name) if collection is not None else None
        if collection is None or workload is None or (spec.target is None and workload.meta.owner_uid != state.spec.uid):
            return None
        return self._kinds[address], collection, workload

    async def _status(
        self, kind: Kind, collection: Collection[CustomRecord], record: CustomRecord, wanted: Mapping[str, Any] | None, outcome: Outcome
    ) -> None:
        if wanted is None:
            return
        try:
            outcome.statuses += await status.write(self._api, kind, collection, record, wanted)
        except ApiError as error:
            if not error.not_found:  # deleted meanwhile: nothing left to tell
                raise

    def _admin_statuses(
        self, decision: Decision, view: View, now_s: float
    ) -> list[tuple[str, CustomRecord, Mapping[str, Any] | None, Kind, Collection[CustomRecord]]]:
        """The next statuses of classes and budgets that need one."""
        found: list[tuple[str, CustomRecord, Mapping[str, Any] | None, Kind, Collection[CustomRecord]]] = []
        members = {budget.name: len(budget.members) for budget in view.budgets}
        for record in self._world.classes:
            name, wanted = record.meta.name, None
            inventory = view.inventory.get(name)
            if name in view.invalid_classes:
                wanted = status.refused(record, view.invalid_classes[name], now_s)
            elif isinstance(inventory, Known):
                wanted = status.class_status(record, view.accelerators[name], inventory.value, now_s)
            if wanted is not None:
                found.append((name, record, wanted, ACCELERATOR_CLASSES, self._world.classes))
        for record in self._world.budgets:
            name, wanted = record.meta.name, None
            if name in view.invalid_budgets:
                wanted = status.refused(record, view.invalid_budgets[name], now_s)
            elif (decided := decision.budgets.get(name)) is not None:
                wanted = status.budget_status(record, decided, members.get(name, 0), now_s)
            if wanted is not None:
                found.append((name, record, wanted, INFERENCE_BUDGETS, self._world.budgets))
        return found


def _starts(decided: DeploymentDecision) -> bool:
    """Something is started from zero: somebody may be waiting, so it goes first."""
    return any(target.desired and not target.current for target in decided.replicas)

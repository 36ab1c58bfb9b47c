"""Whether to retrain now: a pure decision, with the sentence that explains it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from service.domain.registry.checkpoint_metrics import MonitorStatus
from service.domain.registry.registry import ModelName
from service.domain.specification.monitor import MonitorState
from service.domain.specification.retrain import RetrainSpec
from service.domain.training.jobs import Cause, Decision, Job


@dataclass(frozen=True, slots=True)
class Reading:
    """What a monitor says now; `signal` numbers its newest signal, `answered` that of the newest job, 0 for none."""

    name: str
    state: MonitorState
    value: float
    threshold: float | None = None
    signal: int = 0
    answered: int = 0

    @property
    def asks(self) -> bool:
        """Whether it has signalled what no job was asked for; a number that fell has begun anew."""
        return self.signal > (self.answered if self.signal >= self.answered else 0)

    @property
    def drifts(self) -> bool:
        """Whether there is drift, or was and nobody has answered."""
        return self.asks or self.state is MonitorState.DRIFT

    def __str__(self) -> str:
        """As a sentence has it."""
        limit = "" if self.threshold is None else f" of {self.threshold:g}"
        return f"{self.name} {self.state} at {self.value:.4g}{limit}"


@dataclass(frozen=True, slots=True)
class Situation:
    """All that a decision depends on.

    `changed_at` is the newest rollback or exclusion, `last` the newest job that has ended, `learned` how many events
    the champion has learned.
    """

    model: ModelName
    spec: RetrainSpec | None
    now: datetime
    readings: Sequence[Reading] = ()
    open: Job | None = None
    last: Job | None = None
    changed_at: datetime | None = None
    learned: int = 0
    frozen: bool = False
    cron_due: bool = False


def readings_of(drift: Sequence[MonitorStatus], newest: Job | None) -> list[Reading]:
    """The monitors as a checkpoint has them, beside what they said when the newest job was asked for."""
    before = {one["name"]: int(one["signal"]) for one in (newest.evidence if newest else {}).get("monitors", ())}
    return [_reading(one, before.get(one.name, 0)) for one in drift]


def evidence_of(readings: Sequence[Reading], *, learned: int) -> dict[str, Any]:
    """What a job keeps of the moment in which it was asked for."""
    monitors = [
        {"name": one.name, "state": one.state, "value": one.value, "threshold": one.threshold, "signal": one.signal}
        for one in readings
    ]
    return {"monitors": monitors, "learned": learned}


def events_since(newest: Job | None, *, learned: int) -> int:
    """How many events were learned since the newest job was asked for, or ever; a count that fell has begun anew."""
    before = int(newest.evidence.get("learned", 0)) if newest else 0
    return learned - before if learned >= before else learned


def decide(found: Situation) -> Decision:
    """Retrain where the schedule or the monitors ask for it and nothing stands against it."""
    cause, asks = _asked(found)
    evidence = evidence_of(found.readings, learned=found.learned)
    if cause is None or found.spec is None:
        code, why = asks
        return Decision(code, why, evidence=evidence)
    against = _against(found, found.spec)
    if against is not None:
        code, why = against
        return Decision(code, f"{asks[1]}, but {why}", evidence=evidence)
    return Decision(asks[0], asks[1], cause, evidence)


def _asked(found: Situation) -> tuple[Cause | None, tuple[str, str]]:
    """Who asks, and in which words; nobody, and why not."""
    if found.spec is None:
        return None, (
            "no_policy",
            f"{found.model} has no `retrain:`, so only `headrace job start {found.model}` trains",
        )
    if found.cron_due:
        return Cause.CRON, ("cron", f"the schedule {found.spec.cron!r} asks for it")
    drifting = [one for one in found.readings if one.drifts]
    shown = ", ".join(map(str, found.readings)) or "none of them has a value yet"
    if not drifting:
        return None, ("quiet", f"no monitor sees drift: {shown}")
    if found.spec.when == "all" and len(drifting) < len(found.readings):
        return None, ("not_all", f"`when: all` waits for every monitor: {shown}")
    new = [one for one in drifting if one.asks]
    if not new:
        return None, ("answered", f"the drift has been answered before, and no new one was signalled: {shown}")
    return Cause.DRIFT, ("drift", f"drift: {', '.join(map(str, new))}")


def _against(found: Situation, spec: RetrainSpec) -> tuple[str, str] | None:
    """What stands against a job that is asked for."""
    if found.frozen:
        return "frozen", f"{found.model} is frozen"
    if found.open is not None:
        return "open", f"job {found.open.id} is open ({found.open.state})"
    began, what = _cooling(found)
    until = began + timedelta(seconds=spec.cooldown) if began else None
    if until is not None and until > found.now:
        return "cooldown", f"the cooldown after {what} lasts until {until:%Y-%m-%d %H:%M:%S} UTC"
    new = events_since(found.last, learned=found.learned)
    if new < spec.min_new_events:
        return "few_events", f"{new} events are new, and min_new_events is {spec.min_new_events}"
    return None


def _cooling(found: Situation) -> tuple[datetime | None, str]:
    """When the cooldown began: with the end of the last job, or a rollback or exclusion after it."""
    ended = found.last.finished_at if found.last is not None else None
    if found.changed_at is not None and (ended is None or found.changed_at > ended):
        return found.changed_at, "the newest rollback or exclusion"
    return ended, f"job {found.last.id}" if found.last is not None else ""


def _reading(told: MonitorStatus, answered: int) -> Reading:
    return Reading(told.name, told.state, told.value or 0.0, told.threshold, told.signals, answered)

"""The retraining policy: a pure decision, with the sentence that explains it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from service.domain.registry.checkpoint_metrics import MonitorStatus
from service.domain.registry.registry import ModelName
from service.domain.specification.monitor import MonitorState
from service.domain.specification.retrain import RetrainSpec
from service.domain.training.jobs import Job, JobCause, RetrainDecision


@dataclass(frozen=True, slots=True)
class MonitorReading:
    """The current reading of a monitor.

    `signal` numbers its newest signal, `answered_signal` the one that the newest job was requested for; 0 is none.
    """

    name: str
    state: MonitorState
    value: float
    threshold: float | None = None
    signal: int = 0
    answered_signal: int = 0

    @property
    def has_new_signal(self) -> bool:
        """Return whether it has a signal that no job was requested for; a number that fell means a count from zero."""
        return self.signal > (self.answered_signal if self.signal >= self.answered_signal else 0)

    @property
    def is_drifting(self) -> bool:
        """Return whether it sees drift now, or has signalled drift that no job has answered."""
        return self.has_new_signal or self.state is MonitorState.DRIFT

    def __str__(self) -> str:
        """Return the reading as a part of a sentence."""
        limit = "" if self.threshold is None else f" of {self.threshold:g}"
        return f"{self.name} {self.state} at {self.value:.4g}{limit}"


@dataclass(frozen=True, slots=True)
class RetrainingSituation:
    """Everything that a decision depends on.

    `changed_at` is the time of the newest rollback or exclusion, `last` the newest job that has ended, `learned` how
    many events the champion has learned.
    """

    model: ModelName
    spec: RetrainSpec | None
    now: datetime
    readings: Sequence[MonitorReading] = ()
    open: Job | None = None
    last: Job | None = None
    changed_at: datetime | None = None
    learned: int = 0
    frozen: bool = False
    cron_due: bool = False


def monitor_readings(drift: Sequence[MonitorStatus], newest: Job | None) -> list[MonitorReading]:
    """Return the monitors of a checkpoint, with their signals at the time when the newest job was requested."""
    before = {one["name"]: int(one["signal"]) for one in (newest.evidence if newest else {}).get("monitors", ())}
    return [_parse_reading(one, before.get(one.name, 0)) for one in drift]


def decision_evidence(readings: Sequence[MonitorReading], *, learned: int) -> dict[str, Any]:
    """Return the readings and counts that a job keeps of the moment of its request."""
    monitors = [
        {"name": one.name, "state": one.state, "value": one.value, "threshold": one.threshold, "signal": one.signal}
        for one in readings
    ]
    return {"monitors": monitors, "learned": learned}


def events_since(newest: Job | None, *, learned: int) -> int:
    """Return how many events were learned since the newest job was requested, or ever.

    A count that fell belongs to a champion that counts from zero.
    """
    before = int(newest.evidence.get("learned", 0)) if newest else 0
    return learned - before if learned >= before else learned


def decide(situation: RetrainingSituation) -> RetrainDecision:
    """Retrain where the schedule or the monitors ask for it and nothing objects."""
    cause, code_and_reason = _trigger(situation)
    evidence = decision_evidence(situation.readings, learned=situation.learned)
    if cause is None or situation.spec is None:
        code, explanation = code_and_reason
        return RetrainDecision(code, explanation, evidence=evidence)
    objection = _objection(situation, situation.spec)
    if objection is not None:
        code, explanation = objection
        return RetrainDecision(code, f"{code_and_reason[1]}, but {explanation}", evidence=evidence)
    return RetrainDecision(code_and_reason[0], code_and_reason[1], cause, evidence)


def _trigger(situation: RetrainingSituation) -> tuple[JobCause | None, tuple[str, str]]:
    """Return the cause of a job, its code and its explanation; without a cause, why there is none."""
    if situation.spec is None:
        return None, (
            "no_policy",
            f"{situation.model} has no `retrain:`, so only `headrace job start {situation.model}` trains",
        )
    if situation.cron_due:
        return JobCause.CRON, ("cron", f"the schedule {situation.spec.cron!r} asks for it")
    drifting = [one for one in situation.readings if one.is_drifting]
    shown = ", ".join(map(str, situation.readings)) or "none of them has a value yet"
    if not drifting:
        return None, ("quiet", f"no monitor sees drift: {shown}")
    if situation.spec.when == "all" and len(drifting) < len(situation.readings):
        return None, ("not_all", f"`when: all` waits for every monitor: {shown}")
    newly_drifting = [one for one in drifting if one.has_new_signal]
    if not newly_drifting:
        return None, ("answered", f"the drift has been answered before, and no new one was signalled: {shown}")
    return JobCause.DRIFT, ("drift", f"drift: {', '.join(map(str, newly_drifting))}")


def _objection(situation: RetrainingSituation, spec: RetrainSpec) -> tuple[str, str] | None:
    """Return the code and the reason of what stands against a job, or None."""
    if situation.frozen:
        return "frozen", f"{situation.model} is frozen"
    if situation.open is not None:
        return "open", f"job {situation.open.id} is open ({situation.open.state})"
    cooldown_start, cooldown_cause = _cooldown_start(situation)
    until = cooldown_start + timedelta(seconds=spec.cooldown) if cooldown_start else None
    if until is not None and until > situation.now:
        return "cooldown", f"the cooldown after {cooldown_cause} lasts until {until:%Y-%m-%d %H:%M:%S} UTC"
    new_events = events_since(situation.last, learned=situation.learned)
    if new_events < spec.min_new_events:
        return "few_events", f"{new_events} events are new, and min_new_events is {spec.min_new_events}"
    return None


def _cooldown_start(situation: RetrainingSituation) -> tuple[datetime | None, str]:
    """Return when and by what the cooldown began: the end of the last job, or a rollback or exclusion after it."""
    ended = situation.last.finished_at if situation.last is not None else None
    if situation.changed_at is not None and (ended is None or situation.changed_at > ended):
        return situation.changed_at, "the newest rollback or exclusion"
    return ended, f"job {situation.last.id}" if situation.last is not None else ""


def _parse_reading(report: MonitorStatus, answered_signal: int) -> MonitorReading:
    return MonitorReading(
        report.name, report.state, report.value or 0.0, report.threshold, report.signals, answered_signal
    )

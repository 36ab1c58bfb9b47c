"""When to look at a model's monitors, and when its schedule asks for a job: APScheduler, with its jobs in memory."""

import queue
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger

from service.domain.registry.registry import ModelName
from service.domain.specification import cron
from service.domain.specification.retrain import RetrainSpec

MAX_DUE = 10_000
JOB_DEFAULTS = {"misfire_grace_time": None, "coalesce": True, "max_instances": 1}
"""However late, and once however often it was missed."""


@dataclass(frozen=True, slots=True)
class DueCheck:
    """A model is to be looked at now; `cron` where its schedule asks for a job."""

    model: ModelName
    cron: bool


class RetrainSchedule:
    """Its threads only say what is due; whoever asks acts on it."""

    def __init__(self) -> None:
        self._scheduler: Any = BackgroundScheduler(timezone=UTC, job_defaults=JOB_DEFAULTS, daemon=True)
        self._due: queue.Queue[DueCheck] = queue.Queue(MAX_DUE)
        self._specs: dict[ModelName, RetrainSpec | None] = {}

    def __enter__(self) -> Self:
        """Begin."""
        self._scheduler.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is due any more."""
        self._scheduler.shutdown(wait=False)

    def set_spec(self, model: ModelName, spec: RetrainSpec | None) -> None:
        """Follow the specification from now on; the first look is at once."""
        if model in self._specs and self._specs[model] == spec:
            return
        self.remove(model)
        self._specs[model] = spec
        self._enqueue(DueCheck(model, cron=False))
        if spec is not None:
            self._add(DueCheck(model, cron=False), IntervalTrigger(seconds=spec.check, timezone=UTC))
        if spec is not None and spec.cron is not None:
            self._add(DueCheck(model, cron=True), cron_trigger(spec.cron))

    def remove(self, model: ModelName) -> None:
        """Look at it no more."""
        self._specs.pop(model, None)
        for job in self._scheduler.get_jobs():
            if job.args[0].model == model:
                job.remove()

    def add_missed(self, model: ModelName, spec: RetrainSpec | None, *, since: datetime, now: datetime) -> None:
        """What the schedule asked for while no trainer ran is due once."""
        if spec is None or spec.cron is None:
            return
        missed = cron_trigger(spec.cron).get_next_fire_time(None, since)
        if missed is not None and missed <= now:
            self._enqueue(DueCheck(model, cron=True))

    def due(self) -> Iterator[DueCheck]:
        """What is due by now."""
        with suppress(queue.Empty):
            while True:
                yield self._due.get_nowait()

    def _add(self, due: DueCheck, when: Any) -> None:
        self._scheduler.add_job(self._enqueue, when, args=[due])

    def _enqueue(self, due: DueCheck) -> None:
        with suppress(queue.Full):
            self._due.put_nowait(due)


def cron_trigger(expression: str) -> Any:
    """APScheduler's form of a cron expression, in UTC; ValueError."""
    return CronTrigger(**cron.parse_cron(expression), timezone=UTC)

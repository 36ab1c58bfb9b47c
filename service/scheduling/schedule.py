"""When to check a model's monitors and when its cron schedule is due: APScheduler, with its jobs in memory."""

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
"""Jobs run however late they are, and once however often they were missed."""


@dataclass(frozen=True, slots=True)
class DueCheck:
    """A model to check now; `cron` is true where its schedule requests a job."""

    model: ModelName
    cron: bool


class RetrainSchedule:
    """A schedule whose threads only queue due checks; the caller acts on them."""

    def __init__(self) -> None:
        self._scheduler: Any = BackgroundScheduler(timezone=UTC, job_defaults=JOB_DEFAULTS, daemon=True)
        self._due: queue.Queue[DueCheck] = queue.Queue(MAX_DUE)
        self._specs: dict[ModelName, RetrainSpec | None] = {}

    def __enter__(self) -> Self:
        """Start the scheduler."""
        self._scheduler.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the scheduler."""
        self._scheduler.shutdown(wait=False)

    def set_spec(self, model: ModelName, spec: RetrainSpec | None) -> None:
        """Schedule the model by this specification; the first check is due at once."""
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
        """Stop checking the model."""
        self._specs.pop(model, None)
        for job in self._scheduler.get_jobs():
            if job.args[0].model == model:
                job.remove()

    def add_missed(self, model: ModelName, spec: RetrainSpec | None, *, since: datetime, now: datetime) -> None:
        """Make one check due where the cron schedule fired while no trainer ran."""
        if spec is None or spec.cron is None:
            return
        missed = cron_trigger(spec.cron).get_next_fire_time(None, since)
        if missed is not None and missed <= now:
            self._enqueue(DueCheck(model, cron=True))

    def due(self) -> Iterator[DueCheck]:
        """Yield the checks that are due by now."""
        with suppress(queue.Empty):
            while True:
                yield self._due.get_nowait()

    def _add(self, due: DueCheck, when: Any) -> None:
        self._scheduler.add_job(self._enqueue, when, args=[due])

    def _enqueue(self, due: DueCheck) -> None:
        with suppress(queue.Full):
            self._due.put_nowait(due)


def cron_trigger(expression: str) -> Any:
    """Return APScheduler's trigger of a cron expression, in UTC; raise ValueError for an invalid one."""
    return CronTrigger(**cron.parse_cron(expression), timezone=UTC)

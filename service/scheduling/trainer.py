"""The trainer's loop: one lease a model, decisions when they are due, and the processes of jobs."""

import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial

import structlog

from service.domain.registry.registry import ModelName
from service.domain.specification.model import ModelSpec
from service.domain.training.jobs import Trainer
from service.errors import HeadraceError, LeaseHeldError, LeaseLostError, NotFoundError, UnavailableError
from service.operations.challengers.judge import Judge
from service.operations.retraining.decide import consider
from service.operations.retry import Outage
from service.operations.services import Services
from service.scheduling.challenger_runner import Runners
from service.scheduling.job_runner import Crew
from service.scheduling.periodic import Round
from service.scheduling.schedule import Due, Timetable

_log = structlog.get_logger(__name__)

TICK_S = 0.1
LOOK_EVERY_S = 0.5
COMPARE_EVERY_S = 2.0
COMPARE_SHARE = 0.05
"""Of the trainer's time, so that leases, jobs and decisions never wait long for comparisons."""


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """What `headrace train` was asked for."""

    models: Sequence[ModelName]
    wait_for_lease: bool = False


@dataclass
class TrainerLoop:
    """Runs in one thread, which starts every job's process: they are to die with it."""

    services: Services
    options: TrainOptions
    crew: Crew
    runners: Runners
    judge: Judge
    stop: threading.Event
    held: dict[ModelName, Trainer] = field(default_factory=dict)
    waits: dict[ModelName, str] = field(default_factory=dict)
    outage: Outage | None = None

    def run(self) -> None:
        """Until stopped; then every job is ended and every lease given back."""
        with ExitStack() as stack:
            self._table = stack.enter_context(Timetable())
            stack.callback(self._leave)
            self._rounds = [
                Round(self._see_to_leases, self.services.lease_ttl_s / 3),
                Round(self._look, LOOK_EVERY_S),
                Round(self._run_challengers, LOOK_EVERY_S),
                Round(self._compare, COMPARE_EVERY_S, share=COMPARE_SHARE),
            ]
            while not self.stop.wait(TICK_S):
                self._tick()

    def not_ready(self) -> list[str]:
        """Why it does not decide; empty when it does."""
        away = [f"the registry is away {self.outage}"] if self.outage else []
        return [*away, *(f"{name}: {why}" for name, why in sorted(self.waits.items()))]

    def _tick(self) -> None:
        try:
            for act in self._rounds:
                act()
            for due in self._table.due():
                self._consider(due)
            self.crew.watch(self.held)
        except UnavailableError as error:
            self.services.training.telemetry.failure("database")
            if self.outage is None:
                _log.info("database_unavailable", error=str(error))
            self.outage = Outage.noted(self.outage, error)
            self.stop.wait(LOOK_EVERY_S)
        else:
            self.outage = None

    def _see_to_leases(self) -> None:
        for name, held in list(self.held.items()):
            self._guarded(name, partial(self._renew, name, held))
        for name in self.options.models:
            if name not in self.held:
                self._acquire(name)

    def _renew(self, name: ModelName, held: Trainer) -> None:
        self.held[name] = self.services.training.trainers.renew(held, ttl_s=self.services.lease_ttl_s)

    def _acquire(self, name: ModelName) -> None:
        ttl_s = self.services.lease_ttl_s
        try:
            held = self.services.training.trainers.acquire(name, holder=self.services.holder, ttl_s=ttl_s)
        except NotFoundError as error:
            self.waits[name] = str(error)
            return
        except LeaseHeldError as error:
            if not self.options.wait_for_lease:
                raise
            if name not in self.waits:
                _log.info("waiting_for_lease", model=name, reason=str(error))
            self.waits[name] = str(error)
            return
        self.waits.pop(name, None)
        self.held[name] = held
        _log.info("training_opened", model=name, epoch=held.epoch)
        self.crew.recover(held)
        spec = self._spec(name)
        self._table.put(name, spec.retrain)
        if held.before is not None:
            now = held.expires_at - timedelta(seconds=ttl_s)
            self._table.make_good(name, spec.retrain, since=held.before, now=now)

    def _spec(self, name: ModelName) -> ModelSpec:
        return ModelSpec.model_validate(self.services.models.get(name).spec)

    def _look(self) -> None:
        """Start what waits, stop what is to stop, and follow what has been applied."""
        for name, held in list(self.held.items()):
            self._guarded(name, partial(self._look_at, name, held))

    def _look_at(self, name: ModelName, held: Trainer) -> None:
        self._table.put(name, self._spec(name).retrain)
        for job in self.services.training.jobs.list(name, limit=1):
            self.crew.see_to(held, job)

    def _run_challengers(self) -> None:
        try:
            self.runners.see_to(self.held)
        except (LeaseLostError, NotFoundError) as error:
            _log.info("challengers_left_alone", reason=str(error))

    def _compare(self) -> None:
        """Which challenger is better than its champion, of every model."""
        ran_s = self.runners.ran_s()
        for name, held in list(self.held.items()):
            self._guarded(name, partial(self.judge.look, held, ran_s=ran_s))

    def _consider(self, due: Due) -> None:
        held = self.held.get(due.model)
        if held is not None:
            self._guarded(due.model, partial(self._decide, held, due))

    def _decide(self, held: Trainer, due: Due) -> None:
        _, job = consider(self.services, held, cron_due=due.cron)
        if job is not None:
            self.crew.see_to(held, job)

    def _guarded(self, name: ModelName, act: Callable[[], None]) -> None:
        """A model that is deleted or taken by another trainer is left to itself, with an end to its job here."""
        try:
            act()
        except (LeaseLostError, NotFoundError) as error:
            _log.warning("training_closed", model=name, reason=str(error))
            self.held.pop(name, None)
            self._table.remove(name)
            self.crew.abandon(name, str(error))

    def _leave(self) -> None:
        """Nothing survives its trainer; what is interrupted is done again by the next one."""
        try:
            self.runners.close()
            self.crew.close(self.held)
            for held in self.held.values():
                self.services.training.trainers.release(held)
        except HeadraceError as error:
            _log.warning("trainer_left_in_disorder", error=str(error))

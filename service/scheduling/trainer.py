"""The trainer's loop: a lease for each model, decisions when they are due, and the processes it starts."""

import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial

import structlog

from service.domain.registry.registry import ModelName
from service.domain.specification.model import ModelSpec
from service.domain.training.jobs import TrainerLease
from service.errors import HeadraceError, LeaseHeldError, LeaseLostError, NotFoundError, UnavailableError
from service.operations.challengers.judge import ChallengerJudge
from service.operations.retraining.decide import decide_retraining
from service.operations.retry import Outage
from service.operations.services import Services
from service.scheduling.challenger_runner import ChallengerRunner
from service.scheduling.job_runner import JobRunner
from service.scheduling.periodic import PeriodicTask
from service.scheduling.schedule import DueCheck, RetrainSchedule

_log = structlog.get_logger(__name__)

TICK_S = 0.1
UPDATE_EVERY_S = 0.5
COMPARE_EVERY_S = 2.0
COMPARE_SHARE = 0.05
"""The most of the trainer's time for comparisons, so that leases, jobs and decisions never wait long for them."""


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """The options of `headrace train`."""

    models: Sequence[ModelName]
    wait_for_lease: bool = False


@dataclass
class TrainerLoop:
    """Runs in one thread, which also starts every child process.

    The kernel kills a child (PR_SET_PDEATHSIG) when the thread that started it ends, so this thread must outlive all
    of them.
    """

    services: Services
    options: TrainOptions
    job_runner: JobRunner
    challenger_runner: ChallengerRunner
    judge: ChallengerJudge
    stop: threading.Event
    leases: dict[ModelName, TrainerLease] = field(default_factory=dict)
    waiting_for: dict[ModelName, str] = field(default_factory=dict)
    outage: Outage | None = None

    def run(self) -> None:
        """Run until stopped; then end every job and release every lease."""
        with ExitStack() as stack:
            self._schedule = stack.enter_context(RetrainSchedule())
            stack.callback(self._shut_down)
            self._tasks = [
                PeriodicTask(self._keep_leases, self.services.lease_ttl_s / 3),
                PeriodicTask(self._update_jobs, UPDATE_EVERY_S),
                PeriodicTask(self._run_challengers, UPDATE_EVERY_S),
                PeriodicTask(self._compare, COMPARE_EVERY_S, max_time_fraction=COMPARE_SHARE),
            ]
            while not self.stop.wait(TICK_S):
                self._tick()

    def not_ready(self) -> list[str]:
        """Return why it does not decide; empty when it does."""
        away = [f"the registry is away {self.outage}"] if self.outage else []
        return [*away, *(f"{name}: {why}" for name, why in sorted(self.waiting_for.items()))]

    def _tick(self) -> None:
        try:
            for act in self._tasks:
                act()
            for due in self._schedule.due():
                self._handle_due(due)
            self.job_runner.watch(self.leases)
        except UnavailableError as error:
            self.services.training.telemetry.service_unreachable("database")
            if self.outage is None:
                _log.info("database_unavailable", error=str(error))
            self.outage = Outage.updated(self.outage, error)
            self.stop.wait(UPDATE_EVERY_S)
        else:
            self.outage = None

    def _keep_leases(self) -> None:
        for name, lease in list(self.leases.items()):
            self._run_for_model(name, partial(self._renew, name, lease))
        for name in self.options.models:
            if name not in self.leases:
                self._acquire(name)

    def _renew(self, name: ModelName, lease: TrainerLease) -> None:
        self.leases[name] = self.services.training.trainers.renew(lease, ttl_s=self.services.lease_ttl_s)

    def _acquire(self, name: ModelName) -> None:
        ttl_s = self.services.lease_ttl_s
        try:
            lease = self.services.training.trainers.acquire(name, holder=self.services.holder, ttl_s=ttl_s)
        except NotFoundError as error:
            self.waiting_for[name] = str(error)
            return
        except LeaseHeldError as error:
            if not self.options.wait_for_lease:
                raise
            if name not in self.waiting_for:
                _log.info("waiting_for_lease", model=name, reason=str(error))
            self.waiting_for[name] = str(error)
            return
        self.waiting_for.pop(name, None)
        self.leases[name] = lease
        _log.info("trainer_lease_acquired", model=name, epoch=lease.epoch)
        self.job_runner.recover(lease)
        spec = self._spec(name)
        self._schedule.set_spec(name, spec.retrain)
        if lease.before is not None:
            # By the registry's clock, as `before` is.
            now = lease.expires_at - timedelta(seconds=ttl_s)
            self._schedule.add_missed(name, spec.retrain, since=lease.before, now=now)

    def _spec(self, name: ModelName) -> ModelSpec:
        return ModelSpec.model_validate(self.services.registry.models.get(name).spec)

    def _update_jobs(self) -> None:
        """Start waiting jobs, stop those that are to stop, and follow applied changes of the specification."""
        for name, lease in list(self.leases.items()):
            self._run_for_model(name, partial(self._update_job, name, lease))

    def _update_job(self, name: ModelName, lease: TrainerLease) -> None:
        self._schedule.set_spec(name, self._spec(name).retrain)
        for job in self.services.training.jobs.list(name, limit=1):
            self.job_runner.reconcile(lease, job)

    def _run_challengers(self) -> None:
        try:
            self.challenger_runner.reconcile(self.leases)
        except (LeaseLostError, NotFoundError) as error:
            _log.info("challengers_not_updated", reason=str(error))

    def _compare(self) -> None:
        """Judge the challengers of every model."""
        ran_s = self.challenger_runner.run_times_s()
        for name, lease in list(self.leases.items()):
            self._run_for_model(name, partial(self.judge.judge_all, lease, ran_s=ran_s))

    def _handle_due(self, due: DueCheck) -> None:
        lease = self.leases.get(due.model)
        if lease is not None:
            self._run_for_model(due.model, partial(self._decide, lease, due))

    def _decide(self, lease: TrainerLease, due: DueCheck) -> None:
        _, job = decide_retraining(self.services, lease, cron_due=due.cron)
        if job is not None:
            self.job_runner.reconcile(lease, job)

    def _run_for_model(self, name: ModelName, action: Callable[[], None]) -> None:
        """Run the action; give up a model that was deleted or taken by another trainer, and end its job here."""
        try:
            action()
        except (LeaseLostError, NotFoundError) as error:
            _log.warning("trainer_stopped_for_model", model=name, reason=str(error))
            self.leases.pop(name, None)
            self._schedule.remove(name)
            self.job_runner.abandon(name, str(error))

    def _shut_down(self) -> None:
        """End every child process and release the leases; the next trainer repeats interrupted jobs."""
        try:
            self.challenger_runner.close()
            self.job_runner.close(self.leases)
            for lease in self.leases.values():
                self.services.training.trainers.release(lease)
        except HeadraceError as error:
            _log.warning("trainer_shutdown_incomplete", error=str(error))

"""The processes of challengers: one each, within a memory budget; a challenger that fails too often is dropped."""

import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import structlog

from service.domain.registry.challenger import Challenger, ChallengerFailure, ChallengerStage, ChallengerUpdate
from service.domain.registry.registry import LineageId, ModelName
from service.domain.training.jobs import TrainerLease
from service.errors import LeaseLostError, RefusedError
from service.operations.services import Services
from service.scheduling.child_process import GRACE_S, LOWEST_PRIORITY, ChildOptions, ChildProcess, excess_message

_log = structlog.get_logger(__name__)

MAX_FAILURES = 3
RESTART_S = 1.0
MEMORY_EVERY_S = 0.5


@dataclass(frozen=True, slots=True)
class ChallengerRunnerOptions:
    """How challengers run: the command of a process, its log, how many at a time, and how much memory each may use."""

    command: Callable[[Challenger, int], Sequence[str]]
    log_folder: Path
    log_bytes: int = 10_000_000
    slots: int = 2
    memory_bytes: int = 2_000_000_000


@dataclass(frozen=True, slots=True)
class ProcessFailure:
    """Why a process has ended by itself."""

    reason: str
    fault: ChallengerFailure = ChallengerFailure.CRASH


class ChallengerProcess:
    """One challenger's process, which began at the checkpoint `sequence`."""

    def __init__(self, challenger: Challenger, options: ChallengerRunnerOptions, *, sequence: int) -> None:
        self.challenger = challenger
        self.sequence = sequence
        self.is_ending = False
        self.started_at = time.monotonic()
        self._max_memory_bytes = options.memory_bytes
        self._failure: ProcessFailure | None = None
        log = options.log_folder / f"challenger-{challenger.lineage}.log"
        command = partial(options.command, challenger)
        beginning = ChildOptions(command, log, options.log_bytes, LOWEST_PRIORITY // 2, memory_every_s=MEMORY_EVERY_S)
        self._child = ChildProcess(beginning)

    def terminate(self) -> None:
        """Send SIGTERM now, and SIGKILL after a grace period."""
        self.is_ending = True
        self._child.terminate()

    def poll(self) -> ProcessFailure | None:
        """Return why it has ended, or None while it runs."""
        code = self._child.poll()
        if code is None:
            self._watch()
            return None
        words = self._child.failure_report()
        self._child.close()
        if self._failure or words:
            return self._failure or ProcessFailure(str(words["reason"]), ChallengerFailure(words["failure"]))
        return ProcessFailure(f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}")

    def _watch(self) -> None:
        if (used := self._child.memory_bytes()) > self._max_memory_bytes:
            self._failure = ProcessFailure(
                excess_message(used, self._max_memory_bytes, name="trainer.challenger_memory"), ChallengerFailure.UNFIT
            )
            self._child.kill()


@dataclass
class ChallengerRunner:
    """Starts, watches and ends the processes; only one thread may call it."""

    services: Services
    options: ChallengerRunnerOptions
    running: dict[LineageId, ChallengerProcess] = field(default_factory=dict)
    _restart_at: dict[LineageId, float] = field(default_factory=dict)

    def reconcile(self, leases: Mapping[ModelName, TrainerLease]) -> None:
        """Run the open challengers of these models, as many as there are slots, and end all others."""
        wanted = self._wanted(leases)
        for lineage, runner in list(self.running.items()):
            if lineage not in wanted:
                runner.terminate()
            failure = runner.poll()
            if failure is not None:
                del self.running[lineage]
                if not runner.is_ending:
                    self._record_failure(leases, runner, failure)
        for lineage, challenger in wanted.items():
            if lineage not in self.running and time.monotonic() >= self._restart_at.get(lineage, 0.0):
                self._start(challenger)

    def run_times_s(self) -> Mapping[LineageId, float]:
        """Return for how many seconds each process has run."""
        now = time.monotonic()
        return {lineage: now - one.started_at for lineage, one in self.running.items()}

    def close(self) -> None:
        """End every process and wait for it, for at most twice the grace period."""
        for runner in self.running.values():
            runner.terminate()
        until = time.monotonic() + 2 * GRACE_S
        while self.running and time.monotonic() < until:
            self.running = {lineage: one for lineage, one in self.running.items() if one.poll() is None}
            time.sleep(0.05)

    def _wanted(self, leases: Mapping[ModelName, TrainerLease]) -> dict[LineageId, Challenger]:
        """Return the challengers to run: those in probation first, then the oldest; none of a frozen model."""
        models = [name for name in leases if not self.services.registry.models.get(name).frozen]
        known = [one for name in models for one in self.services.registry.challengers.list(name)]
        known.sort(key=lambda one: (one.stage is not ChallengerStage.PROBATION, one.created_at))
        return {one.lineage: one for one in known[: self.options.slots]}

    def _start(self, challenger: Challenger) -> None:
        try:
            sequence = self._newest_sequence(challenger.lineage)
            self.running[challenger.lineage] = ChallengerProcess(challenger, self.options, sequence=sequence)
        except OSError as error:
            self._restart_at[challenger.lineage] = time.monotonic() + RESTART_S
            _log.warning("challenger_not_started", model=challenger.model, error=str(error))
        else:
            _log.info("challenger_started", model=challenger.model, version=challenger.version)

    def _record_failure(
        self, leases: Mapping[ModelName, TrainerLease], runner: ChallengerProcess, failure: ProcessFailure
    ) -> None:
        """Restart it after a pause; drop it where another attempt would not help, or several have failed.

        A challenger whose state another release has written is never dropped: it waits for a trainer of that release.
        """
        challenger = runner.challenger
        lease, lineage = leases.get(challenger.model), challenger.lineage
        if lease is None:
            return
        self._restart_at[lineage] = time.monotonic() + RESTART_S
        _log.warning(
            "challenger_process_failed", model=challenger.model, version=challenger.version, why=failure.reason
        )
        if failure.fault is ChallengerFailure.OTHER_RELEASE:
            return
        try:
            failures = 1 if self._newest_sequence(lineage) > runner.sequence else challenger.failures + 1
            self.services.registry.challengers.record_update(lease, lineage, ChallengerUpdate(failures=failures))
            if failure.fault is ChallengerFailure.UNFIT:
                self._drop(lease, challenger, failure.reason)
            elif failures >= MAX_FAILURES:
                why = f"found its process dead {failures} times without a commit in between, at last: {failure.reason}"
                self._drop(lease, challenger, why)
        except LeaseLostError:
            raise
        except RefusedError:
            _log.info("challenger_already_ended", model=challenger.model, version=challenger.version)

    def _drop(self, lease: TrainerLease, challenger: Challenger, reason: str) -> None:
        self.services.registry.challengers.end(lease, challenger.lineage, ChallengerStage.DROPPED, reason=reason)
        fields = {"version": challenger.version, "stage": ChallengerStage.DROPPED, "reason": reason}
        _log.info("challenger_ended", model=challenger.model, **fields)

    def _newest_sequence(self, lineage: LineageId) -> int:
        """Return the sequence of its newest checkpoint; 0 where the model has been deleted."""
        newest = self.services.registry.checkpoints.newest(lineage)
        return newest.sequence if newest else 0

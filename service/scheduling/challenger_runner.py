"""The processes of challengers: one each, within a budget; what dies too often is dropped."""

import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import structlog

from service.domain.registry.challenger import Challenger, Fault, Note, Stage
from service.domain.registry.registry import LineageId, ModelName
from service.domain.training.jobs import Trainer
from service.errors import LeaseLostError, RefusedError
from service.operations.services import Services
from service.scheduling.child_process import GRACE_S, LOWEST_PRIORITY, Beginning, Child, excess

_log = structlog.get_logger(__name__)

MOST_FAILURES = 3
RESTART_S = 1.0
MEMORY_EVERY_S = 0.5


@dataclass(frozen=True, slots=True)
class Track:
    """How challengers are run: the command of a process, where its log goes, how many at a time, of which size."""

    command: Callable[[Challenger, int], Sequence[str]]
    logs: Path
    log_bytes: int = 10_000_000
    places: int = 2
    memory: int = 2_000_000_000


@dataclass(frozen=True, slots=True)
class Death:
    """Why a process has ended by itself."""

    reason: str
    fault: Fault = Fault.CRASH


class Runner:
    """One challenger's process, which began with the checkpoint `sequence`; `poll` says why it has ended."""

    def __init__(self, challenger: Challenger, track: Track, *, sequence: int) -> None:
        self.challenger = challenger
        self.sequence = sequence
        self.told_to_end = False
        self.began = time.monotonic()
        self._memory = track.memory
        self._because: Death | None = None
        log = track.logs / f"challenger-{challenger.lineage}.log"
        command = partial(track.command, challenger)
        beginning = Beginning(command, log, track.log_bytes, LOWEST_PRIORITY // 2, memory_every_s=MEMORY_EVERY_S)
        self._child = Child(beginning)

    def end(self) -> None:
        """SIGTERM now, SIGKILL after a grace."""
        self.told_to_end = True
        self._child.end()

    def poll(self) -> Death | None:
        """Why it has ended; None while it runs."""
        code = self._child.poll()
        if code is None:
            self._watch()
            return None
        words = self._child.last_words()
        self._child.close()
        if self._because or words:
            return self._because or Death(str(words["reason"]), Fault(words["failure"]))
        return Death(f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}")

    def _watch(self) -> None:
        if (used := self._child.memory()) > self._memory:
            self._because = Death(excess(used, self._memory, name="trainer.challenger_memory"), Fault.UNFIT)
            self._child.kill()


@dataclass
class Runners:
    """Starts, watches and ends; one thread calls it."""

    services: Services
    track: Track
    running: dict[LineageId, Runner] = field(default_factory=dict)
    _rest: dict[LineageId, float] = field(default_factory=dict)

    def see_to(self, held: Mapping[ModelName, Trainer]) -> None:
        """Every open challenger of these models runs, as far as there are places; nothing else does."""
        wanted = self._wanted(held)
        for lineage, runner in list(self.running.items()):
            if lineage not in wanted:
                runner.end()
            death = runner.poll()
            if death is not None:
                del self.running[lineage]
                if not runner.told_to_end:
                    self._died(held, runner, death)
        for lineage, challenger in wanted.items():
            if lineage not in self.running and time.monotonic() >= self._rest.get(lineage, 0.0):
                self._start(challenger)

    def ran_s(self) -> Mapping[LineageId, float]:
        """For how long each process has run."""
        now = time.monotonic()
        return {lineage: now - one.began for lineage, one in self.running.items()}

    def close(self) -> None:
        """End every process, and wait for it."""
        for runner in self.running.values():
            runner.end()
        until = time.monotonic() + 2 * GRACE_S
        while self.running and time.monotonic() < until:
            self.running = {lineage: one for lineage, one in self.running.items() if one.poll() is None}
            time.sleep(0.05)

    def _wanted(self, held: Mapping[ModelName, Trainer]) -> dict[LineageId, Challenger]:
        """The oldest, as many as there are places; none of a model that stands still."""
        models = [name for name in held if not self.services.models.get(name).frozen]
        known = [one for name in models for one in self.services.challengers.list(name)]
        known.sort(key=lambda one: (one.stage is not Stage.PROBATION, one.created_at))
        return {one.lineage: one for one in known[: self.track.places]}

    def _start(self, challenger: Challenger) -> None:
        try:
            sequence = self._sequence(challenger.lineage)
            self.running[challenger.lineage] = Runner(challenger, self.track, sequence=sequence)
        except OSError as error:
            self._rest[challenger.lineage] = time.monotonic() + RESTART_S
            _log.warning("challenger_not_started", model=challenger.model, error=str(error))
        else:
            _log.info("challenger_started", model=challenger.model, version=challenger.version)

    def _died(self, held: Mapping[ModelName, Trainer], runner: Runner, death: Death) -> None:
        """Again after a rest; dropped where that would change nothing, or has not.

        One whose state another release has written waits for that release, however often it is tried.
        """
        challenger = runner.challenger
        trainer, lineage = held.get(challenger.model), challenger.lineage
        if trainer is None:
            return
        self._rest[lineage] = time.monotonic() + RESTART_S
        _log.warning("challenger_died", model=challenger.model, version=challenger.version, why=death.reason)
        if death.fault is Fault.OTHER_RELEASE:
            return
        try:
            failures = 1 if self._sequence(lineage) > runner.sequence else challenger.failures + 1
            self.services.challengers.note(trainer, lineage, Note(failures=failures))
            if death.fault is Fault.UNFIT:
                self._drop(trainer, challenger, death.reason)
            elif failures >= MOST_FAILURES:
                why = f"found its process dead {failures} times without a commit in between, at last: {death.reason}"
                self._drop(trainer, challenger, why)
        except LeaseLostError:
            raise
        except RefusedError:
            _log.info("challenger_ended_meanwhile", model=challenger.model, version=challenger.version)

    def _drop(self, trainer: Trainer, challenger: Challenger, reason: str) -> None:
        self.services.challengers.end(trainer, challenger.lineage, Stage.DROPPED, reason=reason)
        told = {"version": challenger.version, "stage": Stage.DROPPED, "reason": reason}
        _log.info("challenger_ended", model=challenger.model, **told)

    def _sequence(self, lineage: LineageId) -> int:
        """Of its newest commit; a model that is deleted has none."""
        newest = self.services.checkpoints.newest(lineage)
        return newest.sequence if newest else 0

"""Teaching a new learner a part of history, the way in which it will go on learning the stream."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from service.domain.registry.registry import Json, SealedBytes, SealedState
from service.domain.specification.model import ModelSpec
from service.domain.stream.events import Records, Skipped
from service.domain.stream.exclusion import Stretch
from service.domain.stream.offset_ranges import minus, size
from service.domain.stream.position import Position, Run, merged
from service.domain.training.jobs import Candidate, Job
from service.domain.training.report import ReportFormat
from service.learning.learner.learner import Learner
from service.learning.learner.state import begun
from service.learning.monitors import Batch
from service.operations.history.exclusion_filter import Sieve
from service.operations.history.reader import History
from service.operations.services import Services
from service.operations.states.pending_memory import WaitingHere
from service.operations.states.pending_snapshot import pack
from service.operations.states.sealed_state import seal_bytes, seal_state
from service.ports.training import Stages


@dataclass(frozen=True, slots=True)
class Syllabus:
    """What is learned, in this order; behind it the stream goes on at `position`."""

    spec: ModelSpec
    runs: Sequence[Run]
    stretches: Sequence[Stretch]
    position: Position


@dataclass(frozen=True, slots=True)
class Telling:
    """What is kept of a training beside its result."""

    evidence: Json = field(default_factory=dict)
    reports: Mapping[ReportFormat, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Trained:
    """What a candidate has beside its lesson: what its monitors refer to, and an estimator made in another way.

    `estimator` is its snapshot, None where the lesson's own stays; `before` is what it had learned before the lesson.
    """

    references: Sequence[Batch]
    estimator: bytes | None = None
    before: Sequence[Run] = ()


class Lesson:
    """One learner and what waits for its labels."""

    def __init__(self, services: Services, syllabus: Syllabus) -> None:
        spec = syllabus.spec
        estimator, allowed = services.build(spec)
        self._services = services
        self._syllabus = syllabus
        self._waiting = WaitingHere()
        self.learner = Learner(spec, Learner.new(spec, estimator), allowed=allowed)

    def learn(self, history: History, stages: Stages) -> None:
        """All of it."""
        runs, stretches = self._syllabus.runs, self._syllabus.stretches
        done, total = 0, size(runs)
        decoder, sieve = self._services.decoder(self._syllabus.spec), Sieve(stretches)
        for run in runs:
            for found in history.read(run, exclusions=stretches):
                for item in sieve.pieces(found):
                    if not isinstance(item, Skipped):
                        decoded = decoder.decode(item) if isinstance(item, Records) else item
                        self._waiting.learn(self.learner, decoded)
                stages.advance(done + max(found.next_offset - run.first, 0), total)
            done += run.last - run.first

    def candidate(self, job: Job, telling: Telling, *, trained: Trained | None = None) -> Candidate:
        """The signed state, with its metrics over the lesson; it has learned exactly what it says."""
        state = self._sealed(self._state(trained))
        learned = merged(self._waiting.order)
        before = minus(trained.before, learned) if trained else []
        return Candidate(
            state=state,
            spec=self._syllabus.spec.model_dump(mode="json"),
            learned=merged([*before, *learned]),
            environment=self._services.environment,
            reason=job.reason,
            evidence={
                "cause": job.cause,
                "records": size(self._syllabus.runs),
                "attempt": job.attempt,
                **telling.evidence,
            },
            waiting=self._sealed_waiting(),
            waiting_rows=self._waiting.rows,
            reports=telling.reports,
        )

    def _state(self, trained: Trained | None) -> bytes:
        """What waits for a micro-batch stays, unless another estimator has learned it already."""
        if trained is None:
            return self.learner.state()
        if trained.estimator is not None:
            list(self.learner.flush())
            self._waiting.take(self.learner)
        spec, allowed = self._syllabus.spec, self._services.build(self._syllabus.spec)[1]
        state = begun(self.learner.state(), spec, references=trained.references, estimator=trained.estimator)
        self.learner = Learner(spec, state, allowed=allowed)
        return state

    def _sealed(self, state: bytes) -> SealedState:
        learner, syllabus = self.learner, self._syllabus
        return seal_state(
            self._services,
            state,
            model=syllabus.spec.name,
            position=syllabus.position,
            learned=learner.counts["learned"],
            metrics=learner.metrics(),
        )

    def _sealed_waiting(self) -> SealedBytes | None:
        if not self._waiting.rows:
            return None
        spec, position = self._syllabus.spec, self._syllabus.position
        return seal_bytes(self._services, pack(iter([self._waiting.rows])), model=spec.name, position=position)

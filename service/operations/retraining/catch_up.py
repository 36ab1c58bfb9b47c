"""Catch-up: a new learner learns a part of history in the same way in which it will learn the stream."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from service.domain.registry.registry import Json, SealedBytes, SealedState
from service.domain.specification.model import ModelSpec
from service.domain.stream.events import Records, SkippedOffsets
from service.domain.stream.exclusion import ExcludedRange
from service.domain.stream.offset_ranges import offset_count, subtract_ranges
from service.domain.stream.position import OffsetRange, Position, merge_ranges
from service.domain.training.jobs import Job, TrainedCandidate
from service.domain.training.report import ReportFormat
from service.learning.learner.learner import Learner
from service.learning.learner.state import with_new_monitors
from service.learning.monitors import MonitorBatch
from service.operations.history.exclusion_filter import ExclusionFilter
from service.operations.history.reader import HistoryReader
from service.operations.services import Services
from service.operations.states.pending_memory import PendingMemory
from service.operations.states.pending_snapshot import pack_pending
from service.operations.states.sealed_state import seal_bytes, seal_state
from service.ports.training import JobProgressReporter


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """Runs to learn, in this order; after them the stream is read from `position`."""

    spec: ModelSpec
    runs: Sequence[OffsetRange]
    excluded_ranges: Sequence[ExcludedRange]
    position: Position


@dataclass(frozen=True, slots=True)
class TrainingEvidence:
    """The evidence and the reports that are stored with a trained version."""

    evidence: Json = field(default_factory=dict)
    reports: Mapping[ReportFormat, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FittedEstimator:
    """The monitors' reference batches, and an estimator that was fitted outside of the catch-up.

    `estimator` is its snapshot, None where the one of the catch-up is used; `learned_before` is what it had learned
    before the catch-up.
    """

    references: Sequence[MonitorBatch]
    estimator: bytes | None = None
    learned_before: Sequence[OffsetRange] = ()


class CatchUp:
    """A new learner, and the events that wait for their labels."""

    def __init__(self, services: Services, plan: TrainingPlan) -> None:
        spec = plan.spec
        estimator, allowed = services.states.build_estimator(spec)
        self._services = services
        self._plan = plan
        self._pending = PendingMemory()
        self.learner = Learner(spec, Learner.new(spec, estimator), allowed=allowed)

    def learn(self, history: HistoryReader, reporter: JobProgressReporter) -> None:
        """Learn every run of the plan, and report progress in offsets."""
        runs, excluded_ranges = self._plan.runs, self._plan.excluded_ranges
        done, total = 0, offset_count(runs)
        decoder, exclusion_filter = self._services.streams.decoder(self._plan.spec), ExclusionFilter(excluded_ranges)
        for run in runs:
            for found in history.read(run, excluded_ranges=excluded_ranges):
                for item in exclusion_filter.split(found):
                    if not isinstance(item, SkippedOffsets):
                        decoded = decoder.decode(item) if isinstance(item, Records) else item
                        self._pending.learn(self.learner, decoded)
                reporter.report_progress(done + max(found.next_offset - run.first, 0), total)
            done += run.last - run.first

    def candidate(
        self, job: Job, training_evidence: TrainingEvidence, *, fitted: FittedEstimator | None = None
    ) -> TrainedCandidate:
        """Return the candidate: the sealed state, its metrics, and exactly the runs that it has learned."""
        state = self._seal(self._final_state(fitted))
        learned = merge_ranges(self._pending.learned_order)
        earlier = subtract_ranges(fitted.learned_before, learned) if fitted else []
        return TrainedCandidate(
            state=state,
            spec=self._plan.spec.model_dump(mode="json"),
            learned=merge_ranges([*earlier, *learned]),
            environment=self._services.states.environment,
            reason=job.reason,
            evidence={
                "cause": job.cause,
                "records": offset_count(self._plan.runs),
                "attempt": job.attempt,
                **training_evidence.evidence,
            },
            waiting=self._seal_pending(),
            waiting_rows=self._pending.rows,
            reports=training_evidence.reports,
        )

    def _final_state(self, fitted: FittedEstimator | None) -> bytes:
        """Return the state to seal.

        An incomplete micro-batch stays in it, unless another estimator takes over that has learned its events already.
        """
        if fitted is None:
            return self.learner.state()
        if fitted.estimator is not None:
            list(self.learner.flush())
            self._pending.absorb(self.learner)
        spec, allowed = self._plan.spec, self._services.states.build_estimator(self._plan.spec)[1]
        # New monitors begin after the window: signals of the training would request the next training.
        state = with_new_monitors(self.learner.state(), spec, references=fitted.references, estimator=fitted.estimator)
        self.learner = Learner(spec, state, allowed=allowed)
        return state

    def _seal(self, state: bytes) -> SealedState:
        learner, plan = self.learner, self._plan
        return seal_state(
            self._services,
            state,
            model=plan.spec.name,
            position=plan.position,
            learned=learner.counts["learned"],
            metrics=learner.metrics(),
        )

    def _seal_pending(self) -> SealedBytes | None:
        if not self._pending.rows:
            return None
        spec, position = self._plan.spec, self._plan.position
        return seal_bytes(self._services, pack_pending(iter([self._pending.rows])), model=spec.name, position=position)

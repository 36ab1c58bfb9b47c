"""Learns one lineage in this process: takes records from the source, learns them and checkpoints."""

import time
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import partial

import structlog

from service.domain.registry.registry import CheckpointStep, Command, DeadLetter, Lease, LineageRole
from service.domain.stream.events import DecodedRecords, Records, RefusalReason, SkippedOffsets, TopicPartition
from service.domain.stream.position import Position
from service.errors import ChallengerUnfitError, LeaseLostError
from service.learning.learner.outcomes import LearningOutcome
from service.operations.history.record_runs import record_count
from service.operations.learning_loop.checkpoint import CheckpointDraft, CommittedCheckpoint
from service.operations.learning_loop.commit_pipeline import CommitPipeline
from service.operations.learning_loop.committer import Committer
from service.operations.learning_loop.consumer import RecordSource
from service.operations.learning_loop.input import NO_PENDING, InputBuffer, LabelPrefetch, PendingById
from service.operations.learning_loop.poison import (
    KILLED_PROCESS_DETAIL,
    PoisonRecordDetector,
    RecordPlace,
    poison_refusal,
)
from service.operations.learning_loop.refusals import DeadLetterBuffer, RefusalRateBreaker
from service.operations.services import Services
from service.operations.states.recovery import RecoveredLearner

_log = structlog.get_logger(__name__)

SLICE_DURATION_S = 0.2
MIN_SLICE_RECORDS, MAX_SLICE_RECORDS = 16, 2048
MAX_UNCOMMITTED_SCORES = 500_000
MAX_UNCOMMITTED_PENDING = 50_000
"""Pending events that may wait for the next commit; up to twice as many more are held until their commits land."""
UNKNOWN_TIME_MS = -1
STATUS_EVERY_S = 0.5


@dataclass
class Session:
    """Reads, learns and checkpoints one lineage; it is not thread-safe.

    `known_killers` are records that killed a process before, which a replay must skip too.
    """

    services: Services
    recovered: RecoveredLearner
    lease: Lease
    source: RecordSource
    committer: Committer
    frozen: bool = False
    commands: list[Command] = field(default_factory=list)
    known_killers: frozenset[tuple[TopicPartition, int]] = frozenset()

    def __post_init__(self) -> None:
        """Start at the recovered checkpoint, and refuse records of its micro-batches that are confirmed killers."""
        spec = self.recovered.spec
        self.spec = spec
        self.learner = self.recovered.learner
        self.position: Position = self.recovered.position
        self.lease_lost = False
        self.pause_reason = ""
        self._sequence = self.recovered.sequence
        self._decoder = self.services.streams.decoder(spec)
        self._commits = CommitPipeline(self.committer, spec)
        self._role = self.recovered.lineage.role
        self._refusal_breaker = RefusalRateBreaker(spec, self._role)
        self._dead_letters = DeadLetterBuffer(spec.dead_letters, keep=self._role is not LineageRole.CHALLENGER)
        self._slice_records = MIN_SLICE_RECORDS * 16
        self._has_uncommitted = False
        unlearned = self.learner.micro_batch_records()
        self._poison_detector = self._make_poison_detector(unlearned)
        self._input = self._make_input_buffer()
        self._status_at_s = 0.0
        self._committed_at_s = time.monotonic()
        self._processed = 0
        self._predictions_topic = spec.predictions if self._role is LineageRole.CHAMPION else None
        if self._predictions_topic is not None:
            self.committer.send_predictions(spec.name)
        for at, offset in self._poison_detector.confirmed_among(unlearned):
            self._record_outcome(
                at, self.learner.remove(at, offset, reason=RefusalReason.KILLED_PROCESS, detail=KILLED_PROCESS_DETAIL)
            )

    def _make_poison_detector(self, unlearned: Collection[RecordPlace]) -> PoisonRecordDetector:
        return PoisonRecordDetector(
            self.services.learner.crash_marker(f"{self.spec.name}-{self.lease.lineage}"),
            self.position,
            starts_without_commit=self.recovered.starts_without_commit,
            known_killers=self.known_killers,
            unlearned=unlearned,
        )

    def step(self) -> bool:
        """Learn one slice if one is ready, and checkpoint if that is due; return whether there was a slice.

        Raise LeaseLostError if another process has taken the lease, and ChallengerUnfitError if the estimator of a
        challenger refuses too much.
        """
        if self.lease_lost:
            msg = f"the lease of {self.spec.name} was taken by another process; nothing more is written here"
            raise LeaseLostError(msg)
        taken = None if self.frozen or self.is_throttled else self._input.next(self._slice_records)
        if taken is not None:
            item, pending = taken
            if isinstance(item, SkippedOffsets):
                self._advance(item.at, item.next_offset)
                self._has_uncommitted = True
            else:
                self._learn(item, pending)
        self._checkpoint_if_due()
        return taken is not None

    @property
    def has_buffered_input(self) -> bool:
        """Return whether something was taken from the source and is not learned yet."""
        return self._input.has_items

    @property
    def processed(self) -> int:
        """Return how many records the session has processed."""
        return self._processed

    def has_reached(self, ends: dict[TopicPartition, int]) -> bool:
        """Return whether the position has reached the end offset of every partition."""
        return all(self.position.offsets.get(at, 0) >= end for at, end in ends.items())

    def flush_micro_batch(self) -> None:
        """Learn the records of micro-batches that are not full; only for a stream that has ended."""
        for at, outcome in self.learner.flush(crash_tracker=self._poison_detector):
            self._poison_detector.end()
            self._record_outcome(at, outcome)

    def commit_now(self) -> None:
        """Make everything learned durable before returning."""
        self._finish_commit(wait=True)
        if self._has_uncommitted:
            self._start_commit()
            self._finish_commit(wait=True)

    def replay_dead_letter(self, dead_letter: DeadLetter) -> LearningOutcome:
        """Learn a dead letter again; unless it is refused again, the next commit marks it as replayed."""
        made_at_ms = int(dead_letter.created_at.timestamp() * 1000) if dead_letter.created_at else UNKNOWN_TIME_MS
        records = Records(
            dead_letter.at, [dead_letter.offset], [made_at_ms], [dead_letter.payload], dead_letter.offset + 1
        )
        decoded = self._decoder.decode(records)
        label_join = self.learner.label_join
        keys = label_join.ids_to_look_up(decoded.events, decoded.truths) if label_join else ()
        pending = self.committer.find_pending(self.lease.lineage, keys).result() if keys else NO_PENDING
        outcome = self.learner.learn(decoded, prefetched=pending)
        if not outcome.refusals:
            self._dead_letters.mark_replayed(dead_letter)
        self._has_uncommitted = True
        return outcome

    @property
    def checkpoint_age_s(self) -> float:
        """Return the seconds since the last commit."""
        return time.monotonic() - self._committed_at_s

    @property
    def is_throttled(self) -> bool:
        """Return whether so much waits for a commit that learning must pause."""
        learner = self.learner
        is_over = learner.scored_since_commit > MAX_UNCOMMITTED_SCORES or self._dead_letters.is_full
        is_over = is_over or (
            learner.label_join is not None and learner.label_join.created_count > MAX_UNCOMMITTED_PENDING
        )
        return is_over or self.committer.has_send_backlog

    def _make_input_buffer(self) -> InputBuffer:
        """Return the input buffer, with a label prefetch where labels come apart from their events."""
        prefetch = None
        if self.learner.label_join is not None:
            find_pending = partial(self.committer.find_pending, self.lease.lineage)
            prefetch = LabelPrefetch(self.learner.label_join, decode=self._decoder.decode, find=find_pending)
        input_buffer = InputBuffer(self.source, self._poison_detector, prefetch)
        input_buffer.set_excluded_ranges(self.committer.excluded_ranges)
        return input_buffer

    def _learn(self, run: Records | DecodedRecords, pending: PendingById = NO_PENDING) -> None:
        started_s = time.perf_counter()
        if self._poison_detector.is_confirmed(run):
            return self._skip_record(run)
        self._poison_detector.begin(run)
        decoded = self._decoder.decode(run) if isinstance(run, Records) else run
        outcome = self.learner.learn(decoded, prefetched=pending, crash_tracker=self._poison_detector.active_tracker)
        self._poison_detector.end()
        count = record_count(run)
        self._processed += count
        self._advance(run.at, run.next_offset)
        seconds = time.perf_counter() - started_s
        if count:
            self._slice_records = int(
                min(max(count / seconds * SLICE_DURATION_S, MIN_SLICE_RECORDS), MAX_SLICE_RECORDS)
            )
        self.services.learner.telemetry.batch_learned(self.spec.name, outcome.counts, seconds)
        if outcome.labels:
            self.services.learner.telemetry.labels_received(self.spec.name, outcome.labels, outcome.delays_ms)
        return self._record_outcome(run.at, outcome)

    def _advance(self, at: TopicPartition, offset: int) -> None:
        """Move the position forward, never back: a replay may learn a dead letter that lies before the position."""
        self.position = self.position.advanced({at: max(offset, self.position.offsets.get(at, 0))})

    def _record_outcome(self, at: TopicPartition, outcome: LearningOutcome) -> None:
        self._has_uncommitted = True
        self._commits.count_events(outcome.counts["learned"])
        if outcome.refusals:
            self.services.learner.telemetry.events_refused(self.spec.name, self._dead_letters.add(at, outcome.refusals))
        reason = self._refusal_breaker.trip_reason(outcome)
        if reason is not None:
            self._pause(reason)

    def _pause(self, reason: str) -> None:
        """Freeze a champion that refuses too much until a person looks; raise ChallengerUnfitError for a challenger."""
        if self._role is LineageRole.CHALLENGER:
            raise ChallengerUnfitError(reason)
        _log.warning("model_paused", model=self.spec.name, reason=reason)
        self.committer.record_frozen(self.lease, reason=reason)
        self.frozen = True
        self.pause_reason = reason

    def _checkpoint_if_due(self) -> None:
        self._finish_commit(wait=False)
        self._report_status()
        if not self._commits.is_due:
            return
        if self._has_uncommitted:
            self._start_commit()
        else:
            self._commits.poll_commands()

    def _report_status(self) -> None:
        # Called in every step, not with commits: the lag matters most while commits wait for the database.
        now = time.monotonic()
        if now - self._status_at_s >= STATUS_EVERY_S:
            self._status_at_s = now
            self.services.learner.telemetry.lag_measured(self.spec.name, lag=self.lag(), frozen=self.frozen)

    def _start_commit(self) -> None:
        started_s = time.perf_counter()
        state, changes = self.learner.state(), self.learner.take_uncommitted()
        serialize_s = time.perf_counter() - started_s
        dead_letters, replayed = self._dead_letters.drain()
        self._has_uncommitted = False
        self._sequence += 1
        draft = CheckpointDraft(
            spec=self.spec,
            lease=self.lease,
            sequence=self._sequence,
            version=self.recovered.lineage.origin,
            state=state,
            position=self.position,
            learned_count=self.learner.counts["learned"],
            metrics=self.learner.metrics(),
            changes=changes,
            dead_letters=dead_letters,
            replayed_letters=replayed,
            predictions_topic=self._predictions_topic,
            appended_ms=self._input.appended_ms(self.position),
        )
        self._commits.submit(draft, serialize_s=serialize_s)

    def _finish_commit(self, *, wait: bool) -> None:
        committed = self._commits.landed(wait=wait)
        if committed is not None:
            self._on_committed(committed)
        commands = self._commits.polled(wait=wait)
        if commands is not None:
            self.commands = list(commands)
            self._input.set_excluded_ranges(self.committer.excluded_ranges)

    def _on_committed(self, committed: CommittedCheckpoint) -> None:
        self._committed_at_s = time.monotonic()
        self.commands = list(committed.commands)
        self._input.set_excluded_ranges(self.committer.excluded_ranges)
        if self.learner.label_join is not None:
            self.learner.label_join.commit_landed()
        if self._predictions_topic is not None:
            self.committer.send_predictions(self.spec.name)
        self.source.acknowledge(committed.checkpoint.position)
        self.services.learner.on_step(CheckpointStep.ACKNOWLEDGED)
        telemetry = self.services.learner.telemetry
        telemetry.checkpoint_committed(self.spec.name, committed.duration_s, size_bytes=committed.checkpoint.size)
        telemetry.checkpoint_metrics(self.spec.name, committed.checkpoint.metrics)
        self._poison_detector.committed(committed.checkpoint.position, self.learner.micro_batch_records)

    def lag(self) -> dict[TopicPartition, int]:
        """Return the number of offsets not yet learned, by partition."""
        offsets = self.position.offsets
        return {at: max(bounds.end - offsets.get(at, 0), 0) for at, bounds in self.source.bounds.items()}

    def _skip_record(self, run: Records | DecodedRecords) -> None:
        """Refuse the single record of this run, which has killed the process before."""
        self._advance(run.at, run.next_offset)
        self._record_outcome(run.at, self.learner.skip(run.at, poison_refusal(run)))

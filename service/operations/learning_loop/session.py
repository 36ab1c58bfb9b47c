"""One lineage being learned by this process: from the feed to the next checkpoint."""

import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial

import structlog

from service.domain.registry.registry import CheckpointStep, Command, DeadLetter, Lease, Role
from service.domain.stream.events import Decoded, Reason, Records, Skipped, TopicPartition
from service.domain.stream.position import Position
from service.errors import LeaseLostError, UnfitError
from service.learning.learner.outcomes import Outcome
from service.operations.history.record_runs import count_of
from service.operations.learning_loop.checkpoint import Draft, Rhythm, Written
from service.operations.learning_loop.committer import Committer
from service.operations.learning_loop.consumer import Supply
from service.operations.learning_loop.input import NOTHING, Found, Intake, Lookahead
from service.operations.learning_loop.poison import DETAIL, Suspicion, refusal_of
from service.operations.learning_loop.refusals import Letters, Share
from service.operations.services import Services
from service.operations.states.recovery import Recovered

_log = structlog.get_logger(__name__)

SLICE_S = 0.2
SMALLEST_SLICE, LARGEST_SLICE = 16, 2048
MOST_HELD_BACK = 500_000
MOST_WAITING = 50_000
"""Events whose features are held until their commit has landed, and twice as many whose commit is under way."""
NOWHERE = -1
STANDING_S = 0.5


@dataclass
class Session:
    """Reads, learns and checkpoints one lineage; one thread calls it.

    `condemned` are records that killed a process before, which a replay passes over too.
    """

    services: Services
    recovered: Recovered
    lease: Lease
    feed: Supply
    committer: Committer
    frozen: bool = False
    commands: list[Command] = field(default_factory=list)
    condemned: frozenset[tuple[TopicPartition, int]] = frozenset()

    def __post_init__(self) -> None:
        """Begin where the checkpoint ends."""
        spec = self.recovered.spec
        self.spec = spec
        self.learner = self.recovered.learner
        self.position: Position = self.recovered.position
        self.lease_lost = False
        self.paused_because = ""
        self._sequence = self.recovered.sequence
        self._decoder = self.services.decoder(spec)
        self._rhythm = Rhythm(spec.checkpoint)
        self._role = self.recovered.lineage.role
        self._share = Share(spec, self._role)
        self._letters = Letters(spec.dead_letters, kept=self._role is not Role.CHALLENGER)
        self._flight: Future[Written] | None = None
        self._asking: Future[Sequence[Command]] | None = None
        self._slice = SMALLEST_SLICE * 16
        self._dirty = False
        footprint = self.services.footprint(f"{spec.name}-{self.lease.lineage}")
        starts, waiting = self.recovered.starts, self.learner.collected()
        self._suspicion = Suspicion(footprint, self.position, starts=starts, condemned=self.condemned, waiting=waiting)
        self._intake = self._opened_intake()
        self._told_at = 0.0
        self._judged = 0
        self._predictions = spec.predictions if self._role is Role.CHAMPION else None
        if self._predictions is not None:
            self.committer.send_predictions(spec.name)
        for at, offset in self._suspicion.convicted(waiting):
            self._take(at, self.learner.remove(at, offset, reason=Reason.KILLED_PROCESS, detail=DETAIL))

    def step(self) -> bool:
        """Learn one slice if there is one, and see to the checkpoint; whether anything was learned."""
        if self.lease_lost:
            msg = f"the lease of {self.spec.name} was taken by another process; nothing more is written here"
            raise LeaseLostError(msg)
        taken = None if self.frozen or self.held_back else self._intake.next(self._slice)
        if taken is not None:
            item, found = taken
            if isinstance(item, Skipped):
                self._move(item.at, item.next_offset)
                self._dirty = True
            else:
                self._learn(item, found)
        self._see_to_checkpoint()
        return taken is not None

    @property
    def behind(self) -> bool:
        """Whether something that was taken from the feed is not learned yet."""
        return self._intake.busy

    @property
    def judged(self) -> int:
        """How many records it has been through."""
        return self._judged

    def drained(self, ends: dict[TopicPartition, int]) -> bool:
        """Whether everything before `ends` has been learned."""
        return all(self.position.offsets.get(at, 0) >= end for at, end in ends.items())

    def flush_partial(self) -> None:
        """Learn what waits for a micro-batch to fill; for a stream that has ended."""
        for at, outcome in self.learner.flush(watch=self._suspicion):
            self._suspicion.end()
            self._take(at, outcome)

    def commit_now(self) -> None:
        """Make everything learned durable before returning."""
        self._land(wait=True)
        if self._dirty:
            self._launch()
            self._land(wait=True)

    def replay(self, letter: DeadLetter) -> Outcome:
        """Learn a dead letter again; marked as replayed with the next commit."""
        made_at = int(letter.created_at.timestamp() * 1000) if letter.created_at else NOWHERE
        records = Records(letter.at, [letter.offset], [made_at], [letter.payload], letter.offset + 1)
        decoded = self._decoder.decode(records)
        waiting = self.learner.waiting
        keys = waiting.unknown(decoded.events, decoded.truths) if waiting else ()
        found = self.committer.find(self.lease.lineage, keys).result() if keys else NOTHING
        outcome = self.learner.learn(decoded, supplied=found)
        if not outcome.refusals:
            self._letters.learned(letter)
        self._dirty = True
        return outcome

    @property
    def checkpoint_age_s(self) -> float:
        """Seconds since the newest commit."""
        return time.monotonic() - self._committed_at

    _committed_at: float = field(default_factory=time.monotonic)

    @property
    def held_back(self) -> bool:
        """Whether so much waits for its commit that learning must wait too."""
        learner = self.learner
        much = learner.scored_since_commit > MOST_HELD_BACK or self._letters.many
        much = much or (learner.waiting is not None and learner.waiting.created > MOST_WAITING)
        return much or self.committer.backlogged

    def _opened_intake(self) -> Intake:
        """What hands over runs; it looks up labels' events where labels do not come with their events."""
        lookahead = None
        if self.learner.waiting is not None:
            find = partial(self.committer.find, self.lease.lineage)
            lookahead = Lookahead(self.learner.waiting, decode=self._decoder.decode, find=find)
        intake = Intake(self.feed, self._suspicion, lookahead)
        intake.obey(self.committer.exclusions)
        return intake

    def _learn(self, run: Records | Decoded, found: Found = NOTHING) -> None:
        began = time.perf_counter()
        if self._suspicion.convicts(run):
            return self._pass_over(run)
        self._suspicion.begin(run)
        decoded = self._decoder.decode(run) if isinstance(run, Records) else run
        outcome = self.learner.learn(decoded, supplied=found, watch=self._suspicion.watch)
        self._suspicion.end()
        count = count_of(run)
        self._judged += count
        self._move(run.at, run.next_offset)
        seconds = time.perf_counter() - began
        if count:
            self._slice = int(min(max(count / seconds * SLICE_S, SMALLEST_SLICE), LARGEST_SLICE))
        self.services.telemetry.batch(self.spec.name, outcome.counts, seconds)
        if outcome.labels:
            self.services.telemetry.labels(self.spec.name, outcome.labels, outcome.delays_ms)
        return self._take(run.at, outcome)

    def _move(self, at: TopicPartition, offset: int) -> None:
        """Go on behind what was learned; a dead letter that a replay learns again lies behind already."""
        self.position = self.position.advanced({at: max(offset, self.position.offsets.get(at, 0))})

    def _take(self, at: TopicPartition, outcome: Outcome) -> None:
        self._dirty = True
        self._rhythm.learned(outcome.counts["learned"])
        if outcome.refusals:
            self.services.telemetry.refused(self.spec.name, self._letters.add(at, outcome.refusals))
        reason = self._share.too_much(outcome)
        if reason is not None:
            self._stop_because(reason)

    def _stop_because(self, reason: str) -> None:
        """Too much was refused: the champion waits for somebody to look, a challenger is of no use; UnfitError."""
        if self._role is Role.CHALLENGER:
            raise UnfitError(reason)
        _log.warning("model_paused", model=self.spec.name, reason=reason)
        self.committer.pause(self.lease, reason=reason)
        self.frozen = True
        self.paused_because = reason

    def _see_to_checkpoint(self) -> None:
        self._land(wait=False)
        self._tell_standing()
        if self._flight is not None or not self._rhythm.due():
            return
        if self._dirty:
            self._launch()
        elif self._asking is None:
            self._rhythm.took(0.0)
            self._asking = self.committer.poll(self.spec.name)

    def _tell_standing(self) -> None:
        """Also where commits wait for the database: that is when the lag grows."""
        now = time.monotonic()
        if now - self._told_at >= STANDING_S:
            self._told_at = now
            self.services.telemetry.standing(self.spec.name, lag=self.lag(), frozen=self.frozen)

    def _launch(self) -> None:
        began = time.perf_counter()
        state, pending = self.learner.state(), self.learner.take_pending()
        self._rhythm.took(time.perf_counter() - began)
        letters, replayed = self._letters.take()
        self._dirty = False
        self._sequence += 1
        self._flight = self.committer.submit(
            Draft(
                model=self.spec.name,
                lease=self.lease,
                sequence=self._sequence,
                state=state,
                position=self.position,
                learned=self.learner.counts["learned"],
                metrics=self.learner.metrics(),
                order=pending.order,
                scores=pending.scores,
                scored=pending.scored,
                dead_letters=letters,
                replayed=replayed,
                max_dead_letters=self.spec.dead_letters.max_count,
                keep_scores_s=self.spec.scores.keep,
                waiting=pending.waiting,
                said=pending.said,
                predictions=self._predictions,
                version=self.recovered.lineage.origin,
                signals=pending.signals,
                appended_ms=self._intake.appended_ms(self.position),
            )
        )

    def _land(self, *, wait: bool) -> None:
        if self._flight is not None and (wait or self._flight.done()):
            written = self._flight.result()
            self._flight = None
            self._landed(written)
        if self._asking is not None and (wait or self._asking.done()):
            self.commands = list(self._asking.result())
            self._asking = None
            self._intake.obey(self.committer.exclusions)

    def _landed(self, written: Written) -> None:
        self._committed_at = time.monotonic()
        self.commands = list(written.commands)
        self._intake.obey(self.committer.exclusions)
        if self.learner.waiting is not None:
            self.learner.waiting.landed()
        if self._predictions is not None:
            self.committer.send_predictions(self.spec.name)
        self.feed.acknowledge(written.checkpoint.position)
        self.services.reached(CheckpointStep.ACKNOWLEDGED)
        telemetry = self.services.telemetry
        telemetry.checkpoint(self.spec.name, written.seconds, size=written.checkpoint.size)
        telemetry.gauges(self.spec.name, written.checkpoint.metrics)
        self._suspicion.committed(written.checkpoint.position, self.learner.collected)

    def lag(self) -> dict[TopicPartition, int]:
        """Events not yet learned, a partition at a time."""
        offsets = self.position.offsets
        return {at: max(bounds.end - offsets.get(at, 0), 0) for at, bounds in self.feed.bounds.items()}

    def _pass_over(self, run: Records | Decoded) -> None:
        """Refuse the one record of this run."""
        self._move(run.at, run.next_offset)
        self._take(run.at, self.learner.skip(run.at, refusal_of(run)))

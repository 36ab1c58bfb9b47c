"""One lineage being learned by this process: from the feed to the next checkpoint."""

import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import structlog

from service.domain.events import Reason, Records, Refusal, TopicPartition
from service.domain.position import Position
from service.domain.registry import CheckpointStep, Command, DeadLetter, Lease
from service.errors import LeaseLostError
from service.learning.learner import Outcome
from service.operations.checkpoint import Committer, Draft, Rhythm, Written, cut
from service.operations.feed import Feed
from service.operations.recover import Recovered
from service.operations.services import Services
from service.operations.suspicion import Suspicion

_log = structlog.get_logger(__name__)

SLICE_S = 0.2
SMALLEST_SLICE, LARGEST_SLICE = 16, 2048
MOST_HELD_BACK = 500_000
NOWHERE = -1
SHARE_OVER = 1000
STANDING_S = 0.5


@dataclass
class Share:
    """How much of what came lately was refused."""

    seen: int = 0
    refused: int = 0

    def passed(self, outcome: Outcome, limit: float) -> float | None:
        """The share, if at least `SHARE_OVER` records say it is past the limit."""
        self.seen += sum(outcome.counts.values())
        self.refused += outcome.counts["dead"]
        if self.seen < SHARE_OVER:
            return None
        share = self.refused / self.seen
        self.seen = self.refused = 0
        return share if share > limit else None


@dataclass
class Session:
    """Reads, learns and checkpoints one lineage; one thread calls it."""

    services: Services
    recovered: Recovered
    lease: Lease
    feed: Feed
    committer: Committer
    frozen: bool = False
    commands: list[Command] = field(default_factory=list)

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
        self._share = Share()
        self._letters: list[DeadLetter] = []
        self._replayed: list[int] = []
        self._flight: Future[Written] | None = None
        self._asking: Future[Sequence[Command]] | None = None
        self._rest: Records | None = None
        self._slice = SMALLEST_SLICE * 16
        self._dirty = False
        footprint = self.services.footprint(f"{spec.name}-{self.lease.lineage}")
        self._suspicion = Suspicion(footprint, self.position, starts=self.recovered.starts)
        self._told_at = 0.0

    def step(self) -> bool:
        """Learn one slice if there is one, and see to the checkpoint; whether anything was learned."""
        if self.lease_lost:
            msg = f"the lease of {self.spec.name} was taken by another process; nothing more is written here"
            raise LeaseLostError(msg)
        run = None if self.frozen or self.held_back else self._next_run()
        if run is not None:
            self._learn(run)
        self._see_to_checkpoint()
        return run is not None

    def drained(self, ends: dict[TopicPartition, int]) -> bool:
        """Whether everything before `ends` has been learned."""
        return all(self.position.offsets.get(at, 0) >= end for at, end in ends.items())

    def flush_partial(self) -> None:
        """Learn what waits for a micro-batch to fill; for a stream that has ended."""
        outcome = self.learner.flush()
        if outcome.counts:
            self._take(next(iter(self.position.offsets), TopicPartition(self.spec.events, 0)), outcome)

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
        outcome = self.learner.learn(self._decoder.decode(records))
        if not outcome.refusals:
            self._replayed.append(letter.id)
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
        return self.learner.scored_since_commit > MOST_HELD_BACK or len(self._letters) > SHARE_OVER * 10

    def _next_run(self) -> Records | None:
        run = self._rest or self.feed.take(timeout_s=0)
        self._rest = None
        if run is None:
            return None
        count = self._suspicion.at_once(run.at, run.offsets, self._slice)
        if len(run.offsets) > count:
            run, self._rest = _split(run, count)
        return run

    def _learn(self, run: Records) -> None:
        began = time.perf_counter()
        if self._suspicion.convicts(run) and self.spec.learn.batch == 1:
            return self._pass_over(run)
        self._suspicion.begin(run)
        outcome = self.learner.learn(self._decoder.decode(run))
        self._suspicion.end()
        self.position = self.position.advanced({run.at: run.next_offset})
        seconds = time.perf_counter() - began
        if len(run.offsets):
            self._slice = int(min(max(len(run.offsets) / seconds * SLICE_S, SMALLEST_SLICE), LARGEST_SLICE))
        self.services.telemetry.batch(self.spec.name, outcome.counts, seconds)
        return self._take(run.at, outcome)

    def _take(self, at: TopicPartition, outcome: Outcome) -> None:
        self._dirty = True
        self._rhythm.learned(outcome.counts["learned"])
        limit = self.spec.dead_letters.max_payload
        for refusal in outcome.refusals:
            letter = DeadLetter(
                at, refusal.offset, refusal.reason, refusal.detail, refusal.payload, len(refusal.payload)
            )
            self._letters.append(cut(letter, limit))
        if outcome.refusals:
            reasons = Counter(str(refusal.reason) for refusal in outcome.refusals)
            self.services.telemetry.refused(self.spec.name, reasons)
        self._pause_if_too_much(outcome)

    def _pause_if_too_much(self, outcome: Outcome) -> None:
        share = self._share.passed(outcome, self.spec.guard.max_refused_share)
        if share is None:
            return
        reason = (
            f"{share:.0%} of the last events were refused, more than max_refused_share "
            f"{self.spec.guard.max_refused_share:.0%}; see `headrace deadletter list {self.spec.name}`, "
            f"then `headrace model unfreeze {self.spec.name}`"
        )
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
        state = self.learner.state()
        pending = self.learner.take_pending()
        self._rhythm.took(time.perf_counter() - began)
        letters, self._letters = self._letters, []
        replayed, self._replayed = self._replayed, []
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
                metrics=self._report(),
                order=pending.order,
                scores=pending.scores,
                scored=pending.scored,
                dead_letters=letters,
                replayed=replayed,
                max_dead_letters=self.spec.dead_letters.max_count,
                keep_scores_s=self.spec.scores.keep,
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

    def _landed(self, written: Written) -> None:
        self._committed_at = time.monotonic()
        self.commands = list(written.commands)
        self.feed.acknowledge(written.checkpoint.position)
        self.services.reached(CheckpointStep.ACKNOWLEDGED)
        telemetry = self.services.telemetry
        telemetry.checkpoint(self.spec.name, written.seconds, size=written.checkpoint.size)
        telemetry.gauges(self.spec.name, written.checkpoint.metrics)
        self._suspicion.committed(written.checkpoint.position)

    def _report(self) -> dict[str, object]:
        learner = self.learner
        return {**learner.report(), "counts": dict(learner.counts), "drift": learner.drift()}

    def lag(self) -> dict[TopicPartition, int]:
        """Events not yet learned, a partition at a time."""
        offsets = self.position.offsets
        return {at: max(bounds.end - offsets.get(at, 0), 0) for at, bounds in self.feed.bounds.items()}

    def _pass_over(self, run: Records) -> None:
        """Refuse the one record of this run."""
        detail = "the process died twice while learning it"
        refusal = Refusal(run.offsets[0], Reason.KILLED_PROCESS, detail, run.values[0])
        self.position = self.position.advanced({run.at: run.next_offset})
        self._take(run.at, self.learner.skip(run.at, refusal))


def _split(run: Records, count: int) -> tuple[Records, Records]:
    """The first `count` records, and the rest."""
    border = run.offsets[count] if count < len(run.offsets) else run.next_offset
    first = Records(run.at, run.offsets[:count], run.timestamps[:count], run.values[:count], border)
    rest = Records(run.at, run.offsets[count:], run.timestamps[count:], run.values[count:], run.next_offset)
    return first, rest

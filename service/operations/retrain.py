"""The plainest training: the model's own specification taught anew, in the order in which it was learned."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from service.domain.events import Reason, Records, Skipped
from service.domain.exclusion import Stretch, offsets
from service.domain.jobs import Candidate, Job, JobState
from service.domain.order import minus, size
from service.domain.position import Position, Run, merged
from service.domain.registry import SealedBytes, SealedState
from service.domain.specification import ModelSpec
from service.errors import NotFoundError, RefusedError
from service.learning.learner import Learner
from service.operations.history import History, gone
from service.operations.past import past_of
from service.operations.services import Services
from service.operations.sieve import Sieve
from service.operations.waiting_here import WaitingHere
from service.operations.waiting_set import pack
from service.ports import Stages

MOST_LETTERS = 1_000_000


@dataclass(frozen=True, slots=True)
class Window:
    """What is learned, in this order; behind it the stream goes on at `position`."""

    spec: ModelSpec
    runs: Sequence[Run]
    stretches: Sequence[Stretch]
    position: Position


class PlainRetraining:
    """Implements `ports.Training`: all that the champion and those before it have learned and that is not excluded."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def __call__(self, job: Job, stages: Stages) -> Candidate:
        """From Loading to Evaluating; BelowStartError where history is missing."""
        stages.enter(JobState.LOADING)
        window = _window(self._services, job.model)
        history = History(self._services, window.spec)
        try:
            missing = history.missing(window.runs)
            if missing:
                raise gone(missing, model=job.model)
            stages.enter(JobState.TRAINING, reason=f"{size(window.runs):,} offsets up to {window.position}")
            lesson = _Lesson(self._services, window)
            lesson.learn(history, stages)
        finally:
            history.close()
        stages.enter(JobState.EVALUATING, reason=f"learned {lesson.learner.counts['learned']:,} events")
        return lesson.candidate(job)


class _Lesson:
    """One learner and what waits for its labels."""

    def __init__(self, services: Services, window: Window) -> None:
        spec = window.spec
        estimator, allowed = services.build(spec)
        self._services = services
        self._window = window
        self._waiting = WaitingHere()
        self.learner = Learner(spec, Learner.new(spec, estimator), allowed=allowed)

    def learn(self, history: History, stages: Stages) -> None:
        """All of the window."""
        done, total = 0, size(self._window.runs)
        decoder, sieve = self._services.decoder(self._window.spec), Sieve(self._window.stretches)
        for run in self._window.runs:
            for found in history.read(run, exclusions=self._window.stretches):
                for item in sieve.pieces(found):
                    if not isinstance(item, Skipped):
                        decoded = decoder.decode(item) if isinstance(item, Records) else item
                        self._waiting.learn(self.learner, decoded)
                stages.advance(done + max(found.next_offset - run.first, 0), total)
            done += run.last - run.first

    def candidate(self, job: Job) -> Candidate:
        """The signed state, with its metrics over the window."""
        learner, spec, position = self.learner, self._window.spec, self._window.position
        metrics = {
            **learner.report(),
            "counts": dict(learner.counts),
            "drift": learner.drift(),
            "labels": learner.labels(),
        }
        sealed, digest = self._sealed(learner.state())
        return Candidate(
            state=SealedState(digest, sealed, position, learner.counts["learned"], metrics),
            spec=spec.model_dump(mode="json"),
            learned=self._window.runs,
            environment=self._services.environment,
            reason=job.reason,
            evidence={"cause": job.cause, "records": size(self._window.runs), "attempt": job.attempt},
            waiting=self._sealed_waiting(),
            waiting_rows=self._waiting.rows,
        )

    def _sealed_waiting(self) -> SealedBytes | None:
        if not self._waiting.rows:
            return None
        sealed, digest = self._sealed(pack(iter([self._waiting.rows])))
        return SealedBytes(digest, sealed)

    def _sealed(self, payload: bytes) -> tuple[bytes, str]:
        sealer, window = self._services.sealer, self._window
        sealed = sealer.seal(payload, model=window.spec.name, lineage="new", position=window.position)
        return sealed, sealer.digest(sealed)


def _window(services: Services, name: str) -> Window:
    """What the champion had learned by its newest checkpoint, and before that whoever it was restored from.

    A rollback without exclusions finds a state bad, not the records. RefusedError where nothing is left.
    """
    model = services.models.get(name)
    if model.champion is None:
        msg = f"found no champion of {name}; start `headrace learn {name}` first"
        raise NotFoundError(msg)
    newest = services.checkpoints.newest_first(model.champion)[0]
    line = past_of(services, name).lines[model.champion]
    order = merged([*line.seen, *minus(line.order_at(newest.sequence), line.seen)])
    stretches = [one.stretch for one in services.exclusions.list(name)]
    runs = minus(order, [*offsets(stretches), *_deadly(services, name)])
    if not runs:
        msg = f"found nothing that {name} has learned and that is not excluded, expected events to train on"
        raise RefusedError(msg)
    return Window(ModelSpec.model_validate(model.spec), runs, stretches, newest.position)


def _deadly(services: Services, name: str) -> Iterator[Run]:
    """Records that killed a process: they would kill this one."""
    for letter in services.dead_letters.list(name, limit=MOST_LETTERS, reason=Reason.KILLED_PROCESS):
        yield Run(letter.at.topic, letter.at.partition, letter.offset, letter.offset + 1)

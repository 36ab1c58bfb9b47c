"""What if: another specification on the same history, beside the present one; the registry is only read."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from service.domain.ancestry import Ancestor
from service.domain.events import Records, Skipped
from service.domain.exclusion import Stretch, offsets
from service.domain.order import begins_with, beyond, minus, size
from service.domain.position import Run
from service.domain.specification import ModelSpec
from service.errors import ConfigurationError, RefusedError
from service.learning.learner import Learner
from service.learning.lineage_state import restored
from service.operations.choose import Chosen
from service.operations.history import History, gone
from service.operations.past import Past, candidates, past_of, stood
from service.operations.recover import require_environment
from service.operations.replay import TELL_EVERY_S, Progress
from service.operations.services import Services
from service.operations.sieve import Sieve


@dataclass(frozen=True, slots=True)
class Question:
    """Another specification, and which history: from a state of the champion's line to a later one."""

    spec: ModelSpec
    begin_with: Chosen | None = None
    end_with: Chosen | None = None


def what_if(
    services: Services, model: str, question: Question, *, tell: Callable[[Progress], None] = lambda _found: None
) -> dict[str, Any]:
    """Both specifications' prequential metrics, scored over the same records in the same order.

    The present one begins with its state there, the other with nothing. BelowStartError where history is missing.
    """
    present = ModelSpec.model_validate(services.models.get(model).spec)
    if question.spec.events != present.events:
        msg = f"found events: {question.spec.events}, expected {present.events}: what if is asked of the same history"
        raise ConfigurationError(msg)
    past, stretches = past_of(services, model), [one.stretch for one in services.exclusions.list(model)]
    start, runs = _part(services, past, question)
    runs = minus(runs, offsets(stretches))
    scored = _Scored(services, runs, stretches, tell=tell)
    fresh = Learner.new(present, services.build(present)[0])
    state = restored(fresh, _payload(services, model, start)) if start and start.order else fresh
    return {
        "model": model,
        "from": start.name if start else "the beginning",
        "to": question.end_with.name if question.end_with else "the present",
        "records": size(runs),
        "present": scored.by(present, state),
        "other": scored.by(question.spec, Learner.new(question.spec, services.build(question.spec)[0])),
    }


class _Scored:
    """Runs a learner over the records and reports how it did."""

    def __init__(
        self,
        services: Services,
        runs: Sequence[Run],
        stretches: Sequence[Stretch],
        *,
        tell: Callable[[Progress], None],
    ) -> None:
        self._services = services
        self._runs = runs
        self._stretches = stretches
        self._sieve = Sieve(stretches)
        self._tell = tell
        self._done, self._began, self._told = 0, time.monotonic(), 0.0

    def by(self, spec: ModelSpec, state: bytes) -> Mapping[str, Any]:
        """Metrics and counts of these records alone."""
        learner = Learner(spec, state, allowed=self._services.build(spec)[1])
        decoder, history = self._services.decoder(spec), History(self._services, spec)
        try:
            missing = history.missing(self._runs) if self._runs else []
            if missing:
                raise gone(missing, model=spec.name)
            for run in self._runs:
                for found in history.read(run, exclusions=self._stretches):
                    for item in self._sieve.pieces(found):
                        if not isinstance(item, Skipped):
                            learner.learn(decoder.decode(item) if isinstance(item, Records) else item)
                            learner.take_pending()
                self._advance(run)
        finally:
            history.close()
        for _ in learner.flush():
            pass
        return {**learner.report(), "counts": dict(+learner.counts)}

    def _advance(self, run: Run) -> None:
        self._done += run.last - run.first
        if time.monotonic() - self._told > TELL_EVERY_S:
            self._told = time.monotonic()
            self._tell(Progress(self._done, 2 * size(self._runs), self._told - self._began))


def _part(services: Services, past: Past, question: Question) -> tuple[Ancestor | None, list[Run]]:
    """The state to begin with, and what the champion's line learned from there to the end in question."""
    known = candidates(services, past)
    ends = [_named(past, known, goal) for goal in (question.begin_with, question.end_with)]
    start, order = ends[0], ends[1].order if ends[1] else past.order
    if start is not None and not begins_with(order, start.order):
        msg = f"found {start.name} learned after the end that was named, expected --from before --to"
        raise RefusedError(msg)
    return start, beyond(order, start.order if start else [])


def _named(past: Past, known: Sequence[Ancestor], goal: Chosen | None) -> Ancestor | None:
    if goal is None:
        return None
    found = stood(known, goal.digest, name=goal.name)
    if not begins_with(past.order, found.order):
        msg = (
            f"found {goal.name} of {past.model} beside the champion's line, expected a state that it went through; "
            f"see `headrace model history {past.model}`"
        )
        raise RefusedError(msg)
    return found


def _payload(services: Services, model: str, start: Ancestor) -> bytes:
    opened = services.sealer.open(services.history.artifact(start.digest))
    require_environment(services, model, made=opened.environment)
    return opened.payload

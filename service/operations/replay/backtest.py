"""What if: another specification on the same history, beside the present one; the registry is only read."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from service.domain.registry.replay_routes import Ancestor
from service.domain.specification.model import ModelSpec
from service.domain.stream.events import Records, Skipped
from service.domain.stream.exclusion import Stretch, offsets
from service.domain.stream.offset_ranges import begins_with, beyond, minus, size
from service.domain.stream.position import Run
from service.errors import ConfigurationError, HeadraceError, RefusedError
from service.learning.learner.learner import Learner
from service.learning.learner.state import continued
from service.operations.history.exclusion_filter import Sieve
from service.operations.history.reader import History, gone
from service.operations.replay.base_state import UNUSABLE, Footing, footing, ways_to
from service.operations.replay.run import TELL_EVERY_S, Progress
from service.operations.services import Services
from service.operations.states.lineage_tree import Past, candidates, past_of, stood
from service.operations.states.pending_memory import WaitingHere
from service.operations.states.resolve import Chosen


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
    part = _Part(minus(runs, offsets(stretches)), stretches)
    begun = _begun(services, past, start, spec=present)
    led_up = beyond(start.order, begun.ancestor.order) if start and begun else []
    passes = _Passes(services, size(led_up) + 2 * size(part.runs), tell=tell)
    return {
        "model": model,
        "from": start.name if start else "the beginning",
        "to": question.end_with.name if question.end_with else "the present",
        "records": size(part.runs),
        "led_up": {"from": begun.ancestor.name, "records": size(led_up)} if begun and led_up else None,
        "present": passes.scored(*passes.led_up(present, begun, over=_Part(led_up)), over=part),
        "other": passes.scored(passes.learner(question.spec), WaitingHere(), over=part),
    }


@dataclass(frozen=True, slots=True)
class _Part:
    """Runs in the order of learning, and what of them is left out."""

    runs: Sequence[Run]
    stretches: Sequence[Stretch] = ()


class _Passes:
    """Leads learners over history, and tells how far they are of all that there is to learn."""

    def __init__(self, services: Services, total: int, *, tell: Callable[[Progress], None]) -> None:
        self._services = services
        self._total = total
        self._tell = tell
        self._done, self._began, self._told = 0, time.monotonic(), 0.0

    def learner(self, spec: ModelSpec, state: bytes | None = None) -> Learner:
        """One with that state, or with none."""
        estimator, allowed = self._services.build(spec)
        return Learner(spec, state or Learner.new(spec, estimator), allowed=allowed)

    def led_up(self, spec: ModelSpec, begun: Footing | None, *, over: _Part) -> tuple[Learner, WaitingHere]:
        """A learner that has gone on from there, with metrics that begin now, and what waits for it."""
        fresh = self.learner(spec)
        if begun is None:
            return fresh, WaitingHere()
        learner, waiting = self.learner(spec, begun.state), WaitingHere(begun.waiting)
        self._learn(learner, waiting, over)
        return self.learner(spec, continued(fresh.state(), learner.state())), waiting

    def scored(self, learner: Learner, waiting: WaitingHere, *, over: _Part) -> Mapping[str, Any]:
        """Metrics and counts of these records alone."""
        self._learn(learner, waiting, over)
        for _ in learner.flush():
            pass
        return {**learner.report(), "counts": dict(+learner.counts)}

    def _learn(self, learner: Learner, waiting: WaitingHere, over: _Part) -> None:
        spec, sieve = learner.spec, Sieve(over.stretches)
        decoder, history = self._services.decoder(spec), History(self._services, spec)
        try:
            missing = history.missing(over.runs) if over.runs else []
            if missing:
                raise gone(missing, model=spec.name)
            for run in over.runs:
                for found in history.read(run, exclusions=over.stretches):
                    for item in sieve.pieces(found):
                        if not isinstance(item, Skipped):
                            waiting.learn(learner, decoder.decode(item) if isinstance(item, Records) else item)
                self._advance(run)
        finally:
            history.close()

    def _advance(self, run: Run) -> None:
        self._done += run.last - run.first
        if time.monotonic() - self._told > TELL_EVERY_S:
            self._told = time.monotonic()
            self._tell(Progress(self._done, self._total, self._told - self._began))


def _begun(services: Services, past: Past, start: Ancestor | None, *, spec: ModelSpec) -> Footing | None:
    """The nearest state that leads up to that one and of which all is known; None where nothing was learned by then."""
    if start is None or not start.order:
        return None
    problems: list[HeadraceError] = []
    for ancestor in reversed(ways_to(past, start, candidates(services, past))):
        try:
            return footing(services, past, ancestor, spec=spec)
        except UNUSABLE as error:
            problems.append(error)
    raise problems[0]


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

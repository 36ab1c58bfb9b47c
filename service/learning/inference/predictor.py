"""A checkpoint's estimator and guard, which answer and learn nothing. Pure: no clock, no IO."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from service.domain.specification.limits import LARGEST_PREDICTION
from service.domain.specification.model import ModelSpec
from service.domain.stream.events import EventId, Features, Label, Reason
from service.errors import EstimatorError
from service.learning.engine.fast_path import Prediction, make_pass
from service.learning.engine.stepper import plain
from service.learning.guard.guard import Guard
from service.learning.guard.prediction_guard import Fault, Judgement
from service.learning.inference.vectorized import make_rows
from service.learning.learner.state import opened
from service.learning.pickling import codec


class Answer(msgspec.Struct, kw_only=True, gc=False):
    """What a model says of one item; `probabilities` by label where the model gives any."""

    id: EventId | msgspec.UnsetType = msgspec.UNSET
    prediction: Label | None
    probabilities: dict[str, float] | msgspec.UnsetType = msgspec.UNSET
    explanation: Any = msgspec.UNSET


Row: TypeAlias = Answer | Sequence[Fault]
"""An answer, or why there is none."""


class Answerer:
    """Judges features as the guard of the stream does, and predicts."""

    def __init__(self, spec: ModelSpec, state: bytes, *, allowed: frozenset[tuple[str, str]] = frozenset()) -> None:
        data = opened(state)
        self.spec = spec
        self.judgement = Judgement(Guard.restore(spec.guard, data["guard"]))
        self.estimator: Any = codec.loads(data["estimator"], extra=allowed)
        self._pass = make_pass(self.estimator, task=spec.task)
        self._rows = make_rows(self.estimator)
        self.strangers = 0
        """How often features came that the model has not learned: an estimator may keep a trace of their names."""

    def answer(self, x: Features) -> Row:
        """One item's."""
        if not self.judgement.passes(x):
            faults = self.judgement.faults(x)
            if faults:
                return faults
            self.strangers += 1
        try:
            said = self._pass.predict(x)
        except Exception as error:  # noqa: BLE001 - a user's estimator may throw anything
            return [Fault("", Reason.ESTIMATOR_FAILED, f"{type(error).__name__}: {error}")]
        return self._answered(said)

    def answers(self, xs: Sequence[Features]) -> Sequence[Row]:
        """Exactly what `answer` says of each, together where the estimator allows it."""
        found = self._rows(xs) if self._rows and self._sound(xs) else None
        if found is None:
            return self._each(xs)
        return [self._answered(said) for said in found]

    def labels(self, x: Features) -> Mapping[str, Label]:
        """The labels themselves by the names that their probabilities for these features have in an answer."""
        said = self._pass.predict(x)
        chances = said[1] if self._pass.pairs else said
        return {name_of(key): plain([key])[0] for key in chances}

    def _each(self, xs: Sequence[Features]) -> Sequence[Row]:
        foresee = getattr(self.estimator, "foresee", None)
        if foresee is None:
            return [self.answer(x) for x in xs]
        foresee([x for x in xs if self.judgement.passes(x)])
        try:
            return [self.answer(x) for x in xs]
        finally:
            foresee([])

    def _sound(self, xs: Sequence[Features]) -> bool:
        return all(map(self.judgement.passes, xs))

    def _answered(self, said: Prediction) -> Row:
        label, chances = said if self._pass.pairs else (said, None)
        if self._pass.gives_probabilities:
            chances = said if chances is None else chances
            if not math.isfinite(total := sum(chances.values())) or abs(total) >= LARGEST_PREDICTION:
                return _NOT_FINITE
            if not self._pass.pairs:
                label = max(chances, key=chances.__getitem__) if chances else None
            named = {name_of(key): float(chance) for key, chance in chances.items()}
            return Answer(prediction=label if type(label) in _PLAIN else plain([label])[0], probabilities=named)
        if isinstance(label, float) and not abs(label) < LARGEST_PREDICTION:
            return _NOT_FINITE
        return Answer(prediction=plain([label])[0])


_PLAIN = {bool, str, int}


def name_of(label: Any) -> str:
    """As JSON writes it; the number 1 is no `true`."""
    own = label if type(label) in _PLAIN else plain([label])[0]
    if type(own) is bool:
        return "true" if own else "false"
    return str(own)


_NOT_FINITE = [Fault("", Reason.NON_FINITE_PREDICTION, "the model predicts what is not finite")]


def require(row: Row) -> Answer:
    """The answer, or EstimatorError with the reasons why there is none."""
    if isinstance(row, Answer):
        return row
    raise EstimatorError("; ".join(fault.detail for fault in row))

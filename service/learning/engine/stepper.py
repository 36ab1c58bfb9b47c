"""Runs an estimator over events and keeps it whole when an event breaks it.

An estimator that throws in the middle of learning, or predicts what is not finite, is put back to
the last snapshot, taught again what it had learned since, and the event at fault is left out.
After a failure a new snapshot is taken, so that relearning never costs more than the learning did.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np

from service.domain.specification.limits import LARGEST_PREDICTION
from service.domain.stream.events import Event, Reason, Task
from service.learning.engine.batch_fast_path import make_batch_pass
from service.learning.engine.binary_probabilities import BinaryProbabilities
from service.learning.engine.columns import Columns
from service.learning.engine.fast_path import Prediction, make_pass
from service.learning.engine.work_items import Answer, Item, Question, event_of
from service.learning.estimators.capabilities import takes_weights
from service.learning.pickling import codec

SNAPSHOT_EVERY = 8192
_SPOILT = (Reason.NON_FINITE_PREDICTION, "after learning it the model predicts what is not finite")
_PYTHONS = {bool, int, float, str, dict, type(None)}


@dataclass(frozen=True, slots=True)
class Learned:
    """What became of a batch: what was done, what was predicted for each, what was left out."""

    items: Sequence[Item]
    predictions: Sequence[Prediction]
    failed: Sequence[tuple[Item, Reason, str]] = field(default=())


class Stepper:
    """One estimator, its last snapshot and what it has learned since then."""

    def __init__(self, snapshot: bytes, *, task: Task, extra: frozenset[tuple[str, str]] = frozenset()) -> None:
        self._task = task
        self._extra = extra
        self._snapshot = snapshot
        self._tail: list[Item] = []
        self._load()

    def learn(self, items: Sequence[Item], *, before: Callable[[Item], None] | None = None) -> Learned:
        """Predict, then learn, event by event; `before` is told of each first.

        A question is only predicted, an answer only learned: it was predicted before.
        """
        done: list[Item] = []
        predictions: list[Prediction] = []
        todo: Sequence[Item] = items
        failed: list[tuple[Item, Reason, str]] = []
        while todo:
            held, error = self._attempt(todo, predictions, before)
            done += todo[:held]
            if error is None:
                break
            failed.append((todo[held], *error))
            todo, lost = without_answers_to([todo[held]], todo[held + 1 :])
            failed += lost
        if len(self._tail) >= SNAPSHOT_EVERY:
            self.snapshot()
        found = plain(predictions)
        for item, prediction in zip(done, found, strict=True):
            if type(item) is Question:
                item.prediction = prediction
        return Learned(done, found, failed)

    def learn_many(self, events: Columns) -> Learned:
        """Predict the whole batch, then learn it at once; event by event if it breaks the model.

        All events have the same features, so that any event is a witness for all.
        """
        try:
            predictions = self._batch.predict(events)
            self._batch.learn(events)
            broken = not _finite(predictions) or not self._is_sound(events[-1:])
        except Exception:  # noqa: BLE001 - the events are tried one by one, and the culprit reported
            broken = True
        if broken:
            self._restore([])
            return self.learn(list(events))
        self.snapshot()
        return Learned(events, plain(predictions))

    def predict(self, x: dict[str, Any]) -> Prediction:
        """What the estimator says now; learns nothing."""
        return plain([self._pass.predict(x)])[0]

    def snapshot(self) -> bytes:
        """The estimator's state; the point to which a failure goes back."""
        self._snapshot = codec.dumps(self.estimator)
        self._tail.clear()
        return self._snapshot

    def copy(self, snapshot: bytes) -> "Stepper":
        """One of its own that goes on from there."""
        return Stepper(snapshot, task=self._task, extra=self._extra)

    def replace(self, snapshot: bytes) -> None:
        """Go on with another state."""
        self._snapshot = snapshot
        self._tail.clear()
        self._load()

    @property
    def gives_probabilities(self) -> bool:
        """Whether a prediction is, or carries, `{label: probability}`."""
        return self._pass.gives_probabilities

    @property
    def pairs(self) -> bool:
        """Whether a prediction is (label, probabilities)."""
        return self._pass.pairs

    def _load(self) -> None:
        self.estimator: Any = codec.loads(self._snapshot, extra=self._extra)
        self._pass = make_pass(self.estimator, task=self._task)
        self._batch = make_batch_pass(self.estimator, task=self._task, probabilities=self._pass.gives_probabilities)
        self._takes_weights = takes_weights(self.estimator)
        self._foresee: Callable[[Sequence[Any]], None] | None = getattr(self.estimator, "foresee", None)

    def _attempt(
        self, todo: Sequence[Item], predictions: list[Prediction], before: Callable[[Item], None] | None
    ) -> tuple[int, tuple[Reason, str] | None]:
        """Learn until something breaks: how many events held, and what the next one did."""
        start = len(predictions)
        try:
            self._run(todo, predictions, before)
            sound = self._is_sound(todo)
        except Exception as error:  # noqa: BLE001 - a user's estimator may throw anything
            held = len(predictions) - start
            fault = (Reason.ESTIMATOR_FAILED, f"{type(error).__name__}: {error}")
            if self._spoil(todo[:held]):
                held, fault = self._spoilt_after(todo[:held]), _SPOILT
        else:
            if sound:
                self._tail += [item for item in todo if type(item) is not Question]
                return len(todo), None
            held, fault = self._spoilt_after(todo), _SPOILT
        held = min(held, len(todo) - 1)
        del predictions[start + held :]
        self._restore(todo[:held])
        return held, fault

    def weighable(self, events: Sequence[Event]) -> tuple[Sequence[Event], list[tuple[Event, Reason, str]]]:
        """The events whose weight the estimator heeds, and the others."""
        weightless = self._takes_weights or isinstance(events, Columns)
        heavy = [] if weightless else [event for event in events if event.weight != 1.0]
        if not heavy:
            return events, []
        detail = f"{type(self.estimator).__name__} learns no weights, expected 1 or none"
        good = [event for event in events if event.weight == 1.0]
        return good, [(one, Reason.BAD_WEIGHT, f"found {one.weight:g}, but {detail}") for one in heavy]

    def _run(self, todo: Sequence[Item], predictions: list[Prediction], before: Callable[[Item], None] | None) -> None:
        step, predict, keep = self._pass.step, self._pass.predict, predictions.append
        if self._foresee is not None:
            self._foresee([event_of(item).x for item in todo])
        for item in todo:
            if before is not None:
                before(item)
            if type(item) is Event:
                keep(step(item.x, item.y) if item.weight == 1.0 else self._weighted(item))
            elif type(item) is Question:
                if not item.served:
                    item.prediction = predict(item.event.x)
                keep(item.prediction)
            elif isinstance(item, Answer):
                self._learn_answer(item)
                keep(item.question.prediction)

    def _learn_answer(self, answer: Answer) -> None:
        event = answer.question.event
        if event.weight == 1.0:
            self._pass.learn(event.x, answer.truth.y)
        else:
            self.estimator.learn_one(event.x, answer.truth.y, w=event.weight)

    def _weighted(self, event: Event) -> Prediction:
        prediction = self._pass.predict(event.x)
        self.estimator.learn_one(event.x, event.y, w=event.weight)
        return prediction

    def _restore(self, relearn: Sequence[Item]) -> None:
        self._load()
        self._run([*self._tail, *relearn], [], None)
        self.snapshot()

    def _is_sound(self, learned: Sequence[Item]) -> bool:
        """Whether the state predicts what is finite for every feature of the events.

        A prediction that was not finite before learning (a scaler's first sight of a feature) is
        only of the moment.
        """
        try:
            return _finite([self._pass.predict(event.x) for event in _witnesses(learned)])
        except Exception:  # noqa: BLE001 - it could predict them before it learned them
            return False

    def _spoil(self, items: Sequence[Item]) -> bool:
        """Whether these, which an exception cut short, had spoilt the state before it came."""
        self._load()
        self._run([*self._tail, *items], [], None)
        return bool(items) and not self._is_sound(items)

    def _spoilt_after(self, todo: Sequence[Item]) -> int:
        """How many can be learned before the state is spoilt for good."""
        self._load()
        self._run(self._tail, [], None)
        for count, item in enumerate(todo):
            self._run([item], [], None)
            if not self._is_sound(todo[: count + 1]):
                return count
        return len(todo) - 1


def without_answers_to(
    failed: Sequence[Item], rest: Sequence[Item]
) -> tuple[Sequence[Item], list[tuple[Item, Reason, str]]]:
    """What can still be done where questions could not be predicted: their answers cannot be learned."""
    refused = {id(item) for item in failed}
    lost = [item for item in rest if isinstance(item, Answer) and id(item.question) in refused]
    if not lost:
        return rest, []
    gone = set(map(id, lost))
    kept = [item for item in rest if id(item) not in gone]
    return kept, [(item, Reason.ESTIMATOR_FAILED, "its event was refused") for item in lost]


def _witnesses(items: Sequence[Item]) -> list[Event]:
    """The latest events that were learned, as few as carry every feature."""
    seen: set[str] = set()
    found: list[Event] = []
    for item in reversed(items):
        if type(item) is Question:
            continue
        event = event_of(item)
        if not found or not seen.issuperset(event.x):
            seen.update(event.x)
            found.append(event)
    return found


def without_non_finite(predictions: Sequence[Prediction]) -> list[Prediction]:
    """The predictions, with None for any that is not finite: it cannot be scored."""
    if _finite(predictions):
        return list(predictions)
    return [one if _finite([one]) else None for one in predictions]


def plain(predictions: Sequence[Prediction]) -> Sequence[Prediction]:
    """The predictions with Python's own numbers and labels: a checkpoint holds no others."""
    if isinstance(predictions, BinaryProbabilities):
        return predictions
    parts: Iterable[Any] = predictions
    if predictions and isinstance(predictions[0], tuple):
        parts = chain.from_iterable(predictions)
    kinds = set(map(type, parts))
    if dict in kinds:
        kinds |= set(map(type, chain.from_iterable(part.values() for part in _dicts(predictions))))
    return list(predictions) if kinds <= _PYTHONS else [_plain(one) for one in predictions]


def _dicts(predictions: Sequence[Prediction]) -> Iterable[dict[Any, Any]]:
    return (part for one in predictions for part in (one if isinstance(one, tuple) else (one,)) if type(part) is dict)


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(map(_plain, value))
    if isinstance(value, dict):
        return {_plain(key): _plain(one) for key, one in value.items()}
    return value.item() if isinstance(value, np.generic) else value


def _finite(predictions: Sequence[Prediction]) -> bool:
    """Whether all are numbers that a metric can square."""
    return abs(_total(predictions)) < LARGEST_PREDICTION


def _total(predictions: Sequence[Prediction]) -> float:
    """A sum in which anything that is not finite shows."""
    if isinstance(predictions, BinaryProbabilities):
        return predictions.total()
    shown = [p for p in predictions if p is not None]
    if not shown:
        return 0.0
    if isinstance(shown[0], tuple):
        shown = [probabilities for _, probabilities in shown]
    if isinstance(shown[0], dict):
        return float(sum(chain.from_iterable(map(dict.values, shown))))
    return float(sum(p for p in shown if isinstance(p, int | float | np.floating)))

"""Runs an estimator over events and keeps it whole when an event breaks it.

An estimator that throws in the middle of learning, or predicts what is not finite, is put back to
the last snapshot, taught again what it had learned since, and the event at fault is left out.
After a failure a new snapshot is taken, so that relearning never costs more than the learning did.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import polars as pl

from service.domain.events import Event, Reason, Task
from service.learning import codec
from service.learning.passes import Prediction, make_pass

SNAPSHOT_EVERY = 8192


@dataclass(frozen=True, slots=True)
class Learned:
    """What became of a batch: the events learned, what was predicted for each, those left out."""

    events: Sequence[Event]
    predictions: Sequence[Prediction]
    failed: Sequence[tuple[Event, Reason, str]] = field(default=())


class Stepper:
    """One estimator, its last snapshot and what it has learned since then."""

    def __init__(self, snapshot: bytes, *, task: Task, extra: frozenset[tuple[str, str]] = frozenset()) -> None:
        self._task = task
        self._extra = extra
        self._snapshot = snapshot
        self._tail: list[Event] = []
        self._load()

    def learn(self, events: Sequence[Event], *, before: Callable[[Event], None] | None = None) -> Learned:
        """Predict, then learn, event by event; `before` is told of each event first."""
        learned: list[Event] = []
        predictions: list[Prediction] = []
        failed: list[tuple[Event, Reason, str]] = []
        todo = list(events)
        while todo:
            done, error = self._attempt(todo, predictions, before)
            learned += todo[:done]
            if error is None:
                break
            failed.append((todo[done], *error))
            todo = todo[done + 1 :]
        if len(self._tail) >= SNAPSHOT_EVERY:
            self.snapshot()
        return Learned(learned, predictions, failed)

    def learn_many(self, events: Sequence[Event], frame: pl.DataFrame) -> Learned:
        """Predict the whole batch, then learn it at once; event by event if it breaks the model.

        `frame` has a row an event and a column a feature.
        """
        try:
            predictions = self._predict_many(frame)
            self.estimator.learn_many(frame, pl.Series("y", [event.y for event in events]))
            broken = not math.isfinite(_total([*predictions, self._pass.predict(events[-1].x)]))
        except Exception:  # noqa: BLE001 - the events are tried one by one, and the culprit reported
            broken = True
        if broken:
            self._restore([])
            return self.learn(events)
        self.snapshot()
        return Learned(events, predictions)

    def predict(self, x: dict[str, Any]) -> Prediction:
        """What the estimator says now; learns nothing."""
        return self._pass.predict(x)

    def snapshot(self) -> bytes:
        """The estimator's state; the point to which a failure goes back."""
        self._snapshot = codec.dumps(self.estimator)
        self._tail.clear()
        return self._snapshot

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

    def _attempt(
        self, todo: Sequence[Event], predictions: list[Prediction], before: Callable[[Event], None] | None
    ) -> tuple[int, tuple[Reason, str] | None]:
        """Learn until something breaks: how many events held, and what the next one did."""
        start = len(predictions)
        try:
            self._run(todo, predictions, before)
            held = self._finite_until(todo, predictions[start:])
        except Exception as error:  # noqa: BLE001 - a user's estimator may throw anything
            held = len(predictions) - start
            fault = (Reason.ESTIMATOR_FAILED, f"{type(error).__name__}: {error}")
        else:
            if held == len(todo):
                self._tail += todo
                return held, None
            fault = (Reason.NON_FINITE_PREDICTION, "after learning it the model predicts what is not finite")
        held = min(held, len(todo) - 1)
        del predictions[start + held :]
        self._restore(todo[:held])
        return held, fault

    def _run(
        self, todo: Sequence[Event], predictions: list[Prediction], before: Callable[[Event], None] | None
    ) -> None:
        step, keep = self._pass.step, predictions.append
        for event in todo:
            if before is not None:
                before(event)
            if event.weight == 1.0:
                keep(step(event.x, event.y))
            else:
                keep(self._weighted(event))

    def _predict_many(self, frame: pl.DataFrame) -> list[Prediction]:
        if not self.gives_probabilities:
            return list(self.estimator.predict_many(frame).to_list())
        found = self.estimator.predict_proba_many(frame)
        labels = self._classes(found.columns)
        rows = found.rows()
        return [dict(zip(labels, row, strict=True)) for row in rows]

    def _classes(self, columns: Sequence[str]) -> list[Any]:
        if self._task is not Task.BINARY:
            return list(columns)
        return [{"True": True, "False": False, "true": True, "false": False}.get(str(c), c) for c in columns]

    def _weighted(self, event: Event) -> Prediction:
        prediction = self._pass.predict(event.x)
        self.estimator.learn_one(event.x, event.y, w=event.weight)
        return prediction

    def _restore(self, relearn: Sequence[Event]) -> None:
        self._load()
        self._run([*self._tail, *relearn], [], None)
        self.snapshot()

    def _finite_until(self, todo: Sequence[Event], predictions: Sequence[Prediction]) -> int:
        """How many events could be learned before the state was spoilt for good.

        The last event is predicted once more: if that is finite, the state is sound, and a
        prediction that was not (a scaler's first sight of a feature) was only of the moment.
        """
        seen = [*predictions, self._pass.predict(todo[-1].x)]
        if math.isfinite(_total(seen)) or math.isfinite(_total(seen[-1:])):
            return len(todo)
        spoilt = len(seen)
        while spoilt and not math.isfinite(_total(seen[spoilt - 1 : spoilt])):
            spoilt -= 1
        return max(spoilt - 1, 0)


def without_non_finite(predictions: Sequence[Prediction]) -> list[Prediction]:
    """The predictions, with None for any that is not finite: it cannot be scored."""
    if math.isfinite(_total(predictions)):
        return list(predictions)
    return [one if math.isfinite(_total([one])) else None for one in predictions]


def _total(predictions: Sequence[Prediction]) -> float:
    """A sum in which anything that is not finite shows."""
    shown = [p for p in predictions if p is not None]
    if not shown:
        return 0.0
    if isinstance(shown[0], tuple):
        shown = [probabilities for _, probabilities in shown]
    if isinstance(shown[0], dict):
        return float(sum(chain.from_iterable(map(dict.values, shown))))
    return float(sum(p for p in shown if isinstance(p, int | float)))

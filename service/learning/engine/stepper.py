"""Runs an estimator over events and keeps it whole when an event breaks it.

An estimator that throws in the middle of learning, or predicts what is not finite, is put back to the last snapshot,
learns again what it had learned since, and leaves out the event at fault. After a failure a new snapshot is taken, so
that relearning never costs more than the learning did.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from service.domain.stream.events import Event, RefusalReason, Task
from service.learning.engine.batch_fast_path import make_batch_fast_path
from service.learning.engine.columns import EventColumns
from service.learning.engine.fast_path import RawPrediction, make_fast_path
from service.learning.engine.prediction_values import are_all_finite, as_python_values
from service.learning.engine.work_items import LabelledEvent, UnlabelledEvent, WorkItem, item_event
from service.learning.estimators.capabilities import takes_weights
from service.learning.pickling import codec

SNAPSHOT_EVERY = 8192  # events; a failure relearns at most about as many
_CORRUPTED = (RefusalReason.NON_FINITE_PREDICTION, "after learning it the model predicts what is not finite")


@dataclass(frozen=True, slots=True)
class StepResult:
    """The items that were done, the prediction of each, and the items that were left out with the reason."""

    items: Sequence[WorkItem]
    predictions: Sequence[RawPrediction]
    failed: Sequence[tuple[WorkItem, RefusalReason, str]] = field(default=())


class Stepper:
    """One estimator, its last snapshot and what it has learned since then."""

    def __init__(self, snapshot: bytes, *, task: Task, extra: frozenset[tuple[str, str]] = frozenset()) -> None:
        self._task = task
        self._extra = extra
        self._snapshot = snapshot
        self._learned_since_snapshot: list[WorkItem] = []
        self._load()

    def learn(self, items: Sequence[WorkItem], *, on_item: Callable[[WorkItem], None] | None = None) -> StepResult:
        """Predict, then learn, event by event; `on_item` is called with each item first.

        An unlabelled event is only predicted; a labelled event is only learned, since it was predicted before.
        """
        done: list[WorkItem] = []
        predictions: list[RawPrediction] = []
        todo: Sequence[WorkItem] = items
        failed: list[tuple[WorkItem, RefusalReason, str]] = []
        while todo:
            learned_count, error = self._attempt(todo, predictions, on_item)
            done += todo[:learned_count]
            if error is None:
                break
            failed.append((todo[learned_count], *error))
            todo, lost = without_labels_of([todo[learned_count]], todo[learned_count + 1 :])
            failed += lost
        if len(self._learned_since_snapshot) >= SNAPSHOT_EVERY:
            self.snapshot()
        found = as_python_values(predictions)
        for item, prediction in zip(done, found, strict=True):
            if type(item) is UnlabelledEvent:
                item.prediction = prediction
        return StepResult(done, found, failed)

    def learn_many(self, events: EventColumns) -> StepResult:
        """Predict the whole batch, then learn it at once; event by event if it breaks the model.

        All events have the same features, so any one of them can probe whether the model is valid for all.
        """
        try:
            predictions = self._batch_fast_path.predict(events)
            self._batch_fast_path.learn(events)
            is_corrupted = not are_all_finite(predictions) or not self._is_valid(events[-1:])
        except Exception:  # noqa: BLE001 - the events are tried one by one, and the culprit reported
            is_corrupted = True
        if is_corrupted:
            self._restore([])
            return self.learn(list(events))
        self.snapshot()
        return StepResult(events, as_python_values(predictions))

    def predict(self, x: dict[str, Any]) -> RawPrediction:
        """Return the estimator's prediction, without learning."""
        return as_python_values([self._fast_path.predict(x)])[0]

    def snapshot(self) -> bytes:
        """Return the estimator's state, which is also what a failure restores."""
        self._snapshot = codec.dumps(self.estimator)
        self._learned_since_snapshot.clear()
        return self._snapshot

    def copy(self, snapshot: bytes) -> "Stepper":
        """Return another stepper that continues from this snapshot."""
        return Stepper(snapshot, task=self._task, extra=self._extra)

    def replace(self, snapshot: bytes) -> None:
        """Continue with another state."""
        self._snapshot = snapshot
        self._learned_since_snapshot.clear()
        self._load()

    @property
    def gives_probabilities(self) -> bool:
        """Return whether a prediction is, or carries, `{label: probability}`."""
        return self._fast_path.gives_probabilities

    @property
    def gives_pairs(self) -> bool:
        """Return whether a prediction is (label, probabilities)."""
        return self._fast_path.gives_pairs

    def _load(self) -> None:
        self.estimator: Any = codec.loads(self._snapshot, extra=self._extra)
        self._fast_path = make_fast_path(self.estimator, task=self._task)
        self._batch_fast_path = make_batch_fast_path(
            self.estimator, task=self._task, probabilities=self._fast_path.gives_probabilities
        )
        self._takes_weights = takes_weights(self.estimator)
        self._predict_ahead: Callable[[Sequence[Any]], None] | None = getattr(self.estimator, "predict_ahead", None)

    def _attempt(
        self, todo: Sequence[WorkItem], predictions: list[RawPrediction], on_item: Callable[[WorkItem], None] | None
    ) -> tuple[int, tuple[RefusalReason, str] | None]:
        """Learn until something breaks; return how many items hold, and what the next one did."""
        start = len(predictions)
        try:
            self._run(todo, predictions, on_item)
            valid = self._is_valid(todo)
        except Exception as error:  # noqa: BLE001 - a user's estimator may throw anything
            learned_count = len(predictions) - start
            fault = (RefusalReason.ESTIMATOR_FAILED, f"{type(error).__name__}: {error}")
            # The item that threw may be the victim of an earlier one that had corrupted the state.
            if self._corrupts(todo[:learned_count]):
                learned_count, fault = self._valid_count(todo[:learned_count]), _CORRUPTED
        else:
            if valid:
                self._learned_since_snapshot += [item for item in todo if type(item) is not UnlabelledEvent]
                return len(todo), None
            learned_count, fault = self._valid_count(todo), _CORRUPTED
        learned_count = min(learned_count, len(todo) - 1)
        del predictions[start + learned_count :]
        self._restore(todo[:learned_count])
        return learned_count, fault

    def split_by_weight_support(
        self, events: Sequence[Event]
    ) -> tuple[Sequence[Event], list[tuple[Event, RefusalReason, str]]]:
        """Return the events whose weight the estimator can use, and the others with the reason."""
        all_supported = self._takes_weights or isinstance(events, EventColumns)
        unsupported = [] if all_supported else [event for event in events if event.weight != 1.0]
        if not unsupported:
            return events, []
        detail = f"{type(self.estimator).__name__} learns no weights, expected 1 or none"
        supported = [event for event in events if event.weight == 1.0]
        return supported, [
            (one, RefusalReason.BAD_WEIGHT, f"found {one.weight:g}, but {detail}") for one in unsupported
        ]

    def _run(
        self, todo: Sequence[WorkItem], predictions: list[RawPrediction], on_item: Callable[[WorkItem], None] | None
    ) -> None:
        step, predict, keep = self._fast_path.step, self._fast_path.predict, predictions.append
        if self._predict_ahead is not None:
            self._predict_ahead([item_event(item).x for item in todo])
        for item in todo:
            if on_item is not None:
                on_item(item)
            if type(item) is Event:
                keep(step(item.x, item.y) if item.weight == 1.0 else self._weighted(item))
            elif type(item) is UnlabelledEvent:
                if not item.served:
                    item.prediction = predict(item.event.x)
                keep(item.prediction)
            elif isinstance(item, LabelledEvent):
                self._learn_labelled(item)
                keep(item.unlabelled.prediction)

    def _learn_labelled(self, labelled: LabelledEvent) -> None:
        event = labelled.unlabelled.event
        if event.weight == 1.0:
            self._fast_path.learn(event.x, labelled.label.y)
        else:
            self.estimator.learn_one(event.x, labelled.label.y, w=event.weight)

    def _weighted(self, event: Event) -> RawPrediction:
        prediction = self._fast_path.predict(event.x)
        self.estimator.learn_one(event.x, event.y, w=event.weight)
        return prediction

    def _restore(self, relearn: Sequence[WorkItem]) -> None:
        self._load()
        self._run([*self._learned_since_snapshot, *relearn], [], None)
        self.snapshot()

    def _is_valid(self, learned: Sequence[WorkItem]) -> bool:
        """Return whether the state predicts finite values for every feature of the events.

        A prediction that was not finite before learning (a scaler's first sight of a feature) is only temporary.
        """
        try:
            return are_all_finite([self._fast_path.predict(event.x) for event in _probe_events(learned)])
        except Exception:  # noqa: BLE001 - it could predict them before it learned them
            return False

    def _corrupts(self, items: Sequence[WorkItem]) -> bool:
        """Return whether these items had corrupted the state before an exception cut learning short."""
        self._load()
        self._run([*self._learned_since_snapshot, *items], [], None)
        return bool(items) and not self._is_valid(items)

    def _valid_count(self, todo: Sequence[WorkItem]) -> int:
        """Return how many items can be learned before the state is corrupted for good."""
        self._load()
        self._run(self._learned_since_snapshot, [], None)
        for count, item in enumerate(todo):
            self._run([item], [], None)
            if not self._is_valid(todo[: count + 1]):
                return count
        return len(todo) - 1


def without_labels_of(
    failed: Sequence[WorkItem], rest: Sequence[WorkItem]
) -> tuple[Sequence[WorkItem], list[tuple[WorkItem, RefusalReason, str]]]:
    """Return what can still be done after events could not be predicted, and the labels that cannot be learned."""
    refused = {id(item) for item in failed}
    dropped = [item for item in rest if isinstance(item, LabelledEvent) and id(item.unlabelled) in refused]
    if not dropped:
        return rest, []
    gone = set(map(id, dropped))
    kept = [item for item in rest if id(item) not in gone]
    return kept, [(item, RefusalReason.ESTIMATOR_FAILED, "its event was refused") for item in dropped]


def _probe_events(items: Sequence[WorkItem]) -> list[Event]:
    """Return the latest learned events, as few as together carry every feature."""
    seen: set[str] = set()
    found: list[Event] = []
    for item in reversed(items):
        if type(item) is UnlabelledEvent:
            continue
        event = item_event(item)
        if not found or not seen.issuperset(event.x):
            seen.update(event.x)
            found.append(event)
    return found

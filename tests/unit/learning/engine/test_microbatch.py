"""Micro-batches predict and learn what river's `learn_many` does."""

from itertools import islice
from random import Random

import numpy as np
import polars as pl
import pytest
from river import datasets, linear_model, preprocessing

from service.domain.stream.events import Event, Task, TopicPartition
from service.learning.engine.binary_probabilities import BinaryProbabilities
from service.learning.engine.columns import EventColumns
from service.learning.engine.microbatch import MicroBatch
from service.learning.engine.stepper import Stepper
from service.learning.pickling import codec

AT = TopicPartition("events", 0)
SIZE = 64
EVENTS = [Event(i, i, i, dict(x), y) for i, (x, y) in enumerate(islice(datasets.Phishing(), 640))]


def _model() -> object:
    return preprocessing.StandardScaler() | linear_model.LogisticRegression()


@pytest.mark.parametrize("polled", [1, 50, 64, 150, 640])
@pytest.mark.parametrize("columnar", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("restarted", [False, True])
def test_batches_are_rivers_whatever_was_polled(polled: int, columnar: float, restarted: bool) -> None:
    """Predictions equal those of `predict_proba_many` before `learn_many`, to the bit, in columns and in events."""
    stepper, chance = Stepper(codec.dumps(_model()), task=Task.BINARY), Random(42)
    batches, found = MicroBatch(stepper, size=SIZE), []
    for start in range(0, len(EVENTS), polled):
        events = EVENTS[start : start + polled]
        items = EventColumns.of(events) if chance.random() < columnar else events
        assert items is not None
        found += batches.learn(AT, items).predictions
        if restarted and start == 300:
            batches = MicroBatch.restore(stepper, size=SIZE, state=batches.state())
    model = _model()
    expected = []
    for start in range(0, len(EVENTS), SIZE):
        batch = EVENTS[start : start + SIZE]
        frame = pl.DataFrame([event.x for event in batch], schema=dict.fromkeys(sorted(batch[0].x), pl.Float64))
        rows = model.predict_proba_many(frame)
        expected += [{False: no, True: yes} for no, yes in zip(rows["False"], rows["True"], strict=True)]
        model.learn_many(frame, pl.Series([event.y for event in batch]))
    assert found == expected


def test_columns_say_what_the_dictionaries_say() -> None:
    """Labels are each dictionary's first most probable class, also on a tie."""
    found = BinaryProbabilities(np.array([0.5, 0.25, 0.75]), np.array([0.5, 0.75, 0.25]))
    assert found.labels() == [max(one, key=one.__getitem__) for one in found] == [False, True, False]
    assert found.positive() == [one[True] for one in found]
    assert list(found[1:]) == list(found)[1:]
    assert found.total() == 3.0


@pytest.mark.parametrize(
    "odd", [{"a": 1.0}, {"b": 1.0, "a": 1.0}, {"a": 1.0, "b": 1.0, "c": 1.0}, {"a": "1", "b": 1.0}]
)
def test_a_batch_of_several_layouts_is_learned_event_by_event(odd: dict[str, float | str]) -> None:
    """A batch in which one event has other features is learned all the same."""
    xs: list[dict[str, float | str]] = [{"a": float(i % 5), "b": float(i % 3)} for i in range(SIZE)]
    xs[SIZE // 2] = odd
    batches = MicroBatch(Stepper(codec.dumps(_model()), task=Task.BINARY), size=SIZE)
    learned = batches.learn(AT, [Event(i, i, i, x, i % 2 == 0) for i, x in enumerate(xs)])
    assert len(learned.items) + len(learned.failed) == SIZE
    assert len(learned.failed) == isinstance(odd.get("a"), str)

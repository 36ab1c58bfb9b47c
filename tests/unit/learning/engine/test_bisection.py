"""Bisection finds the event of a micro-batch that kills the process, and changes nothing else."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import msgspec
import pytest
from river import datasets, linear_model, preprocessing

from service.domain.specification.model import ModelSpec
from service.domain.stream.events import DecodedRecords, Event, LabelRecord, RefusalReason, Task, TopicPartition
from service.learning.engine.microbatch import MicroBatch
from service.learning.engine.stepper import Stepper
from service.learning.engine.work_items import LabelledEvent, UnlabelledEvent, WorkItem
from service.learning.learner.learner import Learner
from service.learning.pickling import codec

AT = TopicPartition("events", 3)
SIZE = 8
DEADLY = -99.0
EVENTS = [Event(2 * i, i, i, dict(x), y) for i, (x, y) in enumerate(islice(datasets.Phishing(), 200))]


class DeadError(BaseException):
    """The death of the process; it is no exception of the estimator, so nothing restores the model."""


class Fragile(linear_model.LogisticRegression):
    """An estimator that kills the process when a batch holds a deadly number."""

    def learn_many(self, X: Any, y: Any, w: Any = 1) -> None:  # noqa: N803 - river's name
        """Learn as the parent does, or die."""
        if (X.to_numpy() == DEADLY).any():
            raise DeadError
        super().learn_many(X, y, w)

    def learn_one(self, x: Any, y: Any, w: Any = 1.0) -> None:
        """Learn as the parent does, or die."""
        if DEADLY in x.values():
            raise DeadError
        super().learn_one(x, y, w)


ALLOWED = frozenset({(__name__, "Fragile")})


@dataclass
class Notes:
    """A crash tracker in memory; with `died` every batch is bisected."""

    died: bool
    marks: list[list[int]] = field(default_factory=list)

    def mark(self, at: TopicPartition, offsets: Sequence[int]) -> None:
        """Note the offsets."""
        assert at == AT
        self.marks.append(list(offsets))

    def learned(self, at: TopicPartition, offsets: Sequence[int]) -> None:
        """Do nothing."""

    def died_within(self, at: TopicPartition, offsets: Sequence[int]) -> bool:
        """Return what the test chose."""
        return self.died


def fragile() -> Stepper:
    """Return a stepper that has learned nothing."""
    return Stepper(codec.dumps(Fragile()), task=Task.BINARY, extra=ALLOWED)


def deadly(event: Event, **more: float) -> Event:
    """Return the event with a number that kills."""
    return Event(event.offset, event.id, event.ts, {**event.x, "age_of_domain": DEADLY, **more}, event.y)


def last_mark(events: Sequence[WorkItem], *, died: bool) -> list[int]:
    """Return the offsets that were marked when the process died."""
    notes = Notes(died)
    with pytest.raises(DeadError):
        MicroBatch(fragile(), size=SIZE).learn(AT, events, crash_tracker=notes)
    return notes.marks[-1]


@pytest.mark.parametrize("layout", [{}, {"another": 1.0}])
@pytest.mark.parametrize("place", [0, 3, 7])
def test_the_event_that_kills_is_marked_alone(place: int, layout: dict[str, float]) -> None:
    """The deadly event is marked alone wherever it is in its batch; without a bisection the whole batch is marked."""
    events = EVENTS[: 2 * SIZE]
    events[SIZE + place] = deadly(events[SIZE + place], **layout)
    offsets = [event.offset for event in events[SIZE:]]
    assert last_mark(events, died=False) == offsets
    assert last_mark(events, died=True) == [offsets[place]]


def test_an_answer_is_marked_where_its_label_stands() -> None:
    """A labelled event is marked by its label's offset, since learning kills and its event was predicted long ago."""
    items: list[WorkItem] = [
        LabelledEvent(
            UnlabelledEvent(TopicPartition("asked", 0), event, {True: 0.5, False: 0.5}),
            LabelRecord(900 + i, event.id, 0, True),
        )
        for i, event in enumerate([*EVENTS[:4], deadly(EVENTS[4]), *EVENTS[5:SIZE]])
    ]
    assert last_mark(items, died=True) == [904]


@pytest.mark.parametrize("polled", [5, 8, 200])
def test_a_rehearsal_changes_nothing(polled: int) -> None:
    """Predictions and model equal, to the bit, those of a learner without a crash tracker."""

    def learned(notes: Notes | None) -> tuple[list[Any], list[Any]]:
        model = preprocessing.StandardScaler() | linear_model.LogisticRegression()
        stepper = Stepper(codec.dumps(model), task=Task.BINARY)
        batches = MicroBatch(stepper, size=SIZE)
        found: list[Any] = []
        for start in range(0, len(EVENTS), polled):
            found += batches.learn(AT, EVENTS[start : start + polled], crash_tracker=notes).predictions
        found += batches.flush(AT, crash_tracker=notes).predictions
        return found, [stepper.predict(event.x) for event in EVENTS]

    notes = Notes(died=True)
    assert learned(notes) == learned(None)
    assert [mark[0] for mark in notes.marks if len(mark) == 1] == [event.offset for event in EVENTS]


def run_of(events: Sequence[Event]) -> DecodedRecords:
    """Return the events as decoded records."""
    first, last = events[0].offset, events[-1].offset
    return DecodedRecords(AT, events, [], last + 1, first, {event.offset: b"bytes" for event in events})


def test_what_waits_is_left_out_as_if_it_had_never_come() -> None:
    """After a removal the next event fills the batch, counts add up, and the dead letter holds the event."""
    spec = ModelSpec.model_validate(
        {"name": "m", "task": "binary", "events": AT.topic, "metrics": ["Accuracy"], "learn": {"batch": SIZE}}
        | {"estimator": ["preprocessing.StandardScaler", "linear_model.LogisticRegression"]}
    )
    model = preprocessing.StandardScaler() | linear_model.LogisticRegression()
    culprit, good = EVENTS[3], EVENTS[:3] + EVENTS[4:]
    calm, ours = (Learner(spec, Learner.new(spec, model)) for _ in range(2))
    calm.learn(run_of(good))
    ours.learn(run_of(EVENTS[:6]))
    ours = Learner(spec, ours.state())
    assert (AT, culprit.offset) in ours.micro_batch_records()
    outcome = ours.remove(AT, culprit.offset, reason=RefusalReason.KILLED_PROCESS, detail="it did")
    assert (AT, culprit.offset) not in ours.micro_batch_records()
    (refusal,) = outcome.refusals
    assert (refusal.offset, refusal.reason) == (culprit.offset, RefusalReason.KILLED_PROCESS)
    assert msgspec.json.decode(refusal.payload, type=Event) == culprit
    ours.learn(run_of(EVENTS[6:]))
    assert ours.counts == calm.counts + Counter(dead=1)
    assert ours.report() == calm.report()
    assert [ours.predict(event.x) for event in EVENTS] == [calm.predict(event.x) for event in EVENTS]
